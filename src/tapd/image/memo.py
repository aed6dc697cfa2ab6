"""Which plain objects a pickle holds, from the memo of the pickler that wrote it.

Imports `evolution` and `mutability`. What the pickler remembers is what it would refer to again: so
these are, whatever their types and however it came to them, the objects of which
one that is met twice stays one, and that may change without telling.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable
from typing import Any

from tapd.image.evolution import VersionedState
from tapd.image.mutability import Kind, is_named, kind_of


def parts_in(memo: dict[int, tuple[int, Any]]) -> tuple[Any, ...]:
    """Return the plain objects and typed definitions in a memo.

    What a reduction made on its way is none of them: nobody holds it but the memo,
    or a tuple there that nobody holds.

    Args:
        memo: a copy of a pickler's; the pickler itself must have forgotten it, and
            nobody hold what was made for it alone, such as the state.
    """
    held: dict[int, int] = {}  # by how many others than the memo, of what may be a part
    order = sorted(memo.values(), key=operator.itemgetter(0))
    temporaries = []
    for entry in order:
        cls = type(entry[1])
        if cls is tuple or kind_of(cls) is Kind.PLAIN:
            references = held[id(entry[1])] = _references(entry) - _TEMPORARY
            if references == 0:
                temporaries.append(entry[1])
    for temporary in temporaries:  # grows meanwhile
        for value in _contents(temporary):
            if id(value) in held:
                held[id(value)] -= 1
                if held[id(value)] == 0:
                    temporaries.append(value)
    found = []
    for _number, value in order:
        kind = kind_of(type(value))
        if kind is Kind.PLAIN:
            if held[id(value)] > 0:
                found.append(value)
        elif kind is Kind.DEFINITION and not is_named(value):
            found.append(value)
    return tuple(found)


def _contents(temporary: Any) -> Iterable[Any]:
    """Return what is in something that was made on the way."""
    cls = type(temporary)
    if cls is dict:
        return [*temporary, *temporary.values()]
    if cls in (tuple, list):
        return temporary  # type: ignore[no-any-return]  # it is iterable
    return (temporary.state,) if cls is VersionedState else ()


def _references(entry: tuple[int, Any]) -> int:
    return sys.getrefcount(entry[1])


_TEMPORARY = _references((0, object()))


def shared_in(parts: Iterable[Any]) -> list[Any]:
    """Return those of `parts` that are two after a replay if two records hold them.

    A typed definition has a key of its own, by which each record finds the same.
    """
    return [part for part in parts if kind_of(type(part)) is Kind.PLAIN]
