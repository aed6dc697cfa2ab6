"""Which plain objects a pickle holds, from the memo of the pickler that wrote it.

Imports `evolution` and `kinds`. What the pickler remembers is what it would refer to again: so
these are, whatever their types and however it came to them, the objects of which
one that is met twice stays one, and that may change without telling.
"""

from __future__ import annotations

import collections
import operator
import sys
from collections.abc import Iterable
from typing import Any

from tapd.image.evolution import VersionedState
from tapd.image.kinds import Kind, is_named, kind_of


def parts_in(memo: dict[int, tuple[int, Any]]) -> tuple[Any, ...]:
    """Return the plain objects and typed definitions in a memo.

    What a reduction made on its way is none of them: nobody holds it but the memo,
    or a tuple there that nobody holds.

    Args:
        memo: a copy of a pickler's; the pickler itself must have forgotten it, and
            nobody hold what was made for it alone, such as the state.
    """
    found = []
    held_by_temporaries: collections.Counter[int] = collections.Counter()
    # What holds others was noted after them.
    for entry in sorted(memo.values(), key=operator.itemgetter(0), reverse=True):
        cls = type(entry[1])
        kind = kind_of(cls)
        if kind is Kind.PLAIN:
            key = id(entry[1])
            if _references(entry) > _TEMPORARY + held_by_temporaries[key]:
                if cls is not VersionedState:
                    found.append(entry[1])
                continue
            if cls is VersionedState:
                held_by_temporaries[id(entry[1].state)] += 1
        elif cls is tuple and _references(entry) == _TEMPORARY + held_by_temporaries[id(entry[1])]:
            held_by_temporaries.update(map(id, entry[1]))
        elif kind is Kind.DEFINITION and not is_named(entry[1]):
            found.append(entry[1])
    return tuple(found)


def _references(entry: tuple[int, Any]) -> int:
    return sys.getrefcount(entry[1])


_TEMPORARY = _references((0, object()))


def shared_in(parts: Iterable[Any]) -> list[Any]:
    """Return those of `parts` that are two after a replay if two records hold them.

    A typed definition has a key of its own, by which each record finds the same.
    """
    return [part for part in parts if kind_of(type(part)) is Kind.PLAIN]
