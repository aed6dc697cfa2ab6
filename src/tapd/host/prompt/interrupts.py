"""Ctrl-C for typed code that does not come back.

While such code runs nobody reads the connection that the Ctrl-C came by. So the
thread that watches for long turns (`net.slow`) asks the session whose code it is
whether one waits in the kernel. If so, it sends the main thread a signal, which
raises KeyboardInterrupt in that code, and nowhere else. ``tapctl shell`` sends a
signal itself; see `host.prompt.console`.

Nothing here is durable. Imports nothing of tapd's.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Protocol

INTERRUPT = signal.SIGUSR2


class Session(Protocol):
    """Whose code runs."""

    def interrupts_waiting(self) -> int:
        """Count the Ctrl-C that wait unread. Called by another thread: change nothing."""


class TypedCode:
    """Which session's code runs in the main thread now.

    Attributes:
        session: whose it is; None while no such code runs.
    """

    def __init__(self) -> None:
        self.session: Session | None = None
        self._asking: Session | None = None
        self._answered = 0

    def begin(self, session: Session) -> None:
        """Let the code of `session` be interrupted, until `session` is None again."""
        self._answered = 0
        self.session = session

    def allow_interrupts(self) -> None:
        """Have `INTERRUPT` do what it is for. In the main thread only."""
        signal.signal(INTERRUPT, self._interrupt)

    def interrupt_if_asked(self) -> None:
        """Interrupt the code that runs, once for each Ctrl-C that waits. In any thread."""
        session = self.session
        if session is None:
            return
        waiting = session.interrupts_waiting()
        if waiting > self._answered:
            self._answered = waiting  # what it does at the first is not disturbed by the same
            self._asking = session
            signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)

    def ask_again(self) -> None:
        """Have the Ctrl-C that waits looked at once more: one came where nothing could take it."""
        self._answered = 0

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        asking, self._asking = self._asking, None
        if asking is not None and asking is self.session:
            raise KeyboardInterrupt


typed_code = TypedCode()
"""There is one main thread."""
