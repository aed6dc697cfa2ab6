"""Classes that no module holds: taken apart, and made again at load.

Imports `errors` and this room's `definitions`, `names` and `class_text`. A class is made in
two steps, so that its methods may refer to it: a bare class of the right
metaclass, bases and slots, then its attributes. What a decorator or a metaclass
generated without source text (a dataclass's methods, an enum's lookup tables) is
generated again rather than saved.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import dataclasses
import enum
import inspect
import sys
import types
import typing
from typing import Any

from tapd.errors import CannotKeep
from tapd.image.class_text import restore_class_text, text_of_class
from tapd.image.definitions import key_of, known_definition, remember_definition
from tapd.image.names import name_of

_NOT_SAVED = frozenset({
    "__dict__", "__weakref__", "__module__", "__qualname__", "__slots__",
    "__abstractmethods__", "_abc_impl", "__dataclass_fields__", "__dataclass_params__",
    "__static_attributes__", "__firstlineno__", "__annotate__", "__annotate_func__",
    "__annotations_cache__",
    "__class_cell__", "__protocol_attrs__", "__callable_proto_members_only__",
    "__non_callable_proto_members__",
})  # fmt: skip

_FIELD_PARTS = (
    "default", "default_factory", "init", "repr", "hash", "compare", "metadata", "kw_only",
)  # fmt: skip


def dict_of_class(cls: type) -> Any:
    """Return the attributes of `cls` itself, whatever its metaclass pretends."""
    return type.__dict__["__dict__"].__get__(cls)


def split_class(cls: type) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the arguments of `make_class` and of `set_class` for `cls`.

    Raises:
        CannotKeep: it is of a kind that can't be made again.
    """
    names = dict_of_class(cls)
    if is_made_in_c(cls):
        raise CannotKeep("it is not written in Python and not found by its name")
    if getattr(sys.modules.get("__main__"), "__file__", None) and _is_in_main(cls):
        raise CannotKeep("it is defined in a script; move it to a module that can be imported")
    kind, parts = _kind(cls, names)
    made = (
        key_of(cls), type(cls), names.get("__orig_bases__", cls.__bases__), cls.__name__,
        cls.__qualname__, names.get("__module__"), names.get("__slots__"), kind, parts,
    )  # fmt: skip
    slots = {name for name, value in names.items() if type(value) is types.MemberDescriptorType}
    skipped = _generated(kind, names) | slots | _NOT_SAVED
    attributes = {name: value for name, value in names.items() if name not in skipped}
    return made, (attributes, _dataclass_parts(names), _registered(cls), text_of_class(cls))


def _registered(cls: type) -> tuple[type, ...]:
    """Return the classes that ``cls.register`` was called with."""
    dump: Any = getattr(abc, "_get_dump", None)
    if dump is None or not issubclass(type(cls), abc.ABCMeta):
        return ()
    found = [refer() for refer in dump(cls)[0]]
    return tuple(sorted(filter(None, found), key=lambda each: (each.__module__, each.__qualname__)))


def is_made_in_c(cls: type) -> bool:
    """Whether `cls` is an extension type, so that nothing but its name leads to it."""
    names = dict_of_class(cls)
    made = names.get("__new__")
    return (type(made) is types.BuiltinFunctionType and made.__self__ is cls) or any(
        type(value) in (types.WrapperDescriptorType, types.MethodDescriptorType)
        and value.__objclass__ is cls
        for value in names.values()
    )


def _is_in_main(cls: type) -> bool:
    found: Any = sys.modules["__main__"]
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


def _kind(cls: type, names: Any) -> tuple[str, Any]:
    if issubclass(type(cls), enum.EnumType):
        members: dict[str, Any] = {
            name: member._value_ for name, member in names.get("_member_map_", {}).items()
        }
        return "enum", members
    if issubclass(cls, tuple) and "_fields" in names and tuple in cls.__bases__:
        return "namedtuple", (names["_fields"], names.get("_field_defaults") or {})
    if type(cls) is type(_SomeTypedDict):
        return "typeddict", (
            dict(names.get("__annotations__") or {}),
            names.get("__total__", True),
            tuple(names.get("__required_keys__", ())),
        )
    if issubclass(cls, BaseException) or type(cls).__flags__ & _HEAP_TYPE or type(cls) is type:
        return "", None
    raise CannotKeep(f"a class made by {type(cls).__qualname__} can't be made again")


_HEAP_TYPE = 1 << 9


class _SomeTypedDict(typing.TypedDict):
    pass


def _generated(kind: str, names: Any) -> set[str]:
    """Return the names of those attributes that making the class anew brings."""
    skipped: set[str] = set()
    if kind == "enum":
        members = names.get("_member_map_", {})
        skipped = {
            name for name in names
            if name in members or name in _ENUM_TABLES
            or (name in _ENUM_METHODS and not _is_typed(names[name]))
        }  # fmt: skip
    elif kind == "namedtuple":
        skipped = {
            "__new__", "_make", "_replace", "__replace__", "__repr__", "_asdict",
            "__getnewargs__", "__match_args__", "_fields", "_field_defaults",
            *names["_fields"],
        } - {name for name, value in names.items() if _is_typed(value)}  # fmt: skip
    elif kind == "typeddict":
        skipped = set(names) - {"__doc__"}
    if names.get("_is_protocol"):
        skipped |= {
            name
            for name, value in names.items()
            if _module(getattr(value, "__func__", value)) == "typing"
        }
    if "__dataclass_fields__" in names:
        skipped |= {
            name for name, value in names.items()
            if _code_file(value) == "<string>" or _module(value) == "dataclasses"
            or name == "__match_args__"
        }  # fmt: skip
        # `repr` is wrapped by a closure of reprlib's.
        if "__wrapped__" in getattr(names.get("__repr__"), "__dict__", {}) and not _is_typed(
            names["__repr__"]
        ):
            skipped.add("__repr__")
    return skipped


_ENUM_TABLES = frozenset({
    "_generate_next_value_", "_new_member_", "_use_args_", "_member_names_", "_member_map_",
    "_value2member_map_", "_unhashable_values_", "_unhashable_values_map_", "_hashable_values_",
    "_member_type_", "_value_repr_", "_boundary_", "_flag_mask_", "_singles_mask_", "_all_bits_",
    "_inverted_", "_ignore_", "_order_", "__new_member__", "_iter_member_",
})  # fmt: skip
_ENUM_METHODS = frozenset({
    "__new__", "__reduce_ex__", "__reduce__", "__repr__", "__str__", "__format__", "__hash__",
    "__or__", "__and__", "__xor__", "__ror__", "__rand__", "__rxor__", "__invert__",
    "__init__", "__doc__", "_numeric_repr_",
})  # fmt: skip


def _code_file(value: Any) -> Any:
    while type(value) is types.FunctionType and "__wrapped__" in value.__dict__:
        value = value.__dict__["__wrapped__"]
    return value.__code__.co_filename if type(value) is types.FunctionType else None


def _module(value: Any) -> str | None:
    return value.__module__ if type(value) is types.FunctionType else None


def _is_typed(value: Any) -> bool:
    from tapd.image.source import source_of  # noqa: PLC0415

    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None)
    return type(code) is types.CodeType and source_of(code) is not None


def _dataclass_parts(names: Any) -> Any:
    """Return what `dataclasses.dataclass` was told, or None for another class."""
    if "__dataclass_fields__" not in names:
        return None
    parameters = names["__dataclass_params__"]
    told = {name: getattr(parameters, name) for name in ("init", "repr", "eq", "order")}
    told["unsafe_hash"], told["frozen"] = parameters.unsafe_hash, parameters.frozen
    told["match_args"] = "__match_args__" in names
    own = names.get("__annotations__") or {}
    fields = {
        name: {part: _field_part(field, part) for part in _FIELD_PARTS}
        for name, field in names["__dataclass_fields__"].items()
        if name in own
    }
    return told, fields


def _field_part(field: Any, part: str) -> Any:
    value = getattr(field, part)
    if type(value) is types.MappingProxyType:
        return dict(value) or None
    return value


# --- made again: part of the format ------------------------------------------


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
    """Make a class without telling a typed base of it, which was told when it was typed.

    What an ``__init_subclass__`` did then is state, and saved; the keywords that it
    was given are not known any more. A base that a library holds is told again,
    since what it notes is its module's; where it asks for keywords, it is not.
    """
    above = (each for base in types.resolve_bases(bases) for each in base.__mro__)
    owner = next((each for each in above if _tells(each)), object)
    if owner is object:
        return types.new_class(name, bases, keywords, fill)
    if name_of(owner) is not None:
        with contextlib.suppress(TypeError):
            return types.new_class(name, bases, keywords, fill)
    told = dict_of_class(owner)["__init_subclass__"]
    type.__setattr__(owner, "__init_subclass__", classmethod(_tell_nobody))
    try:
        return types.new_class(name, bases, keywords, fill)
    finally:
        type.__setattr__(owner, "__init_subclass__", told)


def _tells(cls: type) -> bool:
    return bool(cls.__flags__ & _HEAP_TYPE) and "__init_subclass__" in dict_of_class(cls)


def _tell_nobody(_cls: Any) -> None:
    """Stand in for an ``__init_subclass__``."""


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
    """Give a bare class its attributes."""
    attributes, dataclass_parts = state[:2]
    registered, text = (*state[2:], None)[:2] if len(state) > 2 else ((), None)  # as added later
    for name, value in attributes.items():
        type.__setattr__(cls, name, value)
    if dataclass_parts is not None and "__dataclass_fields__" not in cls.__dict__:
        _make_dataclass(cls, *dataclass_parts)
    if cls.__dict__.get("_is_protocol"):
        _finish_protocol(cls)
    if issubclass(type(cls), abc.ABCMeta):
        abc.update_abstractmethods(cls)
        for each in registered:
            if isinstance(each, type):  # it may be lost
                cls.register(each)
    if text is not None:
        restore_class_text(cls, *text)


def _finish_protocol(cls: Any) -> None:
    """Have `typing` look at the members of a protocol again: they came after its making."""
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
    # A default would overwrite its slot, so a twin without slots generates the methods.
    names = {"__annotations__": inspect.get_annotations(cls), **made}
    names |= {name: value for name, value in cls.__dict__.items() if _is_typed(value)}
    twin: Any = dataclasses.dataclass(**told)(type(cls.__name__, cls.__bases__, names))
    for name, value in twin.__dict__.items():
        if name not in cls.__dict__ and name not in ("__dict__", "__weakref__"):
            setattr(cls, name, value)
    if told["frozen"]:
        cls.__getstate__ = dataclasses._dataclass_getstate  # type: ignore[attr-defined]
        cls.__setstate__ = dataclasses._dataclass_setstate  # type: ignore[attr-defined]
