"""Durable and plain objects handled past their authors' code: made, numbered, given attributes.

Imports `model` only. A class's ``__new__``, ``__setattr__`` and ``__del__`` are hooks that
may raise, or do what was done already when the object was made for the first time.
"""

from __future__ import annotations

import collections
import enum
import types
import weakref
from typing import Any

import persistent

from tapd.model.durable.persistent import Tracked, set_mark

HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE of CPython's object.h, in ``__flags__``: a class that was made at run time.

Nearly all of those are by class statements; some C modules make theirs so, too.
"""
DESCRIPTORS = (types.GetSetDescriptorType, types.MemberDescriptorType)
"""What C gives a class for each attribute or slot of its instances."""
_OURS = ("tapd.model.", "tapd.image.")
dict_of_class: Any = type.__dict__["__dict__"].__get__
"""Return the attributes of a class itself, whatever its metaclass pretends."""
set_class: Any = object.__dict__["__class__"].__set__
"""Changes the class of an object past its ``__setattr__``."""


def check_kind(cls: Any) -> None:
    """Check that an instance of `cls` may be made of arguments for a plain object.

    Raises:
        TypeError: it would be something else: a member of an enum, say.
    """
    if issubclass(type(cls), type):
        if issubclass(cls, Tracked):
            raise TypeError("it was no tracked container when it was saved")
        if issubclass(cls, enum.Enum):
            raise TypeError("it was no enum when it was saved")


def is_own_code(cls: Any) -> bool:
    """Whether `cls` was written by the author of an application, and not by us or in C."""
    return bool(cls.__flags__ & HEAP_TYPE) and not cls.__module__.startswith(_OURS)


def has_usual_new(cls: Any) -> bool:
    """Whether no code of an author's is run when an instance of the durable `cls` is made."""
    return not any("__new__" in base.__dict__ for base in cls.__mro__ if is_own_code(base))


def bare_object(cls: Any) -> Any:
    """Return an instance of the durable `cls` that no ``__new__`` of its author has seen.

    What that would do is part of the state, which follows. Part of the format.
    """
    for base in cls.__mro__:
        if "__new__" in base.__dict__ and not is_own_code(base):
            return base.__new__(cls)
    raise AssertionError(cls)  # object has one


def object_setattr(obj: Any, name: str, value: Any) -> None:
    """Set an attribute of any object past its class's own ``__setattr__``."""
    if issubclass(type(obj), persistent.Persistent):
        persistent.Persistent.__setattr__(obj, name, value)
    else:
        object.__setattr__(obj, name, value)


def set_number(obj: Any, oid: Any) -> None:
    """Give a durable object its number, past the author's ``__setattr__``.

    Its ``__new__`` may have returned one that an earlier jar of this process knows.
    """
    if obj._p_jar is not None:
        set_mark(obj, "_p_jar", None)
    set_mark(obj, "_p_oid", oid)


def attributes_of(obj: Any) -> dict[str, Any]:
    """Return the ``__dict__`` of `obj`, past what its classes make of that name.

    Raises:
        TypeError: it has none.
    """
    for base in type(obj).__mro__:
        found = base.__dict__.get("__dict__")
        if type(found) is types.GetSetDescriptorType:
            return found.__get__(obj)  # type: ignore[no-any-return]  # any instance's
    raise TypeError(f"a {type(obj).__qualname__} has no __dict__")


_silent_types: weakref.WeakKeyDictionary[type, type] = weakref.WeakKeyDictionary()


def mute(obj: Any) -> None:
    """Have `obj`, of an attempt at loading that was given up, go without its ``__del__``.

    It may be of use to the object that will be made in its place, which has the same
    state: the name of a temporary file, say.
    """
    cls: Any = type(obj)
    if not cls.__flags__ & HEAP_TYPE or getattr(cls, "__del__", None) is None:
        return
    if any("__init_subclass__" in base.__dict__ for base in cls.__mro__ if is_own_code(base)):
        return  # it would be told of a class that is none of its own
    silent = _silent_types.get(cls)
    try:
        if silent is None:
            attributes = {"__slots__": (), "__module__": __name__, "__del__": _end_silently}
            silent = type.__new__(type(cls), cls.__name__, (cls,), attributes)
            _silent_types[cls] = silent
        set_class(obj, silent)
    except TypeError:  # no Python class: its __del__ is nobody's but its library's
        return


def _end_silently(_obj: Any) -> None:
    """Stand in for a ``__del__``."""


_VALUE_BASES: dict[str, type] = {
    base.__name__: base for base in (int, str, bytes, float, complex, tuple, frozenset)
}


_BUILTIN_BASES: dict[str, type] = {
    base.__name__: base for base in (list, dict, set, bytearray, collections.deque, BaseException)
}


def builtin_base(cls: Any) -> str:
    """Return which builtin `cls` is made of, where instances need more of it than attributes."""
    return value_base(cls) or next(
        (name for name, base in _BUILTIN_BASES.items() if issubclass(cls, base)), ""
    )


def value_base(cls: Any) -> str:
    """Return which builtin the instances of `cls` are values of; "" where of none."""
    if issubclass(cls, enum.Enum):
        return enum.Enum.__name__
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "named tuple"
    return next((name for name, base in _VALUE_BASES.items() if issubclass(cls, base)), "")
