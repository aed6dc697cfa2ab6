"""The watchdog: tells the service manager that the event loop runs.

The messages are scheduled on the loop itself. A loop that hangs sends none, and the manager
aborts the process (``WatchdogSec=``, sd_watchdog_enabled(3)). systemd-python has no such
helper.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Self

from tapd.systemd.notify import Notifier
from tapd.systemd.own_memory import own_memory


def watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """Return the interval in which a message is expected; None if none is.

    Reads WATCHDOG_USEC, and WATCHDOG_PID, which tells a service's main process from its
    children. Leaves both in `environ`.
    """
    text = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        return None
    return int(text) / 1e6


class Watchdog:
    """Sends WATCHDOG=1 three times per interval while the loop runs; a context manager."""

    def __init__(
        self, notifier: Notifier, loop: asyncio.AbstractEventLoop, interval_s: float | None
    ) -> None:
        """Do nothing yet; never do anything if `interval_s` is None. `notifier` is borrowed."""
        self._notifier = notifier
        self._loop = loop
        self._interval_s = interval_s
        self._own_memory = own_memory()
        self._next: asyncio.TimerHandle | None = None

    @classmethod
    def from_environ(
        cls, environ: Mapping[str, str], notifier: Notifier, loop: asyncio.AbstractEventLoop
    ) -> Self:
        """Create the watchdog that the service manager requests in `environ`."""
        return cls(notifier, loop, watchdog_interval_s(environ))

    def start(self) -> None:
        """Send the first message, and schedule the others."""
        self.stop()
        if self._interval_s is not None:
            self._send(self._interval_s / 3)

    def _send(self, period_s: float) -> None:
        if not self._own_memory[0]:
            os._exit(0)  # a copy forked by C code, which runs the server's loop
        self._notifier.watchdog()
        self._next = self._loop.call_later(period_s, self._send, period_s)

    def stop(self) -> None:
        """Send no more messages."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def __enter__(self) -> Self:
        """Start; see `start`."""
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop; see `stop`."""
        self.stop()
