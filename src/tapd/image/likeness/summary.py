"""Renders an object in a few words for a message, without running code of its class."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import itertools
import re
import types
from typing import Any

from tapd.image.likeness.anatomy import anatomy_of
from tapd.image.loss import Placeholder, type_name_of

WIDTH = 160
_ITEMS_MAX = 6
_DEPTH_MAX = 2
_BRACKETS = {"list": "[]", "tuple": "()", "set": "{}", "builtins.dict": "{}", "dict": "{}"}
_WITH_REPR = (type(None), bool, int, float, complex, bytes, str, range, type(...))


def show(value: Any, width: int = WIDTH) -> str:
    """Return `value` for people, shortened in the middle."""
    try:
        text = _show(value, _DEPTH_MAX, width)
    except Exception:
        text = f"<a {type_name_of(type(value))}>"
    if len(text) <= width:
        return text
    half = (width - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def _show(value: Any, depth: int, width: int) -> str:  # noqa: PLR0911 - one for each kind
    cls = type(value)
    if cls in (str, bytes):  # avoid the repr of megabytes: only the beginning and end are shown
        return repr(value if len(value) <= 2 * width else value[:width] + value[-width:])
    if cls is int and value.bit_length() > 4 * width:
        return f"<an int of {value.bit_length()} bits>"
    if cls in _WITH_REPR or cls is Placeholder:
        return repr(value)
    if issubclass(cls, type):
        return f"<class {type_name_of(value)}>"
    if cls in (types.FunctionType, types.BuiltinFunctionType):
        return f"<function {value.__qualname__}>"
    if issubclass(cls, types.ModuleType):
        return f"<module {value.__name__}>"
    if issubclass(type(cls), enum.EnumType):
        return f"{cls.__qualname__}.{value._name_}"
    return _show_parts(value, cls, depth, width)


def _show_parts(value: Any, cls: type, depth: int, width: int) -> str:
    anatomy = anatomy_of(cls)
    name = anatomy.kind.rpartition(".")[2]
    if depth == 0:
        return "..."
    if cls in _OF_C and not _has_foreign_zone(value):
        return repr(value)
    parts: list[str] = []
    if anatomy.value is not None:
        parts.append(_show(anatomy.value(value), depth - 1, width))
    brackets = _BRACKETS.get(anatomy.kind)
    items = anatomy.sequence or anatomy.members
    if items is not None:
        shown = [_show(item, depth - 1, width) for item in _first(items(value))]
        parts.append(_joined(shown, brackets or ("[]" if anatomy.sequence else "{}")))
    if anatomy.mapping is not None:
        shown = [
            f"{_show(key, depth - 1, width)}: {_show(item, depth - 1, width)}"
            for key, item in _first(anatomy.mapping(value))
        ]
        parts.append(_joined(shown, "{}"))
    if brackets is not None:
        return parts[0]
    attributes = anatomy.attributes(value) if anatomy.attributes is not None else {}
    for attribute, part in _first(attributes.items()):
        if attribute != "maxlen" or part is not None:
            parts.append(f"{attribute}={_show(part, depth - 1, width)}")
    return f"{name}({', '.join(parts)}{', ...' if len(attributes) > _ITEMS_MAX else ''})"


_OF_C = frozenset({
    dt.datetime, dt.date, dt.time, dt.timedelta, dt.timezone, decimal.Decimal, re.Pattern,
})  # fmt: skip


def _has_foreign_zone(value: Any) -> bool:
    """Whether rendering a time would call a time zone class of an author."""
    return type(getattr(value, "tzinfo", None)) not in (type(None), dt.timezone)


def _first(items: Any) -> list[Any]:
    return list(itertools.islice(items, _ITEMS_MAX + 1))


def _joined(shown: list[str], brackets: str) -> str:
    if len(shown) > _ITEMS_MAX:
        shown[_ITEMS_MAX:] = ["..."]
    elif brackets == "()" and len(shown) == 1:
        shown = [f"{shown[0]},"]
    return f"{brackets[0]}{', '.join(shown)}{brackets[1]}" if brackets != "{}" or shown else "{}"
