"""Saves functions that `dataclasses` and `collections.namedtuple` generate for a class.

The libraries compile them from a text that is thrown away. To restore them, the library
generates them again for a *twin*: a class without name and base that has fields of the same
names and kinds. A restored function has the code of the twin's function. Defaults, cells,
globals and attributes are saved and restored like those of any function
(`image.code.definitions`).

At save a function counts as generated only if its code equals the code of the twin.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import types
import typing
import weakref
from collections.abc import Iterator
from typing import Any

Spec = tuple[Any, ...]
"""What a twin is created from: only tuples, texts and bools."""
Way = tuple[str, int]
"""A function's place in a twin: the attribute, and the number of ``__wrapped__`` steps."""

_found: weakref.WeakKeyDictionary[Any, tuple[Spec, Way]] = weakref.WeakKeyDictionary()

_TOLD = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
_FLAGS = ("init", "repr", "hash", "compare", "kw_only")
_KINDS = {
    dataclasses._FIELD: "field",  # type: ignore[attr-defined]  # noqa: SLF001 - no other way to ask
    dataclasses._FIELD_CLASSVAR: "class variable",  # type: ignore[attr-defined]  # noqa: SLF001 - no other way to ask
    dataclasses._FIELD_INITVAR: "init variable",  # type: ignore[attr-defined]  # noqa: SLF001 - no other way to ask
}


@functools.lru_cache(maxsize=4096)
def _the(spec: Spec) -> Spec:
    """Intern a spec, so that equal ones are pickled once."""
    return spec


def specs_of(cls: type) -> Iterator[Spec]:
    """Yield specs of possible twins of `cls`; none if no library generated code for it."""
    names: Any = type.__dict__["__dict__"].__get__(cls)
    if "__dataclass_fields__" in names:
        parameters = names["__dataclass_params__"]
        told = tuple(bool(getattr(parameters, name)) for name in _TOLD)
        fields = tuple(map(_described, names["__dataclass_fields__"].values()))
        made = getattr(names.get("__init__"), "__code__", None)
        calls = hasattr(cls, "__post_init__") if made is None else "__post_init__" in made.co_names
        slots = "__slots__" in names
        for has_slots in (slots, not slots):
            yield _the(("dataclass", told, has_slots, calls, fields))
    elif issubclass(cls, tuple) and type(names.get("_fields")) is tuple:
        yield _the(("namedtuple", cls.__name__, names["_fields"]))


def _described(field: Any) -> tuple[Any, ...]:
    has_default = field.default is not dataclasses.MISSING
    has_factory = field.default_factory is not dataclasses.MISSING
    flags = tuple(
        None if flag is dataclasses.MISSING else flag
        for flag in (getattr(field, name) for name in _FLAGS)
    )
    return field.name, _KINDS[field._field_type], has_default, has_factory, flags  # noqa: SLF001 - no other way to ask


@functools.lru_cache(maxsize=256)
def _twin(spec: Spec) -> dict[str, Any]:
    """Return the attributes of the class that a library creates from `spec`."""
    kind, *parts = spec
    made = _twin_dataclass(*parts) if kind == "dataclass" else _twin_namedtuple(*parts)
    return dict(vars(made))


def _twin_namedtuple(name: str, fields: tuple[str, ...]) -> Any:
    make: Any = collections.namedtuple  # noqa: PYI024 - its fields are data here
    # `rename` accepts the names that it gave before: they begin with an underscore.
    return make(name, fields, rename=True)


def _twin_dataclass(
    told: tuple[bool, ...], has_slots: bool, calls: bool, fields: tuple[Any, ...]
) -> Any:
    annotations: dict[str, Any] = {}
    names: dict[str, Any] = {"__annotations__": annotations, "__doc__": "a twin"}
    if calls:
        names["__post_init__"] = _nothing
    for name, kind, has_default, has_factory, flags in fields:
        keywords = dict(zip(_FLAGS, flags, strict=True))
        annotations[name] = object
        if kind == "class variable":
            annotations[name] = typing.ClassVar
            del keywords["kw_only"]
        elif kind == "init variable":
            annotations[name] = dataclasses.InitVar[int]
        if has_default:
            keywords["default"] = None
        if has_factory:
            keywords["default_factory"] = list
        names[name] = dataclasses.field(**keywords)
    decorate: Any = dataclasses.dataclass
    keywords = dict(zip(_TOLD, told, strict=True))
    return decorate(**keywords, match_args=False, slots=has_slots)(type("Twin", (), names))


def _nothing(_self: Any) -> None:
    """A ``__post_init__`` that does nothing."""


def _functions(twin: dict[str, Any]) -> Iterator[tuple[Way, Any]]:
    for name, value in twin.items():
        function = getattr(value, "__func__", value)
        depth = 0
        while type(function) is types.FunctionType:
            yield (name, depth), function
            function = function.__dict__.get("__wrapped__")
            depth += 1


def note_rewritten(cls: type, *others: Any) -> Spec | None:
    """Find the generated functions of `cls`, for `way_of`; return its spec, if any.

    Args:
        cls: a class.
        others: functions that were its.
    """
    own = [
        function
        for _way, function in _functions(dict(type.__dict__["__dict__"].__get__(cls)))
        if function.__module__ != "dataclasses" or function.__code__.co_freevars
    ]
    own += others
    used = None
    for spec in specs_of(cls):
        new = [function for function in own if function not in _found]
        try:
            twin = _twin(spec)
        except Exception:  # the author changed the fields: functions not found are reported as lost
            return None
        used = used or spec
        if not new:
            return used
        by_code = {_bare(function.__code__): way for way, function in _functions(twin)}
        for function in new:
            way = by_code.get(_bare(function.__code__))
            if way is not None:
                _found[function] = spec, way
    return used


def way_of(function: Any) -> tuple[Spec, Way] | None:
    """Return the spec and place of `function`, if a library generated it."""
    way = _found.get(function)
    if way is None and function.__code__.co_filename == "<string>":
        # Met before its class, such as a bound method in a variable.
        owner: Any = function.__globals__
        for name in function.__qualname__.split(".")[:-1]:
            owner = owner.get(name) if type(owner) is dict else vars(owner).get(name)
            if not isinstance(owner, type):
                return None
        if isinstance(owner, type):
            note_rewritten(owner, function)
            way = _found.get(function)
    return way


def remember_way(function: Any, spec: Spec, way: Way) -> None:
    """Register the place of `function`, which was just restored."""
    _found[function] = _the(spec), way


def function_at(spec: Spec, way: Way) -> Any:
    """Return the function that a library generates for `spec` in this Python version.

    Raises:
        LookupError: it generates none of that name.
    """
    for where, function in _functions(_twin(spec)):
        if where == way:
            return function
    raise LookupError(f"this Python writes no {way[0]} for a {spec[0]}")


def usual_name(name: str) -> str:
    """Return the version-independent name of a variable of a generated function.

    ``_dflt_x`` of Python 3.11 became ``__dataclass_dflt_x__``.
    """
    begin, end = "__dataclass_", "__"
    if name.startswith(begin) and name.endswith(end):
        return f"_{name.removeprefix(begin).removesuffix(end)}"
    return name


def is_of_class(name: str) -> bool:
    """Whether such a variable belongs to the class, so that the twin's is wrong."""
    return name == "cls" or name.startswith("_dflt_")


def is_of_twin(function: Any) -> bool:
    """Whether the function's globals are those of the class's module, not the library's."""
    return function.__globals__ is globals()


def shared_names(cls: type, spec: Spec) -> dict[str, Any]:
    """Return the attributes of `cls` that the library gives to every class unchanged."""
    own: Any = type.__dict__["__dict__"].__get__(cls)
    return {
        name: value for name, value in shared_attributes(spec).items() if own.get(name) is value
    }


def shared_attributes(spec: Spec) -> dict[str, Any]:
    """Return the attributes that a library gives to every class of this kind unchanged."""
    if spec[0] != "dataclass":
        return {}
    return {
        name: value
        for name, value in _twin(spec).items()
        if type(value) is types.FunctionType
        and value.__module__ == "dataclasses"
        and not value.__code__.co_freevars
    }


def _bare(code: types.CodeType) -> types.CodeType:
    """Return `code` without line numbers, which depend on the other generated code."""
    return code.replace(co_linetable=b"", co_firstlineno=1)
