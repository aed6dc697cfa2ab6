"""Reads what an object directly holds, in C and without running hooks, for fingerprints.

A *look* is a function that yields everything an object holds, in an order that is stable for
the object's lifetime. A type that holds something a look can't see has no look.
"""

from __future__ import annotations

import collections
import copyreg
import dataclasses
import functools
import itertools
import operator
import types
from collections.abc import Callable, Iterable
from typing import Any

from tapd.image.bare import HEAP_TYPE
from tapd.image.code.classes import is_made_in_c
from tapd.image.evolution import names
from tapd.image.reduction.reducer import is_plain_type

Look = Callable[[Any], Iterable[Any]]

_dict_of = operator.attrgetter("__dict__")


class _Empty:
    """Marks an empty slot."""


_getstate_of_dataclass = getattr(dataclasses, "_dataclass_getstate", None)
_class_dict: Any = type.__dict__["__dict__"]


def _of_function(function: Any) -> Iterable[Any]:
    yield function.__code__
    yield function.__defaults__
    if function.__kwdefaults__:
        yield from function.__kwdefaults__
        yield from function.__kwdefaults__.values()
    yield function.__closure__
    yield function.__name__
    yield function.__qualname__
    yield function.__doc__
    yield from function.__annotations__.values()
    attributes = function.__dict__
    yield from attributes
    yield from attributes.values()


def _of_cell(cell: Any) -> Iterable[Any]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _of_class(cls: Any) -> Iterable[Any]:
    attributes = _class_dict.__get__(cls)
    return itertools.chain(cls.__mro__, attributes, attributes.values())


def _of_partial(partial: Any) -> Iterable[Any]:
    return partial.func, partial.args, partial.keywords, partial.__dict__


def _of_items(mapping: Any) -> Iterable[Any]:
    return itertools.chain(mapping.keys(), mapping.values())


def _of_ordered(mapping: Any) -> Iterable[Any]:
    return itertools.chain((mapping.__dict__,), mapping.keys(), mapping.values())


def _of_defaultdict(mapping: Any) -> Iterable[Any]:
    return itertools.chain((mapping.default_factory,), mapping, mapping.values())


def _of_deque(items: Any) -> Iterable[Any]:
    return itertools.chain((items.maxlen,), items)


def _nothing(_obj: Any) -> Iterable[Any]:
    return ()


_LOOKS: dict[type, Look] = {
    object: _nothing,
    types.CellType: _of_cell,
    functools.partial: _of_partial,
    types.MappingProxyType: _of_items,
    collections.OrderedDict: _of_ordered,
    collections.defaultdict: _of_defaultdict,
    collections.deque: _of_deque,
}


_UNCHANGING: tuple[type, ...] = (
    types.CodeType, types.GetSetDescriptorType, types.MemberDescriptorType,
    types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType,
    types.MethodWrapperType,
)  # fmt: skip
"""Immutable parts of functions and classes."""


def look_of(cls: Any) -> Look | None:  # noqa: PLR0911 - one for each kind
    """Return the look for instances of `cls`; None where it could not see everything."""
    look = _LOOKS.get(cls)
    if look is not None:
        return look
    if cls in _UNCHANGING or cls.__module__ in ("typing", "_abc"):
        return _nothing
    if issubclass(cls, type):
        return _of_class
    if cls is types.FunctionType:
        return _of_function
    if is_plain_type(cls):
        return _of_typed_instance if names.name_of(cls) is None else None
    if _is_slotted(cls):
        return _look_at_slots(cls)
    return None


def _is_slotted(cls: Any) -> bool:
    """Whether instances of `cls` consist of slots and an optional ``__dict__`` only."""
    return (
        cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and cls.__getstate__ in (object.__getstate__, _getstate_of_dataclass)
        and cls not in copyreg.dispatch_table
        and not hasattr(cls, "__getnewargs__")
        and not hasattr(cls, "__getnewargs_ex__")
        and all(base is object or base.__flags__ & HEAP_TYPE for base in cls.__mro__)
        and not is_made_in_c(cls)
    )


def _of_typed_instance(obj: Any) -> Iterable[Any]:
    """Look at an instance of a class typed at a prompt; the class itself is saved with it."""
    attributes = _dict_of(obj)
    return itertools.chain((type(obj),), attributes, attributes.values())


def _look_at_slots(cls: Any) -> Look:
    members = [
        member.__get__
        for base in cls.__mro__
        for member in base.__dict__.values()
        if type(member) is types.MemberDescriptorType
    ]
    has_dict = cls.__dictoffset__ != 0

    def look(obj: Any) -> Iterable[Any]:
        yield type(obj)
        for member in members:
            try:
                yield member(obj)
            except AttributeError:
                yield _Empty
        if has_dict:
            attributes = _dict_of(obj)
            yield from attributes
            yield from attributes.values()

    return look
