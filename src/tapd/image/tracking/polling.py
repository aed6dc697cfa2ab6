"""Polls durable objects that hold plain (untracked) objects, once a turn.

A watched object is pickled and its digest compared with the last one. An object that was
unchanged gets a fingerprint, which costs a tenth. If polling is slow all the same, the log
tells the author once what to write instead.

This module also records which plain objects each watched object holds. Durable objects that
share a plain one form a *group* and are written together, so that a replay creates the shared
object once.
"""

from __future__ import annotations

import hashlib
import logging
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from tapd.image.pickling.memo import shared_in
from tapd.image.pickling.shared_objects import Shared
from tapd.image.tracking.fingerprint import Fingerprint, FingerprintTaker
from tapd.model.durable.persistent import Persistent, Tracked, set_mark

_log = logging.getLogger("tapd.jar")
SLOW_S = 0.005
_TOLD_AFTER = 3  # slow turns before the warning: a single one may be the machine's fault


class Watched:
    """What is known of one watched object. It is stored in the object itself.

    Plain objects often refer back to their holder. Stored elsewhere, their references would
    keep the holder alive.

    Attributes:
        digest: of its pickled state.
        part_ids: ids of the plain objects that it holds.
        parts: these objects, so that their ids stay valid.
        shared: the `Shared` of plain objects that it holds and that have numbers.
        fingerprint: set once its state was found unchanged.
    """

    __slots__ = ("digest", "fingerprint", "part_ids", "parts", "shared")

    def __init__(self, digest: bytes, parts: Sequence[Any], shared: Sequence[Any] = ()) -> None:
        self.digest = digest
        self.parts: Sequence[Any] = shared_in(parts)
        self.part_ids = list(map(id, self.parts))
        self.shared = shared
        self.fingerprint: Fingerprint | None = None

    def let_go(self) -> None:
        """Drop all references to the object's contents, so that reference counts are exact."""
        self.fingerprint = None
        self.parts = ()


class Watch:
    """The watched objects, by number."""

    def __init__(
        self, locate: Callable[[Any], str], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Begin.

        Args:
            locate: describes a durable object for the log.
            clock: in seconds, to measure how long polling takes.
        """
        self._locate = locate
        self._clock = clock
        self._referents: dict[int, Callable[[], Any]] = {}
        self.oids = self._referents.keys()  # a live view: checked for each changed object
        self._part_ids: dict[int, list[int]] = {}
        # By part id: one holder of each part; for shared parts, all holders.
        self._holders: dict[int, int] = {}
        self._sharers: dict[int, set[int]] = {}
        self._others: dict[int, Watched] = {}  # for classes without a `_p_watched` slot
        self._taker = FingerprintTaker()
        self._slow_turns = 0

    def __len__(self) -> int:
        return len(self._referents)

    def __contains__(self, oid: int) -> bool:
        return oid in self._referents

    def get(self, obj: Any) -> Watched | None:
        """Return what is known of `obj`; None if it is not watched."""
        if obj._p_oid not in self._referents:
            return None
        if issubclass(type(obj), (Tracked, Persistent)):
            return getattr(obj, "_p_watched", None)
        return self._others.get(obj._p_oid)

    def object_of(self, oid: int) -> Any:
        """Return the watched object of a number; None if it was freed."""
        refer = self._referents.get(oid)
        return None if refer is None else refer()

    def is_shared(self, oid: int) -> bool:
        """Whether another object holds a plain object that this one holds."""
        return not self._sharers.keys().isdisjoint(self._part_ids.get(oid, ()))

    def put(self, entries: dict[int, tuple[Any, Watched]]) -> None:
        """Watch these objects, by number, in their current state."""
        new = {}
        # Release all old parts before taking new ones: a freed part's id may be in use again.
        for oid, (_obj, watched) in entries.items():
            before = self._part_ids.get(oid, [])
            if before != watched.part_ids:
                has_now = set(watched.part_ids)
                new[oid] = has_now.difference(before)
                self._let_go(oid, set(before) - has_now)
        for oid, (obj, watched) in entries.items():
            if oid not in self._referents:
                self._referents[oid] = self._reference(obj, oid)
            self._keep(obj, watched)
            self._part_ids[oid] = watched.part_ids
            self._take(oid, new.get(oid, ()))

    def hold(self, obj: Any, shared: Sequence[Any]) -> None:
        """Keep the `Shared` of plain objects that `obj` holds; `obj` itself is not watched."""
        self._keep(obj, Watched(b"", (), shared) if shared else None)

    def shared_ids_of(self, group: Iterable[int]) -> set[int]:
        """Return the ids of the plain objects that two or more of `group` hold."""
        return {part for oid in group for part in self._shared_by(oid)}

    def _shared_by(self, oid: int) -> Iterable[int]:
        """Return the ids of the plain objects that it shares with others."""
        return self._sharers.keys() & self._part_ids.get(oid, ()) if self._sharers else ()

    def _keep(self, obj: Any, watched: Watched | None) -> None:
        if issubclass(type(obj), (Tracked, Persistent)):
            set_mark(obj, "_p_watched", watched)
        elif watched is None:
            self._others.pop(obj._p_oid, None)
        else:
            self._others[obj._p_oid] = watched

    def _reference(self, obj: Any, oid: int) -> Callable[[], Any]:
        """Return a weak reference to `obj`; a strong one if its type allows no weak ones."""
        try:
            return weakref.ref(obj, lambda _refer: self._forget_dead(oid))
        except TypeError:
            return lambda: obj

    def forget(self, obj: Any) -> None:
        """Stop watching `obj`, if it is watched."""
        if self._referents.pop(obj._p_oid, None) is not None:
            self._forget_parts(obj._p_oid)
            self._keep(obj, None)

    def _forget_dead(self, oid: int) -> None:
        refer = self._referents.get(oid)
        if refer is not None and refer() is None:
            del self._referents[oid]
            self._forget_parts(oid)

    def _forget_parts(self, oid: int) -> None:
        self._let_go(oid, self._part_ids.pop(oid, ()))

    def _let_go(self, oid: int, parts: Iterable[int]) -> None:
        holders, sharers = self._holders, self._sharers
        for part in parts:
            sharing = sharers.get(part)
            if sharing is None:
                if holders.get(part) == oid:
                    del holders[part]
                continue
            sharing.discard(oid)
            holders[part] = next(iter(sharing))
            if len(sharing) == 1:
                del sharers[part]

    def _take(self, oid: int, parts: Iterable[int]) -> None:
        holders = self._holders
        for part in parts:
            first = holders.setdefault(part, oid)
            if first != oid:
                self._sharers.setdefault(part, {first}).add(oid)

    def group_of(self, oid: int) -> list[int]:
        """Return the numbers of all objects linked to `oid` by shared plain ones, `oid` first."""
        group = {oid: None}
        queue = [oid]
        for each in queue:  # grows meanwhile
            others = {other for part in self._shared_by(each) for other in self._sharers[part]}
            for other in sorted(others - group.keys()):
                group[other] = None
                queue.append(other)
        return list(group)

    def rest(self, obj: Any, roots: Iterable[Any] | None, ends: Collection[int]) -> None:
        """Give `obj`, just found unchanged, a fingerprint: only a change makes it pickled again.

        Args:
            obj: a watched object.
            roots: what it holds; None if that can't be known.
            ends: ids of objects that are polled by themselves.
        """
        watched = self.get(obj)
        if watched is not None and roots is not None:
            watched.fingerprint = self._taker.take(
                roots, ends, obj.it if type(obj) is Shared else None
            )

    def suspects(self) -> Iterator[Any]:
        """Yield each watched object that may have changed."""
        began_s = self._clock()
        slowest: tuple[float, Any] = (0.0, None)
        for refer in list(self._referents.values()):
            obj = refer()
            watched = None if obj is None else self.get(obj)
            if watched is None:
                continue  # freed since
            look_s = self._clock() if self._slow_turns > 0 else 0.0
            if watched.fingerprint is None or not watched.fingerprint.holds():
                yield obj
            if self._slow_turns > 0:  # the previous turn was slow: find the slowest object
                took_s = self._clock() - look_s
                if took_s > slowest[0]:
                    slowest = took_s, obj
        if self._slow_turns >= 0:
            took_s = self._clock() - began_s
            if took_s > SLOW_S:
                self._note_slow(took_s, slowest[1])
            else:
                self._slow_turns = 0

    def _note_slow(self, took_s: float, slowest: Any) -> None:
        self._slow_turns += 1
        if self._slow_turns < _TOLD_AFTER:
            return
        self._slow_turns = -1  # warn once per process
        _log.warning(
            "each turn takes %.0f ms to find changes in instances of plain classes, which don't"
            " report them (%d durable objects hold some; the slowest to check is %s): derive their"
            " classes from tapd.Persistent, or keep their data in lists and dicts of a durable"
            " object, or many of them in a BTree",
            took_s * 1e3, len(self._referents), self._locate(slowest),
        )  # fmt: skip


def digest_of(data: bytes) -> bytes:
    """Return a digest of a pickled state."""
    return hashlib.blake2b(data, digest_size=16).digest()
