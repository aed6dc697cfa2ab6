"""``tapctl``: look at TAPs, and go back in time.

What is here needs no running daemon. A TAP is named by its file, or by the name
of an installed server (``telnet`` for ``/var/lib/tapd/telnet/telnet.tap``).
Nothing of a TAP is run, except by ``verify --upgrade``, which says so. What
talks to a running server is in `running` and `shell`, what looks into a TAP in
`looking`, what moves TAPs about in `moving`; `_ELSEWHERE` names their commands.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from tapd.cli.output import describe_loss, emit, render_size, render_time, table
from tapd.cli.progress import Progress
from tapd.cli.tapctl.asleep import describe_sleep
from tapd.cli.tapctl.show import choose_entry
from tapd.cli.taps import JSON, TAP, find_tap, installed_directories, taps_in
from tapd.errors import (
    JournalDamaged,
    NotAllowed,
    StateUnwritable,
    TapdError,
    TapMissing,
    UpgradeRefused,
    UsageError,
)
from tapd.store.key import load_key
from tapd.store.layout import Entry, Layout
from tapd.store.lock import holder_of
from tapd.version import __version__

# --- output ---------------------------------------------------------------------------


def _entry_data(entry: Entry) -> dict[str, Any]:
    manifest = entry.manifest
    return {
        "generation": entry.generation,
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "saved_at": manifest.saved_at if manifest else None,
        "clean": manifest.clean if manifest else None,
        "losses": manifest.loss_count if manifest else None,
        "unfit": manifest.unfit_count if manifest else None,
        "archived": entry.is_archived,
        "error": str(entry.error) if entry.error else None,
    }


def _entry_row(entry: Entry) -> list[str]:
    manifest = entry.manifest
    notes = []
    if manifest is None:
        notes.append(str(entry.error))
    else:
        notes.extend(["clean stop"] * manifest.clean)
        notes.extend([f"{manifest.loss_count} lost"] * bool(manifest.loss_count))
        notes.extend([f"{manifest.unfit_count} unfit"] * bool(manifest.unfit_count))
        notes.extend(["compressed"] * entry.is_archived)
    return [
        str(entry.generation or "?"), render_time(entry.saved_at_s), render_size(entry.size_bytes),
        entry.path.name, ", ".join(notes),
    ]  # fmt: skip


# --- the commands --------------------------------------------------------------------


_EX_OSERR = 71  # sysexits.h: no status of ours, for it may pass

_ELSEWHERE = {
    "audit": "running",
    "status": "running",
    "checkpoint": "running",
    "reload": "running",
    "set": "running",
    "shell": "shell",
    "show": "looking",
    "du": "looking",
    "diff": "looking",
    "export": "moving",
    "import": "moving",
    "reset": "moving",
    "trust": "moving",
}
"""The commands of other modules of this room, by name: imported when one is asked for."""


def _refuse_usage(error: click.UsageError) -> NoReturn:
    """Say in one line what is wrong with the command line, and exit."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    path = error.ctx.command_path if error.ctx else "tapctl"
    click.echo(f"tapctl: {message}; see {path} --help", err=True)
    sys.exit(UsageError.exit_status)


class _Group(click.Group):
    """Ends with the status of a tapd error, and its one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what comes before the command; where there is none, say which there are."""
        if not args and not ctx.resilient_parsing:  # which completion is
            click.echo(ctx.get_help(), err=True)
            ctx.exit(UsageError.exit_status)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command."""
        if cmd_name not in _ELSEWHERE:
            found = super().get_command(ctx, cmd_name)
            close = difflib.get_close_matches(cmd_name, self.list_commands(ctx), n=1)
            if found is None and close and not cmd_name.startswith("-"):
                ctx.fail(f"there is no command {cmd_name!r}; did you mean {close[0]}?")
            return found
        module = importlib.import_module(f"tapd.cli.{_ELSEWHERE[cmd_name]}")
        command: click.Command = module.COMMANDS[cmd_name]
        return command

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the options before the command; wrong ones end with 64, as everywhere in tapd."""
        try:
            return super().make_context(*args, **extra)
        except click.UsageError as error:
            _refuse_usage(error)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _refuse_usage(error)
        except click.Abort:
            click.echo("tapctl: stopped; nothing was changed", err=True)
            ctx.exit(1)
        except TapdError as error:
            click.echo(f"tapctl: {error}", err=True)
            ctx.exit(error.exit_status)
        except PermissionError as error:
            click.echo(f"tapctl: {error.filename}: only its owner and root may do this", err=True)
            ctx.exit(NotAllowed.exit_status)
        except OSError as error:
            if error.errno == errno.EPIPE:  # head(1), or a pager that was left: click's to end
                raise
            click.echo(f"tapctl: {error.filename or 'the output'}: {error.strerror}", err=True)
            ctx.exit(StateUnwritable.exit_status)
        except MemoryError:
            click.echo("tapctl: this takes more memory than there is", err=True)
            ctx.exit(_EX_OSERR)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tapctl")
def main() -> None:
    """Look at TAPs and after running servers.

    A TAP is named by its file, or by the name of an installed server.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a TAP has more letters than ISO 8859-1
        sys.stdout.reconfigure(errors="backslashreplace")


@main.command("list", short_help="The TAPs of a directory, or those installed and here.")
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False))
@JSON
def list_taps(directory: str | None, as_json: bool) -> None:
    """List the TAPs of DIRECTORY, or those installed and those here."""
    directories = [Path(directory)] if directory else [*installed_directories(), Path()]
    key = load_key()
    layouts = [Layout(path, key) for place in directories for path in taps_in(place)]
    # A symbolic link is another name of one that is there, and this may be where it is installed.
    found = [_describe(each) for each in {layout.tap_path: layout for layout in layouts}.values()]
    rows = [
        [
            data["name"], str(data["generation"] or "?"),
            render_time(data["saved_at_s"]) if data["saved_at_s"] else "",
            _state(data), ", ".join(data["ports"]),
            data["error"] or data["path"],
        ]
        for data in found
    ]  # fmt: skip
    header = ("NAME", ">GENERATION", "SAVED", "STATE", "PORTS", "TAP")
    emit(as_json, found, lambda: table(header, rows) if rows else ["no TAPs here"])


def _state(data: dict[str, Any]) -> str:
    if data["running"]:
        return "running"
    if "asleep_since_s" not in data:
        return "stopped"
    due_s = data.get("wakes_at_s")
    return f"sleeping until {render_time(due_s)}" if due_s else "sleeping"


def _describe(layout: Layout) -> dict[str, Any]:
    entries = layout.generations()
    good = next((entry for entry in entries if entry.manifest), None)
    manifest = good.manifest if good else None
    error = entries[0].error if entries and manifest is None else None
    pid = holder_of(layout.journal_directory)
    ports = [str(port["address"]) for port in manifest.ports] if manifest else []
    return {
        "name": layout.name,
        "path": str(layout.tap_path),
        "generation": good.generation if good else None,
        "saved_at": manifest.saved_at if manifest else None,
        "saved_at_s": good.saved_at_s if good else None,
        "ports": ports,
        "running": pid is not None,
        "pid": pid,
        "error": str(error) if error else None,
        **(describe_sleep(layout.journal_directory, ports) if pid is None else {}),
    }


@main.command(short_help="The generations of a TAP, newest first.")
@TAP
@JSON
@click.option("--verify", is_flag=True, help="Check every byte of each.")
def history(tap: str, as_json: bool, verify: bool) -> None:
    """List the generations of TAP, newest first."""
    layout = Layout(find_tap(tap), load_key())
    entries = _verified(layout) if verify else layout.generations()
    emit(
        as_json,
        [_entry_data(entry) for entry in entries],
        lambda: table(
            (">GENERATION", "SAVED", ">SIZE", "FILE", "NOTES"),
            [_entry_row(entry) for entry in entries],
        ),
    )


@main.command(short_help="Check every generation and journal of a TAP.")
@TAP
@JSON
@click.option("--upgrade", is_flag=True, help="Also load it with the code installed: runs that.")
def verify(tap: str, as_json: bool, upgrade: bool) -> None:
    """Check all generations and journals of TAP: damage, signature, what else is wrong."""
    from tapd.cli.tapctl import journals  # noqa: PLC0415 - the other commands need none of it

    layout = Layout(find_tap(tap), load_key())
    entries = _verified(layout)
    rehearsed = _rehearse(layout, choose_entry(layout, entries, None)) if upgrade else None
    bad = [entry for entry in entries if entry.error]
    segments = journals.find_segments(layout, entries)
    data = {
        "generations": [_entry_data(entry) for entry in entries],
        "journals": [journals.segment_data(segment) for segment in segments],
        "rehearsal": rehearsed,
    }

    def lines() -> list[str]:
        told = [
            f"generation {entry.generation or '?'}: "
            + (click.style(str(entry.error), fg="red") if entry.error else _good(entry))
            for entry in entries
        ]
        told += [journals.segment_line(segment, entries) for segment in segments]
        told += journals.copy_lines(layout)
        return [*told, rehearsed] if rehearsed else told

    emit(as_json, data, lines)
    if entries and (manifest := entries[0].manifest) is not None and manifest.unfit_count:
        unfit = manifest.unfit_count
        raise UpgradeRefused(
            f"objects in generation {entries[0].generation} that the code which saved it could not "
            f"take: {unfit}; first: {describe_loss(manifest.unfit[0])}. They are kept as they "
            "were: fix the class, or go back to the code that fits, and they come back"
        )
    if bad or not entries:
        sys.exit(bad[0].error.exit_status if bad and bad[0].error else TapMissing.exit_status)
    if any(segment.fault is not None and segment.fault.is_hole for segment in segments):
        sys.exit(JournalDamaged.exit_status)


def _good(entry: Entry) -> str:
    unfit = entry.manifest.unfit_count if entry.manifest else 0
    return click.style(f"good; objects kept unfit: {unfit}", fg="red") if unfit else "good"


def _verified(layout: Layout) -> list[Entry]:
    entries = layout.generations()
    verified = []
    with Progress("checking", sum(entry.size_bytes for entry in entries)) as progress:
        for entry in entries:
            verified.append(layout.verified(entry))
            progress.advance(entry.size_bytes)
    return verified


def _rehearse(layout: Layout, entry: Entry) -> str:
    """Load a generation and the journals since, as a reload tries new code; change nothing.

    Raises:
        TapdError: the reload would be refused for this.
    """
    from tapd.host.upgrade import load_with_present_code  # noqa: PLC0415 - the only one to load

    with Progress(f"loading {render_size(entry.size_bytes)}"):
        restored = load_with_present_code(layout, entry)
    many = "s" if restored.records > 1 else ""
    since = f", with {restored.records} journal record{many} since," if restored.records else ""
    told = f"{restored.application!r} with the code installed"
    return f"generation {entry.generation}{since} loads as {told}"


@main.command(short_help="Make an earlier generation the newest again.")
@TAP
@click.argument("generation", type=int, required=False)
@click.option("--yes", "-y", is_flag=True, help="Confirm the action without prompting.")
def rollback(tap: str, generation: int | None, yes: bool) -> None:
    """Make GENERATION the newest again; the server must be stopped.

    Without GENERATION, list what can be had, and how far each journal goes.
    """
    from tapd.store.generations import Store  # noqa: PLC0415 - the only command that writes one

    path, key = find_tap(tap), load_key()
    store, layout = Store(path, key), Layout(path, key)
    if generation is None and yes:
        raise UsageError("rollback --yes: say which GENERATION; without --yes they are listed")
    if generation is None:
        _list_offers(layout, tap)
        return
    with store.lock():
        choose_entry(layout, layout.generations(), generation)  # else there is nothing to ask
        if not yes:
            click.confirm("Go back? What was saved since stays in the past", abort=True)
        report = store.rollback(generation)
    click.echo(f"generation {generation} is the newest again, as {report.generation}")


def _list_offers(layout: Layout, tap: str) -> None:
    from tapd.cli.tapctl import journals  # noqa: PLC0415 - the other commands need none of it

    entries = _verified(layout)
    segments = journals.find_segments(layout, entries)
    notes = {segment.generation: journals.segment_note(segment) for segment in segments}
    header = (">GENERATION", "SAVED", ">SIZE", "FILE", "JOURNAL", "NOTES")
    rows = [
        [*row[:-1], notes.get(entry.generation, ""), row[-1]]
        for entry, row in zip(entries, map(_entry_row, entries), strict=True)
    ]
    for line in [
        *table(header, rows),
        *journals.copy_lines(layout),
        journals.start_line(entries, segments),
    ]:
        click.echo(line)
    click.echo(
        f"To go back to one, as it was saved and without its journal: tapctl rollback {tap}"
        " GENERATION"
    )
