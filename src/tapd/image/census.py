"""Which durable objects must be looked into when a graph was loaded, by the types they hold.

Imports `model` only. Looking into an object means to pickle its state, some
microseconds each: too long a start for a million. Most hold nothing but plain
values and other durable objects, and the types of what they hold show it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from tapd.model.persistent import (
    Persistent,
    TrackedBytearray,
    TrackedDeque,
    TrackedDict,
    TrackedList,
    TrackedSet,
    is_durable_type,
)


class Census:
    """Tells the objects whose state is only data from those that must be looked into.

    Most states hold numbers, texts and other durable objects: there is nothing in
    them to convert or to watch, and looking at the types of the values tells it.
    """

    def __init__(self) -> None:
        self._calm: set[type] = {int, str, bytes, float, bool, complex, type(None)}
        self._contents: dict[type, Callable[[Any], Iterable[Any]] | None] = {}

    def needs_look(self, obj: Any) -> bool:
        """Whether the state of `obj` may hold what must be converted or watched."""
        cls = type(obj)
        try:
            contents = self._contents[cls]
        except KeyError:
            contents = self._contents[cls] = contents_of(cls)
        if contents is None:
            return True
        calm = self._calm
        types = set(map(type, contents(obj)))
        if types <= calm:
            return False
        types -= calm
        durable = {each for each in types if is_durable_type(each)}
        calm |= durable
        return types != durable


def contents_of(cls: type) -> Callable[[Any], Iterable[Any]] | None:
    """Return what gives all values in the state of a `cls`; None where that can't be told."""
    if cls is TrackedDict:
        return _items_of
    if cls in (TrackedList, TrackedDeque, TrackedSet, TrackedBytearray):
        return iter
    own: Any = cls
    if own.__getstate__ is Persistent.__getstate__ and getattr(own, "_p_convert", True):
        has_slots = any(base.__dict__.get("__slots__") for base in cls.__mro__)
        return None if has_slots else _attributes_of
    if cls.__module__.startswith("BTrees."):
        return _entries_of
    return None


def _items_of(obj: Any) -> Iterable[Any]:
    return itertools.chain(obj, dict.values(obj))


def _attributes_of(obj: Any) -> Iterable[Any]:
    return obj.__dict__.values()  # type: ignore[no-any-return]  # of any durable object


def _entries_of(obj: Any) -> Iterable[Any]:
    """Return the parts of a BTree's or bucket's state; some hold tuples, and are looked into."""
    state = obj.__getstate__()
    return state[0] if type(state) is tuple and type(state[0]) is tuple else (state,)
