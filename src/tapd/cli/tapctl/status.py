"""``tapctl status``, ``checkpoint``, ``audit``, ``reload``, ``set``: of a server, or of its TAP."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import time
from pathlib import Path
from typing import Any

import click

from tapd.cli.client import call_next, call_server, calling, try_to_call
from tapd.cli.output import describe_loss, emit, render_duration, render_size, render_time, table
from tapd.cli.progress import Progress
from tapd.cli.tapctl.asleep import describe_sleep
from tapd.cli.taps import JSON, TAP, complete_tap, find_tap
from tapd.errors import NotAllowed, TapMissing, UsageError
from tapd.host.upgrade import name_modules
from tapd.image.unfit import NAMED_MAX
from tapd.model.setting import (
    ACCOUNT_SETTINGS,
    Assignment,
    describe_settings,
    prepare_settings,
)
from tapd.store.key import load_key
from tapd.store.layout import Layout
from tapd.store.state import State

_UNFIT_SHOWN = 5
_STATE_COLOURS = {"running": "green", "stalled": "red"}


# --- status ------------------------------------------------------------------------


@click.command(short_help="How a server is: its saves, its connections.")
@TAP
@JSON
def status(tap: str, as_json: bool) -> None:
    """Show how the server of TAP is: running, asleep or stopped, its saves, its connections."""
    path = find_tap(tap)
    call = call_server(path)
    if call is None:
        data = _at_rest(path)
    else:
        with call:
            data = call.ask("status")
    emit(as_json, data, lambda: _status_lines(data))


def _at_rest(path: Path) -> dict[str, Any]:
    layout = Layout(path, load_key())
    good = next((entry for entry in layout.generations() if entry.manifest), None)
    if good is None or good.manifest is None:
        raise TapMissing(f"{path}: there is no good TAP; see tapctl verify")
    manifest = good.manifest
    ports = [str(port["address"]) for port in manifest.ports]
    sleep = describe_sleep(layout.journal_directory, ports)
    return {
        "name": layout.name,
        "state": "sleeping" if sleep else "stopped",
        "ports": ports,
        "generation": good.generation,
        "saved_at_s": good.saved_at_s,
        "losses": manifest.loss_count,
        "unfit": [dict(loss) for loss in manifest.unfit[:NAMED_MAX]],
        "unfit_count": manifest.unfit_count,
        "clean": manifest.clean,
        **sleep,
    }


def _status_lines(data: dict[str, Any]) -> list[str]:
    state = click.style(data["state"], fg=_STATE_COLOURS.get(data["state"]), bold=True)
    saved_at_s = data["saved_at_s"]
    ago = render_duration(max(0.0, time.time() - saved_at_s))
    rows = [("ports", ", ".join(data["ports"]) or "none")]
    if asleep_since_s := data.get("asleep_since_s"):
        slept = render_duration(max(0.0, time.time() - asleep_since_s))
        state += f" for {slept} with nothing to do"
        if due_s := data.get("wakes_at_s"):
            rows.append(("wakes", f"{render_time(due_s)}, for a timer; or for a client"))
        else:
            rows.append(("wakes", "for a client"))
    if "pid" in data:
        state += f" for {render_duration(data['uptime_s'])} (process {data['pid']})"
        people = str(data["connections"])
        if data["unprotected"]:
            people += click.style(f", {data['unprotected']} would not outlive it", fg="red")
        many = "record" if data["records_since"] == 1 else "records"
        since = f"{data['records_since']} {many} since, {render_size(data['journal_bytes'])}"
        rows += [("connections", people), ("journal", since)]
    rows.append(
        ("generation", f"{data['generation']}, saved {render_time(saved_at_s)} ({ago} ago)")
    )
    if data.get("clean") is False and data["generation"] > 1:
        rows.append(("", "not after a clean stop: the journal goes on from it"))
    lost = str(data["losses"])
    rows.append(("lost", click.style(lost, fg="red") if data["losses"] else lost))
    if count := data.get("unfit_count"):
        text = f"{count}, kept as saved; tapctl verify --upgrade tells why each does not fit"
        rows.append(("unfit", click.style(text, fg="red")))
        rows += [("", describe_loss(loss)) for loss in data["unfit"][:_UNFIT_SHOWN]]
    if audited := data.get("audited"):
        colour = "red" if audited["differences"] or audited["reason"].startswith("gen") else None
        rows.append(("audited", click.style(describe_audit(audited), fg=colour)))
    if (found := data.get("audit_found")) and found != audited:
        text = f"{describe_audit(found)}, {render_time(found['at_s'])}; see the log"
        rows.append(("", click.style(text, fg="red")))
    if data.get("deaths"):
        text = f"{data['deaths']} in a row, before it had settled; see the log"
        rows.append(("killed", click.style(text, fg="red")))
    if "tapd" in data:
        rows.append(("runs on", f"tapd {data['tapd']}, Python {data['python']}"))
    head = f"{click.style(data['name'], bold=True)}: {state}"
    return [head, *(f"  {name:>11}  {value}" for name, value in rows)]


# --- checkpoint --------------------------------------------------------------------


@click.command(short_help="Have a running server save itself now.")
@TAP
@JSON
def checkpoint(tap: str, as_json: bool) -> None:
    """Have the running server of TAP save itself now, and wait until that is done."""
    with calling(find_tap(tap)) as call:
        report = call.ask("checkpoint")
    emit(as_json, report, lambda: _saved_lines(report))


def _saved_lines(report: dict[str, Any]) -> list[str]:
    saved = (
        f"saved generation {report['generation']}: {render_size(report['size_bytes'])} "
        f"in {report['duration_s']:.2f} s"
    )
    losses = [
        f"not saved: {loss['path']} ({loss['type_name']}): {loss['reason']}"
        for loss in report["losses"]
    ]
    return [saved, *losses]


# --- audit -------------------------------------------------------------------------


@click.command(short_help="Have a running server compare what a kill would restore.")
@TAP
@JSON
def audit(tap: str, as_json: bool) -> None:
    """Save the running server of TAP, and compare what a kill would have restored.

    The state that the generation before and its journal restore is compared with what
    is in memory, all of it, by a child at low priority: the server serves on. What
    differs is named; from the save on, a kill restores what is in memory. Exits with 0
    where there is no difference, with 1 where there is one, and with 75 where the audit
    did not get to its end.
    """
    with Progress("auditing"), calling(find_tap(tap)) as call:
        found = call.ask("audit")
    emit(as_json, found, lambda: audit_lines(found))
    sys.exit(1 if found["differences"] else _EX_TEMPFAIL if found["reason"] else 0)


_EX_TEMPFAIL = 75


def audit_lines(found: dict[str, Any]) -> list[str]:
    """Return what an audit found, for people."""
    lines = [f"audited: {describe_audit(found)}, in {found['duration_s']:.2f} s"]
    for each in found["differences"]:
        lines.append(f"{each['path'] or 'the application'} (in a {each['owner']}):")
        if each["other_path"] is not None:
            restored = "one object, not two" if each["is_one"] else "two objects, not one"
            lines.append(f"  and {each['other_path']}: a kill would have restored {restored}")
        else:
            lines += [f"  in memory     {each['other']}", f"  after a kill  {each['one']}"]
        if each["path"] in found["lasting"]:
            lines.append(f"  generation {found['generation']} has it like that, too")
    return lines


def describe_audit(found: dict[str, Any]) -> str:
    """Return in a few words what an audit found."""
    if not found["objects"] and found["reason"]:
        return f"generation {found['generation']}, nothing compared: {found['reason']}"
    count = len(found["differences"])
    many = "no difference" if not count else f"{count} difference{'s' * (count > 1)}"
    objects = f"{found['objects']:,} object{'s' * (found['objects'] != 1)}"
    if found["parts"] > 1:
        objects += f" (one of {found['parts']} parts, another one each time)"
    text = f"generation {found['generation']}, {objects}, {many}"
    return f"{text}; not all of it: {found['reason']}" if found["reason"] else text


# --- reload ------------------------------------------------------------------------


@click.command("reload", short_help="Have a running server go on with the code installed now.")
@TAP
@JSON
def reload_code(tap: str, as_json: bool) -> None:
    """Save the running server of TAP and have it go on with the code installed now.

    New code is tried first, in another process that loads what was saved. Where that
    fails the old code serves on, and this says why; else it waits until the new code
    serves. Connections are kept. Without new code the server is only saved.
    """
    path = find_tap(tap)
    with Progress("reloading"):
        with calling(path) as call:
            report = call.ask("reload")
            changed: list[str] = report["changed"]
            if changed:
                call.wait_until_ended()
        if changed:
            with call_next(path) as call:
                report["pid"] = call.ask("status")["pid"]

    def lines() -> list[str]:
        told = "no code has changed"
        if changed:
            told = f"process {report['pid']} goes on with new code of {name_modules(changed)}"
        return [*_saved_lines(report), told]

    emit(as_json, report, lines)


# --- set -----------------------------------------------------------------------------


def _complete_option(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Return the options that `incomplete` may become; a Tab says nothing of what fails."""
    with contextlib.suppress(Exception):
        tap = find_tap(context.params["tap"])
        return [f"{name}=" for name in _option_names(tap) if name.startswith(incomplete)]
    return []


def _option_names(tap: Path) -> list[str]:
    """Return the names of a server's options: it says them, or the classes of its services do."""
    with contextlib.suppress(NotAllowed):
        call = try_to_call(tap)
        if call is not None:
            with call:
                return [row["option"] for row in call.ask("settings")["settings"]]
    entries = Layout(tap, load_key()).generations()
    manifest = next(entry.manifest for entry in entries if entry.manifest)
    sys.path[:0] = manifest.python_path
    names: dict[str, None] = {}
    for service in manifest.services:
        module, _colon, qualname = str(service["type"]).partition(":")
        cls: Any = importlib.import_module(module)
        for name in qualname.split("."):
            cls = getattr(cls, name)
        for name, setting in cls.settable.items():
            is_plain = len(manifest.services) == 1 or ACCOUNT_SETTINGS.get(name) is setting
            names[name if is_plain else f"{service['name']}.{name}"] = None
    return list(names)


@click.command("set", short_help="Change options of a server; alone, list them.")
@click.argument("tap", shell_complete=complete_tap)
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...", shell_complete=_complete_option)
@click.option(
    "--password-file",
    metavar="FILE",
    help="Read passwords from FILE, a line for each in order; - is standard input.",
)
@JSON
def set_options(
    tap: str, options: tuple[str, ...], password_file: str | None, as_json: bool
) -> None:
    """Set options of TAP, on its running server or while it does not run.

    Without OPTION=VALUE the options and their values are listed. A password is
    asked for, or read with --password-file: password=NAME names whose it is.
    """
    path = find_tap(tap)
    wanted = [_parse_assignment(text) for text in options]
    call = call_server(path)
    with contextlib.ExitStack() as stack:
        if call is not None:
            known = stack.enter_context(call).ask("settings")["settings"]
        else:
            _log_warnings()
            state = State(path, load_key())
            stack.enter_context(state.store.lock())
            with Progress("loading"):
                restored = state.restore()
            known = describe_settings(restored.application)
        if not wanted:
            _list_settings(known, as_json=as_json)
            return
        wanted = _with_secrets(wanted, known, password_file)
        if call is not None:
            call.ask("set", assignments=[each.as_dict() for each in wanted])
        else:
            for change in prepare_settings(restored.application, wanted):
                change()
            state.resave(restored)
    names = [each.option for each in wanted]
    emit(
        as_json,
        {"set": names, "running": call is not None},
        lambda: [f"set {', '.join(names)}{'' if call is not None else ' (it does not run)'}"],
    )


def _log_warnings() -> None:
    """Have what the loading of a TAP warns of appear, and nothing less."""
    logging.basicConfig(level=logging.WARNING, format="tapctl: %(message)s")


def _parse_assignment(text: str) -> Assignment:
    option, equals, value = text.partition("=")
    if not (option and equals):
        raise UsageError(f"{text!r}: write OPTION=VALUE; tapctl set NAME lists the options")
    return Assignment(option, value)


def _list_settings(known: list[dict[str, str]], *, as_json: bool) -> None:
    rows = [[row["option"], row["value"], row["summary"]] for row in known]
    emit(
        as_json,
        known,
        lambda: table(("OPTION", "VALUE", "WHAT"), rows) if rows else ["nothing can be set"],
    )


def _with_secrets(
    wanted: list[Assignment], known: list[dict[str, str]], password_file: str | None
) -> list[Assignment]:
    """Return `wanted` with the passwords that belong to them, asked for or read."""
    asked = {row["option"]: row["asks_for"] for row in known if row["asks_for"]}
    secrets = iter(_read_lines(password_file)) if password_file is not None else None
    complete = []
    for each in wanted:
        # SERVICE.password asks as password does.
        what = asked.get(each.option) or asked.get(each.option.rpartition(".")[2])
        if not what:
            complete.append(each)
            continue
        if secrets is not None:
            secret = next(secrets, "")
            if not secret:
                raise UsageError(f"{password_file}: holds no password for {each.option}")
        elif sys.stdin.isatty():
            secret = click.prompt(
                f"{what} of {each.value}", hide_input=True, confirmation_prompt=True, err=True
            )
        else:
            raise UsageError(f"{each.option}: no terminal to ask for it; give --password-file")
        complete.append(each.replace(secret=secret))
    return complete


def _read_lines(path: str) -> list[str]:
    try:
        with click.open_file(path, encoding="utf-8") as file:
            return [line.rstrip("\r\n") for line in file]
    except OSError as error:
        raise UsageError(f"reading passwords from {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"reading passwords from {path}: it is not UTF-8 text") from None


COMMANDS = {
    "audit": audit,
    "status": status,
    "checkpoint": checkpoint,
    "reload": reload_code,
    "set": set_options,
}
