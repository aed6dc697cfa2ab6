"""Log lines about what a client can bring about as often as it likes.

The first is written at once. What follows within `EACH_S` is counted, and told as one
line, so that whoever floods the server does not flood the journal as well.
"""

from __future__ import annotations

import asyncio
import logging

EACH_S = 10.0


class Telling:
    """One kind of line, at most one of it each `EACH_S` seconds."""

    def __init__(self, log: logging.Logger, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop
        self._more = 0
        self._last = ""
        self._handle: asyncio.TimerHandle | None = None

    def tell(self, text: str) -> None:
        """Log `text`, or count it."""
        if self._handle is None:
            self._log.info("%s", text)
            self._handle = self._loop.call_later(EACH_S, self._tell_more)
        else:
            self._more += 1
            self._last = text

    def close(self) -> None:
        """Log what was counted; nothing more comes."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._tell_count()

    def _tell_more(self) -> None:
        self._handle = None
        if self._tell_count():
            self._handle = self._loop.call_later(EACH_S, self._tell_more)

    def _tell_count(self) -> bool:
        more, self._more = self._more, 0
        if more:
            self._log.info("and %d more like it; the last: %s", more, self._last)
        return more > 0
