"""Scale to zero: when a server may go to sleep, and what must wake it.

A sleeping server has no process. Its ports stay with the service manager, which starts it for
the next client or the next timer. The time of that timer is in ``NAME.d/asleep`` and is sent to
the manager. systemd reads the file in ``ExecStopPost=`` (as root, outside of the sandbox) and
plans a start; the embedded manager gets a notify message. So a timer runs when it is due, or at
the next start if nothing could wake the server (the machine was off).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from tapd.model.application import Application
from tapd.net.turn.turn import Turn

_LOOKS = 8  # checks per idle time, at least


def next_due_s(application: Application) -> float:
    """Return when the next pending timer is due, in seconds since the epoch; inf for none."""
    dues = (timer.due_s for timer in list(application.delayeds.values()))
    return min(
        (due for due in dues if type(due) in (float, int) and not math.isnan(due)), default=math.inf
    )


class Idleness:
    """Waits for a period in which nothing happens."""

    def __init__(self, turn: Turn, in_use: Callable[[], bool], idle_exit_s: float) -> None:
        """Watch `turn`.

        Args:
            turn: of the running application.
            in_use: whether something else needs the server, such as `tapctl`.
            idle_exit_s: how long nothing must happen.
        """
        self.turn = turn
        self.in_use = in_use
        self.idle_exit_s = idle_exit_s

    @property
    def is_busy(self) -> bool:
        """Whether sleeping now would cut something off or delay it."""
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

        No turn runs between the last check and the return, so its result still holds. A client
        that connects then is in the backlog, for the next process.
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
