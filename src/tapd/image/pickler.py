"""A graph of objects to bytes and back, losing nothing without naming it.

Imports `errors`, `model` and the rest of this room. Two forms, one set of rules:

* `dump_graph`: the whole graph, for a TAP. Durable objects are emitted bare, and
  their states come from a queue at the end, so that chains of any length need no
  C stack; an instance of any other class is written where it is met, as pickle
  does. Where such instances nest too deeply for C, all of it is done again with
  these in the queue as well.
* `StatePickler`: the state of one durable object, for the journal, with other
  durable objects by number. One C pickler is reused; the function that makes a
  reference is in its memo beforehand, so a reference costs a few bytes.

Always the C pickler with a ``reducer_override``; what it does for each type is
decided once (`_Reducer.decide`) and then looked up. An object that can't be
reduced becomes a `Placeholder`, in place, and its neighbours are kept.

The bytes of `dump_graph` are a plain pickle (protocol 5): the functions that it
names (`finish_graph`, `make_function` and so on) are part of the format.
"""

from __future__ import annotations

import bisect
import collections
import copyreg
import dataclasses
import gc
import io
import logging
import pickle
import types
from collections.abc import Callable, Iterator
from typing import Any

from tapd.errors import CannotKeep, NotStorable, UpgradeRefused
from tapd.image import classes, definitions, names, paths, strangers
from tapd.image.evolution import Restoration, split_state, version_of, versioned
from tapd.image.loss import Loss, Placeholder, type_name_of
from tapd.image.salvage import Salvager
from tapd.image.source import Source
from tapd.model.persistent import Persistent, TrackedDict, TrackedList, is_durable_type

__all__ = [
    "Dump", "Loss", "Placeholder", "Restoration", "StateDump", "StateLoader", "StatePickler",
    "class_reference", "dump_graph", "load_class", "load_graph",
]  # fmt: skip

_log = logging.getLogger(__name__)

_PROTOCOL = 5
_newobj: Any = copyreg.__newobj__  # type: ignore[attr-defined]  # pickle's own name for NEWOBJ
_HEAP_TYPE = 1 << 9
_RETRIES_MAX = 100

Reduced = Any  # a reduce tuple, a global's name, or NotImplemented


@dataclasses.dataclass(frozen=True, slots=True)
class Dump:
    """A pickled graph.

    Attributes:
        data: the pickle.
        losses: what was replaced by placeholders.
        globals: ``module:qualname`` of every class and function referred to by name.
    """

    data: bytes
    losses: tuple[Loss, ...]
    globals: tuple[str, ...]


@dataclasses.dataclass(slots=True)
class StateDump:
    """The pickled state of one durable object.

    Attributes:
        data: the pickle, for `StateLoader` only.
        losses: what was replaced by placeholders.
        untracked: whether it holds something that can change without telling.
    """

    data: bytes
    losses: tuple[Loss, ...]
    untracked: bool


class _Reducer(pickle.Pickler):
    """The rules common to both forms: what becomes of an object of each type."""

    def __init__(self, write_to: Any) -> None:
        super().__init__(write_to, _PROTOCOL)
        self.losses: list[Loss] = []
        self.globals: set[str] = set()
        self.untracked = False
        self.banned: dict[int, str] = {}
        self.last: Any = None
        self._plain: dict[type, tuple[type]] = {}
        self._deciders: dict[type, Callable[[Any], Reduced]] = {}
        self._by_base: tuple[tuple[type, Callable[[Any], Reduced]], ...] = (
            (type, self.reduce_class),
            (types.FunctionType, self.reduce_function),
            (types.BuiltinFunctionType, self.reduce_builtin),
            (types.CellType, self._reduce_cell),
            (Source, _reduce_source),
            (Placeholder, Placeholder.__reduce__),
            (definitions.EmptyCell, definitions.EmptyCell.__reduce__),
            (names.Broken, self._reduce_broken),
        )

    def reducer_override(self, obj: Any) -> Reduced:
        """Return how `obj` is written; called for all but the builtin data types."""
        cls = type(obj)
        args = self._plain.get(cls)
        if args is not None:
            return _newobj, args, obj.__dict__
        self.last = obj
        if self.banned and id(obj) in self.banned:
            return self.lose(obj, self.banned[id(obj)])
        reduce = self._deciders.get(cls)
        if reduce is None:
            reduce = self.decide(cls)
        try:
            return reduce(obj)
        except CannotKeep as error:
            return self.lose(obj, str(error))

    # -- what each kind of type gets ------------------------------------------

    def decide(self, cls: type) -> Callable[[Any], Reduced]:
        """Return, and mostly remember, the method that reduces instances of `cls`."""
        reduce, remember = self._decide(cls)
        if remember:
            self._deciders[cls] = reduce
        return reduce

    def _decide(self, cls: type) -> tuple[Callable[[Any], Reduced], bool]:
        """Return the method for `cls`, and whether it will be the same for ever."""
        for base, reduce in self._by_base:
            if issubclass(cls, base):
                return reduce, True
        known = strangers.reducers.get(cls)
        if known is None:
            reason = strangers.lost_reason(cls) or self._problem_of_class(cls)
            if reason is not None:
                return (lambda obj: self.lose(obj, reason)), False
        if is_durable_type(cls):
            return self.reduce_durable, True
        known = known or strangers.reducer_by_base(cls)
        if known is None and _is_plain(cls):
            if hasattr(cls, "__getattr__") or "__class__" in _own_names(cls):
                return self._reduce_odd, True
            return self._reduce_plain, self.remember_plain(cls)
        immutable = strangers.is_immutable_type(cls)
        return self._checked(known or _own_reduce, immutable=immutable), True

    def remember_plain(self, cls: type) -> bool:
        """Whether instances of the plain class `cls` may go the shortest way."""
        return False

    def reduce_durable(self, obj: Any) -> Reduced:
        """Return how a durable object is written."""
        raise NotImplementedError

    def _problem_of_class(self, cls: type) -> str | None:
        """Return why instances of `cls` can't be made again, or None where they can."""
        if (
            names.name_of(cls) is not None
            or cls in _NAMELESS
            or issubclass(cls, (names.Broken, names.BrokenDurable))
            or classes.is_made_in_c(cls)  # its own reduction says what it needs
        ):
            return None
        try:
            classes.split_class(cls)
        except CannotKeep as error:
            return f"its class can't be kept: {error}"
        return None

    def _checked(
        self, reduce: Callable[[Any], Reduced], *, immutable: bool
    ) -> Callable[[Any], Reduced]:
        """Wrap `reduce` so that what goes wrong in it is a reason to name."""

        def checked(obj: Any) -> Reduced:
            if not immutable:
                self.untracked = True
            try:
                reduced = reduce(obj)
            except (CannotKeep, MemoryError, RecursionError):
                raise
            except Exception as error:
                raise CannotKeep(f"{type(error).__name__}: {error}") from None
            return self._check_reduced(obj, reduced)

        return checked

    def _check_reduced(self, obj: Any, reduced: Reduced) -> Reduced:
        if type(reduced) is str:
            if names.name_of(obj) is None and not _is_global(obj, reduced):
                raise CannotKeep(f"it is not found by the name {reduced!r} that it gives")
            return reduced
        if type(reduced) is not tuple or not 2 <= len(reduced) <= 6:
            raise CannotKeep("its __reduce_ex__ does not return a tuple as pickle asks for")
        make, args = reduced[:2]
        if type(args) is not tuple or not callable(make):
            raise CannotKeep("its __reduce_ex__ does not return a callable and its arguments")
        if type(make) is types.FunctionType or issubclass(type(make), type):
            if names.name_of(make) is None and make not in _NAMELESS:
                self._check_definition(make)
        if len(reduced) > 3 and any(
            part is not None and not hasattr(type(part), "__next__") for part in reduced[3:5]
        ):
            raise CannotKeep("its __reduce_ex__ gives items that are no iterator")
        cls = type(obj)
        if not cls.__flags__ & _HEAP_TYPE or classes.is_made_in_c(cls):
            for part in args:
                reason = strangers.lost_reason(type(part))
                if reason is not None:
                    raise CannotKeep(f"it is made of a {type_name_of(type(part))}: {reason}")
        odd = hasattr(cls, "__getattr__") or "__class__" in _own_names(cls)
        if make is _newobj and (odd or not args or args[0] is not cls):
            reduced = (names.new_object, *reduced[1:])
        if make is _newobj and len(args) > 1 and "__new__" in _own_names(cls):
            base = next((base for base in _VALUES if issubclass(cls, base)), None)
            if base is not None and "__getnewargs__" not in _own_names(cls):
                reduced = (names.value_object, (cls, base, base(*args[1:])), *reduced[2:])
        if odd and len(reduced) > 2 and reduced[2] is not None:
            parts = (*reduced[2:], None, None)[:3]
            return (*reduced[:2], *parts, set_reduced)
        return reduced

    def _check_definition(self, definition: Any) -> None:
        if type(definition) is types.FunctionType:
            definitions.split_function(definition)
        else:
            classes.split_class(definition)

    def _reduce_plain(self, obj: Any) -> Reduced:
        self.untracked = True
        return _newobj, (type(obj),), obj.__dict__

    def _reduce_odd(self, obj: Any) -> Reduced:
        """Reduce a plain instance whose class would see pickle look at it."""
        self.untracked = True
        attributes = object.__getattribute__(obj, "__dict__")
        return names.new_object, (type(obj),), attributes, None, None, set_plain

    # -- definitions -----------------------------------------------------------

    def reduce_class(self, cls: Any) -> Reduced:
        """Return how a class is written: by name, or by its parts."""
        if cls in _NAMELESS:
            return NotImplemented
        if issubclass(cls, (names.Broken, names.BrokenDurable)) and cls.broken_name:
            module, _colon, qualname = cls.broken_name.partition(":")
            self.globals.add(cls.broken_name)
            make = names.durable_class if cls.broken_is_durable else names.named
            return make, (module, qualname)
        name = names.name_of(cls)
        if name is not None:
            self.globals.add(":".join(name))
            if is_durable_type(cls) and not name[0].startswith("tapd."):
                return names.durable_class, name
            return NotImplemented if names.is_own_name(cls, name) else (names.named, name)
        self.untracked = True
        made, state = classes.split_class(cls)
        return classes.make_class, made, state, None, None, classes.set_class

    def reduce_function(self, function: Any) -> Reduced:
        """Return how a function is written: by name, or by its source text."""
        name = names.name_of(function)
        if name is not None:
            self.globals.add(":".join(name))
            return NotImplemented
        outer = names.wrapper_of(function)
        if outer is not None:
            return strangers.wrapped_of, (outer,)
        self.untracked = True
        made, state = definitions.split_function(function)
        return self.with_state(function, definitions.make_function, made, state)

    def with_state(
        self, function: Any, make: Any, made: tuple[Any, ...], state: tuple[Any, ...]
    ) -> Reduced:
        """Return how a function is written whose state may lead back to it."""
        return make, made, state, None, None, definitions.set_function

    def reduce_builtin(self, function: Any) -> Reduced:
        """Return how a function written in C is written."""
        owner = function.__self__
        if owner is None or type(owner) is types.ModuleType:
            name = names.name_of(function)
            if name is None:
                raise CannotKeep("it is not found under its own name")
            self.globals.add(":".join(name))
            return NotImplemented
        return getattr, (owner, function.__name__)

    def _reduce_cell(self, cell: Any) -> Reduced:
        return definitions.new_cell, ()

    def _reduce_broken(self, obj: Any) -> Reduced:
        self.untracked = True
        return obj.broken_reduce()

    # -- losses ----------------------------------------------------------------

    def lose(self, obj: Any, reason: str) -> Reduced:
        """Name `obj` as lost; return how its placeholder is written."""
        loss = Loss(self.path_of(obj), type_name_of(type(obj)), reason)
        self.losses.append(loss)
        return Placeholder, (loss.path, loss.type_name, loss.reason)

    def path_of(self, obj: Any) -> str:
        """Return where `obj` is."""
        raise NotImplementedError


_VALUES = (int, str, bytes, float, complex, tuple, frozenset)
_NAMELESS = (type(None), type(NotImplemented), type(Ellipsis))


def _is_global(obj: Any, name: str) -> bool:
    if obj is definitions.EMPTY_CELL:
        return True
    module = getattr(obj, "__module__", None)
    try:
        return names.find_name(module if type(module) is str else "builtins", name) is obj
    except LookupError:
        return False


def _reduce_source(source: Any) -> Reduced:
    parts = (source.filename, source.text, source.symbol, source.flags)
    return definitions.make_source, parts


def _own_reduce(obj: Any) -> Reduced:
    cls = type(obj)
    reduce = copyreg.dispatch_table.get(cls)
    if reduce is not None:
        return reduce(obj)
    return cls.__reduce_ex__(obj, _PROTOCOL)


def _own_names(cls: type) -> set[str]:
    """Return what the classes made in Python above `cls` define."""
    return {name for base in cls.__mro__ if base.__flags__ & _HEAP_TYPE for name in base.__dict__}


def _is_plain(cls: type) -> bool:
    """Whether an instance of `cls` is its ``__dict__`` and nothing else."""
    return (
        cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and getattr(cls, "__getstate__", None) is object.__getstate__  # type: ignore[attr-defined]
        and cls.__getattribute__ is object.__getattribute__
        and cls.__basicsize__ <= object.__basicsize__ + 16
        and cls.__dictoffset__ != 0
        and cls not in copyreg.dispatch_table
        and not hasattr(cls, "__getnewargs__")
        and not hasattr(cls, "__getnewargs_ex__")
        and not hasattr(cls, "__setstate__")
        and all(
            base is object
            or (
                base.__flags__ & _HEAP_TYPE
                and not (base.__dict__.keys() & {"__reduce_cython__"})
                and not base.__dict__.get("__slots__")
                and type(base.__dict__.get("__dict__")) in (_GETSET, type(None))
            )
            for base in cls.__mro__
        )
    )


_GETSET = types.GetSetDescriptorType


# --- the whole graph ------------------------------------------------------------


class _Queue:
    """Stands in the pickle for the states that follow the graph."""


class _Root:
    def __init__(self, root: Any) -> None:
        self.root = root


class _GraphPickler(_Reducer):
    """Writes a graph with the states of durable objects at its end."""

    def __init__(self, write_to: Any, root: Any, *, flat: bool) -> None:
        super().__init__(write_to)
        self._root = root
        self._flat = flat
        self._states: collections.deque[tuple[Any, Any, Any]] = collections.deque()
        self._late: list[Any] = []
        # Item n was taken from the queue when the first `_bounds[n]` were in it.
        self._items: list[Any] = []
        self._bounds: list[int] = []
        self._parents: dict[int, Any] = {}
        self._durable: dict[type, tuple[type]] = {}
        self._local: dict[int, Any] = {}
        self._deciders[_Queue] = self._reduce_queue
        self._deciders[_Root] = self._reduce_root

    def _reduce_root(self, obj: Any) -> Reduced:
        return finish_graph, (obj.root, _Queue())

    def _reduce_queue(self, _obj: Any) -> Reduced:
        return list, (), None, self._drain()

    def _drain(self) -> Iterator[Any]:
        """Yield object, meta and state of all that wait, and of what these add.

        The pickler looks one item ahead, so it has written a state for certain
        only when two more were taken: the padding of None is there for that.
        """
        late, states, bounds, items = self._late, self._states, self._bounds, self._items
        getters = _GETTERS
        index = 0
        while True:
            while index < len(late):
                obj = late[index]
                bounds.append(len(late))
                items.append(obj)
                yield obj
                oid = obj._p_oid
                yield oid if type(oid) is int else None
                getter = getters.get(type(obj))
                yield self._state_of(obj) if getter is None else getter(obj)
                index += 1
            while states:
                entry = states.popleft()
                bounds.append(len(late))
                items.append(entry[0])
                yield from entry
            for _ in range(3):
                yield None
            if index == len(late) and not states:
                return

    def _wait(self, obj: Any, meta: Any, state: Any) -> None:
        """Put a state that is not `obj`'s to ask for later into the queue."""
        self._parents[id(obj)] = self._items[-1] if self._items else None
        self._states.append((obj, meta, state))

    def _parent_of(self, item: Any) -> Any:
        """Return the object in whose state `item` was first met; None for the graph itself."""
        if id(item) in self._parents:
            return self._parents[id(item)]
        index = next(index for index, obj in enumerate(self._late) if obj is item)
        after = bisect.bisect_right(self._bounds, index) - 1
        return self._items[after] if after >= 0 else None

    def _state_of(self, obj: Any) -> Any:
        try:
            return obj.__getstate__()
        except Exception as error:
            return Placeholder(self.path_of(obj), type_name_of(type(obj)), f"its state: {error}")

    def remember_plain(self, cls: type) -> bool:
        if not self._flat or not _may_wait(cls):
            if not self.banned:
                self._plain[cls] = (cls,)
            return True
        return False

    def _reduce_plain(self, obj: Any) -> Reduced:
        if self._flat and _may_wait(type(obj)):
            self._wait(obj, set_plain, obj.__dict__)
            return _newobj, (type(obj),)
        return _newobj, (type(obj),), obj.__dict__

    def with_state(
        self, function: Any, make: Any, made: tuple[Any, ...], state: tuple[Any, ...]
    ) -> Reduced:
        if not self._flat:
            return super().with_state(function, make, made, state)
        self._wait(function, definitions.set_function, state)
        return make, made

    def _check_reduced(self, obj: Any, reduced: Reduced) -> Reduced:
        reduced = super()._check_reduced(obj, reduced)
        if (
            self._flat
            and type(reduced) is tuple
            and len(reduced) == 3
            and reduced[0] is _newobj
            and _may_wait(type(obj))
        ):
            self._wait(obj, set_reduced, reduced[2])
            return reduced[:2]
        return reduced

    def reducer_override(self, obj: Any) -> Reduced:
        """Return how `obj` is written; the shortest way is for durable ones."""
        args = self._durable.get(type(obj))
        if args is not None:
            self._late.append(obj)
            return _newobj, args
        return super().reducer_override(obj)

    def reduce_durable(self, obj: Any) -> Reduced:
        cls = type(obj)
        version = version_of(cls)
        may_wait = cls.__hash__ is object.__hash__ or cls.__hash__ is None
        if may_wait and version == 1 and _has_safe_state(cls):
            if not self.banned:
                self._durable[cls] = (cls,)
            self._late.append(obj)
            return _newobj, (cls,)
        oid = obj._p_oid
        if type(oid) is not int:
            oid = None
        # A stranger's __getstate__ may fail: then the object is lost as a whole.
        state = _guarded_state(obj)
        if may_wait:
            self._wait(obj, (oid, version), state)
            return _newobj, (cls,)
        # It may be a key somewhere, so its state must be there when its hash is taken.
        return _newobj, (cls,), ((oid, version), state), None, None, set_durable

    def path_of(self, obj: Any) -> str:
        item = self._items[-1] if self._items else None
        path = self._local_path(item, obj)
        while item is not None and item is not self._root:
            parent = self._parent_of(item)
            path = self._local_path(parent, item) + path
            item = parent
        return _root_name(self._root) + path

    def _local_path(self, item: Any, obj: Any) -> str:
        local = self._local.get(id(item))
        if local is None:
            if item is None:
                roots: Any = (("", self._root),)
            else:
                roots = paths.durable_children(item, self._state_of_known(item))
            local = self._local[id(item)] = paths.local_paths(roots)
        return str(local.get(id(obj), ".<...>"))

    def _state_of_known(self, item: Any) -> Any:
        try:
            return item.__getstate__()
        except Exception:
            return None


_GETTERS: dict[type, Callable[[Any], Any]] = {TrackedList: list, TrackedDict: dict}
"""What gives the state of the commonest types with no call of a method in Python."""


def _root_name(root: Any) -> str:
    return type(root).__name__.lower()


def _has_safe_state(cls: type) -> bool:
    getstate = getattr(cls, "__getstate__", None)
    return getstate is Persistent.__getstate__ or cls.__module__.startswith(("tapd.", "BTrees."))


def _guarded_state(obj: Any) -> Any:
    try:
        return obj.__getstate__()
    except Exception as error:
        raise CannotKeep(f"its state: {type(error).__name__}: {error}") from None


def _may_wait(cls: type) -> bool:
    """Whether nothing asks for the state of an instance of `cls` before all is loaded."""
    return cls.__hash__ in (object.__hash__, None) and not hasattr(cls, "__setstate__")


def dump_graph(root: object) -> Dump:
    """Pickle the whole graph under `root`.

    Raises:
        NotStorable: what can't be kept could not be told from the rest.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return _dump_graph(root)
    finally:
        if enabled:
            gc.enable()


def _dump_graph(root: object) -> Dump:
    flat = False
    banned: dict[int, str] = {}
    for _ in range(_RETRIES_MAX):
        buffer = io.BytesIO()
        pickler = _GraphPickler(buffer, root, flat=flat)
        pickler.banned = banned
        try:
            pickler.dump(_Root(root))
        except RecursionError as error:
            if flat:
                raise NotStorable(
                    f"saving {_root_name(root)}: {pickler.path_of(pickler.last)} is nested too deeply"
                ) from error
            flat = True
        except MemoryError:
            raise
        except Exception as error:
            last = pickler.last
            if last is None or id(last) in banned:
                raise NotStorable(f"saving {_root_name(root)}: {error}") from error
            banned[id(last)] = f"{type(error).__name__}: {error}"
        else:
            return Dump(buffer.getvalue(), tuple(pickler.losses), tuple(sorted(pickler.globals)))
    raise NotStorable(f"saving {_root_name(root)}: more than {_RETRIES_MAX} objects fail")


# --- loading a graph: part of the format -----------------------------------------


def set_plain(obj: Any, state: dict[str, Any]) -> None:
    """Give a plain instance its attributes."""
    if issubclass(type(obj), names.Broken):
        obj.__setstate__(state)
    else:
        object.__getattribute__(obj, "__dict__").update(state)


def set_reduced(obj: Any, state: Any) -> None:
    """Give an instance the state that its class's default reduction made."""
    setstate = getattr(type(obj), "__setstate__", None)
    if setstate is not None:
        setstate(obj, state)
        return
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if state:
        object.__getattribute__(obj, "__dict__").update(state)
    for name, value in (slots or {}).items():
        object.__setattr__(obj, name, value)


def set_durable(obj: Any, meta_and_state: tuple[Any, Any]) -> None:
    """Give a durable object with a hash of its own its number and state, at once."""
    meta, state = meta_and_state
    _apply(obj, meta, state, definitions.current_restoration())


def _apply(obj: Any, meta: Any, state: Any, restoration: Restoration | None) -> None:
    version = 1
    if type(meta) is tuple:
        meta, version = meta
    if meta is not None:
        obj._p_oid = meta
    if state is not None:
        obj.__setstate__(state)
    if restoration is not None:
        restoration.note(obj, version)


def finish_graph(root: Any, items: list[Any]) -> Any:
    """Give each object of `items` its state, run upgrades, and return `root`."""
    current = definitions.current_restoration()
    restoration = current or Restoration()
    up_to_date: set[type] = set()
    each = iter(items)
    for obj, meta, state in zip(each, each, each, strict=True):
        cls = type(obj)
        try:
            if cls is TrackedDict:
                dict.update(obj, state)
            elif cls is TrackedList:
                list.extend(obj, state)
            elif meta is not None and type(meta) is not int:
                if type(meta) is tuple:
                    _apply(obj, meta, state, restoration)
                else:
                    meta(obj, state)
                continue
            elif obj is None or cls is Placeholder:
                continue
            elif state is not None:
                obj.__setstate__(state)
            if meta is not None:
                obj._p_oid = meta
        except Exception as error:  # its neighbours are to be kept
            _log.warning("the state of a %s can't be set: %s", type_name_of(cls), error)
            continue
        if cls not in up_to_date:
            if version_of(cls) == 1:
                up_to_date.add(cls)
            else:
                restoration.note(obj, 1)
    if current is None:
        restoration.finish()
    return root


class _Loader(pickle.Unpickler):
    def find_class(self, module_name: str, qualname: str) -> Any:
        return names.named(module_name, qualname)


def load_graph(data: bytes, restoration: Restoration | None = None) -> Any:
    """Return the graph that `dump_graph` pickled, or any graph pickled by `pickle`.

    Classes that can't be found become `Broken` stand-ins.

    Args:
        data: the pickle; authenticated before (promise 7).
        restoration: where journals follow: upgrades then wait for its `finish`.

    Raises:
        UpgradeRefused: state can't be brought to the installed code's version.
    """
    own = restoration or Restoration()
    enabled = gc.isenabled()
    gc.disable()
    try:
        with definitions.restoring(own):
            try:
                root = _Loader(io.BytesIO(data)).load()
            except (UpgradeRefused, MemoryError):
                raise
            except Exception as error:
                _log.warning("loading: %s: %s; reading it piece by piece", type(error), error)
                own.forget()
                root = Salvager(data, names.named).load()
        if restoration is None:
            own.finish()
        return root
    finally:
        if enabled:
            gc.enable()


# --- one state, for the journal ----------------------------------------------------


def durable_reference(oid: int) -> Any:
    """Stand for the function that finds a durable object by number; never called."""
    raise AssertionError(oid)


_PRELUDE = b"\x80\x05c" + b"tapd.image.pickler\ndurable_reference\n" + b"\x940"
_MEMO = {id(durable_reference): (0, durable_reference)}


class _Sink:
    """A file that keeps what is written; `write` is a list's own method, in C."""

    def __init__(self) -> None:
        self.chunks: list[Any] = []
        self.write = self.chunks.append


class _StatePickler(_Reducer):
    def __init__(self, write_to: Any, oid_of: Callable[[Any], int]) -> None:
        super().__init__(write_to)
        self._oid_of = oid_of
        self._durable: set[type] = set()
        self.path = ""
        self.state: Any = None
        self._local: Any = None

    def reducer_override(self, obj: Any) -> Reduced:
        """Return how `obj` is written; the shortest way is for durable ones."""
        cls = type(obj)
        if cls in self._durable:
            return durable_reference, (self._oid_of(obj),)
        return super().reducer_override(obj)

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
            self._local = paths.local_paths(roots)
        return self.path + str(self._local.get(id(obj), ".<...>"))

    def forget(self) -> None:
        """Make ready for the next state."""
        self._local = self.state = self.last = None
        self.losses = []
        self.banned = {}


class StatePickler:
    """Pickles states of durable objects one by one. Not for several threads."""

    def __init__(self, oid_of: Callable[[Any], int]) -> None:
        """Begin; `oid_of` returns the number of each durable object reached."""
        self._oid_of = oid_of
        self._renew()

    def _renew(self) -> None:
        sink = _Sink()
        self._chunks = sink.chunks
        self._pickler = _StatePickler(sink, self._oid_of)

    def dump_object(self, obj: Any, path: str = "") -> StateDump:
        """Pickle the state of `obj`, with the version of its class where that is not 1."""
        return self.dump_state(versioned(obj, obj.__getstate__()), path)

    def dump_state(self, state: object, path: str = "") -> StateDump:
        """Pickle one state (or a delta).

        Args:
            state: what the object's ``__getstate__`` returned.
            path: names the object in losses.

        Raises:
            NotStorable: what can't be kept could not be told from the rest.
        """
        pickler = self._pickler
        pickler.untracked = False
        pickler.path = path
        pickler.state = state
        try:
            pickler.memo = _MEMO
            pickler.dump(state)
        except Exception as error:
            return self._dump_again(state, path, error)
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        losses: tuple[Loss, ...] = ()
        if pickler.losses:
            losses = tuple(pickler.losses)
            pickler.forget()
        return StateDump(data, losses, pickler.untracked)

    def _dump_again(self, state: Any, path: str, error: Exception) -> StateDump:
        """Find what failed by leaving out, one by one, what was last begun."""
        banned: dict[int, str] = {}
        kept = []
        for _ in range(_RETRIES_MAX):
            last = self._pickler.last
            if isinstance(error, MemoryError) or last is None or id(last) in banned:
                break
            banned[id(last)] = f"{type(error).__name__}: {error}"
            kept.append(last)
            self._renew()
            pickler = self._pickler
            pickler.path, pickler.state, pickler.banned = path, state, banned
            try:
                pickler.memo = _MEMO
                pickler.dump(state)
            except Exception as next_error:  # noqa: PERF203 - each failure bans one object
                error = next_error
            else:
                dump = StateDump(b"".join(self._chunks), tuple(pickler.losses), pickler.untracked)
                self._renew()
                return dump
        self._renew()
        raise NotStorable(f"saving {path or 'a state'}: {error}") from error

    def dump_class(self, cls: type) -> bytes:
        """Pickle a reference to `cls`: its name, or the parts of a class that was typed."""
        return self.dump_state(cls).data


class _StateUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, resolve: Callable[[int], Any]) -> None:
        super().__init__(io.BytesIO(_PRELUDE + data[2:]))
        self._resolve = resolve

    def find_class(self, module_name: str, qualname: str) -> Any:
        if qualname == "durable_reference" and module_name == __name__:
            return self._resolve
        return names.named(module_name, qualname)


class StateLoader:
    """Loads what a `StatePickler` pickled."""

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

    def load_state(self, data: bytes) -> Any:
        """Return one state (or a delta)."""
        with definitions.restoring(self.restoration):
            unpickler = _StateUnpickler(data, self._resolve)
            try:
                return unpickler.load()
            except (UpgradeRefused, MemoryError):
                raise
            except Exception as error:
                _log.warning("loading: %s: %s; reading it piece by piece", type(error), error)
                return Salvager(_PRELUDE + data[2:], unpickler.find_class).load()

    def load_class(self, data: bytes) -> Any:
        """Return the class that `StatePickler.dump_class` or `class_reference` named."""
        return self.load_state(data)

    def restore(self, obj: Any, data: bytes) -> None:
        """Set the state of `obj`; what must be upgraded waits for `finish`."""
        version, state = split_state(self.load_state(data))
        obj.__setstate__(state)
        self.restoration.note(obj, version)

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
