"""Decides, by type, whether a durable object's state needs polling for changes.

Most durable objects hold numbers, texts and other durable objects. They report every change,
and are called *calm*. The types of what they hold are enough to know, at a tenth of the cost of
pickling them.
"""

from __future__ import annotations

import enum
import itertools
import sys
from collections.abc import Collection, Iterable
from typing import Any

from tapd.image.evolution import names
from tapd.image.evolution.versions import OwnState
from tapd.image.pickling.shared_objects import Shared
from tapd.image.reduction.mutability import ATOMS, Kind, is_named, kind_of, parts_of_row
from tapd.image.reduction.parts import durable_state
from tapd.image.reduction.reducer import has_usual_hash
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.persistent import Persistent, Tracked, attributes_of, has_slots, own_dict
from tapd.model.durable.tracked import TrackedDict

_getstate: Any = Persistent.__getstate__


class Origin(enum.Enum):
    """Where the state of a durable object comes from."""

    ATTRIBUTES = "attributes"
    FOREIGN = "foreign"  # a class of the `persistent` package itself
    CONTAINER = "container"  # a tracked container, or a part of a BTree
    AUTHOR = "author"  # the author's ``__getstate__``
    NAMESPACE = "namespace"
    SHARED = "shared"  # a plain object that has a number


class Census:
    """Classifies states by the types of their contents."""

    def __init__(self, numbered: Collection[type] | None = None) -> None:
        """Begin.

        Args:
            numbered: for a graph just loaded: the durable classes whose instances all have
                numbers. Instances of other classes were plain when they were saved, so
                their holders are not calm. None: objects are numbered when they are met.
        """
        self._numbered = numbered
        self._calm: set[type] = set(ATOMS)
        self._origins: dict[type, Origin] = {}
        self._plain_states: set[type] = set()  # classes whose state is their attributes alone

    def origin_of(self, cls: Any) -> Origin:
        """Return where the states of a `cls` come from."""
        origin = self._origins.get(cls)
        if origin is None:
            origin = _origin(cls)
            if names.name_of(cls) is not None:  # don't keep a class typed at a prompt alive
                self._origins[cls] = origin
        return origin

    def is_calm(self, values: Collection[Any]) -> bool:
        """Whether all `values` are data or durable objects, at every level."""
        calm = self._calm
        if calm.issuperset(map(type, values)):
            return True
        for value in values:
            cls = type(value)
            # The common case, a tuple of scalars: on the hot path of each stored message.
            if cls not in calm and not (cls is tuple and calm.issuperset(map(type, value))):
                break
        else:
            return True
        if self._are_rows(values):
            return True
        rows = False
        for cls in set(map(type, values)) - calm:
            kind = kind_of(cls)
            if kind is Kind.ROW or kind is Kind.DEFINITION:
                rows = True
            elif kind is Kind.PLAIN or self._is_stranger(cls, kind):
                return False
            elif names.name_of(cls) is not None:
                calm.add(cls)
        return not rows or self._rows_are_calm(values)

    def _are_rows(self, values: Collection[Any]) -> bool:
        """Whether `values` are data and shallow tuples of data, such as a message's fields."""
        calm = self._calm
        for _level in range(_LEVELS_MAX):
            kinds = set(map(type, values)) - calm
            if not kinds:
                return True
            if kinds != _TUPLE:
                return False
            inner = [value for value in values if type(value) is tuple]
            values = list(itertools.chain.from_iterable(inner))
            if len(values) > _ITEMS_MAX:
                return False
        return False

    def _rows_are_calm(self, values: Collection[Any]) -> bool:
        calm = self._calm
        queue = [value for value in values if type(value) not in calm]
        seen: set[int] = set()
        for value in queue:  # grows meanwhile
            kind = kind_of(type(value))
            if kind is Kind.PLAIN or (kind is Kind.DEFINITION and not is_named(value)):
                return False
            if self._is_stranger(type(value), kind):
                return False
            if kind is not Kind.ROW or id(value) in seen:
                continue
            parts = parts_of_row(value)
            if not calm.issuperset(map(type, parts)):
                seen.add(id(value))
                queue += parts
        return True

    def _is_stranger(self, cls: type, kind: Kind) -> bool:
        """Whether `cls` is durable now, but its instances were saved as plain objects."""
        return kind is Kind.DURABLE and self._numbered is not None and cls not in self._numbered

    def is_calm_state(self, obj: Any, state: Any) -> bool:
        """Whether `state`, just taken from `obj`, is only data, and `obj` reports its changes."""
        cls = type(obj)
        origin = self._origins.get(cls) or self.origin_of(cls)
        if origin is Origin.ATTRIBUTES:
            return (
                type(state) is dict
                and self.is_calm(state.values())
                and sys.getrefcount(own_dict(obj)) < _OWN_REFERENCES
            )
        if origin is Origin.CONTAINER:
            return self.is_calm(_contents_of_container(obj, state))
        if origin is Origin.FOREIGN:
            return type(state) is dict and self.is_calm(state.values())
        return False

    def is_calm_delta(self, cls: type, delta: Any) -> bool:
        """Whether a delta is only data, and its keys are found again at replay."""
        if not issubclass(cls, TrackedDict):
            return self.is_calm(delta)
        items, deleted = delta
        calm = self._calm
        for key, value in items:
            if type(key) not in _SURE and not _is_found(key):
                return False
            if type(value) not in calm and not self.is_calm((value,)):
                return False
        return not deleted or all(type(key) in _SURE or _is_found(key) for key in deleted)

    def is_calm_at_sight(self, obj: Any) -> bool:
        """Whether `obj`, just loaded, is calm. Quick, with false negatives."""
        cls = type(obj)
        if issubclass(cls, TrackedDict):
            return self.is_calm(obj) and self.is_calm(dict.values(obj))
        if issubclass(cls, Tracked):
            return self.is_calm(obj)
        if cls not in self._plain_states:
            origin = self.origin_of(cls)
            if origin is Origin.CONTAINER:
                return self.is_calm(_contents_of_container(obj, obj.__getstate__()))
            if origin not in (Origin.ATTRIBUTES, Origin.FOREIGN) or has_slots(cls):
                return False
            self._plain_states.add(cls)
        return self.is_calm((attributes_of(obj) or {}).values())

    def may_change_untold(self, obj: Any) -> bool:
        """Whether `obj` may change without a report, though it holds no plain object."""
        origin = self.origin_of(type(obj))
        if origin in (Origin.CONTAINER, Origin.FOREIGN):
            return False
        if origin is Origin.SHARED:
            return True
        if origin is Origin.NAMESPACE:
            return is_held_elsewhere(obj.names)
        if origin is Origin.AUTHOR and _contents_by_author(obj, durable_state(obj)) is None:
            return True
        return is_held_elsewhere(attributes_of(obj))

    def roots_of(self, obj: Any) -> Iterable[Any] | None:
        """Return all objects that may change the state of `obj`; None if anything may."""
        origin = self.origin_of(type(obj))
        if origin is Origin.NAMESPACE:
            return (obj.names,)
        if origin is Origin.SHARED:
            return (obj.it,)
        state = durable_state(obj)
        if type(state) is OwnState:  # its author's method may read anything
            return None
        if origin is Origin.CONTAINER:
            return _contents_of_container(obj, state)
        if origin is Origin.AUTHOR:
            contents = _contents_by_author(obj, state)
        elif type(state) is tuple:
            contents = [value for each in state for value in (each or {}).values()]
        else:
            contents = (state or {}).values()
        # Don't bind the attributes to a name here: it would raise the reference count.
        if (
            contents is not None
            and origin is not Origin.FOREIGN
            and is_held_elsewhere(attributes_of(obj))
        ):
            return [attributes_of(obj), *contents]
        return contents


_TUPLE = {tuple}
_LEVELS_MAX = 5
_ITEMS_MAX = 10_000
_SURE = frozenset({str, int, bytes, bool, type(None)})


def _is_found(key: Any) -> bool:
    """Whether a key equal to `key`, made at replay, finds the same entry."""
    cls = type(key)
    if cls is tuple or cls is frozenset:
        return all(map(_is_found, key))
    kind = kind_of(cls)
    if kind is Kind.DURABLE:
        return has_usual_hash(cls)
    if kind is not Kind.VALUE:
        return False
    return bool(key == key)  # noqa: PLR0124 - NaN is found only by identity


def _contents_of_container(obj: Any, state: Any) -> Collection[Any]:
    """Return everything directly in the state of a container."""
    if type(state) is dict:
        return [*state, *state.values()] if issubclass(type(obj), TrackedDict) else state.values()
    if type(state) is tuple and state and type(state[0]) is tuple:  # of a BTree or its bucket
        return [part for each in state for part in (each if type(each) is tuple else (each,))]
    if type(state) is tuple:  # of a deque
        return [part for each in state for part in (each if type(each) is list else (each,))]
    if type(state) is list:
        return state
    return (state,)


def _contents_by_author(obj: Any, state: Any) -> Collection[Any] | None:
    """Return the contents of a state by an author's ``__getstate__``; None if they are unknown.

    The usual method returns the attributes without what can't be saved, or a single attribute.
    Any other may read objects that don't report changes.
    """
    attributes = attributes_of(obj) or {}
    if any(value is state for value in attributes.values()):
        return (state,)
    missing = object()
    if type(state) is dict and all(
        attributes.get(name, missing) is value for name, value in state.items()
    ):
        return state.values()
    return None


def is_held_elsewhere(attributes: dict[str, Any] | None) -> bool:
    """Whether an object's dict has a reference besides those of the object and the caller."""
    return sys.getrefcount(attributes) > _OWN_REFERENCES


class _Probe(Persistent):
    pass


def _own_references() -> int:
    probe = _Probe()
    probe.value = 1

    def count(attributes: dict[str, Any] | None) -> int:
        return sys.getrefcount(attributes)

    return count(attributes_of(probe))


_OWN_REFERENCES = _own_references()


def _origin(cls: Any) -> Origin:
    if issubclass(cls, Tracked) or cls.__module__.startswith("BTrees."):
        return Origin.CONTAINER
    if issubclass(cls, Namespace):
        return Origin.NAMESPACE
    if cls is Shared:
        return Origin.SHARED
    if cls.__getstate__ is _getstate:
        return Origin.ATTRIBUTES if issubclass(cls, Persistent) else Origin.FOREIGN
    return Origin.AUTHOR
