"""``tapctl shell``: a Python prompt in a running server.

On a terminal lines are edited with readline, and Ctrl-C interrupts what runs in
the server; from a file or a pipe the whole input runs as a script, up to the
first statement that fails.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from tapd.cli.calling import Call, calling
from tapd.cli.naming import TAP, find_tap
from tapd.errors import NotRunning
from tapd.host.console import INTERRUPT

_DIED = "the server ended or was killed while this ran: it was not applied; what ran before is kept"
_AGAIN_S = 1.0


@click.command(short_help="A Python prompt in a running server.")
@TAP
def shell(tap: str) -> None:
    """Run Python in the running server of TAP; `application` is the whole of it.

    What is run is journaled and outlives the server, names and functions too.
    Ctrl-C interrupts, Ctrl-D leaves.
    """
    with calling(find_tap(tap)) as call:
        name = call.ask("shell")["name"]
        try:
            failed = _converse(call, name) if sys.stdin.isatty() else _run_script(call)
        except NotRunning as error:
            raise NotRunning(_DIED) from error
    if failed:
        sys.exit(1)


def _run_script(call: Call) -> bool:
    """Run standard input; return whether it failed."""
    call.send(script=sys.stdin.read())
    return bool(_show_until_prompt(call)["failed"])


def _converse(call: Call, name: str) -> bool:
    """Ask for lines and run them, until the person leaves."""
    with contextlib.suppress(ImportError):
        _edit_lines(call)
    click.echo(f"A prompt in {name}, which runs; Ctrl-D leaves it running.")
    prompt = ">>> "
    while True:
        try:
            line = input(prompt)
        except EOFError:
            click.echo()
            return False
        except KeyboardInterrupt:
            click.echo("\nKeyboardInterrupt")
            call.send(drop=True)
        else:
            call.send(line=line)
        message = _show_until_prompt(call)
        if message.get("bye"):
            return False
        prompt = message["prompt"]


def _edit_lines(call: Call) -> None:
    """Have input() edit lines, and complete the server's names by Tab."""
    import readline  # noqa: PLC0415 - with a terminal only

    found: list[str] = []

    def complete(word: str, state: int) -> str | None:
        if state == 0:
            found[:] = _ask_completions(call, word)
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n`~!@#$%^&*()-=+[{]}\\|;:'\",<>/?")
    readline.parse_and_bind("tab: complete")


def _ask_completions(call: Call, word: str) -> list[str]:
    if not word:
        return []
    call.send(complete=word)
    while "completions" not in (message := call.receive()):
        sys.stdout.write(message.get("output", ""))  # of the background
    return [str(name) for name in message["completions"]]


def _show_until_prompt(call: Call) -> dict[str, Any]:
    """Print what comes, until the server asks for more or leaves; return that message."""
    ends_line = True
    interrupting = False
    while True:
        try:
            while interrupting and not call.wait(_AGAIN_S):
                call.signal(INTERRUPT)  # the first one came before the code had begun
            message = call.receive()
        except KeyboardInterrupt:
            interrupting = True
            call.send(interrupt=True)  # what is awaited
            call.signal(INTERRUPT)  # what runs without coming back
            continue
        if text := message.get("output"):
            sys.stdout.write(text)
            sys.stdout.flush()
            ends_line = text.endswith("\n")
            continue
        if not ends_line:
            click.echo()
        return message


COMMANDS = {"shell": shell}
