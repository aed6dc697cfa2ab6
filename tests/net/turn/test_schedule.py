"""When the next turn runs."""

from __future__ import annotations

import asyncio
import select
import threading
from collections.abc import Iterator

import pytest

from tapd.net.turn.schedule import Schedule


class Turns:
    """A schedule, and how many turns it had."""

    def __init__(self, loop: asyncio.AbstractEventLoop, epoll_fd: int) -> None:
        self.count = 0
        self.loop = loop
        self.schedule = Schedule(loop, epoll_fd, self.run)

    def run(self) -> None:
        self.schedule.is_due = False
        self.count += 1

    def pass_loop(self) -> int:
        """Have the loop make one pass; return how many turns there were so far."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        return self.count


@pytest.fixture
def turns() -> Iterator[Turns]:
    with select.epoll() as epoll, asyncio.Runner() as runner:
        yield Turns(runner.get_loop(), epoll.fileno())


def test_none_before_it_is_open(turns: Turns) -> None:
    turns.schedule.wake()
    assert turns.pass_loop() == 0


def test_one_however_often_it_is_asked_for(turns: Turns) -> None:
    turns.schedule.is_open = True
    turns.schedule.wake()
    turns.schedule.call(print)
    assert turns.pass_loop() == 1
    assert turns.pass_loop() == 1
    assert list(turns.schedule.calls) == [print]


def test_none_for_what_comes_within_a_turn(turns: Turns) -> None:
    turns.schedule.is_open = turns.schedule.is_running = True
    turns.schedule.wake()
    assert turns.pass_loop() == 0


def test_a_thread_wakes_the_loop(turns: Turns) -> None:
    turns.schedule.is_open = True
    thread = threading.Thread(target=turns.schedule.wake)
    thread.start()
    thread.join()
    assert turns.count == 0
    turns.pass_loop()  # which takes what the thread left
    assert turns.pass_loop() == 1


def test_none_after_one_was_broken(turns: Turns) -> None:
    told: list[BaseException] = []
    turns.schedule.is_open = True
    turns.schedule.on_broken = told.append
    error = ValueError()
    turns.schedule.break_off(error)
    turns.schedule.wake()
    assert turns.pass_loop() == 0
    assert told == [error]
