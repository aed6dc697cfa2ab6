"""The durable objects that hold what tells nobody of its changes: looked at in every turn.

Imports `model` and this room's `fingerprint`. An object is pickled and compared
with what it was; one that was the same the last time has its fingerprint taken,
which costs a tenth. Should it still take long, the author is told, once, what to
write instead.
"""

from __future__ import annotations

import hashlib
import logging
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from tapd.image.fingerprint import Fingerprint, FingerprintTaker

_log = logging.getLogger("tapd.jar")
SLOW_S = 0.005
_TOLD_AFTER = 3  # turns in which it was slow: one may be the machine's fault


class _Watched:
    __slots__ = ("digest", "fingerprint", "refer")

    def __init__(self, refer: Callable[[], Any], digest: bytes) -> None:
        self.refer = refer
        self.digest = digest
        self.fingerprint: Fingerprint | None = None


class Watch:
    """The watched objects, by number."""

    def __init__(
        self, locate: Callable[[Any], str], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Begin.

        Args:
            locate: returns in words where a durable object is.
            clock: gives seconds, for how long the looking takes.
        """
        self._locate = locate
        self._clock = clock
        self._watched: dict[int, _Watched] = {}
        self.oids = self._watched.keys()  # live: asked at each object that changes
        self._taker = FingerprintTaker()
        self._slow_turns = 0

    def __len__(self) -> int:
        return len(self._watched)

    def __contains__(self, oid: int) -> bool:
        return oid in self._watched

    def add(self, obj: Any, data: bytes) -> None:
        """Watch `obj`, whose state is `data` now."""
        self._watched[obj._p_oid] = _Watched(_reference(obj), digest_of(data))

    def forget(self, oid: int) -> None:
        """Watch the object of that number no more, if it was watched."""
        self._watched.pop(oid, None)

    def changed(self, dump: Callable[[Any], bytes | None]) -> Iterator[tuple[Any, bytes]]:
        """Yield each object that has changed, with its state, and count it as unchanged.

        Args:
            dump: returns an object's state; None where it can't be had now.
        """
        begin_s = self._clock()
        slowest: tuple[float, Any] = (0.0, None)
        for oid, each in list(self._watched.items()):
            obj = each.refer()
            if obj is None:
                del self._watched[oid]  # nothing holds it any more
                continue
            began_s = self._clock() if self._slow_turns > 0 else 0.0
            if each.fingerprint is None or not each.fingerprint.holds():
                data = self._look(obj, each, dump)
                if data is not None:
                    yield obj, data
            if self._slow_turns > 0:  # the turn before was slow: who is it?
                took_s = self._clock() - began_s
                if took_s > slowest[0]:
                    slowest = took_s, obj
        if self._slow_turns >= 0:
            took_s = self._clock() - begin_s
            if took_s > SLOW_S:
                self._note_slow(took_s, slowest[1])
            else:
                self._slow_turns = 0

    def _look(self, obj: Any, each: _Watched, dump: Callable[[Any], bytes | None]) -> bytes | None:
        each.fingerprint = None
        data = dump(obj)
        if data is None:
            return None
        now = digest_of(data)
        if now != each.digest:
            each.digest = now
            return data
        each.fingerprint = self._taker.take(obj)
        return None

    def _note_slow(self, took_s: float, slowest: Any) -> None:
        self._slow_turns += 1
        if self._slow_turns < _TOLD_AFTER:
            return
        self._slow_turns = -1  # told once
        _log.warning(
            "each turn takes %.0f ms to find what changed in instances of plain classes, which tell"
            " nobody (%d durable objects hold some; the slowest to look at is %s): derive their"
            " classes from tapd.Persistent, or keep what is in them in lists and dicts of a durable"
            " object, or many of them in a BTree",
            took_s * 1e3, len(self._watched), self._locate(slowest),
        )  # fmt: skip


def digest_of(data: bytes) -> bytes:
    """Return what tells two states apart."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _reference(obj: Any) -> Callable[[], Any]:
    """Return what gives `obj` while somebody else holds it, where its type allows that."""
    try:
        return weakref.ref(obj)
    except TypeError:
        return lambda: obj
