"""What a type is to the journal: a value, a row of values, a durable object, or a plain one.

A *value* can't change, and Python promises nothing of its identity. A *row* (a
tuple, say) can't change either, but what it holds may. A *durable* object has a
number by which any record refers to it. All else is *plain*: it may change
without telling, and which objects are one and the same matters. Functions and
classes have a kind of their own: one found by its name is a value, one that was
typed is saved with its parts, under a key of its own.
"""

from __future__ import annotations

import enum
import functools
import operator
import types
from collections.abc import Callable, Iterable
from typing import Any

from tapd.image import hooks
from tapd.image.bare import dict_of_class
from tapd.image.evolution import names
from tapd.image.reduction.strangers import is_immutable_type
from tapd.model.durable.persistent import is_durable_type
from tapd.values import Value


class Kind(enum.Enum):
    """See above."""

    VALUE = "value"
    ROW = "row"
    DURABLE = "durable"
    DEFINITION = "definition"
    PLAIN = "plain"


ATOMS: frozenset[type] = frozenset({int, str, bytes, float, bool, complex, type(None)})
_kinds: dict[type, Kind] = dict.fromkeys(ATOMS, Kind.VALUE)


def kind_of(cls: type) -> Kind:
    """Return what instances of `cls` are."""
    kind = _kinds.get(cls)
    if kind is None:
        try:
            kind = _decide(cls)
        except BaseException as error:  # its metaclass has hooks
            hooks.check(error, nests=False)
            kind = Kind.PLAIN
        if names.name_of(cls) is not None:  # one that was typed may go again
            _kinds[cls] = kind
    return kind


def _decide(cls: type) -> Kind:  # noqa: PLR0911 - one for each kind
    if is_durable_type(cls):
        return Kind.DURABLE
    if cls in (tuple, frozenset) or cls in _PARTS or issubclass(cls, Value):
        return Kind.ROW
    if issubclass(cls, (type, types.FunctionType)):
        return Kind.DEFINITION
    if issubclass(cls, enum.Enum):
        # What members of an importable class hold is its module's.
        return Kind.PLAIN if names.name_of(cls) is None else Kind.VALUE
    if issubclass(cls, tuple):
        # With nothing but its fields it is a row; else there are attributes of its own.
        return Kind.ROW if hasattr(cls, "_fields") and not cls.__dictoffset__ else Kind.PLAIN
    if cls in _CHANGEABLE or "__dataclass_params__" in dict_of_class(cls):
        return Kind.PLAIN
    return Kind.VALUE if is_immutable_type(cls) else Kind.PLAIN


_CHANGEABLE = frozenset({functools.partial, names.BrokenMethod})
"""Whose own attributes may change, though `strangers` calls them immutable."""


def parts_of_row(row: Any) -> Iterable[Any]:
    """Return what a row holds."""
    parts = _PARTS.get(type(row))
    if parts is not None:
        return parts(row)
    return row.__dict__.values() if isinstance(row, Value) else row


_PARTS: dict[type, Callable[[Any], Iterable[Any]]] = {
    types.MethodType: operator.attrgetter("__self__", "__func__"),
    types.BuiltinMethodType: lambda row: (row.__self__,),  # of a function, its module
    slice: operator.attrgetter("start", "stop", "step"),
    property: operator.attrgetter("fget", "fset", "fdel"),
    staticmethod: lambda row: (row.__func__,),
    classmethod: lambda row: (row.__func__,),
}


def is_named(definition: Any) -> bool:
    """Whether a function or class is found by its name, and so is its module's."""
    return names.name_of(definition) is not None
