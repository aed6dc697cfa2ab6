"""Input that came while something else went on, kept until that has ended.

It was taken from the kernel, so it is kept in the state: sealed while the login
lasts, since it may hold a password. It runs in a turn of its own, so that what
went on before is committed and never lost to it.

Should the server die while it runs, it is still here. It is then *careful*: one
line at a time, each under a mark that is committed before the line is tried. A
server that comes back and finds the mark has died of that line, and skips it,
which is what the host does for input that is still in the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.model.durable.persistent import Persistent
from tapd.model.timer import Timer

if TYPE_CHECKING:
    from tapd.services.telnet.session import ShellSession


class TypedAhead(Persistent):
    """What one session's client typed ahead; it exists while there is any.

    Attributes:
        session: whose input it is.
        data: the input, decoded from the wire; sealed where `is_sealed`.
        is_sealed: whether it came during the login.
        timer: the turn that will run it.
        careful: the server died since it came.
        tried: the mark: the first line of it is being tried.
    """

    def __init__(self, session: ShellSession) -> None:
        self.session = session
        self.data = b""
        self.is_sealed = session.login is not None
        self.timer: Timer | None = None
        self.careful = False
        self.tried = False

    def read(self) -> bytes:
        """Return the input."""
        if not self.is_sealed or not self.data:
            return self.data
        return self.session.service.sealer.open(self.data) or b""

    def replace(self, data: bytes) -> None:
        """Have `data` in place of what there is."""
        self.is_sealed = self.session.login is not None
        sealer = self.session.service.sealer
        self.data = sealer.seal(data) if self.is_sealed and data else data

    def schedule(self) -> None:
        """Have it run in a turn of its own."""
        if self.timer is None:
            self.timer = self.session.service.application.call_later(0, self.run)

    def run(self) -> None:
        """Run all of it, or after a death one line."""
        self.timer = None
        session = self.session
        if session.ahead is not self or not session.is_connected or session.is_busy:
            return
        if self.careful and not self.tried:
            self.tried = True  # committed before the next turn tries it
            self.schedule()
            return
        data = self.read()
        size = first_line(data) if self.tried else len(data)
        self.tried = False
        session.run_ahead(data[:size], data[size:])

    def resume(self) -> None:
        """Go on in a new process."""
        self.careful = True
        if self.tried:
            self.tried = False
            data = self.read()
            size = first_line(data)
            self.replace(data[size:])
            self.session.skip_text(data[:size])
        if not self.session.is_busy:
            self.schedule()

    def end(self) -> None:
        """Forget it."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def first_line(data: bytes) -> int:
    """Return the length of the first line of decoded input, else of all of it."""
    return data.find(b"\n") + 1 or len(data)
