"""Schedules turns on the event loop, and queues the calls that the next one makes first.

A turn is due once a socket is ready or something requests one (`Schedule.wake`): a timer, a
task, the result of a thread, or code that changed durable state between two turns.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable
from threading import get_ident


class Schedule:
    """Makes the loop run a turn when one is due.

    Owns the calls that wait for the next turn, and the state of scheduling: whether a turn
    is due or running, and whether any will run again.

    Attributes:
        loop: the event loop; one turn runs in a pass of it.
        calls: functions that the next turn calls, in order.
        thread: the thread that runs turns.
        is_due: a turn will run in the next pass.
        is_running: a turn is under way.
        is_open: turns are run, until the end.
        on_broken: called with the exception that broke a turn: input was run and not
            committed, so this process can't go on, and ends at once. The next one can.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, epoll_fd: int, run: Callable[[], None]
    ) -> None:
        """Schedule turns.

        Args:
            loop: the event loop.
            epoll_fd: of the epoll set of all sockets; its owner closes it.
            run: runs a turn.
        """
        self.loop = loop
        self.calls: collections.deque[Callable[[], object]] = collections.deque()
        self.thread = get_ident()
        self.is_due = False
        self.is_running = False
        self.is_open = False
        self.on_broken: Callable[[BaseException], None] = lambda _error: None
        self._epoll_fd = epoll_fd
        self._run = run

    def call(self, function: Callable[[], object]) -> None:
        """Run `function` in the next turn; any thread may ask for it."""
        self.calls.append(function)
        self.wake()

    def wake(self) -> None:
        """Request a turn in the next pass of the loop, if none is due.

        A thread may call it (by changing durable state, which it should leave to the loop):
        it wakes the loop then.
        """
        if get_ident() != self.thread:
            with contextlib.suppress(RuntimeError):  # the loop is closed: too late for both
                self.loop.call_soon_threadsafe(self.wake)
            return
        if not self.is_due and not self.is_running and self.is_open:
            self.is_due = True
            self.loop.call_soon(self._run)

    def pause(self) -> None:
        """Run no turn for events of sockets until `go_on`."""
        self.loop.remove_reader(self._epoll_fd)

    def go_on(self) -> None:
        """Run turns for events of sockets."""
        self.loop.add_reader(self._epoll_fd, self._run)
        self.wake()

    def break_off(self, error: BaseException) -> None:
        """End the process: `error` left a turn half done. No turn runs after it, in any case."""
        self.is_open = False
        self.on_broken(error)

    def close(self) -> None:
        """Stop for good: no turn runs any more."""
        if self.is_open:
            self.is_open = False
            self.pause()
