"""Adjusts reductions that an author, or Python itself, returned.

A reduction is the result of ``__reduce_ex__``: how to create the object, and what to set.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from tapd.image.evolution import names
from tapd.image.reduction import checks as proof
from tapd.image.reduction import parts, rebuild
from tapd.image.reduction.instances import has_own_new
from tapd.image.reduction.parts import NEWOBJ
from tapd.image.reduction.plain_classes import is_hashed_by_author

OWN_MAKERS = (NEWOBJ, parts.new_bare, names.new_object, names.value_object)
_SAFE_ENTRIES: frozenset[type] = frozenset({type(None), type(iter({}.items()))})
_SAFE_ITEMS = frozenset(map(type, (None, iter([]), iter(()), iter(set()), iter(deque()))))


def past_new(cls: Any, base: Any, reduced: Any, *, odd: bool) -> Any:
    """Return a NEWOBJ reduction without NEWOBJ, if pickle or an author would object to it."""
    args = reduced[1]
    if base is not None and len(args) > 1:
        return (names.value_object, (cls, base, base(*args[1:])), *reduced[2:])
    if args == (cls,) and has_own_new(cls):
        return (parts.new_bare, *reduced[1:])
    if odd or not args or args[0] is not cls:
        return (names.new_object, *reduced[1:])
    return reduced


def _needs_namespace(cls: Any) -> bool:
    """Whether a typed ``__setstate__`` may use names that are not loaded yet."""
    is_typed = hasattr(cls, "__setstate__") and names.name_of(cls) is None
    return is_typed and not is_hashed_by_author(cls)


def settable(cls: type, reduced: Any, *, odd: bool) -> Any:
    """Return a reduction whose state and items were checked."""
    state, items, entries, setter = (*reduced[2:], None, None, None, None)[:4]
    if state is not None and setter is None:
        made = cls if reduced[0] in OWN_MAKERS else reduced[0]
        if issubclass(type(made), type):
            parts.check_state(state, takes=hasattr(made, "__setstate__"))
        if odd:
            setter = rebuild.set_reduced
        elif _needs_namespace(cls):
            setter = rebuild.set_late
            if reduced[0] is not NEWOBJ or reduced[1] != (cls,):
                setter, state = rebuild.set_late_made, (*reduced[:2], state)
    if type(items) not in _SAFE_ITEMS or type(entries) not in _SAFE_ENTRIES:
        items = items and proof.taken_items(items, in_pairs=False)
        entries = entries and proof.taken_items(entries, in_pairs=True)
    elif setter is None or len(reduced) > 5:
        return reduced
    return (*reduced[:2], state, items, entries, setter)
