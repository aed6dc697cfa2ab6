"""Finds the plain objects in a pickle, by means of the pickler's memo.

The pickler remembers every object it may refer to again. So the memo lists, whatever their
types, all objects whose identity matters; the mutable ones of these may change without a
report.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from tapd.image.evolution.versions import VersionedState
from tapd.image.reduction.mutability import Kind, is_named, kind_of


def parts_in(memo: dict[int, tuple[int, Any]]) -> tuple[Any, ...]:
    """Return the plain objects and typed definitions in a memo.

    Temporaries created by a reduction don't count. They are recognized by their reference
    count: only the memo, or another temporary, holds them.

    Args:
        memo: a copy of a pickler's memo. The pickler must have cleared its own, and
            nothing else may hold temporaries such as the state.
    """
    values = _values_in(memo)
    kinds = {cls: kind_of(cls) for cls in set(map(type, values))}
    plain = {cls for cls, kind in kinds.items() if kind is Kind.PLAIN}
    definitions = {cls for cls, kind in kinds.items() if kind is Kind.DEFINITION}
    candidates = [value for value in values if type(value) in plain or type(value) is tuple]
    references = _references(candidates)
    found = [value for value in values if type(value) in plain]
    if definitions:
        found = [
            value
            for value in values
            if type(value) in plain or (type(value) in definitions and not is_named(value))
        ]
    if _TEMPORARY in references:
        dropped = _dropped(candidates, references)
        found = [value for value in found if id(value) not in dropped]
    return tuple(found)


def _values_in(memo: dict[int, tuple[int, Any]]) -> list[Any]:
    """Return the objects in a memo, in the order in which they were met."""
    values: list[Any] = [None] * len(memo)
    for number, value in memo.values():
        values[number] = value
    return values


def _references(values: list[Any]) -> list[int]:
    return list(map(sys.getrefcount, values))


def _temporary() -> int:
    """Return the reference count of an object that only a memo and `parts_in` hold."""
    memo = {0: (0, object())}
    values = _values_in(memo)
    return _references(list(values))[0]


_TEMPORARY = _temporary()


def _dropped(candidates: list[Any], references: list[int]) -> set[int]:
    """Return the ids of objects that only a memo or another such object holds."""
    held = dict(zip(map(id, candidates), references, strict=True))
    each = zip(candidates, references, strict=True)
    temporaries = [value for value, count in each if count == _TEMPORARY]
    for temporary in temporaries:  # grows meanwhile
        for value in _contents(temporary):
            key = id(value)
            count = held.get(key)
            if count is not None:
                held[key] = count - 1
                if count - 1 == _TEMPORARY:
                    temporaries.append(value)
    return set(map(id, temporaries))


def _contents(temporary: Any) -> Iterable[Any]:
    """Return the contents of a temporary."""
    cls = type(temporary)
    if cls is dict:
        return [*temporary, *temporary.values()]
    if cls in (tuple, list):
        return temporary  # type: ignore[no-any-return]  # it is iterable
    return (temporary.state,) if cls is VersionedState else ()


def shared_in(parts: Sequence[Any]) -> Sequence[Any]:
    """Return those of `parts` that a replay would duplicate if two records held them.

    A typed definition has a key by which each record finds the same one.
    """
    if all(kind_of(cls) is Kind.PLAIN for cls in set(map(type, parts))):
        return parts
    return [part for part in parts if kind_of(type(part)) is Kind.PLAIN]
