"""A queue for what anybody can ask for and what costs much: hashes of passwords.

An argon2 hash takes 64 MiB and 0.1 s of the processor, on purpose, and a stranger has
one made by sending a line. So a few are made at a time, in threads; the others wait.

* *Fair*: each group (an address) has its turn, one piece of work each, so that who has
  hundreds waiting is in nobody's way.
* *Bounded*: so many for each group and so many in all. Beyond that the answer is no, at
  once, and the asker is told.
* *Wanted*: what nobody waits for any more, since its connection is gone, is dropped when
  its turn comes, before it is run.

Volatile: who asked asks again in the next process. All calls come in turns.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from tapd.model.application import QUEUE_GROUP_MAX, QUEUE_MAX

FULL_FOR_GROUP = "Too many passwords are being checked for your address"
FULL = "Too many passwords are being checked"
_CORES_EACH = 4  # argon2 works with four threads
_RUNNING_MAX = 4  # so much memory, in hashes of 64 MiB


class Work(NamedTuple):
    """What was asked for.

    Attributes:
        function, args: what a thread runs.
        done: takes its result and its error, in a turn.
        is_wanted: whether somebody still waits for it.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    done: Callable[[Any, Any], None]
    is_wanted: Callable[[], bool]


Run = Callable[[Callable[..., Any], tuple[Any, ...], Callable[[Any, Any], None]], None]


def most_running() -> int:
    """Return how many pieces of work run at once on this machine."""
    return min(max(len(os.sched_getaffinity(0)) // _CORES_EACH, 1), _RUNNING_MAX)


class FairQueue:
    """Work that waits for one of a few threads, by group.

    Attributes:
        running: how many pieces run now.
        dropped: how many were dropped, since nobody waited for them any more.
    """

    def __init__(self, run: Run, running_max: int = 0) -> None:
        self._run = run
        self._running_max = running_max or most_running()
        self._waiting: dict[str, collections.deque[Work]] = {}  # the next group first
        self._counts: collections.Counter[str] = collections.Counter()  # waiting and running
        self.running = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, work: Work, group: str, group_max: int = QUEUE_GROUP_MAX) -> str:
        """Have `work` run when it is the turn of `group`; return "", or why it will not be."""
        if self._counts[group] >= group_max:
            self._drop_unwanted(group)
        if len(self) >= QUEUE_MAX:
            for each in list(self._waiting):
                self._drop_unwanted(each)
        if self._counts[group] >= group_max:
            return FULL_FOR_GROUP
        if len(self) >= QUEUE_MAX:
            return FULL
        self._waiting.setdefault(group, collections.deque()).append(work)
        self._count(group, +1)
        self._begin()
        return ""

    def _begin(self) -> None:
        """Run what is next, as far as it may."""
        while self._waiting and self.running < self._running_max:
            group = next(iter(self._waiting))
            waiting = self._waiting.pop(group)
            work = waiting.popleft()
            if waiting:
                self._waiting[group] = waiting  # behind all others
            if not work.is_wanted():
                self.dropped += 1
                self._count(group, -1)
                continue
            self.running += 1
            self._run(work.function, work.args, self._finisher(group, work))

    def _finisher(self, group: str, work: Work) -> Callable[[Any, Any], None]:
        def finished(result: Any, error: Any) -> None:
            self.running -= 1
            self._count(group, -1)
            try:
                work.done(result, error)
            finally:
                self._begin()

        return finished

    def _drop_unwanted(self, group: str) -> None:
        waiting = self._waiting.get(group)
        if waiting is None:
            return
        wanted = collections.deque(work for work in waiting if work.is_wanted())
        self.dropped += len(waiting) - len(wanted)
        self._count(group, len(wanted) - len(waiting))
        if wanted:
            self._waiting[group] = wanted  # in its place among the groups
        else:
            del self._waiting[group]

    def _count(self, group: str, change: int) -> None:
        self._counts[group] += change
        if not self._counts[group]:
            del self._counts[group]
