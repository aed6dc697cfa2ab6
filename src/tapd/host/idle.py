"""Scale to zero: when a server may go to sleep, and what has to wake it.

A sleeping server is no process. Its ports stay with the service manager, which
starts it for the next client, and for the next of its timers: the time of that
one stands in ``NAME.d/asleep`` and goes to the manager. systemd reads the file
through ``ExecStopPost=`` (as root, outside of the sandbox) and plans a start;
the embedded manager is told by a notify message. A timer is thus run when it is
due, and at the next start where nothing could wake the server (a machine that
was off). Imports `model`, `net` and the standard library.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from tapd.model.application import Application
from tapd.net.turn.turn import Turn

_LOOKS = 8  # at least so many times an idle time


def next_due_s(application: Application) -> float:
    """Return when the next pending timer is due, in seconds since the epoch; inf for never."""
    dues = (timer.due_s for timer in list(application.delayeds.values()))
    return min(
        (due for due in dues if type(due) in (float, int) and not math.isnan(due)), default=math.inf
    )


class Idleness:
    """Watches for a time in which nothing happened."""

    def __init__(self, turn: Turn, in_use: Callable[[], bool], idle_exit_s: float) -> None:
        """Watch `turn`.

        Args:
            turn: of the running application.
            in_use: whether somebody else needs the server, such as `tapctl`.
            idle_exit_s: how long nothing must have happened.
        """
        self.turn = turn
        self.in_use = in_use
        self.idle_exit_s = idle_exit_s

    @property
    def is_busy(self) -> bool:
        """Whether something would be cut off, or come late, if the server slept now."""
        turn = self.turn
        return bool(
            turn.streams
            or turn.is_busy
            or turn.commits.is_stalled
            or turn.runtime.is_waiting
            or turn.application.connectors
            or self.in_use()
            or next_due_s(turn.application) - time.time() < self.idle_exit_s
        )

    async def wait(self) -> None:
        """Return when nothing has happened for `idle_exit_s` seconds.

        No turn runs between the last look and the return, so what was true then
        is true still; a client that connects is in the backlog, for the next process.
        """
        quiet_since_s = time.monotonic()
        turns = self.turn.commits.turns
        while True:
            left_s = quiet_since_s + self.idle_exit_s - time.monotonic()
            if left_s <= 0 and not self.is_busy and turns == self.turn.commits.turns:
                return
            await asyncio.sleep(max(0.001, min(left_s, self.idle_exit_s / _LOOKS)))
            if self.is_busy or turns != self.turn.commits.turns:
                turns = self.turn.commits.turns
                quiet_since_s = time.monotonic()
