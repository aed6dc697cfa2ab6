"""Replaces plain containers in durable objects by tracked ones, which report their changes.

Replacing a container is right only if every reference to it is known and replaced too. Another
holder (a plain object, a bound ``append``, a local variable of a coroutine) would go on with
the old container. The reference count decides: a container with another holder stays plain, and
the durable object that holds it is watched.
"""

from __future__ import annotations

import collections
import itertools
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tapd.image.reduction.mutability import ATOMS
from tapd.model.durable.persistent import Persistent, Tracked, attributes_of, own_dict
from tapd.model.durable.tracked import PLAIN_TO_TRACKED

_PLAIN = frozenset(PLAIN_TO_TRACKED)
_CAN_BE_REFERRED_TO = frozenset({set, collections.deque})
Replace = Callable[[Any], None]


class _Found:
    """A plain container, and all places that refer to it."""

    __slots__ = ("parents", "places", "references", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.references = 0
        self.places: list[Replace] = []  # in durable objects
        self.parents: list[int] = []  # ids of the plain containers that hold it


def convert(objects: Iterable[Any]) -> set[int]:
    """Replace the plain containers in the durable `objects` that have no other holder.

    A container that is in several places, or inside of other replaced ones, stays one object.
    Returns the numbers (``_p_oid``) of the objects that changed.
    """
    found: dict[int, _Found] = {}
    changed: dict[int, list[Any]] = {}
    numbers: set[int] = set()
    for obj in objects:
        if not getattr(obj, "_p_convert", True):
            continue
        if convert_simple(obj):
            numbers.add(obj._p_oid)
        for value, replace in _places(obj):
            each = found.get(id(value))
            if each is None:
                each = found[id(value)] = _Found(value)
            each.references += 1
            each.places.append(replace)
            changed.setdefault(id(value), []).append(obj)
            # A local name would count as another holder in `_choose`.
            del each
        value = None
    if not found:
        return numbers
    _walk(found)
    chosen = _choose(found)
    made = {key: _make(found[key].value) for key in chosen}
    for key in chosen:
        _fill(found[key].value, made[key], made)
    for key in chosen:
        for replace in found[key].places:
            replace(made[key])
    numbers.update(obj._p_oid for key in chosen for obj in changed.get(key, ()))
    return numbers


def convert_simple(obj: Any) -> bool:
    """Replace containers in attributes of `obj` that hold no containers and have one reference.

    The common case, decided by one look at each. Returns whether any was replaced.
    """
    if not issubclass(type(obj), Persistent) or not obj._p_convert:
        return False
    attributes = own_dict(obj)
    if _PLAIN.isdisjoint(map(type, attributes.values())):
        return False
    names = [name for name in attributes if _is_simple(attributes, name)]
    for name in names:
        made = _make(attributes[name])
        _fill(attributes[name], made, {})
        attributes[name] = made
    return bool(names)


def _is_simple(attributes: dict[str, Any], name: str) -> bool:
    cls = type(attributes[name])
    return (
        cls in _PLAIN
        and sys.getrefcount(attributes[name]) == _IN_ONE_PLACE
        and _PLAIN.isdisjoint(
            map(type, attributes[name].values() if cls is dict else attributes[name])
        )
        and not name.startswith("_v_")
        and not (cls in _CAN_BE_REFERRED_TO and weakref.getweakrefcount(attributes[name]))
    )


def _references_in_one_place() -> int:
    attributes = {"it": list[int]()}
    return sys.getrefcount(attributes["it"])


_IN_ONE_PLACE = _references_in_one_place()


def _walk(found: dict[int, _Found]) -> None:
    """Find the plain containers inside of those found, at any depth."""
    queue = list(found)
    for key in queue:  # grows meanwhile
        value = found[key].value
        items: Iterable[Any] = value.values() if type(value) is dict else value
        if _PLAIN.isdisjoint(map(type, items)):
            continue
        for item in items:
            if type(item) in _PLAIN:
                each = found.get(id(item))
                if each is None:
                    each = found[id(item)] = _Found(item)
                    queue.append(id(item))
                each.references += 1
                each.parents.append(key)


def _choose(found: dict[int, _Found]) -> list[int]:
    """Return the containers that may be replaced: all their holders are known."""
    refused = [
        key
        for key, each in found.items()
        if _references(each) != each.references + _BASELINE
        or (type(each.value) in _CAN_BE_REFERRED_TO and weakref.getweakrefcount(each.value))
        or (type(each.value) is dict and not all(map(_is_sure_key, each.value)))
    ]
    # A container inside of one that stays plain must stay plain too: its holder keeps the old
    # reference.
    children: dict[int, list[int]] = collections.defaultdict(list)
    for key, each in found.items():
        for parent in each.parents:
            children[parent].append(key)
    refused_keys = set(refused)
    for key in refused:  # grows meanwhile
        for child in children[key]:
            if child not in refused_keys:
                refused_keys.add(child)
                refused.append(child)
    return [key for key in found if key not in refused_keys]


def _is_sure_key(key: Any) -> bool:
    """Whether hashing `key` runs no code of an author, which could raise."""
    cls: Any = type(key)
    if cls is tuple or cls is frozenset:
        return all(map(_is_sure_key, key))
    return cls in ATOMS or cls.__hash__ is object.__hash__


def _references(found: _Found) -> int:
    return sys.getrefcount(found.value)


_BASELINE = _references(_Found([]))


def _make(value: Any) -> Any:
    cls = type(value)
    if cls is collections.deque:
        return PLAIN_TO_TRACKED[cls]((), value.maxlen)
    return PLAIN_TO_TRACKED[cls]()


def _fill(value: Any, made: Any, others: dict[int, Any]) -> None:
    """Copy the contents of the plain container into the tracked one."""
    cls = type(value)
    if cls is dict:
        if _PLAIN.isdisjoint(map(type, value.values())):
            dict.update(made, value)
        else:
            for key, item in value.items():
                dict.__setitem__(made, key, others.get(id(item), item))
    elif cls is set:
        set.update(made, value)
    else:
        base: Any = cls
        if _PLAIN.isdisjoint(map(type, value)):
            base.extend(made, value)
        else:
            base.extend(made, [others.get(id(item), item) for item in value])


def _places(obj: Any) -> Iterator[tuple[Any, Replace]]:
    """Yield each plain container directly in the durable `obj`, with its replacer."""
    if issubclass(type(obj), Tracked):
        yield from _places_in_container(obj)
        return
    attributes = attributes_of(obj)
    if attributes is not None:
        if _PLAIN.isdisjoint(map(type, attributes.values())):
            return
        names = [
            name
            for name, value in attributes.items()
            if type(value) in _PLAIN and not name.startswith("_v_")
        ]
        for name in names:
            yield attributes[name], _set_item(dict, attributes, name)
    elif hasattr(obj, "items") and not _is_inner_node(obj):
        keys = [key for key, value in obj.items() if type(value) in _PLAIN]
        for key in keys:
            yield obj[key], _set_entry(obj, key)


def _places_in_container(obj: Any) -> Iterator[tuple[Any, Replace]]:
    """Yield those in a tracked container; with a delta, only among the new items."""
    if isinstance(obj, dict):
        touched = obj if obj._p_delta is None else obj._p_delta  # type: ignore[attr-defined]
        for key in [key for key in touched if _is_sure_key(key) and type(obj.get(key)) in _PLAIN]:
            yield obj[key], _set_item(dict, obj, key)
    elif isinstance(obj, list):
        yield from _places_in_sequence(obj, list, obj._p_delta or 0)  # type: ignore[attr-defined]
    elif isinstance(obj, collections.deque):
        appended = obj._p_delta  # type: ignore[attr-defined]
        start = 0 if appended is None or appended > len(obj) else len(obj) - appended
        yield from _places_in_sequence(obj, collections.deque, start)


def _places_in_sequence(obj: Any, base: Any, start: int) -> Iterator[tuple[Any, Replace]]:
    for index, value in enumerate(itertools.islice(obj, start, None), start):
        if type(value) in _PLAIN:
            yield value, _set_item(base, obj, index)


def _set_item(base: Any, holder: Any, key: Any) -> Replace:
    return lambda made: base.__setitem__(holder, key, made)


def _set_entry(holder: Any, key: Any) -> Replace:
    def replace(made: Any) -> None:
        holder[key] = made

    return replace


def _is_inner_node(obj: Any) -> bool:
    """Whether `obj` is a BTree node whose items are in separate buckets."""
    return hasattr(obj, "_firstbucket") and len(obj.__getstate__() or ()) > 1
