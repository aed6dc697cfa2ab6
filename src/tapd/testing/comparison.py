"""Finds the first difference between two graphs of state, for messages to authors.

`image.likeness.graphs` defines what is alike. This module adds what a test may ignore: paths by
pattern, and numbers that a kill may skip.
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
    """Whether `path` matches one of `patterns`, in which ``*`` and ``?`` are wildcards.

    Brackets, which are common in paths, are literal.
    """
    return any(fnmatch.fnmatchcase(path, each.replace("[", "[[]")) for each in patterns)


class Comparison:
    """Compares graphs; permitted losses are ignored."""

    def __init__(self, ignore: Sequence[str] = (), *, numbers: bool = True) -> None:
        """Begin.

        Args:
            ignore: patterns of paths to ignore (see `is_one_of`).
            numbers: also compare the numbers of connections, timers and durable objects,
                some of which a kill may skip.
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
        with contextlib.suppress(Exception):  # an object that can't be inspected
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
