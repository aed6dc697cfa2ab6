"""Creates objects and sets their number, class and attributes without running authors' code.

A class's ``__new__``, ``__setattr__`` and ``__del__`` are hooks. They may raise, or repeat a
side effect that happened when the object was first created.
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
"""Sets the class of an object, bypassing its ``__setattr__``."""


def check_kind(cls: Any) -> None:
    """Check that an instance of `cls` may be created from a plain object's arguments.

    Raises:
        TypeError: it would be of another kind, such as a member of an enum.
    """
    if issubclass(type(cls), type):
        if issubclass(cls, Tracked):
            raise TypeError("it was no tracked container when it was saved")
        if issubclass(cls, enum.Enum):
            raise TypeError("it was no enum when it was saved")


def is_own_code(cls: Any) -> bool:
    """Whether `cls` was written by an application's author: not by tapd, not in C."""
    return bool(cls.__flags__ & HEAP_TYPE) and not cls.__module__.startswith(_OURS)


def has_usual_new(cls: Any) -> bool:
    """Whether creating an instance of the durable `cls` runs no author's ``__new__``."""
    return not any("__new__" in base.__dict__ for base in cls.__mro__ if is_own_code(base))


def bare_object(cls: Any) -> Any:
    """Return an instance of the durable `cls`, created without its author's ``__new__``.

    What ``__new__`` did is part of the state, which is set later. Part of the format.
    """
    for base in cls.__mro__:
        if "__new__" in base.__dict__ and not is_own_code(base):
            return base.__new__(cls)
    raise AssertionError(cls)  # object has one


def object_setattr(obj: Any, name: str, value: Any) -> None:
    """Set an attribute, bypassing the class's own ``__setattr__``."""
    if issubclass(type(obj), persistent.Persistent):
        persistent.Persistent.__setattr__(obj, name, value)
    else:
        object.__setattr__(obj, name, value)


def set_number(obj: Any, oid: Any) -> None:
    """Set the number of a durable object, bypassing its ``__setattr__``.

    Its ``__new__`` may have returned an object that belongs to an earlier jar of this process.
    """
    if obj._p_jar is not None:
        set_mark(obj, "_p_jar", None)
    set_mark(obj, "_p_oid", oid)


def attributes_of(obj: Any) -> dict[str, Any]:
    """Return the ``__dict__`` of `obj`, whatever its class defines under that name.

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
    """Disable the ``__del__`` of `obj`, which belongs to an abandoned attempt at loading.

    ``__del__`` could destroy a resource, such as a temporary file, that the object created in
    its place refers to by the same state.
    """
    cls: Any = type(obj)
    if not cls.__flags__ & HEAP_TYPE or getattr(cls, "__del__", None) is None:
        return
    if any("__init_subclass__" in base.__dict__ for base in cls.__mro__ if is_own_code(base)):
        return  # that hook would see a class its author never wrote
    silent = _silent_types.get(cls)
    try:
        if silent is None:
            attributes = {"__slots__": (), "__module__": __name__, "__del__": _end_silently}
            silent = type.__new__(type(cls), cls.__name__, (cls,), attributes)
            _silent_types[cls] = silent
        set_class(obj, silent)
    except TypeError:  # not a Python class: its __del__ is the library's
        return


def _end_silently(_obj: Any) -> None:
    """A ``__del__`` that does nothing."""


_VALUE_BASES: dict[str, type] = {
    base.__name__: base for base in (int, str, bytes, float, complex, tuple, frozenset)
}


_BUILTIN_BASES: dict[str, type] = {
    base.__name__: base for base in (list, dict, set, bytearray, collections.deque, BaseException)
}


def builtin_base(cls: Any) -> str:
    """Return the name of the builtin that `cls` derives from, if it holds more than attributes."""
    return value_base(cls) or next(
        (name for name, base in _BUILTIN_BASES.items() if issubclass(cls, base)), ""
    )


def value_base(cls: Any) -> str:
    """Return the name of the immutable builtin that `cls` derives from; "" if there is none."""
    if issubclass(cls, enum.Enum):
        return enum.Enum.__name__
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "named tuple"
    return next((name for name, base in _VALUE_BASES.items() if issubclass(cls, base)), "")
