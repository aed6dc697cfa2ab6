"""The places in a live graph, as the expressions that lead there.

The walk runs no code of a program's classes, so that to write a program changes nothing.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import types
from collections.abc import Iterator
from typing import Any

from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree
from tests.twin.canon import attributes

_PLACES_MAX = 60
_DEPTH_MAX = 4
_ITEMS_MAX = 3
_LEAVES = (int, float, str, bytes, bool, type(None), type, enum.Enum)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """An expression and the object that it gives now."""

    path: str
    obj: Any
    depth: int


def places_of(roots: list[tuple[str, Any]]) -> list[Place]:
    """Return the places under `roots`, the nearest first; an object may be at two."""
    due = collections.deque(Place(path, obj, 0) for path, obj in roots)
    counts: collections.Counter[int] = collections.Counter()
    found: list[Place] = []
    while due and len(found) < _PLACES_MAX:
        place = due.popleft()
        counts[id(place.obj)] += 1
        if counts[id(place.obj)] > 2:
            continue
        found.append(place)
        if counts[id(place.obj)] == 1 and place.depth < _DEPTH_MAX:
            for step, obj in _steps(place.obj):
                if isinstance(obj, _LEAVES) and type(obj) in _LEAVES:
                    continue
                path = step.replace("@", place.path)
                due.append(Place(path, obj, place.depth + 1))
    return found


def _steps(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield expressions (``@`` is the object) and what they give."""
    for name, value in attributes(obj):
        if name.isidentifier():
            yield f"@.{name}", value
    if isinstance(obj, (list, tuple, collections.deque)):
        own: Any = list.__getitem__ if isinstance(obj, list) else type(obj).__getitem__
        for index in [*range(len(obj))][:_ITEMS_MAX]:
            yield f"@[{index}]", own(obj, index)
    elif isinstance(obj, dict):
        for index, (key, value) in enumerate(list(dict.items(obj))[:_ITEMS_MAX]):
            if type(key) in (int, str):
                yield f"@[{key!r}]", value
            else:
                yield f"list(@)[{index}]", key
                yield f"list(@.values())[{index}]", value
    elif isinstance(obj, (OOBTree, IOBTree)):
        for key, value in list(obj.items())[:_ITEMS_MAX]:
            yield f"@[{key!r}]", value
    elif isinstance(obj, functools.partial):
        yield "@.args", obj.args
        yield "@.keywords", obj.keywords
    elif isinstance(obj, types.MethodType):
        yield "@.__self__", obj.__self__
