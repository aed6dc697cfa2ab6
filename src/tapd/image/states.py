"""The state of one durable object to bytes and back, for the journal.

Imports `errors`, `model` and this room's `reducer`. Other durable objects are
referred to by number. One C pickler is reused; the function that makes a
reference is in its memo beforehand, and a prelude puts it into the unpickler's,
so that a reference costs a few bytes and well under a microsecond.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from tapd.errors import NotStorable, UpgradeRefused
from tapd.image import definitions, names, paths, stand_ins
from tapd.image.bare import bare_object, set_class
from tapd.image.deep import DeepGraphPickler
from tapd.image.evolution import Restoration, split_state, state_of, version_of, versioned
from tapd.image.graph import GraphPickler, GraphRoot
from tapd.image.loss import Loss
from tapd.image.memo import parts_in
from tapd.image.rebuild import Containers, fast_class, give_state, load_in_rounds, set_plain
from tapd.image.reducer import RETRIES_MAX, Reduced, Reducer
from tapd.image.salvage import Faults, Salvager, unhashable_in
from tapd.image.shared import Shared, SharedObjects, make_shared
from tapd.model.persistent import TrackedSet, forget_state, is_durable_type


class StateDump:
    """The pickled state of one durable object.

    Attributes:
        data: the pickle, for `StateLoader` only.
        losses: what was replaced by placeholders.
        parts: the plain objects in it (`memo`), where they were asked for.
    """

    __slots__ = ("data", "losses", "parts", "shared")

    def __init__(
        self, data: bytes, losses: tuple[Loss, ...], parts: tuple[Any, ...] | None = None
    ) -> None:
        self.data = data
        self.losses = losses
        self.parts = parts
        self.shared: tuple[Shared, ...] = ()


def _journal_state(obj: Any) -> Any:
    if type(obj) is Shared:
        return obj.journal_state()
    return versioned(obj, state_of(obj))


def durable_reference(oid: int) -> Any:
    """Stand for the function that finds a durable object by number; never called."""
    raise AssertionError(oid)


PRELUDE = b"\x80\x05c" + b"tapd.image.states\ndurable_reference\n" + b"\x940"
_MEMO = {id(durable_reference): (0, durable_reference)}


_TYPED_MAX = 64


class _Sink:
    """A file that keeps what is written; `write` is a list's own method, in C."""

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
        """Return how `obj` is written; the shortest way is for durable ones."""
        cls = type(obj)
        if cls in self._durable:
            return durable_reference, (self._oid_of(obj),)
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
            state = split_state(self.state)[1]
            roots = (("", state), *paths.durable_children(None, state))
            self._local = paths.LocalPaths(roots)
        way = self._local.of(obj)
        return self.path + (".<...>" if way is None else way)

    def forget(self) -> None:
        """Make ready for the next state."""
        self._local = self.state = self.last = self.culprit = None
        self.losses = []
        self.banned = {}


class _FlatStatePickler(GraphPickler):
    """Writes a state that nests too deeply for C: its plain instances by the queue."""

    def __init__(self, write_to: Any, state: Any, path: str, usual: StatePickler) -> None:
        super().__init__(write_to, state, flat=True)
        self._path = path
        self._oid_of = usual.oid_of
        self._shared = usual.shared

    def reducer_override(self, obj: Any) -> Reduced:
        shared = self._shared.get(obj)
        if shared is not None:
            return durable_reference, (self._oid_of(shared),)
        return super().reducer_override(obj)

    def reduce_durable(self, obj: Any) -> Reduced:
        return durable_reference, (self._oid_of(obj),)

    def path_of(self, obj: Any) -> str:
        return f"{self._path}.<deep>"


class _DeepStatePickler(DeepGraphPickler):
    """Writes a state in which plain containers nest too deeply for C as well."""

    def __init__(self, write_to: Any, state: Any, path: str, usual: StatePickler) -> None:
        super().__init__(write_to, state)
        self._path = path
        self._oid_of = usual.oid_of
        self._shared = usual.shared

    def reducer_override(self, obj: Any) -> Reduced:
        shared = self._shared.get(obj)
        if shared is not None:
            return durable_reference, (self._oid_of(shared),)
        return super().reducer_override(obj)

    reduce_durable = _FlatStatePickler.reduce_durable
    path_of = _FlatStatePickler.path_of


class StatePickler:
    """Pickles states of durable objects one by one. Not for several threads."""

    def __init__(self, oid_of: Callable[[Any], int]) -> None:
        """Begin; `oid_of` returns the number of each durable object reached."""
        self.oid_of = oid_of
        self.shared = SharedObjects()
        self._renew()

    def _renew(self) -> None:
        sink = _Sink()
        self._chunks = sink.chunks
        self._pickler = _StatePickler(sink, self.oid_of, self.shared)
        self._pickler.memo = _MEMO

    def dump_object(self, obj: Any, path: str = "") -> StateDump:
        """Pickle the state of `obj`, with the version of its class where that is not 1.

        Finds its parts as well.

        Raises:
            NotStorable: what can't be kept could not be told from the rest.
        """
        dump, memo = self._dump(_journal_state(obj), path, keep_memo=True)
        parts = parts_in(memo)
        if parts and self.shared:
            found = [(part, self.shared.get(part)) for part in parts]
            parts = tuple(part for part, shared in found if shared is None)
            dump.shared = tuple(shared for _part, shared in found if shared is not None)
        dump.parts = parts
        return dump

    def dump_joint(self, objects: Sequence[Any]) -> StateDump:
        """Pickle the states of several objects, with their versions, as one tuple.

        Raises:
            NotStorable: see `dump_object`.
        """
        return self.dump_state(tuple(map(_journal_state, objects)))

    def dump_state(self, state: object, path: str = "") -> StateDump:
        """Pickle one state (or a delta).

        Args:
            state: what the object's ``__getstate__`` returned.
            path: names the object in losses.

        Raises:
            NotStorable: see `dump_object`.
        """
        return self._dump(state, path, keep_memo=False)[0]

    def _dump(
        self, state: object, path: str, *, keep_memo: bool
    ) -> tuple[StateDump, dict[int, tuple[int, Any]]]:
        pickler = self._pickler
        pickler.path = path
        pickler.state = state
        try:
            pickler.dump(state)
        except Exception as error:
            return self._dump_again(state, path, error)
        memo = pickler.memo.copy() if keep_memo else {}
        # It outlives what it wrote, and must not keep it alive.
        pickler.memo = _MEMO
        pickler.last = pickler.state = None
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        losses: tuple[Loss, ...] = ()
        if pickler.losses:
            losses = tuple(pickler.losses)
            pickler.forget()
        if pickler.typed_met > _TYPED_MAX:  # else classes typed long ago would live for ever
            self._renew()
        return StateDump(data, losses), memo

    def _dump_again(
        self, state: Any, path: str, error: Exception
    ) -> tuple[StateDump, dict[int, tuple[int, Any]]]:
        """Find what failed by leaving out, one by one, what was last begun."""
        if isinstance(error, RecursionError):
            return self._dump_deep(state, path)
        banned: dict[int, str] = {}
        kept = []
        for _ in range(RETRIES_MAX):
            last = self._pickler.culprit
            if last is None:
                last = self._pickler.last
            if isinstance(error, MemoryError) or last is None or id(last) in banned:
                break
            banned[id(last)] = f"{type(error).__name__}: {error}"
            kept.append(last)
            self._renew()
            pickler = self._pickler
            pickler.path, pickler.state, pickler.banned = path, state, banned
            try:
                pickler.dump(state)
            except Exception as next_error:  # each failure bans one object
                error = next_error
            else:
                dump = StateDump(b"".join(self._chunks), tuple(pickler.losses))
                memo = pickler.memo.copy()
                self._renew()
                return dump, memo
        self._renew()
        raise NotStorable(f"saving {path or 'a state'}: {error}") from error

    def _dump_deep(self, state: Any, path: str) -> tuple[StateDump, dict[int, tuple[int, Any]]]:
        self._renew()
        for kind in (_FlatStatePickler, _DeepStatePickler):
            sink = _Sink()
            pickler = kind(sink, state, path, self)
            pickler.memo = _MEMO
            try:
                pickler.dump(GraphRoot(state))
            except RecursionError:
                continue
            memo = pickler.memo.copy()
            return StateDump(b"".join(sink.chunks), tuple(pickler.losses)), memo
        raise NotStorable(f"saving {path or 'a state'}: it is nested too deeply")

    def dump_shared_class(self, cls: type) -> bytes:
        """Pickle a reference to the class of a plain object that has a number."""
        return self.dump_state((cls,)).data

    def dump_class(self, cls: type) -> bytes:
        """Pickle a reference to `cls`: its name, or the parts of a class that was typed."""
        return self.dump_state(cls).data


def _bare_plain(cls: Any) -> Any:
    return cls.__new__(cls) if issubclass(cls, names.Broken) else object.__new__(cls)


def _set_plain(obj: Any, state: dict[str, Any]) -> None:
    if not issubclass(type(obj), names.Broken):
        obj.__dict__.clear()
    set_plain(obj, state)


class _StateUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, resolve: Callable[[int], Any]) -> None:
        super().__init__(io.BytesIO(PRELUDE + data[2:]))
        self._resolve = resolve
        self._containers = Containers()

    def persistent_load(self, pid: Any) -> Any:
        return self._containers(pid)

    def find_class(self, module_name: str, qualname: str) -> Any:
        if qualname == "durable_reference" and module_name == __name__:
            return self._resolve
        return fast_class(module_name, qualname)


class StateLoader:
    """Loads what a `StatePickler` pickled.

    Attributes:
        may_wait: what was loaded last has keys whose hash needs states that may come
            yet; what fails is tried again then. Set by `resolve`, for this very state.
    """

    def __init__(
        self, resolve: Callable[[int], Any], restoration: Restoration | None = None
    ) -> None:
        """Begin.

        Args:
            resolve: returns the durable object of a number.
            restoration: the one that `load_graph` was given, where there was one.
        """
        self._resolve = resolve
        self.restoration = restoration or Restoration()
        self.may_wait = False

    def load_state(self, data: bytes) -> Any:
        """Return one state (or a delta), with stand-ins for what can't be made any more.

        Raises:
            UpgradeRefused: there is no way to keep what it holds.
        """
        self.may_wait = False
        with definitions.restoring(self.restoration):
            while True:
                loaders: list[Any] = []

                def make(faults: Faults | None, made: list[Any] = loaders) -> Any:
                    made.append(self._loader(data, faults))
                    return made[-1]

                state = load_in_rounds(make, self.restoration)
                unhashable = getattr(loaders[-1], "unhashable", ())
                if not unhashable or self.may_wait:
                    return state
                for obj in unhashable:
                    self.keep_as_it_is(obj, "it can't be a key any more")

    def _loader(self, data: bytes, faults: Faults | None) -> Any:
        unpickler = _StateUnpickler(data, self._resolve)
        if faults is None:
            return unpickler

        def find(module_name: str, qualname: str) -> Any:
            if qualname == "durable_reference" and module_name == __name__:
                return self._resolve
            return names.named(module_name, qualname)

        return Salvager(PRELUDE + data[2:], find, Containers(), faults, self._resolve)

    def load_class(self, data: bytes) -> Any:
        """Return the class that `StatePickler.dump_class` or `class_reference` named."""
        return self.load_state(data)

    def make(self, class_data: bytes) -> Any:
        """Return a bare durable object of a class that was named, or a stand-in."""
        cls = self.load_class(class_data)
        if type(cls) is tuple:  # of a plain object, which has a number since several hold it
            return make_shared(_bare_plain(cls[0]))
        if not (issubclass(type(cls), type) and is_durable_type(cls)):
            cls = stand_ins.broken_durable_type_of(cls)
        obj = bare_object(cls)
        if issubclass(cls, stand_ins.STAND_INS):
            self.restoration.stand_ins.add(obj)
        return obj

    def change_class(self, obj: Any, class_data: bytes) -> None:
        """Have `obj` be of a class that was named, or a stand-in for one of that class."""
        cls = self.load_class(class_data)
        if type(cls) is tuple:
            if type(obj.it) is not cls[0]:
                set_class(obj.it, cls[0])
            return
        if type(obj) is cls:
            return
        with definitions.restoring(self.restoration):
            stand_ins.change_class(obj, cls)

    def restore(self, obj: Any, data: bytes) -> None:
        """Set the state of `obj`; what must be upgraded waits for `finish`."""
        self.restore_loaded(obj, self.load_state(data))

    def restore_loaded(self, obj: Any, versioned_state: Any) -> None:
        """Set the state of `obj`, as `load_state` gave it, or have it keep that.

        Raises:
            UpgradeRefused: there is no way to keep it.
        """
        if type(obj) is Shared:
            _set_plain(obj.it, versioned_state)
            return
        version, state = split_state(versioned_state)
        if stand_ins.revive(obj):  # an earlier state did not fit; this one may
            self.restoration.stand_ins.discard(obj)
        forget_state(obj)  # it may be one that a ``__setstate__`` would only add to
        try:
            give_state(obj, version, state, self.restoration)
        except (UpgradeRefused, MemoryError):
            raise
        except BaseException as error:
            if self.may_wait:
                raise
            reason = stand_ins.reason_of(error)
            is_set = issubclass(type(obj), TrackedSet) and type(state) is list
            if is_set and (keys := unhashable_in(tuple(state))):
                obj.__setstate__([self._as_key(each, keys, reason) for each in state])
                return
            self.restoration.keep(obj, version, state, f"its state can't be set: {reason}")

    def _as_key(self, obj: Any, unhashable: list[Any], reason: str) -> Any:
        """Return a member of a set, or, in place of one that can't be any more, a stand-in."""
        if all(obj is not each for each in unhashable):
            return obj
        reason = f"it can't be a key: {reason}"
        if is_durable_type(type(obj)):
            self.keep_as_it_is(obj, reason)
            return obj
        return stand_ins.broken_copy(obj, reason)

    def apply_delta(self, obj: Any, data: bytes) -> None:
        """Change `obj` by a delta, or have it keep what it should have become.

        Raises:
            UpgradeRefused: there is no way to keep it.
        """
        delta = self.load_state(data)
        try:
            obj.apply_delta(delta)
        except (UpgradeRefused, MemoryError):
            raise
        except BaseException as error:
            self.keep_as_it_is(obj, f"it can't be changed: {stand_ins.reason_of(error)}")
            obj.apply_delta(delta)

    def keep_as_it_is(self, obj: Any, reason: str) -> None:
        """Have `obj` keep the state that it has.

        Raises:
            UpgradeRefused: it can't tell its state.
        """
        try:
            state = state_of(obj)
        except BaseException as error:
            raise UpgradeRefused(
                f"loading a {type(obj).__qualname__}: {reason}, and its __getstate__ fails "
                f"({stand_ins.reason_of(error)}); mend the class, or go back to the code that "
                "saved it"
            ) from error
        self.restoration.keep(obj, version_of(type(obj)), state, reason)

    def finish(self) -> int:
        """Run the upgrades that are due; return how many objects were upgraded.

        Raises:
            UpgradeRefused: see `Restoration.finish`.
        """
        return self.restoration.finish()


def _own_number(obj: Any) -> int:
    oid = obj._p_oid
    if type(oid) is not int:
        raise NotStorable(f"naming a class: {obj!r} has no number yet")
    return oid


_class_pickler = StatePickler(_own_number)


def class_reference(cls: type) -> bytes:
    """Return what names `cls` in a journal; a typed one's namespace must have its number."""
    return _class_pickler.dump_class(cls)


def load_class(
    data: bytes,
    resolve: Callable[[int], Any] | None = None,
    restoration: Restoration | None = None,
) -> Any:
    """Return the class that `class_reference` named; `resolve` is needed for typed ones."""

    def refuse(oid: int) -> Any:
        raise NotStorable(f"a class typed at a prompt needs durable object {oid}: pass resolve")

    return StateLoader(resolve or refuse, restoration).load_class(data)
