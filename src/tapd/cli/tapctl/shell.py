"""``tapctl shell``: a Python prompt in a running server.

On a terminal lines are edited with readline, and Ctrl-C interrupts what runs in
the server; from a file or a pipe the whole input runs as a script, up to the
first statement that fails.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

import click

from tapd.cli.client import Call, calling
from tapd.cli.taps import TAP, find_tap
from tapd.errors import NotRunning
from tapd.host.prompt.console import INTERRUPT

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
            if sys.stdin.isatty():
                _converse(call, name)
            elif _run_script(call):
                sys.exit(1)
        except NotRunning as error:
            raise NotRunning(_DIED) from error


class _CtrlC:
    """What Ctrl-C does: at the prompt it raises KeyboardInterrupt; elsewhere it is kept.

    So none comes between two steps of ours, where it would end the shell instead
    of what runs. `fileno` is readable while one is kept.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._at_prompt = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_error: object) -> None:
        signal.signal(signal.SIGINT, self._before)
        os.close(self._fd)

    def _press(self, _number: int, _frame: FrameType | None) -> None:
        if self._at_prompt:
            raise KeyboardInterrupt
        os.eventfd_write(self._fd, 1)

    def fileno(self) -> int:
        return self._fd

    def take(self) -> bool:
        """Return whether it was pressed, and forget it."""
        with contextlib.suppress(BlockingIOError):
            return os.eventfd_read(self._fd) > 0
        return False

    def input(self, prompt: str) -> str:
        """Ask for a line.

        Raises:
            KeyboardInterrupt: it was pressed.
            EOFError: the person leaves.
        """
        self._at_prompt = True
        try:
            if self.take():
                raise KeyboardInterrupt
            return input(prompt)
        finally:
            self._at_prompt = False

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep it while a line is being asked for, too; forget it at the end."""
        self._at_prompt = False
        try:
            yield
        finally:
            self._at_prompt = True
            self.take()


class _Completer:
    """Completes the server's names; Ctrl-C gives up waiting for them.

    Attributes:
        owed: how many answers the server has not given yet. One that nobody waits for
            any more is skipped when it comes.
    """

    def __init__(self, call: Call, ctrl_c: _CtrlC) -> None:
        self.owed = 0
        self._call = call
        self._ctrl_c = ctrl_c
        self._found: list[str] = []

    def complete(self, word: str, state: int) -> str | None:
        """Return what `word` may become, one for each `state` from 0 on; then None."""
        if state == 0:
            self._found = []
            if word:
                with self._ctrl_c.kept():
                    self._found = self._ask(word)
        return self._found[state] if state < len(self._found) else None

    def _ask(self, word: str) -> list[str]:
        found: list[str] = []
        self._call.send(complete=word)
        self.owed += 1
        while self.owed:
            if not self._call.wait(None, self._ctrl_c):
                return []
            message = self._call.receive()
            if "completions" in message:
                self.owed -= 1
                found = [str(name) for name in message["completions"]]
            else:
                sys.stdout.write(message.get("output", ""))  # of the background
        return found


def _run_script(call: Call) -> bool:
    """Run standard input; return whether it failed."""
    script = sys.stdin.read()
    with _CtrlC() as ctrl_c:
        call.send(script=script)
        return bool(_show_until_prompt(call, ctrl_c)["failed"])


def _converse(call: Call, name: str) -> None:
    """Ask for lines and run them, until the person leaves."""
    with _CtrlC() as ctrl_c:
        completer = _Completer(call, ctrl_c)
        with contextlib.suppress(ImportError):
            _edit_lines(completer)
        click.echo(f"A prompt in {name}, which runs; Ctrl-D leaves it running.")
        prompt: str | None = ">>> "
        while prompt is not None:
            try:
                line = ctrl_c.input(prompt)
            except EOFError:
                click.echo()
                break
            except KeyboardInterrupt:
                click.echo("\nKeyboardInterrupt")
                call.send(drop=True)
            else:
                call.send(line=line)
            message = _show_until_prompt(call, ctrl_c)
            completer.owed = 0  # it answers in order
            prompt = None if message.get("bye") else message["prompt"]


def _edit_lines(completer: _Completer) -> None:
    """Have input() edit lines, and complete the server's names by Tab."""
    import readline  # noqa: PLC0415 - with a terminal only

    readline.set_completer(completer.complete)
    readline.set_completer_delims(" \t\n`~!@#$%^&*()-=+[{]}\\|;:'\",<>/?")
    readline.parse_and_bind("tab: complete")


def _show_until_prompt(call: Call, ctrl_c: _CtrlC) -> dict[str, Any]:
    """Print what comes, until the server asks for more or leaves; return that message."""
    ends_line = True
    interrupting = False
    while True:
        if ctrl_c.take():
            interrupting = True
            call.send(interrupt=True)  # what is awaited
            call.signal(INTERRUPT)  # what runs without coming back
        elif not call.wait(_AGAIN_S if interrupting else None, ctrl_c):
            if interrupting:
                call.signal(INTERRUPT)  # the first one came before the code had begun
        elif text := (message := call.receive()).get("output"):
            sys.stdout.write(text)
            sys.stdout.flush()
            ends_line = text.endswith("\n")
        elif "completions" not in message:
            if not ends_line:
                click.echo()
            return message
