"""A clock controlled by the test, and an event loop that runs on it.

The loop is asyncio's own, with four replacements: the clock; name resolution and connecting to
UNIX paths, which lead to the test's own remote ends; and threads, whose work runs at once,
between two turns, so that every run of a test is the same.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import selectors
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")


class Clock:
    """The wall clock of an application under test; it moves only on request.

    Attributes:
        start_s: its first time, in seconds since the epoch.
        elapsed_s: how far it has moved since.
    """

    def __init__(self, start_s: float) -> None:
        self.start_s = start_s
        self.elapsed_s = 0.0
        self._run: Callable[[], None] = lambda: None
        self._next_s: Callable[[], float | None] = lambda: None

    @property
    def now_s(self) -> float:
        """The current time, in seconds since the epoch."""
        return self.start_s + self.elapsed_s

    def drive(self, run: Callable[[], None], next_s: Callable[[], float | None]) -> None:
        """Have `advance` call `run` at each moment that `next_s` names (called by the host)."""
        self._run = run
        self._next_s = next_s

    def advance(self, seconds: float) -> None:
        """Move the time forward; every timer that becomes due runs at its moment.

        Timers set meanwhile run as well, if they are due before the end.
        """
        if seconds < 0:
            raise ValueError(f"advance({seconds}): time does not go back")
        end_s = self.elapsed_s + seconds
        self._run()
        while (next_s := self._next_s()) is not None and next_s <= end_s + _ROUNDING_S:
            self.elapsed_s = max(self.elapsed_s, next_s)
            self._run()
        self.elapsed_s = max(self.elapsed_s, end_s)
        self._run()

    def __repr__(self) -> str:
        return f"<Clock at {self.now_s}>"


_ROUNDING_S = 1e-6
"""The last bit of a float of seconds since the epoch is a quarter of this."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop on a `Clock`; runs pass by pass and never waits.

    Attributes:
        connecting: the sockets on which something connected, or tries to.
    """

    def __init__(self, clock: Clock, places: Mapping[str, Any]) -> None:
        """Create one.

        Args:
            clock: its time.
            places: the local address for each ``HOST:PORT`` or ``unix:PATH``; looked up at
                each connection, so the test may add to it.
        """
        self._clock = clock
        self._places = places
        self._moments: list[float] = []
        self._has_due = False
        self.connecting: list[socket.socket] = []
        self._sockets = selectors.DefaultSelector()
        super().__init__(self._sockets)

    def time(self) -> float:
        """Return the clock's time; `asyncio.sleep` and timeouts go by it."""
        return self._clock.elapsed_s

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Args], object],
        *args: *_Args,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Record the moment, so that the clock stops there."""
        heapq.heappush(self._moments, when)
        self._has_due = self._has_due or when <= self._clock.elapsed_s
        return super().call_at(when, callback, *args, context=context)

    def next_moment_s(self) -> float | None:
        """Return when the next callback is due, if any."""
        while self._moments and self._moments[0] <= self._clock.elapsed_s:
            heapq.heappop(self._moments)
        return self._moments[0] if self._moments else None

    def run_pass(self) -> None:
        """Run what is ready now."""
        self._has_due = False
        self.call_soon(self.stop)
        self.run_forever()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ready: no callback, and no watched socket."""
        ready = getattr(self, "_ready")  # noqa: B009 - asyncio's own name; there is no other
        return not ready and not self._has_due and not self._sockets.select(0)

    async def getaddrinfo(self, host: Any, port: Any, **_options: Any) -> Any:
        """Resolve to a remote end of the test.

        Raises:
            ConnectionRefusedError: the test has no such remote end.
        """
        place = self._places.get(f"{_text(host)}:{port}")
        if place is None:
            raise ConnectionRefusedError(
                f"nobody answers at {_text(host)}:{port} in this test "
                f"(host.remote('{_text(host)}:{port}') makes a remote end)"
            )
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place)]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect; a UNIX path leads to a remote end of the test."""
        if sock.family == socket.AF_UNIX:
            place = self._places.get(f"unix:{_text(address)}")
            if place is None:
                raise ConnectionRefusedError(
                    f"nobody answers at unix:{_text(address)} in this test"
                )
            address = place
        self.connecting.append(sock)
        await super().sock_connect(sock, address)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Args], _T], *args: *_Args
    ) -> asyncio.Future[_T]:
        """Run `func` in the next pass and in this thread."""
        future: asyncio.Future[_T] = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_soon(run)
        return future


def _text(name: Any) -> str:
    text = name.decode() if isinstance(name, bytes) else str(name)
    return "@" + text[1:] if text.startswith("\0") else text
