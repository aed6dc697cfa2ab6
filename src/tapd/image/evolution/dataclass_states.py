"""Sets states of dataclasses and attrs classes by field names, not by position.

For classes with slots both libraries generate a ``__setstate__`` that fits only the class as it
was. That of `dataclasses` assigns values by position, whatever their number, and takes even the
keys of a dict for values. That of attrs skips unknown names and can't set attributes of a
`Persistent`. So a class found at load gets a stricter one (`fit_class`): the same where the
state fits, otherwise an error, so that the object becomes a stand-in.
"""

from __future__ import annotations

import copyreg
import dataclasses
from collections.abc import Callable
from typing import Any

import persistent

from tapd.image.bare import object_setattr
from tapd.model.durable.persistent import has_slots

_DATACLASS_SETSTATE: Any = getattr(dataclasses, "_dataclass_setstate", None)
slot_names: Callable[[Any], list[str]] = getattr(copyreg, "_slotnames")  # noqa: B009 - private
_DATACLASS_GETSTATE: Any = getattr(dataclasses, "_dataclass_getstate", None)


def fit_class(found: Any) -> Any:
    """Return `found`; replace a generated ``__setstate__`` by a strict one."""
    if issubclass(type(found), type):
        for base in type.__dict__["__mro__"].__get__(found):
            setstate = base.__dict__.get("__setstate__")
            if setstate is not None:
                if _is_generated(setstate):
                    type.__setattr__(base, "__setstate__", set_fields)
                elif base is persistent.Persistent and found.__module__[:5] != "tapd.":
                    _fit_slots(found)
                break
    return found


def _fit_slots(cls: Any) -> None:
    """Make a durable `cls` with slots accept a state saved when it had none."""
    if has_slots(cls):
        type.__setattr__(cls, "__setstate__", set_slotted)


def set_slotted(obj: Any, state: Any) -> None:
    """Set the state of a durable object, each attribute in its slot or dict."""
    if type(state) is dict:
        slots = slot_names(type(obj))
        state = (
            {name: value for name, value in state.items() if name not in slots},
            {name: value for name, value in state.items() if name in slots},
        )
    persistent.Persistent.__setstate__(obj, state)


def _is_generated(setstate: Any) -> bool:
    code = getattr(setstate, "__code__", None)
    return setstate is _DATACLASS_SETSTATE or (
        code is not None
        and code.co_name == "slots_setstate"
        and code.co_filename.endswith(("/attr/_make.py", "<attrs>"))
    )


def set_fields(obj: Any, state: Any) -> None:
    """Set the fields of `obj`. Part of the format.

    Args:
        obj: an instance of a dataclass or an attrs class.
        state: values by name; or in the order of the fields; or, as pickle has it, a pair
            of the ``__dict__`` and the slots.

    Raises:
        ValueError: values without names, and their number is not that of the fields.
        AttributeError: there is no place for one.
    """
    if type(state) is tuple and len(state) == 2 and all(_is_part(part) for part in state):
        parts = [part for part in state if part]
    elif type(state) is dict:
        parts = [state]
    else:
        names = field_names(type(obj))
        if type(state) is not list:
            raise ValueError(f"it is a {type(state).__name__}, not the values of its fields")
        if len(names) != len(state):
            raise ValueError(
                f"{len(state)} values were saved without their names, and it has "
                f"{len(names)} fields now"
            )
        parts = [dict(zip(names, state, strict=True))]
    for part in parts:
        for name, value in part.items():
            object_setattr(obj, name, value)


def _is_part(part: Any) -> bool:
    return part is None or type(part) is dict


def field_names(cls: Any) -> list[str]:
    """Return the field names of a dataclass or an attrs class, in order."""
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    return [attribute.name for attribute in getattr(cls, "__attrs_attrs__", ())]


def is_saved_by_order(cls: Any) -> bool:
    """Whether pickle would save instances of `cls` as values without names."""
    return (
        _DATACLASS_GETSTATE is not None
        and cls.__getstate__ is _DATACLASS_GETSTATE
        and cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
    )


def reduce_by_names(obj: Any) -> tuple[Any, ...]:
    """Reduce an instance whose class would save values without names."""
    made, args, *more = obj.__reduce_ex__(4)
    state = dict(zip(field_names(type(obj)), more[0], strict=True))
    return made, args, state, *(*more[1:], None, None)[:2], set_fields
