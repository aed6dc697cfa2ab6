"""Saves enum members and named tuples by name as well as by value.

Pickle saves a member by its value and a named tuple by the order of its fields. If the class
has changed, another member may have the value, or another field the position, and the state
would change silently. With the names a mismatch is noticed, and the object becomes a stand-in.
The functions that restore them are part of the format.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

Reduced = tuple[Any, ...]

_OWN_MISSING = tuple(
    cls.__dict__["_missing_"].__func__
    for cls in (enum.Enum, enum.Flag)
    if "_missing_" in cls.__dict__
)


def reducer_by_name(cls: Any) -> Callable[[Any], Reduced] | None:
    """Return the reducer of `cls` if it is an enum or a named tuple."""
    if is_usual_enum(cls):
        return reduce_member
    return reduce_named_tuple if is_usual_named_tuple(cls) else None


def is_usual_enum(cls: Any) -> bool:
    """Whether members of the enum `cls` are saved by value."""
    return (
        issubclass(cls, enum.Enum)
        and cls.__reduce_ex__ is enum.Enum.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
    )


def is_usual_named_tuple(cls: Any) -> bool:
    """Whether instances of the named tuple `cls` are saved by field order."""
    return (
        issubclass(cls, tuple)
        and type(getattr(cls, "_fields", None)) is tuple
        and cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and getattr(cls.__getnewargs__, "__module__", None) == "collections"
    )


def reduce_member(member: Any) -> Reduced:
    """Reduce an enum member."""
    return enum_member, (type(member), member._name_, member._value_)


def reduce_named_tuple(obj: Any) -> Reduced:
    """Reduce a named tuple."""
    cls = type(obj)
    made = named_tuple, (cls, cls._fields, *tuple.__iter__(obj))
    state = obj.__getstate__()
    return made if state is None else (*made, state)


def enum_member(cls: Any, name: str | None, value: Any) -> Any:
    """Return the member of `cls` with this name and value. Part of the format.

    The author of a changed enum can map old values by ``_missing_``, as for any look-up.

    Raises:
        LookupError: there is none.
        TypeError: `cls` is not an enum.
    """
    if not (issubclass(type(cls), type) and issubclass(cls, enum.Enum)):
        raise TypeError("it was an enum and is none now")
    member = cls.__members__.get(name)
    if member is not None and _is_same(member._value_, value):
        return member
    taken = [each for each in cls.__members__.values() if _is_same(each._value_, value)]
    if not taken:
        if issubclass(cls, enum.Flag) and name is not None and "|" in name:
            found = cls(value)
            if set(str(found._name_).split("|")) == set(name.split("|")):
                return found
        elif name is None or cls._missing_.__func__ not in _OWN_MISSING:
            return cls(value)
    raise LookupError(_why(name, value, member, taken))


def _why(name: str | None, value: Any, member: Any, taken: list[Any]) -> str:
    if member is not None:
        return f"its member {name} was {value!r} and is {member._value_!r} now"
    said = f"its member {name} ({value!r}) is gone"
    if taken:
        other = taken[0]._name_
        said += f", and {other} has its value now; write {name} = {other} to have both"
    return said


def _is_same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    equal: Any = type(one).__eq__
    return equal is object.__eq__ or one is other or bool(one == other)


def named_tuple(cls: Any, fields: tuple[str, ...], *values: Any) -> Any:
    """Return a named tuple with these values. Part of the format.

    The order of fields may have changed, and new fields may have defaults.

    Raises:
        TypeError: `cls` lacks a field, or has another one without a default.
    """
    if not (issubclass(type(cls), type) and issubclass(cls, tuple) and hasattr(cls, "_fields")):
        raise TypeError("it was a named tuple and is none now")
    if cls._fields == fields:
        return tuple.__new__(cls, values)
    by_name = dict(zip(fields, values, strict=True))
    gone = [name for name in fields if name not in cls._fields]
    if gone:
        raise TypeError(f"its field {gone[0]} is gone")
    for name in cls._fields:
        if name not in by_name and name not in cls._field_defaults:
            raise TypeError(f"its new field {name} has no default")
    usual = cls._field_defaults
    return tuple.__new__(cls, (by_name[n] if n in by_name else usual[n] for n in cls._fields))
