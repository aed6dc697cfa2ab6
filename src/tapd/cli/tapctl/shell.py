"""``tapctl shell``: a Python prompt in a running server.

On a terminal, readline edits lines and Ctrl-C interrupts what runs in the server. A
file or pipe runs as one script, up to the first statement that fails.
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

from tapd.cli.client import ControlClient, connected
from tapd.cli.taps import TAP, find_tap
from tapd.errors import NotRunning
from tapd.host.prompt.interrupts import INTERRUPT

_DIED = "the server ended or was killed while this ran: it was not applied; what ran before is kept"
_AGAIN_S = 1.0


@click.command(short_help="A Python prompt in a running server.")
@TAP
def shell(tap: str) -> None:
    """Run Python in the running server of TAP; `application` is the whole of it.

    What is run is journaled and outlives the server, names and functions too.
    Ctrl-C interrupts, Ctrl-D leaves.
    """
    with connected(find_tap(tap)) as client:
        name = client.ask("shell")["name"]
        try:
            if sys.stdin.isatty():
                _converse(client, name)
            elif _run_script(client):
                sys.exit(1)
        except NotRunning as error:
            raise NotRunning(_DIED) from error


class _CtrlC:
    """Handles Ctrl-C: raises KeyboardInterrupt at the prompt, and is queued elsewhere.

    Raised anywhere else it would end the shell, and not the code that runs in the server.
    `fileno` is readable while one is queued.
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
        """Return whether Ctrl-C was pressed, and clear the queue."""
        with contextlib.suppress(BlockingIOError):
            return os.eventfd_read(self._fd) > 0
        return False

    def input(self, prompt: str) -> str:
        """Ask for a line.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
            EOFError: Ctrl-D was pressed.
        """
        self._at_prompt = True
        try:
            if self.take():
                raise KeyboardInterrupt
            return input(prompt)
        finally:
            self._at_prompt = False

    @contextlib.contextmanager
    def queued(self) -> Iterator[None]:
        """Queue Ctrl-C within the block, although a line is being edited; clear it at the end."""
        self._at_prompt = False
        try:
            yield
        finally:
            self._at_prompt = True
            self.take()


class _Completer:
    """Completes names that the server knows; Ctrl-C stops waiting for it.

    Attributes:
        pending: answers that the server still owes. After Ctrl-C, late ones are skipped.
    """

    def __init__(self, client: ControlClient, ctrl_c: _CtrlC) -> None:
        self.pending = 0
        self._client = client
        self._ctrl_c = ctrl_c
        self._found: list[str] = []

    def complete(self, word: str, state: int) -> str | None:
        """Return the completion number `state` of `word`; None after the last."""
        if state == 0:
            self._found = []
            if word:
                with self._ctrl_c.queued():
                    self._found = self._ask(word)
        return self._found[state] if state < len(self._found) else None

    def _ask(self, word: str) -> list[str]:
        found: list[str] = []
        self._client.send(complete=word)
        self.pending += 1
        while self.pending:
            if not self._client.wait(None, self._ctrl_c):
                return []
            message = self._client.receive()
            if "completions" in message:
                self.pending -= 1
                found = [str(name) for name in message["completions"]]
            else:
                sys.stdout.write(message.get("output", ""))  # of background tasks
        return found


def _run_script(client: ControlClient) -> bool:
    """Run standard input; return whether it failed."""
    script = sys.stdin.read()
    with _CtrlC() as ctrl_c:
        client.send(script=script)
        return bool(_show_until_prompt(client, ctrl_c)["failed"])


def _converse(client: ControlClient, name: str) -> None:
    """Read lines and run them, until Ctrl-D."""
    with _CtrlC() as ctrl_c:
        completer = _Completer(client, ctrl_c)
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
                client.send(drop=True)
            else:
                client.send(line=line)
            message = _show_until_prompt(client, ctrl_c)
            completer.pending = 0  # answers come in order: all earlier ones are here
            prompt = None if message.get("bye") else message["prompt"]


def _edit_lines(completer: _Completer) -> None:
    """Have input() edit lines, and complete names by Tab."""
    import readline  # noqa: PLC0415 - with a terminal only

    readline.set_completer(completer.complete)
    readline.set_completer_delims(" \t\n`~!@#$%^&*()-=+[{]}\\|;:'\",<>/?")
    readline.parse_and_bind("tab: complete")


def _show_until_prompt(client: ControlClient, ctrl_c: _CtrlC) -> dict[str, Any]:
    """Print output until the server asks for more input or says goodbye; return that message."""
    ends_line = True
    interrupting = False
    while True:
        if ctrl_c.take():
            interrupting = True
            client.send(interrupt=True)  # ends an await
            client.signal(INTERRUPT)  # ends code that never yields
        elif not client.wait(_AGAIN_S if interrupting else None, ctrl_c):
            if interrupting:
                client.signal(INTERRUPT)  # the first one may have come before the code began
        elif text := (message := client.receive()).get("output"):
            sys.stdout.write(text)
            sys.stdout.flush()
            ends_line = text.endswith("\n")
        elif "completions" not in message:
            if not ends_line:
                click.echo()
            return message
