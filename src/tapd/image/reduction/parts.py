"""Objects saved and made again by their parts: constructors and item methods are passed by.

Imports `errors` and this room's `instances`, `kinds`, `hooks`, `classes` and `names`.
The parts are: what the class below (`kinds`) holds, the attributes, the slots. Where
an author says himself what is saved (`word_of`), that is honoured; contents of a
builtin come from the builtin even then.

`new_bare`, `set_parts` and `set_told` are part of the format of TAPs.
"""

from __future__ import annotations

import contextlib
import copyreg
import types
from collections.abc import Callable
from typing import Any

import persistent

from tapd.errors import CannotKeep
from tapd.image import hooks
from tapd.image.bare import dict_of_class
from tapd.image.code import definitions
from tapd.image.evolution import names
from tapd.image.evolution.versions import Late, OwnState, state_of
from tapd.image.reduction import kinds
from tapd.image.reduction.instances import (
    attributes_getter,
    filled_slots,
    foundation_of,
    has_own_new,
    hides_slots,
    is_foundation,
    set_attributes,
    slots_of,
)
from tapd.image.reduction.plain import is_hashed_by_author
from tapd.image.reduction.proof import is_of_library

NEWOBJ: Any = copyreg.__newobj__  # type: ignore[attr-defined]  # what pickle writes as NEWOBJ
REDUCES = frozenset({"__reduce__", "__reduce_ex__"})
HOOKS = REDUCES | {"__getstate__", "__getnewargs__", "__getnewargs_ex__"}

_DURABLE = persistent.Persistent
_GETSTATE = _DURABLE.__getstate__

# What these say is true of themselves; of a subclass with more attributes it is not.
_SPEAK_FOR_THEMSELVES = frozenset({
    "collections:Counter", "fractions:Fraction", "uuid:UUID", "random:Random",
    "random:SystemRandom", "ipaddress:_IPAddressBase", "ipaddress:_BaseAddress",
    "ipaddress:_BaseV4", "ipaddress:_BaseV6", "ipaddress:IPv4Address", "ipaddress:IPv6Address",
    "ipaddress:IPv4Interface", "ipaddress:IPv6Interface",
})  # fmt: skip


def word_of(cls: type) -> frozenset[str]:
    """Return by which hooks an author says how instances of `cls` are saved."""
    if cls in copyreg.dispatch_table:
        return REDUCES
    said = set()
    for base in cls.__mro__:
        if is_foundation(base):
            continue
        if f"{base.__module__}:{base.__qualname__}" in _SPEAK_FOR_THEMSELVES:
            if base is cls and base.__module__ not in ("collections", "random"):
                return REDUCES
            continue
        own = dict_of_class(base)
        said |= {name for name in HOOKS & own.keys() if not _is_generated(own[name])}
    return frozenset(said)


def falls_short(cls: type) -> bool:
    """Whether what C says of an instance of its own class `cls` is not all there is to it."""
    return issubclass(cls, BaseException) or cls.__module__ in ("_struct", "_random")


def takes_state(cls: type, *, of_library: bool = True) -> bool:
    """Whether a ``__setstate__`` was written for instances of `cls`, and not only in C.

    Args:
        cls: the class.
        of_library: one of the standard library counts, too.
    """
    return any(
        "__setstate__" in dict_of_class(base)
        and not is_foundation(base)
        and not _is_generated(dict_of_class(base)["__setstate__"])
        and f"{base.__module__}:{base.__qualname__}" not in _SPEAK_FOR_THEMSELVES
        and (of_library or not is_of_library(base))
        for base in cls.__mro__
    )


def _is_generated(hook: Any) -> bool:
    """Whether a dataclass or a namedtuple brought `hook`."""
    return (
        type(hook) is types.FunctionType
        and hook.__globals__.get("__name__") in ("dataclasses", "collections")
        and hook.__name__ in ("_dataclass_getstate", "_dataclass_setstate", "__getnewargs__")
    )


def reducer_by_parts(cls: type, said: frozenset[str]) -> Callable[[Any], Any] | None:
    """Return what reduces instances of `cls` by their parts; None where its kind is unknown.

    Args:
        cls: whose instances are not durable.
        said: what `word_of` returns; no reduction.

    Raises:
        CannotKeep: its class hides what there is to keep.
    """
    base = foundation_of(cls)
    kind = kinds.kind_of(base)
    if kind is None or said & REDUCES:
        return None
    make = _maker(cls, base, kind)
    if "__getstate__" in said:
        return None if kind.contents is None and not kind.made_of else _told(base, kind, make)
    if said:
        return None
    slots = slots_of(cls)
    get = attributes_getter(cls)
    sets = takes_state(cls, of_library=False)
    if base is object and not hides_slots(cls, slots) and sets == hasattr(cls, "__setstate__"):
        return _of_slots(make, get, slots)

    def reduce(obj: Any) -> Any:
        contents = None if kind.contents is None else kind.contents(base, obj)
        attributes = None if get is None else get(obj) or None
        filled = filled_slots(obj, slots) or None
        if contents is None and attributes is None and filled is None:
            return make(obj)
        parts = base, contents, attributes, filled
        return *make(obj), parts, None, None, set_parts

    return reduce


def _maker(cls: type, base: Any, kind: kinds.Kind) -> Callable[[Any], tuple[Any, Any]]:
    if kind.made_of is not None:
        made_of = kind.made_of
        return lambda obj: (names.value_object, (cls, base, *made_of(base, obj)))
    bare: Any = (NEWOBJ, (cls,)) if base is object and not has_own_new(cls) else (new_bare, (cls,))
    return lambda _obj: bare


def _of_slots(
    make: Callable[[Any], tuple[Any, Any]],
    get: Callable[[Any], dict[str, Any]] | None,
    slots: dict[str, Any],
) -> Callable[[Any], Any]:
    """Return what reduces instances as pickle does by default: its own setter will do."""

    def reduce(obj: Any) -> Any:
        state: Any = (None if get is None else get(obj)) or None
        filled = filled_slots(obj, slots)
        if filled:
            state = state, filled
        return make(obj) if state is None else (*make(obj), state)

    return reduce


def _told(
    base: Any, kind: kinds.Kind, make: Callable[[Any], tuple[Any, Any]]
) -> Callable[[Any], Any]:
    """Return what reduces instances whose ``__getstate__`` says what is kept beside contents."""

    def reduce(obj: Any) -> Any:
        contents = None if kind.contents is None else kind.contents(base, obj)
        told = obj.__getstate__()
        check_state(told, takes=takes_state(type(obj)))
        return *make(obj), (base, contents, told), None, None, set_told

    return reduce


def has_safe_state(cls: Any) -> bool:
    """Whether no author wrote the ``__getstate__`` of the durable class `cls`."""
    return cls.__getstate__ is _GETSTATE or cls.__module__.startswith(("tapd.", "BTrees."))


def durable_state(obj: Any) -> Any:
    """Return the state of a durable object, whose ``__getstate__`` may be an author's.

    Raises:
        CannotKeep: that failed, or what it returned is no state.
    """
    cls = type(obj)
    try:
        state = hooks.called(state_of, obj)
    except CannotKeep as error:
        raise CannotKeep(f"its state: {error}") from None
    if type(state) is not OwnState:  # which is set past the class's own method
        check_state(state, takes=foundation_of(cls) is not _DURABLE or takes_state(cls))
    return state


def check_state(state: Any, *, takes: bool) -> None:
    """Check that a state which an author's hook returned can be set.

    Args:
        state: what was returned.
        takes: the object's class has a ``__setstate__`` that takes more than attributes.

    Raises:
        CannotKeep: with a state of its kind, each load would fail.
    """
    if type(state) in (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType):
        raise CannotKeep(f"its state is a {type(state).__name__}, whose position can't be saved")
    if state is None or takes or type(state) is OwnState:
        return
    parts = state if type(state) is tuple and len(state) == 2 else (state,)
    if not all(part is None or issubclass(type(part), dict) for part in parts):
        raise CannotKeep(
            f"its state is a {type(state).__name__}, and the class has no __setstate__ to take it"
        )


# --- made again: part of the format ------------------------------------------------


def new_bare(cls: Any) -> Any:
    """Return an instance of `cls` without contents or attributes.

    A ``__new__`` in Python is asked, as pickle does, since a class with one instance
    gives that one; if it wants more than the class, it is passed by. That of a class
    that was typed is not asked: what it did then is saved with the class.
    """
    if issubclass(cls, names.Broken):
        broken = cls.__new__(cls)
        broken._p_broken["made"] = new_bare, ()
        return broken
    if has_own_new(cls) and names.name_of(cls) is not None:
        with contextlib.suppress(CannotKeep):
            made = hooks.called(cls.__new__, cls)
            if issubclass(type(made), cls):
                return made
    return foundation_of(cls).__new__(cls)  # type: ignore[call-overload]  # of what is in C


def set_parts(obj: Any, parts: tuple[Any, ...]) -> None:
    """Give an object what it held, its attributes and its slots."""
    if issubclass(type(obj), names.Broken):
        obj.broken_set(set_parts, parts)
        return
    base, contents, attributes, slots = parts
    if contents is not None:
        _fill(base, obj, contents)
    if not takes_state(type(obj), of_library=False):  # which takes what its own hook gave
        set_attributes(obj, attributes, slots or {})
    elif attributes or slots:
        _set_state(obj, (attributes, slots) if slots else attributes, set_parts, parts)


def set_told(obj: Any, parts: tuple[Any, ...]) -> None:
    """Give an object what it held, and the state that its own ``__getstate__`` returned."""
    if issubclass(type(obj), names.Broken):
        obj.broken_set(set_told, parts)
        return
    base, contents, state = parts
    if contents is not None:
        _fill(base, obj, contents)
    if state is None:
        return
    if not takes_state(type(obj)):
        pair = type(state) is tuple and len(state) == 2
        set_attributes(obj, *((state[0], state[1] or {}) if pair else (state, {})))
    else:
        _set_state(obj, state, set_told, parts)


def _set_state(obj: Any, state: Any, setter: Any, given: tuple[Any, ...]) -> None:
    """Have the ``__setstate__`` of `obj` set `state`; one that was typed, when all is loaded."""
    restoration = definitions.current_restoration()
    cls = type(obj)
    if restoration is None or names.name_of(cls) is not None or is_hashed_by_author(cls):
        obj.__setstate__(state)
        return
    base = foundation_of(cls)
    kind = kinds.kind_of(base)
    if kind is None or kind.made_of is None:
        made: Any = new_bare, (cls,)
    else:
        made = names.value_object, (cls, base, *kind.made_of(base, obj))
    restoration.late[id(obj)] = Late(obj, state, made, setter, given)


def _fill(base: Any, obj: Any, contents: Any) -> None:
    kind = kinds.kind_of(base)
    if kind is None or kind.fill is None or not issubclass(type(obj), base):
        raise TypeError(f"a {type(obj).__qualname__} can't hold what a {base.__qualname__} held")
    kind.fill(base, obj, contents)
