"""Ctrl-C for typed code that does not return: one signal, with two possible senders.

Typed code runs in the main thread, inside a turn, so nothing reads the connection on which a
Ctrl-C arrives. `INTERRUPT` reaches the main thread all the same, and its handler raises
KeyboardInterrupt in typed code, and nowhere else. It has two senders:

- The thread that watches for long turns (`net.slow`) asks the session whose code runs
  whether a Ctrl-C waits in the kernel, and sends the signal for each (`interrupt_if_asked`).
- ``tapctl shell`` is a process of its own and sends the signal to the server, which ignores
  it unless a line of such a shell is running (`is_signalled`).

Nothing here is durable.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Protocol

INTERRUPT = signal.SIGUSR2
"""Not SIGUSR1: that one is for authors, whose services may handle it."""


class Session(Protocol):
    """The session whose code is running."""

    def interrupts_waiting(self) -> int:
        """Count unread Ctrl-C. Called by another thread: must change nothing."""


class TypedCode:
    """Knows which session's code runs in the main thread.

    Attributes:
        session: the session; None while no typed code runs.
        is_signalled: whether a line of a ``tapctl shell`` runs, whose own process sends
            `INTERRUPT`.
    """

    def __init__(self) -> None:
        self.session: Session | None = None
        self.is_signalled = False
        self._asking: Session | None = None
        self._answered = 0

    def begin(self, session: Session) -> None:
        """Make the code of `session` interruptible; None ends that."""
        self._answered = 0
        self.session = session

    def allow_interrupts(self) -> None:
        """Have `INTERRUPT` interrupt typed code. In the main thread only."""
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
        """Look at the waiting Ctrl-C once more: one came where nothing could take it."""
        self._answered = 0

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        asking, self._asking = self._asking, None
        # A session's own Ctrl-C is for its own code: another's may have begun meanwhile.
        if self.is_signalled if asking is None else asking is self.session:
            raise KeyboardInterrupt


typed_code = TypedCode()
"""One for the process, as there is one main thread."""
