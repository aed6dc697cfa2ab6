"""Lists the parts of functions, cells, classes and weak references, for comparing graphs."""

from __future__ import annotations

import functools
import gc
import types
import weakref
from collections.abc import Callable
from typing import Any

from tapd.image.code import classes
from tapd.image.evolution import names
from tapd.image.loss import type_name_of
from tapd.model.durable.namespace import namespace_of

Attributes = dict[str, Any]


def parts_named(*names: str) -> Callable[[Any], Attributes]:
    """Return a getter for the attributes called `names`."""

    def parts(obj: Any) -> Attributes:
        return {name: getattr(obj, name, None) for name in names}

    return parts


def _function_parts(obj: Any) -> Attributes:
    parts: Attributes = dict(types.FunctionType.__dict__["__dict__"].__get__(obj))
    for name in ("__name__", "__qualname__", "__doc__", "__defaults__"):
        parts[name] = getattr(obj, name)
    parts["__kwdefaults__"] = obj.__kwdefaults__ or {}
    for name, cell in zip(obj.__code__.co_freevars, obj.__closure__ or (), strict=False):
        parts[f"<cell {name}>"] = cell
    parts["<code>"] = obj.__code__
    parts["<globals>"] = namespace_of(obj.__globals__)
    return parts


def _code_parts(obj: Any) -> Attributes:
    names = (
        "co_qualname", "co_code", "co_names", "co_varnames", "co_freevars", "co_consts",
        "co_flags", "co_argcount", "co_kwonlyargcount", "co_posonlyargcount",
    )  # fmt: skip
    return {name: getattr(obj, name) for name in names}


def _cell_parts(obj: Any) -> Attributes:
    try:
        return {"<contents>": obj.cell_contents}
    except ValueError:
        return {}


def _builtin_parts(obj: Any) -> Attributes:
    return {"<owner>": obj.__self__, "__name__": obj.__name__}


def _proxy_parts(obj: Any) -> Attributes:
    return dict(zip(("<mapping>",), gc.get_referents(obj), strict=False))


def _reference_parts(obj: Any) -> Attributes:
    referent = weakref.ref.__call__(obj)
    return {} if referent is None else {"<referent>": referent}


def nothing(_obj: Any) -> Attributes:
    """Return no parts."""
    return {}


PARTS: dict[type, Callable[[Any], Attributes]] = {
    types.FunctionType: _function_parts,
    types.CodeType: _code_parts,
    types.CellType: _cell_parts,
    types.BuiltinFunctionType: _builtin_parts,
    types.MethodWrapperType: _builtin_parts,
    types.MethodType: parts_named("__func__", "__self__"),
    types.MappingProxyType: _proxy_parts,
    types.ModuleType: parts_named("__name__"),
    weakref.ref: _reference_parts,
    weakref.ProxyType: nothing,
    weakref.CallableProxyType: nothing,
    slice: parts_named("start", "stop", "step"),
    property: parts_named("fget", "fset", "fdel", "__doc__"),
    staticmethod: parts_named("__func__"),
    classmethod: parts_named("__func__"),
    functools.cached_property: parts_named("func", "attrname"),
    functools._lru_cache_wrapper: parts_named("__wrapped__"),  # noqa: SLF001 - functools has no public name for it
}


def class_parts(cls: Any) -> Attributes:
    """Return the parts of a class that is not importable, or the name of one that is."""
    name = names.name_of(cls)
    if name is not None or classes.is_made_in_c(cls):
        return {"<name>": name or type_name_of(cls)}
    try:
        made, state = classes.split_class(cls)
    except Exception:
        return {"<name>": type_name_of(cls)}
    return {
        "<name>": type_name_of(cls),
        "<bases>": made[2],
        "<slots>": made[6]["slots"],
        "<members>": state.get("members"),
        "<by value>": state.get("by_value"),
        **state["attributes"],
    }
