"""Plain containers in durable objects become tracked ones, which can tell of their changes.

Imports `model` only; the jar calls it for each object before its state is pickled.
"""

from __future__ import annotations

import collections
import operator
from typing import Any

from tapd.model.persistent import PLAIN_TO_TRACKED, Tracked


class Conversion:
    """Replaces plain containers by tracked ones; remembers which became which.

    The memory lasts for one commit, so that references to one list that were
    stored in several objects of a turn go on to refer to one list.
    """

    def __init__(self) -> None:
        self._memory: dict[int, tuple[Any, Any]] = {}
        self._tuples: dict[int, tuple[Any, Any]] = {}

    def clear(self) -> None:
        """Forget; ids are about to be used again."""
        if self._memory:
            self._memory = {}
        if self._tuples:
            self._tuples = {}

    def convert(self, obj: Any) -> None:
        """Replace the plain containers directly in the durable object `obj`."""
        if not getattr(obj, "_p_convert", True):
            return
        if isinstance(obj, Tracked):
            self._convert_container(obj)
            return
        attributes = getattr(obj, "__dict__", None)
        if attributes is not None:
            plain = [
                name
                for name, value in attributes.items()
                if _holds_plain(value) and not name.startswith("_v_")
            ]
            for name in plain:
                attributes[name] = self.tracked(attributes[name])
        elif hasattr(obj, "items") and not _is_inner_node(obj):
            for key, value in list(obj.items()):
                if _holds_plain(value):
                    obj[key] = self.tracked(value)

    def _convert_container(self, obj: Any) -> None:
        if isinstance(obj, dict):
            touched = obj if obj._p_delta is None else obj._p_delta  # type: ignore[attr-defined]
            for key in [key for key in touched if key in obj and _holds_plain(obj[key])]:
                dict.__setitem__(obj, key, self.tracked(obj[key]))
        elif isinstance(obj, list):
            for index in range(obj._p_delta or 0, len(obj)):  # type: ignore[attr-defined]
                if _holds_plain(obj[index]):
                    list.__setitem__(obj, index, self.tracked(obj[index]))
        elif not isinstance(obj, (set, bytearray)):  # a deque
            appended = obj._p_delta
            if appended is None or appended > len(obj):
                values = list(obj)
            else:
                values = [obj[index] for index in range(-appended, 0)]
            for index, value in enumerate(values, -len(values)):
                if _holds_plain(value):
                    collections.deque.__setitem__(obj, index, self.tracked(value))

    def tracked(self, value: Any) -> Any:
        """Return the tracked container for a plain one; tuples are rebuilt around theirs.

        However deep it is: containers are made empty first, and filled one by one.
        """
        unfilled: list[tuple[Any, Any]] = []
        made = self._made(value, unfilled)
        while unfilled:
            self._fill(*unfilled.pop(), unfilled)
        return made

    def _made(self, value: Any, unfilled: list[tuple[Any, Any]]) -> Any:
        """Return what stands for `value`; the containers that are new go to `unfilled`."""
        cls = type(value)
        if cls is tuple:
            return self._rebuilt(value, unfilled)
        if cls not in PLAIN_TO_TRACKED:
            return value
        known = self._memory.get(id(value))
        if known is not None:
            return known[1]
        if cls is collections.deque:
            made = PLAIN_TO_TRACKED[cls]((), value.maxlen)
        else:
            made = PLAIN_TO_TRACKED[cls]()
        self._memory[id(value)] = (value, made)
        unfilled.append((value, made))
        return made

    def _fill(self, value: Any, made: Any, unfilled: list[tuple[Any, Any]]) -> None:
        cls = type(value)
        if cls is dict:
            for key, item in value.items():
                dict.__setitem__(made, key, self._made(item, unfilled))
        elif cls is set:
            made.__ior__(value)
        elif cls is bytearray:
            made.extend(value)
        else:
            made.extend([self._made(item, unfilled) for item in value])

    def _rebuilt(self, value: tuple[Any, ...], unfilled: list[tuple[Any, Any]]) -> Any:
        """Return a tuple with tracked containers; the same one where it holds none."""
        known = self._tuples.get(id(value))
        if known is not None:
            return known[1]
        stack = [(value, iter(value), list[Any]())]
        while True:
            source, rest, parts = stack[-1]
            for item in rest:
                if type(item) is not tuple:
                    parts.append(self._made(item, unfilled))
                elif id(item) in self._tuples:
                    parts.append(self._tuples[id(item)][1])
                else:
                    stack.append((item, iter(item), []))
                    break
            else:
                stack.pop()
                same = all(map(operator.is_, source, parts))
                made = source if same else tuple(parts)
                self._tuples[id(source)] = source, made
                if not stack:
                    return made
                stack[-1][2].append(made)


def _is_inner_node(obj: Any) -> bool:
    """Whether `obj` is a BTree whose items are in buckets of their own."""
    return hasattr(obj, "_firstbucket") and len(obj.__getstate__() or ()) > 1


def _holds_plain(value: Any) -> bool:
    cls = type(value)
    if cls is not tuple:
        return cls in PLAIN_TO_TRACKED
    # As mostly: a row of scalars, perhaps with such rows in it. This is looked at for
    # each message that is kept.
    for item in value:
        kind = type(item)
        if kind not in _SCALARS and not (kind is tuple and _SCALARS.issuperset(map(type, item))):
            break
    else:
        return False
    return _nested_holds_plain(value)


def _nested_holds_plain(value: tuple[Any, ...]) -> bool:
    kinds = set(map(type, value))
    if not _PLAIN.isdisjoint(kinds):
        return True
    if tuple not in kinds:
        return False
    seen = {id(value)}
    level = [value]
    while level:
        inner = [item for each in level for item in each if type(item) is tuple]
        level = list({id(each): each for each in inner if id(each) not in seen}.values())
        seen.update(map(id, level))
        if any(not _PLAIN.isdisjoint(map(type, each)) for each in level):
            return True
    return False


_PLAIN = frozenset(PLAIN_TO_TRACKED)
_SCALARS = frozenset({int, str, bytes, float, bool, type(None)})
