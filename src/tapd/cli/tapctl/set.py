"""``tapctl set``: change the options of a server, running or stopped, or list them."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import click

from tapd.cli.client import connect, try_connect
from tapd.cli.output import emit, table
from tapd.cli.progress import Progress
from tapd.cli.taps import JSON, complete_tap, find_tap
from tapd.errors import NotAllowed, UsageError
from tapd.model.setting import (
    ACCOUNT_SETTINGS,
    Assignment,
    describe_settings,
    prepare_settings,
)
from tapd.store.key import load_key
from tapd.store.layout import Layout
from tapd.store.state import State


def _complete_option(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the name of an option; errors are ignored, as completion has no place for them."""
    with contextlib.suppress(Exception):
        tap = find_tap(context.params["tap"])
        return [f"{name}=" for name in _option_names(tap) if name.startswith(incomplete)]
    return []


def _option_names(tap: Path) -> list[str]:
    """Return the names of a server's options, from itself if it runs, else its classes."""
    with contextlib.suppress(NotAllowed):
        client = try_connect(tap)
        if client is not None:
            with client:
                return [row["option"] for row in client.ask("settings")["settings"]]
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
    client = connect(path)
    with contextlib.ExitStack() as stack:
        if client is not None:
            known = stack.enter_context(client).ask("settings")["settings"]
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
        if client is not None:
            client.ask("set", assignments=[each.as_dict() for each in wanted])
        else:
            for change in prepare_settings(restored.application, wanted):
                change()
            state.resave(restored)
    names = [each.option for each in wanted]
    emit(
        as_json,
        {"set": names, "running": client is not None},
        lambda: [f"set {', '.join(names)}{'' if client is not None else ' (it does not run)'}"],
    )


def _log_warnings() -> None:
    """Print warnings of the load of a TAP, and nothing of lower level."""
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
    """Return `wanted` with its passwords, read from the file or asked for."""
    asked = {row["option"]: row["asks_for"] for row in known if row["asks_for"]}
    secrets = iter(_read_lines(password_file)) if password_file is not None else None
    complete = []
    for each in wanted:
        # SERVICE.password asks for a password, as password does.
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
