"""The attributes and slots of an instance, and what it is at bottom, whatever its class pretends.

Imports `errors` and this room's `classes` and `kinds`. A class may hide or fake
``__dict__`` behind a property, shadow a slot, refuse ``__setattr__`` or have a
``__getattribute__`` of its own. Here the descriptors that Python itself made for
the class are asked, which run nothing of an author's.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from tapd.errors import CannotKeep
from tapd.image.bare import DESCRIPTORS, HEAP_TYPE, dict_of_class
from tapd.image.code.classes import is_made_in_c
from tapd.image.reduction.kinds import is_path

_base_of: Any = type.__dict__["__base__"].__get__  # a metaclass may have its own idea


def is_foundation(cls: type) -> bool:
    """Whether `cls` is written in C, or else best made and read by its own methods."""
    return not cls.__flags__ & HEAP_TYPE or is_made_in_c(cls) or is_path(cls)


def foundation_of(cls: type) -> type:
    """Return the class whose layout instances of `cls` have below attributes and slots.

    It is written in C, as a rule; mostly it is `object`.
    """
    while not is_foundation(cls):
        cls = _base_of(cls)
    return cls


def has_own_new(cls: Any) -> bool:
    """Whether ``cls.__new__`` is written in Python."""
    return type(cls.__new__) is types.FunctionType


def slots_of(cls: type) -> dict[str, Any]:
    """Return the descriptors of the slots of `cls`, by name, the innermost class's first.

    A slot that a subclass has again by the same name has its number behind it.
    """
    slots: dict[str, Any] = {}
    for base in cls.__mro__:
        if is_foundation(base):
            continue
        for name, descriptor in dict_of_class(base).items():
            if type(descriptor) is types.MemberDescriptorType and descriptor.__objclass__ is base:
                number = 1
                key = name
                while key in slots:
                    number += 1
                    key = f"{name} {number}"
                slots[key] = descriptor
    return slots


def attributes_getter(cls: type) -> Callable[[Any], dict[str, Any]] | None:
    """Return what gives the ``__dict__`` of an instance of `cls`; None where it has none.

    Raises:
        CannotKeep: the class has something else by that name.
    """
    if cls.__dictoffset__ == 0:
        return None
    for base in cls.__mro__:
        found = dict_of_class(base).get("__dict__")
        if type(found) in DESCRIPTORS and base is not type:
            return found.__get__  # type: ignore[no-any-return]  # of a descriptor in C
    raise CannotKeep("its class hides the __dict__ of its instances; call that something else")


def hides_slots(cls: Any, slots: dict[str, Any]) -> bool:
    """Whether reading or setting a slot by its name would lead elsewhere."""
    if cls.__setattr__ is not object.__setattr__:
        return True
    return any(
        next((dict_of_class(each)[name] for each in cls.__mro__ if name in dict_of_class(each)), 0)
        is not descriptor
        for name, descriptor in slots.items()
    )


def filled_slots(obj: Any, slots: dict[str, Any]) -> dict[str, Any]:
    """Return what is in the slots of `obj`, but for those that are empty."""
    filled = {}
    for name, descriptor in slots.items():
        try:
            filled[name] = descriptor.__get__(obj)
        except AttributeError:  # empty
            continue
    return filled


def set_attributes(obj: Any, attributes: dict[str, Any] | None, slots: dict[str, Any]) -> None:
    """Give `obj` attributes and slots; what has become the other of the two goes there.

    Raises:
        AttributeError: there is no place for some of them; the others are set.
    """
    cls = type(obj)
    descriptors = slots_of(cls)
    get = attributes_getter(cls)
    own = {} if get is None else get(obj)
    homeless = []
    for name, value in [*(attributes or {}).items(), *slots.items()]:
        if name in descriptors:
            descriptors[name].__set__(obj, value)
        elif get is not None:
            own[name] = value
        else:
            homeless.append(name)
    if homeless:
        raise AttributeError(f"{cls.__qualname__} has no place for {', '.join(homeless)} any more")
