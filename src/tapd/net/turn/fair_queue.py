"""A fair, bounded queue for costly work that any client can request: password hashes.

An argon2 hash takes 64 MiB and 0.1 s of CPU time, on purpose, and any client causes one by
sending a line. So a few are computed at a time, in threads; the others wait.

* *Fair*: the groups (addresses) take turns, one piece of work each, so that a client with
  hundreds of requests delays no other.
* *Bounded*: there is a limit per group and one in all. Beyond that a request is refused at
  once.
* *Wanted*: work whose connection is gone is dropped when its turn comes, before it is run.

Volatile: protocols ask again in the next process. All calls are made within turns.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from tapd.model.application import QUEUE_GROUP_MAX, QUEUE_MAX

FULL_FOR_GROUP = "Too many passwords are being checked for your address"
FULL = "Too many passwords are being checked"
_CORES_EACH = 4  # argon2 works with four threads
_RUNNING_MAX = 4  # so much memory, in hashes of 64 MiB


class Work(NamedTuple):
    """A piece of work.

    Attributes:
        function, args: what a thread runs.
        done: takes its result and its error, in a turn.
        is_wanted: whether its result is still wanted.
        asker: what requested it, at a start (`net.turn.trials.Asker`).
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    done: Callable[[Any, Any], None]
    is_wanted: Callable[[], bool]
    asker: Any = None


Run = Callable[[Work, Callable[[], None]], None]
"""Runs work in a thread, then, in a turn, calls its `done` and the given function."""


def most_running() -> int:
    """Return how many pieces of work run at once on this machine."""
    return min(max(len(os.sched_getaffinity(0)) // _CORES_EACH, 1), _RUNNING_MAX)


class FairQueue:
    """Work that waits for one of a few threads, by group.

    Attributes:
        running: how many pieces run now.
        dropped: how many were dropped, as their results were not wanted any more.
    """

    def __init__(self, run: Run, drop: Callable[[Work], None], running_max: int = 0) -> None:
        """Make an empty queue.

        Args:
            run: runs the work.
            drop: called with work that will not be run.
            running_max: how many pieces run at once; 0 for as many as suit this machine.
        """
        self._run = run
        self._drop = drop
        self._running_max = running_max or most_running()
        self._waiting: dict[str, collections.deque[Work]] = {}  # the next group first
        self._counts: collections.Counter[str] = collections.Counter()  # waiting and running
        self.running = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, work: Work, group: str, group_max: int = QUEUE_GROUP_MAX) -> str:
        """Queue `work` for `group`; return "", or why it is refused."""
        if self._counts[group] >= group_max:
            self._drop_unwanted(group)
        if len(self) >= QUEUE_MAX:
            for each in list(self._waiting):
                self._drop_unwanted(each)
        if self._counts[group] >= group_max or len(self) >= QUEUE_MAX:
            self._drop(work)
            return FULL_FOR_GROUP if self._counts[group] >= group_max else FULL
        self._waiting.setdefault(group, collections.deque()).append(work)
        self._count(group, +1)
        self._begin()
        return ""

    def _begin(self) -> None:
        """Run the next work, up to `running_max`."""
        while self._waiting and self.running < self._running_max:
            group = next(iter(self._waiting))
            waiting = self._waiting.pop(group)
            work = waiting.popleft()
            if waiting:
                self._waiting[group] = waiting  # behind all others
            if _is_wanted(work):
                self.running += 1
                self._run(work, partial(self._finished, group))
            else:
                self._forget(group, [work])

    def _finished(self, group: str) -> None:
        self.running -= 1
        self._count(group, -1)
        self._begin()

    def _drop_unwanted(self, group: str) -> None:
        waiting = self._waiting.get(group)
        if waiting is None:
            return
        wanted: collections.deque[Work] = collections.deque()
        unwanted: list[Work] = []
        for work in waiting:
            (wanted if _is_wanted(work) else unwanted).append(work)
        if wanted:
            self._waiting[group] = wanted  # in its place among the groups
        else:
            del self._waiting[group]
        self._forget(group, unwanted)

    def _forget(self, group: str, unwanted: list[Work]) -> None:
        self.dropped += len(unwanted)
        self._count(group, -len(unwanted))
        for work in unwanted:
            self._drop(work)

    def _count(self, group: str, change: int) -> None:
        self._counts[group] += change
        if not self._counts[group]:
            del self._counts[group]


def _is_wanted(work: Work) -> bool:
    try:
        return work.is_wanted()
    except BaseException:  # an author's property
        return False
