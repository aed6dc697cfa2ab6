"""Reads and sets attributes and slots of an instance, whatever its class overrides.

A class may hide ``__dict__`` behind a property, shadow a slot, refuse ``__setattr__`` or define
``__getattribute__``. This module uses the descriptors that Python itself created for the class,
which run no author's code.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from tapd.errors import CannotKeep
from tapd.image.bare import DESCRIPTORS, HEAP_TYPE, dict_of_class
from tapd.image.code.classes import is_made_in_c
from tapd.image.reduction.kinds import is_path

_base_of: Any = type.__dict__["__base__"].__get__  # a metaclass may override it


def is_foundation(cls: type) -> bool:
    """Whether `cls` is written in C, or is best read and created by its own methods."""
    return not cls.__flags__ & HEAP_TYPE or is_made_in_c(cls) or is_path(cls)


def foundation_of(cls: type) -> type:
    """Return the class that defines the layout of `cls` apart from attributes and slots.

    It is usually written in C, and mostly it is `object`.
    """
    while not is_foundation(cls):
        cls = _base_of(cls)
    return cls


def has_own_new(cls: Any) -> bool:
    """Whether ``cls.__new__`` is written in Python."""
    return type(cls.__new__) is types.FunctionType


def slots_of(cls: type) -> dict[str, Any]:
    """Return the descriptors of the slots of `cls` by name, those of the base first.

    A slot redefined by a subclass has a number appended to its name.
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
    """Return a getter for the ``__dict__`` of `cls` instances; None if they have none.

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
    """Whether reading or setting a slot by its name would reach something else."""
    if cls.__setattr__ is not object.__setattr__:
        return True
    return any(
        next((dict_of_class(each)[name] for each in cls.__mro__ if name in dict_of_class(each)), 0)
        is not descriptor
        for name, descriptor in slots.items()
    )


def filled_slots(obj: Any, slots: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of the non-empty slots of `obj`."""
    filled = {}
    for name, descriptor in slots.items():
        try:
            filled[name] = descriptor.__get__(obj)
        except AttributeError:  # empty
            continue
    return filled


def set_attributes(obj: Any, attributes: dict[str, Any] | None, slots: dict[str, Any]) -> None:
    """Set attributes and slots; one that has become the other is set as that.

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
