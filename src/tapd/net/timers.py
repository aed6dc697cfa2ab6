"""Runs timers: a heap of the pending ones, by the time at which they are due."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable, Iterator

from tapd.model.application import Application
from tapd.model.durable.namespace import live_namespaces
from tapd.model.timer import Timer

RECHECK_S = 60.0
"""The longest wait before the wall clock is read again: it may have been set."""


class Timers:
    """A heap of the application's pending timers.

    `Application.delayeds` is authoritative; the heap may hold timers that were cancelled
    or have run, and skips them.
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
        """Add the timers of the application that was loaded."""
        self._heap = [(_sortable(timer), key) for key, timer in self._application.delayeds.items()]
        heapq.heapify(self._heap)
        self._arm()

    def add(self, timer: Timer) -> None:
        """Add a new timer."""
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
        """Mark the namespaces of prompts as changed: the code that ran may have changed them."""
        for namespace in live_namespaces():
            namespace.touch()

    def close(self) -> None:
        """Stop: no timer runs any more."""
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
    """Return when `timer` is due: never where that is NaN, which would stop all other timers."""
    due_s = timer.due_s
    return due_s if type(due_s) in (float, int) and due_s == due_s else math.inf  # noqa: PLR0124 - NaN
