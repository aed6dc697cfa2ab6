"""Where two graphs of state differ first, for the words that an author is told.

Imports `model` and `image`. What it is for two graphs to be alike is the image
room's to say (`image.likeness.graphs`); here is what a test may leave out: paths by
patterns, and the numbers that a kill may leave some of out.
"""

from __future__ import annotations

import collections
import contextlib
import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tapd.image.likeness.anatomy import Anatomy, anatomy_of
from tapd.image.likeness.differences import (
    ATTRIBUTE,
    INDEX,
    KEY,
    KEYS,
    TEXT,
    Difference,
    Node,
    path_of,
)
from tapd.image.likeness.graphs import Likeness

__all__ = ["Comparison", "Difference", "is_one_of", "walk"]

_NUMBERED = frozenset({"connections", "connectors", "delayeds"})
_NUMBER = re.compile(r"last_key|(delayeds|connectors)\[\d+\]\.(key|connection_key)")


def is_one_of(path: str, patterns: Iterable[str]) -> bool:
    """Whether `path` matches one of `patterns`, where ``*`` and ``?`` stand for any text.

    Brackets, which paths are full of, stand for themselves.
    """
    return any(fnmatch.fnmatchcase(path, each.replace("[", "[[]")) for each in patterns)


class Comparison:
    """Compares graphs; what was lost, by leave of the author, is not compared."""

    def __init__(self, ignore: Sequence[str] = (), *, numbers: bool = True) -> None:
        """Begin.

        Args:
            ignore: patterns of paths to leave out (see `is_one_of`).
            numbers: compare the numbers of connections, timers and durable objects as
                well, of which a kill may leave some out.
        """
        self._ignore = tuple(ignore)
        self._numbers = numbers

    def compare(self, one: Any, other: Any) -> Difference | None:
        """Return the first difference, or None."""
        likeness = Likeness(
            numbers=self._numbers,
            class_defaults=True,
            is_ignored=self._is_ignored if self._ignore or not self._numbers else None,
            by_place=frozenset() if self._numbers else _NUMBERED,
        )
        differences = likeness.compare(one, other).differences
        return differences[0] if differences else None

    def _is_ignored(self, path: str) -> bool:
        is_number = not self._numbers and _NUMBER.fullmatch(path) is not None
        return is_number or is_one_of(path, self._ignore)


def walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield every object of a graph once, nearest first, with its path."""
    due: collections.deque[Node] = collections.deque([(None, TEXT, "", root, None)])
    seen: dict[int, Any] = {}
    anatomies: dict[type, Anatomy] = {}
    while due:
        node = due.popleft()
        value = node[3]
        if id(value) in seen:
            continue
        seen[id(value)] = value
        yield path_of(node), value
        anatomy = anatomies.get(type(value))
        if anatomy is None:
            anatomy = anatomies[type(value)] = anatomy_of(type(value))
        with contextlib.suppress(Exception):  # a stranger's object that can't be looked into
            due.extend((node, *child, None) for child in list(_children(value, anatomy)))


def _children(value: Any, anatomy: Anatomy) -> Iterator[tuple[int, Any, Any]]:
    if issubclass(type(value), type):
        return
    if anatomy.sequence is not None:
        yield from ((INDEX, index, part) for index, part in enumerate(anatomy.sequence(value)))
    if anatomy.mapping is not None:
        for key, part in list(anatomy.mapping(value)):
            yield KEY, key, part
            yield KEYS, key, key
    if anatomy.members is not None:
        yield from ((KEYS, part, part) for part in anatomy.members(value))
    if anatomy.attributes is not None:
        yield from ((ATTRIBUTE, name, part) for name, part in anatomy.attributes(value).items())
