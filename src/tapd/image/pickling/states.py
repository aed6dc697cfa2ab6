"""Pickles the state of one durable object, for the journal.

Other durable objects are referred to by number. One C pickler is reused. The function that
makes a reference is in its memo beforehand, and a prelude puts it into the memo of the
unpickler: a reference costs a few bytes and well under a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tapd.errors import CannotKeep, NotStorable
from tapd.image import hooks, paths
from tapd.image.evolution.versions import versioned
from tapd.image.loss import Loss
from tapd.image.pickling.deep_states import (
    DeepStatePickler,
    FlatStatePickler,
    durable_reference,
    paths_in,
)
from tapd.image.pickling.graph import GraphRoot
from tapd.image.pickling.memo import parts_in
from tapd.image.pickling.shared_objects import Shared, SharedObjects
from tapd.image.reduction import parts
from tapd.image.reduction.reducer import RETRIES_MAX, UNKNOWN, Reduced, Reducer
from tapd.model.durable.persistent import is_durable_type


class StateDump:
    """The pickled state of one durable object.

    Attributes:
        data: the pickle, for `StateLoader` only.
        losses: objects that were replaced by placeholders.
        parts: the plain objects in it (`memo`), if they were asked for.
        shared: the `Shared` of plain objects in it.
    """

    __slots__ = ("data", "losses", "parts", "shared")

    def __init__(
        self, data: bytes, losses: tuple[Loss, ...], parts: tuple[Any, ...] | None = None
    ) -> None:
        self.data = data
        self.losses = losses
        self.parts = parts
        self.shared: tuple[Shared, ...] = ()


PRELUDE = b"\x80\x05c" + b"tapd.image.pickling.states\ndurable_reference\n" + b"\x940"
_MEMO = {id(durable_reference): (0, durable_reference)}


_TYPED_MAX = 64


class _Sink:
    """A file that collects chunks; `write` is a list's own method, in C."""

    def __init__(self) -> None:
        self.chunks: list[Any] = []
        self.write = self.chunks.append


class _StatePickler(Reducer):
    def __init__(self, write_to: Any, oid_of: Callable[[Any], int], shared: SharedObjects) -> None:
        super().__init__(write_to)
        self._oid_of = oid_of
        self.shared = shared
        self._durable: set[type] = set()
        self.path = ""
        self.state: Any = None
        self._local: paths.LocalPaths | None = None

    def reducer_override(self, obj: Any) -> Reduced:
        """Return how `obj` is written; the fast path is for durable objects."""
        try:
            if type(obj) in self._durable:
                return durable_reference, (self._oid_of(obj),)
        except BaseException as error:  # a metaclass's __hash__
            return self.lose_for(obj, error)
        if id(obj) in self.shared.ids and (shared := self.shared.get(obj)) is not None:
            return durable_reference, (self._oid_of(shared),)
        return self.reduce(obj)

    def decide(self, cls: type) -> Callable[[Any], Reduced]:
        reduce = super().decide(cls)
        if cls in self._deciders and is_durable_type(cls) and not self.banned:
            self._durable.add(cls)
        return reduce

    def reduce_durable(self, obj: Any) -> Reduced:
        return durable_reference, (self._oid_of(obj),)

    def path_of(self, obj: Any) -> str:
        if self._local is None:
            self._local = paths_in(self.state)
        way = self._local.of(obj)
        return self.path + (UNKNOWN if way is None else way)

    def forget(self) -> None:
        """Reset for the next state."""
        self._local = self.state = self.last = self.maker = None
        self.losses = []
        self.banned = {}


class StatePickler:
    """Pickles states of durable objects one by one. Not for several threads."""

    def __init__(self, oid_of: Callable[[Any], int]) -> None:
        """Begin; `oid_of` returns the number of a durable object."""
        self.oid_of = oid_of
        self.shared = SharedObjects()
        self._keeps_memo = False
        self._memo: dict[int, tuple[int, Any]] = {}
        self._renew()

    def _renew(self) -> None:
        sink = _Sink()
        self._chunks = sink.chunks
        self._safe: set[type] = set()  # classes without a `__getstate__` by their author
        self._pickler = _StatePickler(sink, self.oid_of, self.shared)
        self._pickler.memo = _MEMO

    def dump_object(self, obj: Any, path: str = "") -> StateDump:
        """Pickle the state of `obj`, and find the plain objects in it.

        The version of its class is included unless it is 1.

        Raises:
            NotStorable: something can't be saved and could not be singled out.
        """
        # `dump_state` is on the hot path: it copies the memo only on request.
        self._keeps_memo = True
        try:
            dump = self.dump_state(self._state_of(obj, path), path)
        finally:
            self._keeps_memo = False
        memo, self._memo = self._memo, {}
        found = parts_in(memo)
        if found and self.shared:
            known = [(part, self.shared.get(part)) for part in found]
            found = tuple(part for part, shared in known if shared is None)
            dump.shared = tuple(shared for _part, shared in known if shared is not None)
        dump.parts = found
        return dump

    def dump_joint(self, objects: Sequence[Any]) -> StateDump:
        """Pickle the states of several objects, with their versions, as one tuple.

        Raises:
            NotStorable: see `dump_object`.
        """
        return self.dump_state(tuple(map(self._state_of, objects)))

    def _state_of(self, obj: Any, path: str = "") -> Any:
        cls = type(obj)
        if cls is Shared:
            return obj.journal_state()
        if cls in self._safe:
            return versioned(obj, obj.__getstate__())
        if parts.has_safe_state(cls):
            self._safe.add(cls)
        try:
            return versioned(obj, parts.durable_state(obj))
        except CannotKeep as error:
            raise NotStorable(f"saving {path}: {error}" if path else str(error)) from None

    def dump_state(self, state: object, path: str = "") -> StateDump:
        """Pickle one state (or a delta).

        Args:
            state: what the object's ``__getstate__`` returned.
            path: names the object in losses.

        Raises:
            NotStorable: see `dump_object`.
        """
        pickler = self._pickler
        pickler.path = path
        pickler.state = state
        try:
            pickler.dump(state)
        except BaseException as error:
            if not isinstance(error, RecursionError):
                hooks.check(error)
            return self._dump_again(state, path, error)
        if self._keeps_memo:
            self._memo = pickler.memo.copy()
        # The pickler is reused and must not keep the written objects alive.
        pickler.memo = _MEMO
        pickler.last = pickler.state = pickler.maker = None
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        losses: tuple[Loss, ...] = ()
        if pickler.losses:
            losses = tuple(pickler.losses)
            pickler.forget()
        if pickler.typed_met > _TYPED_MAX:  # its tables would keep classes typed long ago alive
            self._renew()
        return StateDump(data, losses)

    def _dump_again(self, state: Any, path: str, error: BaseException) -> StateDump:
        """Find the object that fails: ban the one being written and retry, one at a time."""
        if isinstance(error, RecursionError):
            return self._dump_deep(state, path)
        banned: dict[int, str] = {}
        kept = []
        for _ in range(RETRIES_MAX):
            last = self._pickler.last
            if isinstance(error, MemoryError) or last is None or id(last) in banned:
                break
            banned[id(last)] = hooks.describe(error)
            kept.append(last)
            self._renew()
            pickler = self._pickler
            pickler.path, pickler.state, pickler.banned = path, state, banned
            try:
                pickler.dump(state)
            except BaseException as next_error:  # each round bans one more object
                if isinstance(next_error, RecursionError):
                    return self._dump_deep(state, path)
                hooks.check(next_error)
                error = next_error
            else:
                dump = StateDump(b"".join(self._chunks), tuple(pickler.losses))
                if self._keeps_memo:
                    self._memo = pickler.memo.copy()
                self._renew()
                return dump
        self._renew()
        raise NotStorable(f"saving {path or 'a state'}: {hooks.describe(error)}") from error

    def _dump_deep(self, state: Any, path: str) -> StateDump:
        self._renew()
        # The simpler form first: it is faster to write and to load.
        for kind in (FlatStatePickler, DeepStatePickler):
            sink = _Sink()
            pickler = kind(sink, state, path, self.oid_of, self.shared)
            pickler.memo = _MEMO
            try:
                pickler.dump(GraphRoot(state))
            except RecursionError:
                continue
            if self._keeps_memo:
                self._memo = pickler.memo.copy()
            return StateDump(b"".join(sink.chunks), tuple(pickler.losses))
        raise NotStorable(f"saving {path or 'a state'}: it is nested too deeply")

    def dump_shared_class(self, cls: type) -> bytes:
        """Pickle a reference to the class of a plain object that has a number."""
        return self.dump_state((cls,)).data

    def dump_class(self, cls: type) -> bytes:
        """Pickle a reference to `cls`: its name, or the parts of a class typed at a prompt."""
        return self.dump_state(cls).data


def _own_number(obj: Any) -> int:
    oid = obj._p_oid
    if type(oid) is not int:
        raise NotStorable(f"naming a class: {obj!r} has no number yet")
    return oid


_class_pickler = StatePickler(_own_number)


def class_reference(cls: type) -> bytes:
    """Return the reference to `cls` in a journal. A typed class needs a namespace with a number."""
    return _class_pickler.dump_class(cls)
