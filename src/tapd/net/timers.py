"""The live side of timers: which is due next."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable, Iterator

from tapd.model.application import Application
from tapd.model.durable.namespace import live_namespaces
from tapd.model.timer import Timer

RECHECK_S = 60.0
"""How long at most until the wall clock is looked at again: it may be set."""


class Timers:
    """A heap of the application's pending timers.

    `Application.delayeds` is the truth; the heap may hold timers that were
    cancelled or have run, and they are passed over.
    """

    def __init__(
        self,
        application: Application,
        wake: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._application = application
        self._wake = wake
        self._loop = loop
        self._heap: list[tuple[float, int]] = []
        self._handle: asyncio.TimerHandle | None = None

    def load(self) -> None:
        """Take in the timers that the application brought with it."""
        self._heap = [(_sortable(timer), key) for key, timer in self._application.delayeds.items()]
        heapq.heapify(self._heap)
        self._arm()

    def add(self, timer: Timer) -> None:
        """Take in a new timer."""
        heapq.heappush(self._heap, (_sortable(timer), timer.key))
        if self._heap[0][1] == timer.key:
            self._arm()

    def take_due(self, now_s: float) -> Iterator[Timer]:
        """Yield the timers that are due, each taken out of the application first."""
        if not self._heap or self._heap[0][0] > now_s:
            return
        due: list[tuple[float, int]] = []
        while self._heap and self._heap[0][0] <= now_s:
            due.append(heapq.heappop(self._heap))
        self._arm()
        for _due_s, key in due:
            timer = self._application.delayeds.pop(key, None)
            if timer is not None:
                yield timer

    def touch_namespaces(self) -> None:
        """Say that code ran that may have changed what was typed at a prompt."""
        for namespace in live_namespaces():
            namespace.touch()

    def close(self) -> None:
        """Wake nobody any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        self.close()
        if self._heap:
            delay_s = self._heap[0][0] - self._application.runtime.now_s()
            self._handle = self._loop.call_later(min(max(delay_s, 0), RECHECK_S), self._ring)

    def _ring(self) -> None:
        self._handle = None
        self._wake()
        self._arm()


def _sortable(timer: Timer) -> float:
    """Return when `timer` is due; never where that is no number, which would stop all others."""
    due_s = timer.due_s
    return due_s if type(due_s) in (float, int) and due_s == due_s else math.inf  # noqa: PLR0124 - NaN
