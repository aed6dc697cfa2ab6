"""Durable objects: what a TAP and the journal can restore.

Imports only `errors` and the `persistent` package. It is long, since each TAP names these
classes by this module. An object that derives from
`Persistent` reports its first attribute write of a turn to its *jar* (see
`image.tracking.jar`), in C, for some 80 ns. Plain containers inside a durable object
can't report anything, so at each commit the jar replaces those that it finds
(`list`, `dict`, `set`, `collections.deque`) with the tracked
classes below, unless somebody else refers to one as well; authors write
``self.lines = []`` and need not know. A `bytearray` stays what it is: its memory
can be written through a buffer (`memoryview`, `struct.pack_into`), of which it
learns nothing, so its holder is looked at in each turn.

The attributes ``_p_jar``, ``_p_oid`` and ``_p_changed`` mean the same on every
durable object, as in ZODB: the jar that it reports to (None while it is free),
its number within the application, and whether it was reported since the last
commit. Attributes whose names start with ``_v_`` are volatile: never saved,
and writing them reports nothing.

A dict of a million entries must not be written again for one new key, so the
dict, the list and the deque also keep a *delta* while only keys are set or
deleted, or only items are appended: ``_p_delta`` is None where the whole state
is due, and else says what changed since the last commit. `begin_delta` and
`delta_since` give it to the jar, `apply_delta` replays it.

Code may run between any two steps here, of a signal's handler or a ``__del__``, and may
change the very same container; or Ctrl-C ends the method there. So a change is noted
in this order: the delta, the report, ``_p_changed``; and a delta only ever grows.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import types
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol, Self, SupportsIndex, TypeVar

import persistent

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class Jar(Protocol):
    """What a durable object needs of the jar that it belongs to."""

    def register(self, obj: Any) -> None:
        """Note that `obj` changes now for the first time since the last commit."""


class _Attributes(persistent.Persistent):  # type: ignore[misc]  # untyped in its package
    """Has the ``__dict__`` of durable objects, which `Persistent` hands out.

    And, out of sight of whoever looks at that, what the jar knows of an object that holds
    plain ones.
    """

    __slots__ = ("__dict__", "__weakref__", "_p_watched")


# `persistent` looks through the slots that are named there at each ``__getstate__``.
type.__delattr__(_Attributes, "__slots__")

_own_dict: Any = _Attributes.__dict__["__dict__"]
_setstate: Any = persistent.Persistent.__setstate__
_set_attribute: Any = persistent.Persistent.__setattr__
own_dict: Callable[[Any], dict[str, Any]] = _own_dict.__get__
"""Return the ``__dict__`` of a `Persistent` without reporting; for reading only."""


def set_mark(obj: Any, name: str, value: Any) -> None:
    """Set one of the ``_p_`` attributes of a durable object, past its author's ``__setattr__``."""
    if issubclass(type(obj), persistent.Persistent):
        _set_attribute(obj, name, value)
    else:
        object.__setattr__(obj, name, value)


def forget_state(obj: Any) -> None:
    """Make a durable object as bare as it was when it was made, apart from its marks."""
    cls = type(obj)
    if not issubclass(cls, Persistent):
        return  # the ``__setstate__`` of a container replaces all of it
    if cls.__setstate__ is not _setstate:  # which replaces all attributes
        attributes = own_dict(obj)
        for name in [name for name in attributes if not name.startswith("_v_")]:
            del attributes[name]
    for member in _slots_of(cls):  # type: ignore[arg-type]  # a class can be hashed
        with contextlib.suppress(AttributeError):
            member.__delete__(obj)


def has_slots(cls: Any) -> bool:
    """Whether a durable `cls` has attributes beside those in its ``__dict__``."""
    return bool(_slots_of(cls))


@functools.lru_cache(maxsize=256)
def _slots_of(cls: Any) -> tuple[Any, ...]:
    return tuple(
        member
        for base in cls.__mro__
        for member in base.__dict__.values()
        if type(member) is types.MemberDescriptorType and member.__name__ != "_p_watched"
    )


def has_usual_setattr(cls: Any) -> bool:
    """Whether an assignment to an attribute of a `cls` runs no code of its author."""
    return cls.__setattr__ in (_set_attribute, object.__setattr__)


def attributes_of(obj: Any) -> dict[str, Any] | None:
    """Return the ``__dict__`` of any durable object, for reading only; None where it has none."""
    if issubclass(type(obj), Persistent):
        return own_dict(obj)
    return getattr(obj, "__dict__", None)


class Persistent(_Attributes):
    """Base of durable objects; attribute writes are tracked.

    Whoever asks for ``__dict__`` (or `vars`) may write to it, so that counts as a
    change; while somebody keeps it, the jar looks at the object in each turn.

    Attributes:
        persistence_version: the version of the state's layout. When a class
            raises it to N it adds ``upgrade_to_version_N(self)``, which is
            called for state that was saved below N.
    """

    persistence_version: ClassVar[int] = 1
    _p_convert: ClassVar[bool] = True  # whether its plain containers may become tracked ones

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Have a class by attrs save and take its state as any other does.

        The methods that attrs generates for classes with slots leave out what is in no
        slot, and set attributes in a way that durable objects refuse.
        """
        super().__init_subclass__(**kwargs)
        for name in ("__getstate__", "__setstate__"):
            code = getattr(vars(cls).get(name), "__code__", None)
            if code is not None and code.co_name == f"slots_{name.strip('_')}":
                type.__delattr__(cls, name)

    @property
    def __dict__(self) -> dict[str, Any]:
        if self._p_jar is not None:
            _set_attribute(self, "_p_changed", True)
        return own_dict(self)

    @__dict__.setter
    def __dict__(self, attributes: dict[str, Any]) -> None:
        if self._p_jar is not None:
            _set_attribute(self, "_p_changed", True)
        _own_dict.__set__(self, attributes)

    def __repr__(self) -> str:
        cls = type(self)
        number = f"at {id(self):#x}" if self._p_oid is None else str(self._p_oid)
        return f"<{cls.__module__}.{cls.__qualname__} object {number}>"


class Tracked:
    """Base of the tracked containers; not for use by itself."""

    __slots__ = ()
    _p_jar: Jar | None
    _p_oid: int | None
    _p_changed: bool
    _p_delta: Any
    _p_watched: Any  # what the jar knows of one that holds plain objects

    def begin_delta(self) -> Any:
        """Count it as unchanged; return where its delta begins, None where all of it is due.

        In this order: code that runs in between (a signal's handler, a ``__del__``) reports what
        it changes, and that is of the next delta.
        """
        begin = self._p_delta
        self._p_changed = False  # type: ignore[misc]  # a slot of each subclass
        return None if self._p_delta is None else begin

    def delta_since(self, begin: Any) -> Any:
        """Return what changed from `begin` up to `begin_delta`, or None where all of it is due."""
        return None

    def apply_delta(self, delta: Any) -> None:
        """Change the contents by what `take_delta` returned elsewhere."""
        raise NotImplementedError

    def __copy__(self) -> Any:
        return type(self)(self)  # type: ignore[call-arg]  # a container's own constructor

    def __getstate__(self) -> Any:
        raise NotImplementedError

    def __setstate__(self, state: Any) -> None:
        raise NotImplementedError


def report(container: Any) -> None:
    """Have all of a tracked container written, since it is about to change."""
    container._p_delta = None
    if not container._p_changed:
        container._p_jar.register(container)
        container._p_changed = True


def _reporting(base: type, *names: str) -> dict[str, Callable[..., Any]]:
    """Wrap the methods `names` of `base` so that each reports before it changes."""

    def wrap(name: str) -> Callable[..., Any]:
        plain = getattr(base, name)

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            report(self)
            return plain(self, *args, **kwargs)

        method.__name__ = name
        method.__qualname__ = f"Tracked.{name}"
        method.__doc__ = plain.__doc__
        return method

    return {name: wrap(name) for name in names}


def _install(cls: type, base: type, *names: str) -> None:
    for name, method in _reporting(base, *names).items():
        setattr(cls, name, method)


_SLOTS = ("_p_changed", "_p_delta", "_p_jar", "_p_oid", "_p_watched")


class TrackedList(list[T], Tracked):
    """A `list` that reports its changes."""

    __slots__ = (*_SLOTS, "__weakref__")

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._p_jar = None
        self._p_oid = None
        self._p_changed = True
        self._p_delta = None
        self._p_watched = None
        return self

    def __init__(self, items: Iterable[T] = (), /) -> None:
        report(self)  # it may be called again
        super().__init__(items)

    def append(self, item: T, /) -> None:
        """Append `item`, reporting first (written out: the most used of all)."""
        if not self._p_changed:
            self._p_delta = len(self)
            self._p_jar.register(self)  # type: ignore[union-attr]  # attached when unchanged
            self._p_changed = True
        list.append(self, item)

    def extend(self, items: Iterable[T], /) -> None:
        """Append all `items`, reporting first."""
        if not self._p_changed:
            self._p_delta = len(self)
            self._p_jar.register(self)  # type: ignore[union-attr]  # attached when unchanged
            self._p_changed = True
        list.extend(self, items)

    def delta_since(self, begin: int) -> list[T] | None:
        """Return the items appended, where nothing else was done."""
        items = self[begin:]
        has_more = self._p_changed
        end = self._p_delta
        if end is None:
            return None
        return items[: end - begin] if has_more else items

    def apply_delta(self, delta: list[T]) -> None:
        """Append `delta`."""
        list.extend(self, delta)

    def __getstate__(self) -> list[T]:
        return list(self)

    def __setstate__(self, state: list[T]) -> None:
        list.__setitem__(self, slice(None), state)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return type(self), (), None, iter(self)


_install(
    TrackedList, list,
    "__delitem__", "__iadd__", "__imul__", "__setitem__", "clear",
    "insert", "pop", "remove", "reverse", "sort",
)  # fmt: skip


class TrackedDict(dict[K, V], Tracked):
    """A `dict` that reports its changes."""

    __slots__ = (*_SLOTS, "__weakref__")

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._p_jar = None
        self._p_oid = None
        self._p_changed = True
        self._p_delta = None
        self._p_watched = None
        return self

    def _changing(self, key: K, *, moves: bool) -> None:
        """Report, and note that `key` is set or deleted.

        The delta maps each key touched to whether it was new or deleted, in the
        order in which a replay has to set them: a dict's order is state, too.
        """
        if not self._p_changed:
            fresh: dict[K, bool] = {}
            if not self._p_changed:  # by a ``__del__``, as the collector may have run just now
                self._p_delta = fresh
                self._p_jar.register(self)  # type: ignore[union-attr]  # attached when unchanged
                self._p_changed = True
        touched = self._p_delta
        if touched is not None:
            if moves:
                touched.pop(key, None)
                touched[key] = True
            else:
                touched.setdefault(key, False)

    def __setitem__(self, key: K, value: V, /) -> None:
        self._changing(key, moves=key not in self)
        dict.__setitem__(self, key, value)

    def __delitem__(self, key: K, /) -> None:
        if key in self:
            self._changing(key, moves=True)
        dict.__delitem__(self, key)

    def pop(self, key: K, *default: Any) -> Any:
        """Remove `key` and return its value, or the default where it is missing."""
        if self and key in self:  # an empty dict asks for no hash
            self._changing(key, moves=True)
        return dict.pop(self, key, *default)

    def setdefault(self, key: K, default: V = None, /) -> V:  # type: ignore[assignment]
        """Return the value of `key`, setting it to `default` first where it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def delta_since(self, begin: dict[K, bool]) -> tuple[list[tuple[K, V]], list[K]] | None:
        """Return the items set and the keys to delete first, where few keys were touched."""
        items = [(key, self[key]) for key in begin if key in self]
        return items, [key for key, moves in begin.items() if moves]

    def apply_delta(self, delta: tuple[list[tuple[K, V]], list[K]]) -> None:
        """Delete and set what `delta` says."""
        items, deleted = delta
        for key in deleted:
            dict.pop(self, key, None)
        dict.update(self, items)

    def __getstate__(self) -> dict[K, V]:
        return dict(self)

    def __setstate__(self, state: dict[K, V]) -> None:
        dict.clear(self)
        dict.update(self, state)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return type(self), (), None, None, iter(self.items())


_install(TrackedDict, dict, "__init__", "__ior__", "clear", "popitem", "update")


class TrackedSet(set[T], Tracked):
    """A `set` that reports its changes."""

    __slots__ = _SLOTS

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._p_jar = None
        self._p_oid = None
        self._p_changed = True
        self._p_delta = None
        self._p_watched = None
        return self

    def __getstate__(self) -> list[T]:
        return list(self)

    def __setstate__(self, state: Iterable[T]) -> None:
        set.clear(self)
        set.update(self, state)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return type(self), (list(self),)


_install(
    TrackedSet, set,
    "__iand__", "__init__", "__ior__", "__isub__", "__ixor__", "add", "clear", "difference_update",
    "discard", "intersection_update", "pop", "remove", "symmetric_difference_update", "update",
)  # fmt: skip


class TrackedBytearray(bytearray, Tracked):
    """A `bytearray` that reports its changes."""

    __slots__ = (*_SLOTS, "__weakref__")

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._p_jar = None
        self._p_oid = None
        self._p_changed = True
        self._p_delta = None
        self._p_watched = None
        return self

    def __getstate__(self) -> bytes:
        return bytes(self)

    def __setstate__(self, state: bytes) -> None:
        bytearray.__setitem__(self, slice(None), state)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return type(self), (bytes(self),)


_install(
    TrackedBytearray, bytearray,
    "__delitem__", "__iadd__", "__imul__", "__init__", "__setitem__", "append", "clear", "extend",
    "insert", "pop", "remove", "reverse",
)  # fmt: skip


class TrackedDeque(collections.deque[T], Tracked):
    """A `collections.deque` that reports its changes."""

    __slots__ = _SLOTS

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._p_jar = None
        self._p_oid = None
        self._p_changed = True
        self._p_delta = None
        self._p_watched = None
        return self

    def __copy__(self) -> TrackedDeque[T]:
        return type(self)(self, self.maxlen)

    def append(self, item: T, /) -> None:
        """Append `item`, reporting first; the delta counts the items appended."""
        if not self._p_changed:
            self._p_delta = 0
            self._p_jar.register(self)  # type: ignore[union-attr]  # attached when unchanged
            self._p_changed = True
        if self._p_delta is not None:
            self._p_delta += 1
        collections.deque.append(self, item)

    def delta_since(self, begin: int) -> list[T] | None:
        """Return the items appended, where nothing else was done."""
        if begin >= len(self):
            return None
        items = [self[index] for index in range(-begin, 0)]
        return None if self._p_changed else items  # changed again: the places have moved

    def apply_delta(self, delta: list[T]) -> None:
        """Append `delta`; a bounded deque drops from its left, as it did."""
        collections.deque.extend(self, delta)

    def __getstate__(self) -> tuple[list[T], int | None]:
        return list(self), self.maxlen

    def __setstate__(self, state: tuple[list[T], int | None]) -> None:
        items, maxlen = state
        collections.deque.__init__(self, items, maxlen)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return type(self), ((), self.maxlen), None, iter(self)


_install(
    TrackedDeque, collections.deque,
    "__delitem__", "__iadd__", "__imul__", "__init__", "__setitem__", "appendleft", "clear",
    "extend", "extendleft", "insert", "pop", "popleft", "remove", "reverse", "rotate",
)  # fmt: skip


PLAIN_TO_TRACKED: dict[type, type] = {
    list: TrackedList,
    dict: TrackedDict,
    set: TrackedSet,
    collections.deque: TrackedDeque,
}
"""The tracked class that stands in for each plain container (exact types)."""


def is_durable_type(cls: type) -> bool:
    """Whether instances of `cls` have an identity of their own in the journal."""
    return issubclass(cls, persistent.Persistent | Tracked)
