"""Standard streams of typed code: each session's `print` goes to its own client.

`sys.stdout`, `sys.stderr`, `sys.stdin` and `sys.displayhook` belong to the whole process, so
they are replaced once. The replacements look at a context variable. Code run by a session, and
every asyncio task it starts, finds its session there; all other code uses the original streams.

Nothing here is durable.
"""

from __future__ import annotations

import contextvars
import io
import sys
from typing import Any, ClassVar, Protocol, TextIO

_NO_INPUT = (
    "input() can't be used at this prompt: the server serves others meanwhile; "
    "assign to a name instead"
)


class Session(Protocol):
    """Receives the output of typed code."""

    @property
    def is_connected(self) -> bool:
        """Whether anybody can read the output."""

    def print_text(self, text: str) -> None:
        """Show `text`."""

    def display(self, value: Any) -> None:
        """Show the value of an expression statement and keep it in ``_``."""

    def code_ran(self) -> None:
        """Commit the changes of typed code together with its output."""


current: contextvars.ContextVar[Session | None] = contextvars.ContextVar(
    "tapd_session", default=None
)
"""The session whose code is running."""


class _StandIn(io.TextIOBase):
    """Stands in for one of the process's streams, where no session's code runs."""

    what: ClassVar[str]

    def __init__(self, real: TextIO) -> None:
        self.real = real

    def isatty(self) -> bool:
        """Whether it is a terminal; a session's is none, so nobody starts a pager."""
        return current.get() is None and self.real.isatty()

    def fileno(self) -> int:
        """Return the real stream's; a session has none."""
        if current.get() is None:
            return self.real.fileno()
        raise io.UnsupportedOperation(f"a session's {self.what} has no file descriptor")

    def close(self) -> None:
        """Do nothing: it belongs to every session, and `exit` closes its input."""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in TextIOBase
        """The real stream's; UTF-8 for sessions."""
        return self.real.encoding if current.get() is None else "utf-8"


class SessionOutput(_StandIn):
    """Stands in for `sys.stdout` or `sys.stderr`."""

    what = "output"

    def write(self, text: str) -> int:
        """Write to the running session, else to the original stream."""
        session = current.get()
        if session is None or not session.is_connected:
            return self.real.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        session.print_text(text)
        session.code_ran()  # a background task has no statement whose end would commit it
        return len(text)

    def flush(self) -> None:
        """Flush the original stream; a session's output is sent at the end of the turn."""
        if current.get() is None:
            self.real.flush()

    def writable(self) -> bool:
        """Return true."""
        return True

    @property
    def errors(self) -> str | None:  # type: ignore[override]  # as `encoding`
        """How unencodable text is written."""
        return self.real.errors if current.get() is None else "backslashreplace"

    @property
    def buffer(self) -> Any:
        """The binary layer of the original stream; sessions accept only text."""
        if current.get() is None:
            return self.real.buffer
        raise AttributeError("a session's output takes text, not bytes; use print()")


class SessionInput(_StandIn):
    """Replacement of `sys.stdin`: typed code can't wait for a line without stopping everyone."""

    what = "input"

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # as TextIO has it
        """Read a line of the original stream; refuse it to a session."""
        if current.get() is None:
            return self.real.readline(size)
        raise EOFError(_NO_INPUT)

    def read(self, size: int | None = -1, /) -> str:
        """Read the original stream; refuse it to a session."""
        if current.get() is None:
            return self.real.read(-1 if size is None else size)
        raise EOFError(_NO_INPUT)

    def readable(self) -> bool:
        """Return true."""
        return True


def _displayhook(value: Any, previous: Any = sys.displayhook) -> None:
    session = current.get()
    if session is None:
        previous(value)
    else:
        session.display(value)


def install() -> None:
    """Replace the standard streams. Idempotent."""
    if not isinstance(sys.stdout, SessionOutput):
        sys.stdout = SessionOutput(sys.stdout)
    if not isinstance(sys.stderr, SessionOutput):
        sys.stderr = SessionOutput(sys.stderr)
    if not isinstance(sys.stdin, SessionInput):
        sys.stdin = SessionInput(sys.stdin)
    sys.displayhook = _displayhook


def uninstall() -> None:
    """Restore the original streams."""
    if isinstance(sys.stdout, SessionOutput):
        sys.stdout = sys.stdout.real
    if isinstance(sys.stderr, SessionOutput):
        sys.stderr = sys.stderr.real
    if isinstance(sys.stdin, SessionInput):
        sys.stdin = sys.stdin.real
    sys.displayhook = sys.__displayhook__
