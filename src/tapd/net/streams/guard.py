"""Calls protocols' methods: an exception closes that protocol's connection and no other."""

from __future__ import annotations

import logging
from typing import Any

from tapd import events
from tapd.errors import PeerError
from tapd.net import authors
from tapd.net.rate_limit import FAILURES_AT_ONCE, Tellings
from tapd.net.streams.stream import Stream

_log = logging.getLogger(__name__)


class Guard:
    """Calls the methods of protocols. Its log lines are rate limited."""

    def __init__(self, tellings: Tellings) -> None:
        self._tellings = tellings

    def call(self, stream: Stream, name: str, *args: Any) -> Any:
        """Call the method `name` of a protocol; an exception closes its connection alone.

        The method is looked up here as well: it may be a property.
        """
        try:
            return getattr(stream.protocol, name)(*args)
        except BaseException as error:
            self.fail(stream, error)
            return None

    def count(self, stream: Stream, name: str, *args: Any) -> int:
        """Return the number that a method of a protocol returns; 0 where it returns none."""
        number = self.call(stream, name, *args)
        return number if type(number) is int and number > 0 else 0

    def fail(self, stream: Stream, error: BaseException) -> None:
        """Close `stream`, whose protocol raised `error` (SystemExit counts, too)."""
        kind = type(error).__name__
        if issubclass(type(error), PeerError):
            text = f"connection {stream.key}: closed: {authors.text_of(error)}"
            self._tellings.tell(_log, "closed", text)
        else:
            name = type(stream.protocol).__qualname__
            self._tellings.tell(
                _log, f"failed {name} {kind}",
                f"connection {stream.key}: {name} failed and is closed",
                level=logging.ERROR, at_once=FAILURES_AT_ONCE, error=error,
                extra=events.FAILED(TAPD_CONNECTION=stream.key, TAPD_PROTOCOL=name),
            )  # fmt: skip
        stream.close()
