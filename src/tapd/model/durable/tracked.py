"""Tracked containers: a list, dict, set, bytearray and deque that report changes to a jar.

Plain containers inside a durable object can't report changes. So at each commit the jar
replaces the ones that it finds (`list`, `dict`, `set`, `collections.deque`) with the
classes below, unless another reference to one exists. Authors write ``self.lines = []``
and need not know. A `bytearray` stays as it is: its memory can be written through a
buffer (`memoryview`, `struct.pack_into`) without any report, so the object that holds it
is polled in each turn.

A dict of a million entries must not be written again for one new key. So the dict, the
list and the deque also keep a *delta* while keys are only set or deleted, or items only
appended. ``_p_delta`` is None when the whole state must be written; otherwise it
describes the changes since the last commit. The jar gets it by `begin_delta` and
`delta_since`; `apply_delta` replays it.

Code of a signal handler or a ``__del__`` may run between any two steps here and change
the same container; or Ctrl-C ends the method there. So a change is noted in this order:
the delta, the report, ``_p_changed``; and a delta only ever grows.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import Any, Self, SupportsIndex, TypeVar

from tapd.model.durable.persistent import Tracked

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


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
        report(self)  # `__init__` may be called again
        super().__init__(items)

    def append(self, item: T, /) -> None:
        """Append `item`, reporting first (written out, since it is the most used)."""
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
        """Return the appended items, if nothing else changed."""
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

        The delta maps each touched key to whether it was new or deleted, in the
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
        """Return the items to set and the keys to delete first, if few keys were touched."""
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
        """Return the appended items, if nothing else changed."""
        if begin >= len(self):
            return None
        items = [self[index] for index in range(-begin, 0)]
        return None if self._p_changed else items  # changed again: the places have moved

    def apply_delta(self, delta: list[T]) -> None:
        """Append `delta`; a bounded deque drops items at its left, as before."""
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
"""The tracked class for each plain container (exact types)."""
