"""The queue of hashes: fair among addresses, bounded, without work for closed connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tapd.model.application import QUEUE_GROUP_MAX, QUEUE_MAX
from tapd.net.turn.fair_queue import FULL, FULL_FOR_GROUP, FairQueue, Work


class Threads:
    """Threads whose work is done when the test says so."""

    def __init__(self, running_max: int = 1) -> None:
        self.refused: list[Work] = []
        self.running: list[tuple[Work, Callable[[], None]]] = []
        self.most = 0
        self.queue = FairQueue(self.run, self.refused.append, running_max)
        self.finished: list[Any] = []
        self.gone: set[Any] = set()

    def run(self, work: Work, finished: Callable[[], None]) -> None:
        self.running.append((work, finished))
        self.most = max(self.most, len(self.running))

    def add(self, group: str, name: Any) -> str:
        work = Work(
            str, (name,), lambda *_: self.finished.append(name), lambda: name not in self.gone
        )
        return self.queue.add(work, group)

    def finish(self) -> bool:
        if not self.running:
            return False
        work, finished = self.running.pop(0)
        work.done("", None)
        finished()
        return True

    def finish_all(self) -> None:
        while self.finish():
            pass


def test_an_address_with_hundreds_waits_behind_everybody_with_one() -> None:
    threads = Threads()
    for number in range(100):
        threads.add("hostile", number)
    assert threads.add("honest", "honest") == ""
    threads.finish_all()
    assert threads.finished.index("honest") <= 1 + 1  # the one that ran, and one of theirs
    assert threads.finished == [0, 1, "honest", *range(2, QUEUE_GROUP_MAX)]


def test_an_address_has_so_many_and_the_others_go_on() -> None:
    threads = Threads()
    answers = [threads.add("hostile", number) for number in range(QUEUE_GROUP_MAX + 5)]
    assert answers == [""] * QUEUE_GROUP_MAX + [FULL_FOR_GROUP] * 5
    assert threads.add("honest", "honest") == ""
    threads.finish()
    assert threads.add("hostile", "one more") == ""


def test_all_together_have_so_many() -> None:
    threads = Threads()
    answers = [threads.add(f"{number % 100}", number) for number in range(QUEUE_MAX + 5)]
    assert answers == [""] * QUEUE_MAX + [FULL] * 5
    assert len(threads.queue) == QUEUE_MAX
    threads.finish_all()
    assert len(threads.queue) == 0
    assert sorted(threads.finished) == list(range(QUEUE_MAX))


def test_what_nobody_waits_for_is_not_run() -> None:
    threads = Threads()
    for number in range(QUEUE_GROUP_MAX):
        threads.add("hostile", number)
    threads.gone.update(range(1, QUEUE_GROUP_MAX))
    assert threads.add("hostile", "another") == "", "those that are gone take no place"
    threads.finish_all()
    assert threads.finished == [0, "another"]
    assert threads.queue.dropped == QUEUE_GROUP_MAX - 1


def test_who_can_not_be_asked_does_not_want_it() -> None:
    threads = Threads()
    threads.add("a", "first")

    def fail() -> bool:
        raise RuntimeError

    assert threads.queue.add(Work(str, ("bad",), lambda *_: None, fail), "b") == ""
    threads.add("c", "next")
    threads.finish_all()
    assert threads.finished == ["first", "next"]
    assert len(threads.queue) == 0


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 2)), max_size=120),
    st.integers(1, 3),
)
def test_all_that_is_taken_is_run_once_or_unwanted(
    steps: list[tuple[str, bool, int]], running_max: int
) -> None:
    threads = Threads(running_max)
    taken = []
    for number, (group, goes, finishes) in enumerate(steps):
        if threads.add(group, number) == "":
            taken.append(number)
        if goes:
            threads.gone.add(number)
        for _ in range(finishes):
            threads.finish()
    threads.finish_all()
    assert threads.most <= running_max
    assert len(set(threads.finished)) == len(threads.finished)
    assert {number for number in taken if number not in threads.gone} <= set(threads.finished)
    assert len(threads.finished) + threads.queue.dropped == len(taken)
    assert len(threads.refused) == threads.queue.dropped + len(steps) - len(taken)
    assert len(threads.queue) == 0
