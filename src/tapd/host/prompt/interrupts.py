"""Ctrl-C for typed code that does not return.

While such code runs, nothing reads the connection that carries the Ctrl-C. So the thread that
watches for long turns (`net.turn.slow`) asks the running session whether one waits in the
kernel. If so, it sends the main thread a signal, which raises KeyboardInterrupt in that code
and nowhere else. ``tapctl shell`` sends a signal itself; see `host.prompt.console`.

Nothing here is durable.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Protocol

INTERRUPT = signal.SIGUSR2


class Session(Protocol):
    """The session whose code is running."""

    def interrupts_waiting(self) -> int:
        """Count unread Ctrl-C. Called by another thread: must change nothing."""


class TypedCode:
    """Knows which session's code runs in the main thread.

    Attributes:
        session: the session; None while no typed code runs.
    """

    def __init__(self) -> None:
        self.session: Session | None = None
        self._asking: Session | None = None
        self._answered = 0

    def begin(self, session: Session) -> None:
        """Make the code of `session` interruptible; None ends that."""
        self._answered = 0
        self.session = session

    def allow_interrupts(self) -> None:
        """Install the handler of `INTERRUPT`. In the main thread only."""
        signal.signal(INTERRUPT, self._interrupt)

    def interrupt_if_asked(self) -> None:
        """Interrupt the running code, once for each waiting Ctrl-C. In any thread."""
        session = self.session
        if session is None:
            return
        waiting = session.interrupts_waiting()
        if waiting > self._answered:
            self._answered = waiting  # one interrupt for each Ctrl-C
            self._asking = session
            signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)

    def ask_again(self) -> None:
        """Check the waiting Ctrl-C once more: one arrived where it could not be handled."""
        self._answered = 0

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        asking, self._asking = self._asking, None
        if asking is not None and asking is self.session:
            raise KeyboardInterrupt


typed_code = TypedCode()
"""One for the process, as there is one main thread."""
