"""Restores classes from TAPs of tapd 0.1.0. Part of the format.

Nothing is written in this form any more (`image.code.classes` has the current one), but such a
TAP must load for ever. What decorators and metaclasses generated is generated again.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import dataclasses
import inspect
import types
import typing
from typing import Any

from tapd.image.bare import HEAP_TYPE
from tapd.image.code.class_text import restore_class_text
from tapd.image.code.definitions import known_definition, remember_definition
from tapd.image.code.source import source_of
from tapd.image.evolution.names import name_of


def make_class(
    key: bytes,
    metaclass: Any,
    bases: tuple[Any, ...],
    name: str,
    qualname: str,
    module: str | None,
    slots: Any,
    kind: str,
    parts: Any,
) -> Any:
    """Return a bare class; `set_class` gives it its attributes."""
    known = known_definition(key)
    if known is not None:
        return known
    if kind == "enum":
        cls = _make_enum(metaclass, bases, name, parts)
    elif kind == "namedtuple":
        fields, defaults = parts
        make: Any = collections.namedtuple  # noqa: PYI024 - its fields are data here
        usual = [defaults[field] for field in fields if field in defaults]
        cls = make(name, fields, defaults=usual)
        cls.__orig_bases__ = bases
    elif kind == "typeddict":
        cls = _make_typed_dict(name, *parts)
    else:
        keywords = {} if metaclass is type else {"metaclass": metaclass}

        def fill(names: dict[str, Any]) -> None:
            names["__qualname__"] = qualname
            if slots is not None:
                names["__slots__"] = slots

        cls = _make_plain(name, bases, keywords, fill)
    cls.__qualname__ = qualname
    if module is not None:
        cls.__module__ = module
    remember_definition(key, cls)
    return cls


def _make_plain(name: str, bases: tuple[Any, ...], keywords: dict[str, Any], fill: Any) -> Any:
    """Create a class without calling ``__init_subclass__`` of a typed base.

    What that did when the class was typed is part of the saved state, and its keyword arguments
    are unknown. Hooks of libraries are called, since their module may register the class; not
    if they require keyword arguments.
    """
    above = (each for base in types.resolve_bases(bases) for each in base.__mro__)
    owner = next((each for each in above if _tells(each)), object)
    if owner is object:
        return types.new_class(name, bases, keywords, fill)
    if name_of(owner) is not None:
        with contextlib.suppress(TypeError):
            return types.new_class(name, bases, keywords, fill)
    told = owner.__dict__["__init_subclass__"]
    type.__setattr__(owner, "__init_subclass__", classmethod(_tell_nobody))
    try:
        return types.new_class(name, bases, keywords, fill)
    finally:
        type.__setattr__(owner, "__init_subclass__", told)


def _tells(cls: type) -> bool:
    return bool(cls.__flags__ & HEAP_TYPE) and "__init_subclass__" in cls.__dict__


def _tell_nobody(_cls: Any) -> None:
    """An ``__init_subclass__`` that does nothing."""


def _make_enum(metaclass: Any, bases: tuple[Any, ...], name: str, members: dict[str, Any]) -> Any:
    names = metaclass.__prepare__(name, bases)
    for member, value in members.items():
        names[member] = value
    return metaclass.__new__(metaclass, name, bases, names)


def _make_typed_dict(
    name: str, annotations: dict[str, Any], total: bool, required: tuple[str, ...]
) -> Any:
    def told(key: str, annotation: Any) -> Any:
        if (key in required) == total or typing.get_origin(annotation) in (
            typing.Required, typing.NotRequired,
        ):  # fmt: skip
            return annotation
        return typing.Required[annotation] if key in required else typing.NotRequired[annotation]

    fields = {key: told(key, annotation) for key, annotation in annotations.items()}
    make: Any = typing.TypedDict
    return make(name, fields, total=total)


def set_class(cls: Any, state: tuple[Any, ...]) -> None:
    """Set the attributes of a bare class."""
    attributes, dataclass_parts = state[:2]
    registered, text = (*state[2:], None)[:2] if len(state) > 2 else ((), None)  # added later
    for name, value in attributes.items():
        type.__setattr__(cls, name, value)
    if dataclass_parts is not None and "__dataclass_fields__" not in cls.__dict__:
        _make_dataclass(cls, *dataclass_parts)
    if cls.__dict__.get("_is_protocol"):
        _finish_protocol(cls)
    if issubclass(type(cls), abc.ABCMeta):
        abc.update_abstractmethods(cls)
        for each in registered:
            if isinstance(each, type):  # else it is a placeholder
                cls.register(each)
    if text is not None:
        restore_class_text(cls, *text)


def _finish_protocol(cls: Any) -> None:
    """Make `typing` compute the members of a protocol again, now that they are set."""
    members: Any = getattr(typing, "_get_protocol_attrs", None)
    if "__protocol_attrs__" in cls.__dict__ and members is not None:
        cls.__protocol_attrs__ = members(cls)
    if "__callable_proto_members_only__" in cls.__dict__:
        cls.__callable_proto_members_only__ = all(
            callable(getattr(cls, name, None)) for name in cls.__protocol_attrs__
        )
    if cls.__dict__.get("_is_runtime_protocol"):
        typing.runtime_checkable(cls)


def _make_dataclass(cls: Any, told: dict[str, Any], fields: dict[str, dict[str, Any]]) -> None:
    made = {name: dataclasses.field(**parts) for name, parts in fields.items()}
    if "__slots__" not in cls.__dict__:
        for name, field in made.items():
            setattr(cls, name, field)
        dataclasses.dataclass(**told)(cls)
        return
    # A default would overwrite its slot, so the methods come from a twin without slots.
    names = {"__annotations__": inspect.get_annotations(cls), **made}
    names |= {name: value for name, value in cls.__dict__.items() if _is_typed(value)}
    twin: Any = dataclasses.dataclass(**told)(type(cls.__name__, cls.__bases__, names))
    for name, value in twin.__dict__.items():
        if name not in cls.__dict__ and name not in ("__dict__", "__weakref__"):
            setattr(cls, name, value)
    if told["frozen"]:
        cls.__getstate__ = dataclasses._dataclass_getstate  # type: ignore[attr-defined]  # noqa: SLF001 - what dataclass(frozen, slots) puts there
        cls.__setstate__ = dataclasses._dataclass_setstate  # type: ignore[attr-defined]  # noqa: SLF001 - what dataclass(frozen, slots) puts there


def _is_typed(value: Any) -> bool:
    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None)
    return type(code) is types.CodeType and source_of(code) is not None
