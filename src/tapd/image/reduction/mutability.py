"""Classifies types for change tracking: value, row of values, durable object or plain object.

A *value* is immutable, and code can't rely on its identity. A *row* (such as a tuple) is
immutable, but its items may not be. A *durable* object has a number by which any record refers
to it. All else is *plain*: it may change without a report, and its identity matters. Functions
and classes form a kind of their own: an importable one is a value, a typed one is saved with
its parts under its own key.
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
from tapd.image.reduction.library_types import is_immutable_type
from tapd.model.durable.persistent import is_durable_type
from tapd.values import Value


class Kind(enum.Enum):
    """The kinds of types, as the module describes them."""

    VALUE = "value"
    ROW = "row"
    DURABLE = "durable"
    DEFINITION = "definition"
    PLAIN = "plain"


ATOMS: frozenset[type] = frozenset({int, str, bytes, float, bool, complex, type(None)})
_kinds: dict[type, Kind] = dict.fromkeys(ATOMS, Kind.VALUE)


def kind_of(cls: type) -> Kind:
    """Return the kind of `cls` instances."""
    kind = _kinds.get(cls)
    if kind is None:
        try:
            kind = _decide(cls)
        except BaseException as error:  # raised by a hook of its metaclass
            hooks.check(error, nests=False)
            kind = Kind.PLAIN
        if names.name_of(cls) is not None:  # don't keep a class typed at a prompt alive
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
        # Contents of an importable enum's members belong to its module.
        return Kind.PLAIN if names.name_of(cls) is None else Kind.VALUE
    if issubclass(cls, tuple):
        # A row if it has only its fields, no attributes.
        return Kind.ROW if hasattr(cls, "_fields") and not cls.__dictoffset__ else Kind.PLAIN
    if cls in _CHANGEABLE or "__dataclass_params__" in dict_of_class(cls):
        return Kind.PLAIN
    return Kind.VALUE if is_immutable_type(cls) else Kind.PLAIN


_CHANGEABLE = frozenset({functools.partial, names.BrokenMethod})
"""Types with mutable attributes, though `library_types` lists them as immutable."""


def parts_of_row(row: Any) -> Iterable[Any]:
    """Return the items of a row."""
    parts = _PARTS.get(type(row))
    if parts is not None:
        return parts(row)
    return row.__dict__.values() if isinstance(row, Value) else row


_PARTS: dict[type, Callable[[Any], Iterable[Any]]] = {
    types.MethodType: operator.attrgetter("__self__", "__func__"),
    types.BuiltinMethodType: lambda row: (row.__self__,),  # for a function, its module
    slice: operator.attrgetter("start", "stop", "step"),
    property: operator.attrgetter("fget", "fset", "fdel"),
    staticmethod: lambda row: (row.__func__,),
    classmethod: lambda row: (row.__func__,),
}


def is_named(definition: Any) -> bool:
    """Whether a function or class is importable, and so belongs to its module."""
    return names.name_of(definition) is not None
