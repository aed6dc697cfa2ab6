"""Rate-limited log lines, for what a client can trigger at will.

The first few are written at once. Those that follow within `EACH_S` are counted and written
as one line, so that a client that floods the server does not flood the log as well. The line
says how many there were and which addresses caused most of them, so that no client hides in
another's flood.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from tapd.interpreter import check_builtins
from tapd.net import authors

EACH_S = 10.0
FAILURES_AT_ONCE = 10
"""Failures of an author's code, of one kind, that are logged each with its traceback."""
PEERS_MAX = 1000
"""Peers that are counted one by one within `EACH_S`; the others are counted together."""
_PEERS_NAMED = 3


class Telling:
    """One kind of line: `at_once` of them, and then at most one each `EACH_S` seconds."""

    def __init__(
        self,
        log: logging.Logger,
        loop: asyncio.AbstractEventLoop,
        level: int = logging.INFO,
        at_once: int = 1,
    ) -> None:
        self._log = log
        self._loop = loop
        self._level = level
        self._at_once = at_once
        self._told = 0
        self._more = 0
        self._peers: dict[str, int] = {}
        self._last: tuple[str, Mapping[str, object] | None] = ("", None)
        self._handle: asyncio.TimerHandle | None = None

    def tell(
        self,
        text: str,
        peer: str = "",
        extra: Mapping[str, object] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Log `text`, or count it.

        Args:
            text: the line.
            peer: the address of the client that caused it.
            extra: fields for the journal; a line for several has those of the last.
            error: what an author's code raised: a line that is written at once has its
                traceback (`net.authors`).
        """
        if error is not None:
            check_builtins(error)
        if self._handle is None:
            self._told = 0
            self._handle = self._loop.call_later(EACH_S, self._tell_more)
        if self._told < self._at_once:
            self._told += 1
            if error is None:
                self._log.log(self._level, "%s", text, extra=extra)
            else:
                authors.failed(text, error, extra)
            return
        self._more += 1
        self._last = text, extra
        if peer and (peer in self._peers or len(self._peers) < PEERS_MAX):
            self._peers[peer] = self._peers.get(peer, 0) + 1

    def close(self) -> None:
        """Log what was counted, at the end."""
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
        peers, self._peers = self._peers, {}
        (text, extra), self._last = self._last, ("", None)
        if more:
            self._log.log(
                self._level, "and %d more like it%s; the last: %s",
                more, _render_peers(peers), text, extra=extra,
            )  # fmt: skip
        return more > 0


def _render_peers(peers: Mapping[str, int]) -> str:
    """Return the peers that caused it, the most frequent first; "" where none is known."""
    most = sorted(peers, key=peers.__getitem__, reverse=True)
    if not most:
        return ""
    named = ", ".join(f"{peer} {peers[peer]} times" for peer in most[:_PEERS_NAMED])
    left = len(most) - _PEERS_NAMED
    others = f" and {'at least ' * (len(most) >= PEERS_MAX)}{left} other addresses"
    return f" ({named}{others if left > 0 else ''})"


class Tellings:
    """All kinds of rate-limited lines; a kind is made with its first line."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_kind: dict[tuple[str, str], Telling] = {}

    def of(
        self, log: logging.Logger, kind: str, level: int = logging.INFO, at_once: int = 1
    ) -> Telling:
        """Return the lines of `kind` in `log`; level and `at_once` are those of its first."""
        telling = self._by_kind.get((log.name, kind))
        if telling is None:
            telling = Telling(log, self._loop, level, at_once)
            self._by_kind[log.name, kind] = telling
        return telling

    def tell(
        self,
        log: logging.Logger,
        kind: str,
        text: str,
        *,
        peer: str = "",
        level: int = logging.INFO,
        at_once: int = 1,
        extra: Mapping[str, object] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Log `text`, or count it; see `model.application.Runtime.tell`."""
        self.of(log, kind, level, at_once).tell(text, peer, extra, error)

    def close(self) -> None:
        """Log what was counted of each kind, at the end."""
        for telling in self._by_kind.values():
            telling.close()
