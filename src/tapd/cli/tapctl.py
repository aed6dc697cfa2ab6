"""``tapctl``: look at TAPs, go back in time, accept strangers' TAPs.

What is here needs no running daemon. A TAP is named by its file, or by the name
of an installed server (``telnet`` for ``/var/lib/tapd/telnet/telnet.tap``).
Nothing of a TAP is run, except by ``verify --upgrade``, which says so. What
talks to a running server is in `running` and `shell`, what moves TAPs about in
`moving`; `_ELSEWHERE` names their commands.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import tapd
from tapd.cli.naming import JSON, TAP, find_tap, installed_names, taps_in
from tapd.cli.printing import emit, render_size, render_time, table
from tapd.cli.progress import Progress
from tapd.errors import KeyUnusable, NotAllowed, TapdError, TapMissing, UsageError
from tapd.image.files import Files, replace_file, writing
from tapd.image.inspection import Graph, compare_graphs, printable, read_first_graph, read_graph
from tapd.image.key import Key, load_key
from tapd.image.layout import Entry, Layout, read_bytes
from tapd.image.lock import holder_of
from tapd.image.tapfile import Manifest, Tail, render_tail, split_tap
from tapd.units.render import STATE_DIRECTORY

_LARGE_BYTES = 8_000_000


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
        notes.extend(["compressed"] * entry.is_archived)
    return [
        str(entry.generation or "?"), render_time(entry.saved_at_s), render_size(entry.size_bytes),
        entry.path.name, ", ".join(notes),
    ]  # fmt: skip


def _installed() -> list[Path]:
    return [STATE_DIRECTORY / name for name in installed_names()]


# --- the commands --------------------------------------------------------------------


_ELSEWHERE = {
    "status": "running",
    "checkpoint": "running",
    "set": "running",
    "shell": "shell",
    "reset": "moving",
    "import": "moving",
}
"""The commands of other modules of this room, by name: imported when one is asked for."""


class _Group(click.Group):
    """Ends with the status of a tapd error, and its one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command."""
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"tapd.cli.{_ELSEWHERE[cmd_name]}")
        command: click.Command = module.COMMANDS[cmd_name]
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TapdError as error:
            click.echo(f"tapctl: {error}", err=True)
            ctx.exit(error.exit_status)
        except PermissionError as error:
            click.echo(f"tapctl: {error.filename}: only its owner and root may do this", err=True)
            ctx.exit(NotAllowed.exit_status)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tapd.__version__, prog_name="tapctl")
def main() -> None:
    """Look at TAPs and after running servers.

    A TAP is named by its file, or by the name of an installed server.
    """


_GENERATION = click.option(
    "--generation", "-g", type=int, help="Of this generation, not of the newest good one."
)


@main.command("list")
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False))
@JSON
def list_taps(directory: str | None, as_json: bool) -> None:
    """List the TAPs of DIRECTORY, or those installed and those here."""
    directories = [Path(directory)] if directory else [*_installed(), Path()]
    key = load_key()
    found = [_describe(Layout(path, key)) for place in directories for path in taps_in(place)]
    rows = [
        [
            data["name"], str(data["generation"] or "?"), data["saved_at"] or "",
            "running" if data["running"] else "sleeping", ", ".join(data["ports"]),
            data["error"] or data["path"],
        ]
        for data in found
    ]  # fmt: skip
    header = ("NAME", "GENERATION", "SAVED", "STATE", "PORTS", "TAP")
    emit(as_json, found, lambda: table(header, rows) if rows else ["no TAPs here"])


def _describe(layout: Layout) -> dict[str, Any]:
    entries = layout.generations()
    good = next((entry for entry in entries if entry.manifest), None)
    manifest = good.manifest if good else None
    error = entries[0].error if entries and manifest is None else None
    pid = holder_of(layout.journal_directory)
    return {
        "name": layout.name,
        "path": str(layout.tap_path),
        "generation": good.generation if good else None,
        "saved_at": manifest.saved_at if manifest else None,
        "ports": [str(port["address"]) for port in manifest.ports] if manifest else [],
        "running": pid is not None,
        "pid": pid,
        "error": str(error) if error else None,
    }


@main.command()
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
            ("GENERATION", "SAVED", "SIZE", "FILE", "NOTES"),
            [_entry_row(entry) for entry in entries],
        ),
    )


@main.command()
@TAP
@JSON
@click.option("--upgrade", is_flag=True, help="Also load a copy with the code installed: runs it.")
def verify(tap: str, as_json: bool, upgrade: bool) -> None:
    """Check every generation of TAP: damage, signature, and what else is wrong."""
    layout = Layout(find_tap(tap), load_key())
    entries = _verified(layout)
    rehearsed = _rehearse(layout, entries) if upgrade else None
    bad = [entry for entry in entries if entry.error]
    data = {"generations": [_entry_data(entry) for entry in entries], "rehearsal": rehearsed}

    def lines() -> list[str]:
        told = [
            f"generation {entry.generation or '?'}: "
            + (click.style(str(entry.error), fg="red") if entry.error else "good")
            for entry in entries
        ]
        return [*told, rehearsed] if rehearsed else told

    emit(as_json, data, lines)
    if bad or not entries:
        sys.exit(bad[0].error.exit_status if bad and bad[0].error else TapMissing.exit_status)


def _verified(layout: Layout) -> list[Entry]:
    entries = layout.generations()
    verified = []
    with Progress("checking", sum(entry.size_bytes for entry in entries)) as progress:
        for entry in entries:
            verified.append(layout.verified(entry))
            progress.advance(entry.size_bytes)
    return verified


def _rehearse(layout: Layout, entries: Sequence[Entry]) -> str:
    """Load the newest good generation as a start would, upgrades included; keep nothing.

    Raises:
        UpgradeRefused, TapDamaged: the start would fail in this way.
    """
    from tapd.image.snapshot import load_application  # noqa: PLC0415 - the only one to load

    entry = _chosen(layout, entries, None)
    with Progress(f"loading {render_size(entry.size_bytes)}"):
        pickle, manifest = layout.read(entry)
        application = load_application(pickle, entry.path, python_path=manifest.python_path)
    return f"generation {entry.generation} loads as {application!r} with the code installed"


def _chosen(layout: Layout, entries: Sequence[Entry], generation: int | None) -> Entry:
    wanted = [entry for entry in entries if generation in (None, entry.generation)]
    good = next((entry for entry in wanted if entry.error is None), None)
    if good is not None:
        return good
    if wanted and wanted[0].error:
        raise wanted[0].error
    raise TapMissing(
        f"{layout.named_path}: there is no generation {generation}; see tapctl history"
        if generation
        else f"{layout.named_path}: there is no TAP; make one with tapd-mktap"
    )


def _open_unverified(tap: str, generation: int | None) -> tuple[Path, memoryview, Tail, Key]:
    """Read what is to be shown: it need not be signed, for it will not be run."""
    path, key = find_tap(tap), _key_or_none_known()
    if path.name.startswith("generation-"):
        return path, *split_tap(read_bytes(path), str(path)), key
    layout = Layout(path, key)
    if generation is not None or not path.is_file():
        entry = _chosen(layout, layout.generations(), generation)
        return entry.path, *split_tap(read_bytes(entry.path), str(entry.path)), key
    newest = next((entry for entry in layout.generations() if entry.error is None), None)
    chosen = newest.path if newest and newest.path.parent == layout.journal_directory else path
    return chosen, *split_tap(read_bytes(chosen), str(chosen)), key


def _key_or_none_known() -> Key:
    """Return the key; without one, a new one that has signed nothing: all is strange then."""
    try:
        return load_key()
    except KeyUnusable as error:
        click.echo(f"tapctl: {error}", err=True)
        return Key(os.urandom(32))


def _is_trusted(tail: Tail, key: Key) -> bool:
    try:
        tail.authenticate(key)
    except TapdError:
        return False
    return True


def _graph_of(path: Path, stored: memoryview, tail: Tail) -> Graph:
    with Progress(f"reading {render_size(tail.stored_bytes)}"):
        return read_graph(tail.decode_pickle(stored), str(path))


@main.command()
@TAP
@JSON
@_GENERATION
@click.option("--depth", "-d", default=4, show_default=True, help="How deep to go.")
@click.option("--width", "-w", default=20, show_default=True, help="How many parts of one object.")
@click.option("--all", "-a", "read_all", is_flag=True, help="Read all of a large TAP (as --json).")
def show(
    tap: str, as_json: bool, generation: int | None, depth: int, width: int, read_all: bool
) -> None:
    """Show what is in TAP, as a tree with sizes; nothing in it is run.

    Of a large TAP the first objects are shown, at once; --all reads all of it.
    """
    path, stored, tail, key = _open_unverified(tap, generation)
    manifest, trusted = tail.manifest, _is_trusted(tail, key)
    if as_json:
        graph = _graph_of(path, stored, tail)
        tree = graph.render_tree(depth_max=depth, children_max=width)
        data = {
            "path": str(path),
            "trusted": trusted,
            "key": tail.key_id,
            "manifest": json.loads(tail.manifest_json),
            "names": graph.names,
            "called": graph.called,
            "tree": [{"depth": at, "line": line, "size_bytes": size} for at, line, size in tree],
        }
        emit(as_json, data, list)
        return
    for line in _manifest_lines(path, manifest, tail, trusted=trusted):
        click.echo(line)
    sys.stdout.flush()  # the first screen, before a large graph is read
    first = None
    if tail.pickle_bytes > _LARGE_BYTES and not read_all:
        first = read_first_graph(tail.decode_pickle(stored))
    shown = _graph_of(path, stored, tail) if first is None else first
    for at, line, size in shown.render_tree(depth_max=depth, children_max=width):
        click.echo(f"{'  ' * at}{line}{_size_note(size)}")
    if first is not None:
        click.echo("\nThese are the first objects; sizes and counts are of what was read of")
        click.echo(f"{render_size(tail.pickle_bytes)}. All of it: --all, or tapctl du")
    if not trusted:
        sys.stdout.flush()
        # Of a stranger's TAP no name may be missing, so all of it is read.
        whole = shown if first is None else _graph_of(path, stored, tail)
        click.echo("\n" + click.style("loading it would call:", fg="red"))
        for name in whole.called:
            click.echo(f"  {printable(name)}")


def _size_note(size_bytes: int) -> str:
    return click.style(f"  {render_size(size_bytes)}", dim=True) if size_bytes >= 1000 else ""


def _manifest_lines(path: Path, manifest: Manifest, tail: Tail, *, trusted: bool) -> list[str]:
    signed = f"key {tail.key_id}" if trusted else f"a stranger's key {tail.key_id}: not trusted"
    ports = ", ".join(str(port.get("address")) for port in manifest.ports) or "none"
    lines = [
        ("file", f"{path} ({render_size(tail.stored_bytes)})"),
        ("application", f"{manifest.name}, generation {manifest.generation}"),
        ("saved", f"{manifest.saved_at} by tapd {manifest.tapd}, Python {manifest.python}"),
        ("signed with", signed),
        ("ports", ports),
        ("lost", str(manifest.loss_count)),
    ]
    shown = [f"{name + ':':<13}{printable(value)}" for name, value in lines]
    if not trusted:
        shown[3] = click.style(shown[3], fg="red")
    for loss in manifest.losses[:20]:
        told = f"{loss.get('path')} ({loss.get('type_name')}): {loss.get('reason')}"
        shown.append(f"  {printable(told)}")
    return [*shown, ""]


@main.command()
@TAP
@JSON
@_GENERATION
@click.option("--types", is_flag=True, help="By type, not by path.")
@click.option("--count", "-n", default=20, show_default=True, help="How many to name.")
def du(tap: str, as_json: bool, generation: int | None, types: bool, count: int) -> None:
    """Show where the bytes of TAP are; nothing in it is run."""
    path, stored, tail, _key = _open_unverified(tap, generation)
    graph = _graph_of(path, stored, tail)
    if types:
        kinds = graph.by_type()[:count]
        data = [{"size_bytes": size, "count": many, "type": name} for size, many, name in kinds]
        rows = [[render_size(size), str(many), name] for size, many, name in kinds]
        emit(as_json, data, lambda: table(("SIZE", "COUNT", "TYPE"), rows))
        return
    parts = graph.largest(count)
    data = [{"size_bytes": size, "path": where, "type": kind} for size, where, kind in parts]
    rows = [[render_size(size), where, kind] for size, where, kind in parts]
    emit(as_json, data, lambda: table(("SIZE", "PATH", "TYPE"), rows))


@main.command()
@TAP
@click.argument("old", type=int)
@click.argument("new", type=int, required=False)
@JSON
def diff(tap: str, old: int, new: int | None, as_json: bool) -> None:
    """Show what changed from generation OLD to NEW (default: the newest); nothing is run."""
    layout = Layout(find_tap(tap), load_key())
    entries = layout.generations()
    graphs = []
    for generation in (old, new):
        entry = _chosen(layout, entries, generation)
        with Progress(f"reading generation {generation or 'newest'}"):
            graphs.append(read_graph(layout.read(entry)[0], str(entry.path)))
    changes = list(compare_graphs(*graphs))
    data = [{"path": path, "change": change} for path, change in changes]
    colours = {"+": "green", "-": "red"}
    emit(
        as_json,
        data,
        lambda: [f"{path}: {click.style(text, fg=colours.get(text[0]))}" for path, text in changes],
    )


@main.command()
@TAP
@click.argument("generation", type=int)
@click.confirmation_option("--yes", "-y", prompt="Go back? What was saved since stays in the past")
def rollback(tap: str, generation: int) -> None:
    """Make GENERATION the newest again; the server must be stopped."""
    from tapd.image.store import Store  # noqa: PLC0415 - the only command that writes one

    store = Store(find_tap(tap), load_key())
    with store.lock():
        report = store.rollback(generation)
    click.echo(f"generation {generation} is the newest again, as {report.generation}")


@main.command()
@TAP
@click.argument("target", type=click.Path(dir_okay=False))
@_GENERATION
def export(tap: str, target: str, generation: int | None) -> None:
    """Write one generation of TAP to the file TARGET, whole and signed."""
    key = load_key()
    layout = Layout(find_tap(tap), key)
    entry = _chosen(layout, layout.generations(), generation)
    pickle, manifest = layout.read(entry)
    if os.path.lexists(target):
        raise UsageError(f"{target}: is already there; name a new file")
    with writing(Path(target)):
        replace_file(Files(), Path(target), [pickle, render_tail(pickle, manifest, key)])
    click.echo(f"generation {entry.generation} of {manifest.name} is in {target}")


@main.command()
@TAP
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
def trust(tap: str, yes: bool) -> None:
    """Accept TAP, which another host or key signed, after showing what it would run."""
    from tapd.image.store import Store  # noqa: PLC0415 - takes the lock

    path, key = find_tap(tap), load_key(create=True)
    data = read_bytes(path)
    stored, tail = split_tap(data, str(path))
    if _is_trusted(tail, key):
        click.echo(f"{path}: is signed with this host's key already")
        return
    for line in _manifest_lines(path, tail.manifest, tail, trusted=False):
        click.echo(line)
    graph = _graph_of(path, stored, tail)
    click.echo("it refers to:")
    for name in graph.names:
        note = click.style("  (called)", fg="red") if name in graph.called else ""
        click.echo(f"  {printable(name)}{note}")
    if not yes:
        click.confirm("Loading it runs code of these. Sign it with this host's key?", abort=True)
    with Store(path, key).lock(), writing(path):
        signed = render_tail(
            stored, tail.manifest, key, encoding=tail.encoding, pickle_bytes=tail.pickle_bytes
        )
        replace_file(Files(), path.resolve(), [stored, signed])
    click.echo(f"{path}: signed with key {key.key_id}")
