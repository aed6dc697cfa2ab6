"""Standard streams of typed code: each session's `print` goes to its own client.

`sys.stdout`, `sys.stderr`, `sys.stdin` and `sys.displayhook` belong to the whole
process, so stand-ins are put there once. Each looks at a context variable: code
that a session runs, and every asyncio task that such code starts, finds its
session there; everything else finds the stream that was there before.

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
    """What typed code writes to."""

    @property
    def is_connected(self) -> bool:
        """Whether anybody can read it."""

    def print_text(self, text: str) -> None:
        """Show `text`."""

    def display(self, value: Any) -> None:
        """Show the value of an expression statement and keep it in ``_``."""

    def code_ran(self) -> None:
        """Have what typed code changed committed with what it printed."""


current: contextvars.ContextVar[Session | None] = contextvars.ContextVar(
    "tapd_session", default=None
)
"""The session whose code runs now."""


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
        """Write to the running session, else to the real stream."""
        session = current.get()
        if session is None or not session.is_connected:
            return self.real.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        session.print_text(text)
        session.code_ran()  # a task of its own has no statement that ends
        return len(text)

    def flush(self) -> None:
        """Flush the real stream; a session's output leaves at the end of the turn."""
        if current.get() is None:
            self.real.flush()

    def writable(self) -> bool:
        """Return true: it can be written to."""
        return True

    @property
    def errors(self) -> str | None:  # type: ignore[override]  # as `encoding`
        """How what can't be encoded is written."""
        return self.real.errors if current.get() is None else "backslashreplace"

    @property
    def buffer(self) -> Any:
        """The real stream's bytes; sessions take text only."""
        if current.get() is None:
            return self.real.buffer
        raise AttributeError("a session's output takes text, not bytes; use print()")


class SessionInput(_StandIn):
    """Stands in for `sys.stdin`: typed code can't wait for a line without stopping all."""

    what = "input"

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # as TextIO has it
        """Read a line of the real stream; refuse where a session asks."""
        if current.get() is None:
            return self.real.readline(size)
        raise EOFError(_NO_INPUT)

    def read(self, size: int | None = -1, /) -> str:
        """Read the real stream; refuse where a session asks."""
        if current.get() is None:
            return self.real.read(-1 if size is None else size)
        raise EOFError(_NO_INPUT)

    def readable(self) -> bool:
        """Return true: the real stream is."""
        return True


def _displayhook(value: Any, previous: Any = sys.displayhook) -> None:
    session = current.get()
    if session is None:
        previous(value)
    else:
        session.display(value)


def install() -> None:
    """Put the stand-ins in place, around whatever is there now; again does no harm."""
    if not isinstance(sys.stdout, SessionOutput):
        sys.stdout = SessionOutput(sys.stdout)
    if not isinstance(sys.stderr, SessionOutput):
        sys.stderr = SessionOutput(sys.stderr)
    if not isinstance(sys.stdin, SessionInput):
        sys.stdin = SessionInput(sys.stdin)
    sys.displayhook = _displayhook


def uninstall() -> None:
    """Put back what was there before `install`."""
    if isinstance(sys.stdout, SessionOutput):
        sys.stdout = sys.stdout.real
    if isinstance(sys.stderr, SessionOutput):
        sys.stderr = sys.stderr.real
    if isinstance(sys.stdin, SessionInput):
        sys.stdin = sys.stdin.real
    sys.displayhook = sys.__displayhook__
