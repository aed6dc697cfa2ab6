"""Cheap check whether a watched object's contents are unchanged, without pickling them again.

A plain instance does not report its changes, so the durable object that holds it is polled
every turn. Pickling costs about 5 us an instance. A fingerprint remembers the contents of all
instances and containers, and a loop in C compares identities: a tenth of the cost.

A fingerprint never gives a false "unchanged". It covers only objects that can be seen
completely, and holds references to their contents, so that an id can't be reused.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection, Iterable
from typing import Any

from tapd.image.evolution import names
from tapd.image.reduction.mutability import Kind, is_named, kind_of, parts_of_row
from tapd.image.reduction.reducer import is_plain_type
from tapd.image.tracking.contents import Look, look_of

_dict_of = operator.attrgetter("__dict__")


class Fingerprint:
    """The contents of a set of plain objects at one moment."""

    __slots__ = (
        "_buffers", "_bytes", "_dicts", "_instances", "_keys", "_lists", "_looks", "_others",
        "_seen", "_sizes", "_types", "_values",
    )  # fmt: skip

    def __init__(
        self,
        instances: list[Any],
        dicts: list[Any],
        lists: list[Any],
        others: list[tuple[Look, Any]],
        buffers: list[bytearray],
    ) -> None:
        """Take the contents now.

        Args:
            instances: of plain importable classes.
            dicts: plain dicts.
            lists: lists and sets.
            others: objects that need a look of their own, with that look.
            buffers: bytearrays.
        """
        self._instances = instances
        self._dicts = dicts
        self._lists = lists
        self._looks = [look for look, _obj in others]
        self._others = [obj for _look, obj in others]
        self._types = list(self._types_now())
        self._buffers = buffers
        self._sizes = self._sizes_now()
        self._keys = list(self._keys_now())
        self._values = list(self._values_now())
        self._seen = [list(look(obj)) for look, obj in others]
        self._bytes = list(map(bytes, buffers))

    def _types_now(self) -> Iterable[type]:
        return map(type, itertools.chain(self._instances, self._others))

    def _sizes_now(self) -> list[int]:
        own = map(_dict_of, self._instances)
        return list(map(len, itertools.chain(own, self._dicts, self._lists)))

    def _keys_now(self) -> Iterable[Any]:
        own = map(_dict_of, self._instances)
        return itertools.chain.from_iterable(itertools.chain(own, self._dicts, self._lists))

    def _values_now(self) -> Iterable[Any]:
        own = map(_dict_of, self._instances)
        return itertools.chain.from_iterable(map(dict.values, itertools.chain(own, self._dicts)))

    def holds(self) -> bool:
        """Whether nothing has changed."""
        return (
            all(map(operator.is_, self._types_now(), self._types))
            and self._sizes_now() == self._sizes
            and all(map(operator.is_, self._keys_now(), self._keys))
            and all(map(operator.is_, self._values_now(), self._values))
            and self._buffers == self._bytes
            and (not self._others or all(map(_is_same, self._looks, self._others, self._seen)))
        )


def _is_same(look: Look, obj: Any, seen: list[Any]) -> bool:
    now = list(look(obj))
    return len(now) == len(seen) and all(map(operator.is_, now, seen))


class _Unknown(Exception):
    """An object was met that can't be seen completely."""


class FingerprintTaker:
    """Takes fingerprints; classifies each class once."""

    def __init__(self) -> None:
        self._ways: dict[type, tuple[str, Look | None]] = {}

    def take(
        self, roots: Iterable[Any], ends: Collection[int] = (), own: Any = None
    ) -> Fingerprint | None:
        """Return the fingerprint of everything under `roots`; None if some of it can't be seen.

        Durable objects are skipped: they report their changes.

        Args:
            roots: where to begin.
            ends: ids of objects not to descend into.
            own: the one object of `ends` to descend into all the same.
        """
        try:
            return self._walk(list(roots), ends, own)
        except _Unknown:
            return None

    def _walk(self, queue: list[Any], ends: Collection[int], own: Any) -> Fingerprint:
        instances: list[Any] = []
        dicts: list[Any] = []
        lists: list[Any] = []
        others: list[tuple[Look, Any]] = []
        buffers: list[bytearray] = []
        seen: set[int] = set()
        # A list that grows while it is iterated: breadth first, and no recursion limit.
        for value in queue:  # grows meanwhile
            way, look = self._way(type(value))
            if way == "end" or id(value) in seen:
                continue
            seen.add(id(value))
            if id(value) in ends and value is not own:
                continue
            if way == "instance":
                instances.append(value)
                queue.extend(_dict_of(value).values())
            elif way == "dict":
                dicts.append(value)
                queue.extend(value)
                queue.extend(value.values())
            elif way == "list":
                lists.append(value)
                queue.extend(value)
            elif way == "row":
                queue.extend(parts_of_row(value))
            elif way == "buffer":
                buffers.append(value)
            elif look is not None:
                if way == "definition" and is_named(value):
                    continue
                others.append((look, value))
                queue.extend(look(value))
            else:
                raise _Unknown
        return Fingerprint(instances, dicts, lists, others, buffers)

    def _way(self, cls: type) -> tuple[str, Look | None]:
        way = self._ways.get(cls)
        if way is None:
            way = _decide(cls)
            if names.name_of(cls) is not None:  # don't keep a class typed at a prompt alive
                self._ways[cls] = way
        return way


_EXACT = {dict: "dict", list: "list", set: "list", bytearray: "buffer"}


def _decide(cls: type) -> tuple[str, Look | None]:
    kind = kind_of(cls)
    if kind in (Kind.VALUE, Kind.DURABLE):
        return "end", None
    if kind is Kind.ROW:
        return "row", None
    if kind is Kind.DEFINITION:
        return "definition", look_of(cls)
    if cls in _EXACT:
        return _EXACT[cls], None
    if names.name_of(cls) is not None and is_plain_type(cls):
        return "instance", None
    return "other", look_of(cls)
