"""Saves and restores type variables and aliases of `typing` that are not importable.

PEP 695 syntax (``class C[T: Bound]``, ``type X = ...``) is evaluated lazily and may refer to
itself, and no constructor creates such objects. They are restored by the same syntax, with a
bound or value that is filled in afterwards.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from typing import Any

from tapd.errors import CannotKeep

_HAS_SYNTAX = sys.version_info >= (3, 12)
_HAS_DEFAULTS = sys.version_info >= (3, 13)
_alias_type: Any = getattr(typing, "TypeAliasType", None)


def _has_name(obj: Any) -> bool:
    """Whether `obj` can be imported from its module by its name."""
    module = getattr(obj, "__module__", None)
    if module in (None, "__main__"):
        return False
    return getattr(sys.modules.get(module), obj.__name__, None) is obj


def _evaluated(obj: Any, name: str) -> Any:
    try:
        return getattr(obj, name)
    except Exception as error:
        raise CannotKeep(
            f"its {name} can't be evaluated yet: {type(error).__name__}: {error}"
        ) from None


def _reduce_variable(obj: Any) -> Any:
    if _has_name(obj):
        return obj.__name__
    state = {"__module__": obj.__module__}
    if getattr(obj, "has_default", bool)():
        state["__default__"] = _evaluated(obj, "__default__")
    if type(obj) is typing.ParamSpec and getattr(obj, "__infer_variance__", False):
        return lazy_specification, (obj.__name__, state)
    if type(obj) is not typing.TypeVar:
        return new_variable, (type(obj).__name__, obj.__name__, state)
    state["__bound__"] = _evaluated(obj, "__bound__")
    state["__constraints__"] = _evaluated(obj, "__constraints__")
    state["__covariant__"] = obj.__covariant__
    state["__contravariant__"] = obj.__contravariant__
    if not getattr(obj, "__infer_variance__", False):
        return new_variable, ("TypeVar", obj.__name__, state)
    has_bound = state["__bound__"] is not None
    made = (obj.__name__, has_bound, len(state["__constraints__"]), "__default__" in state)
    return lazy_variable, made, state, None, None, set_lazy


def new_variable(kind: str, name: str, state: dict[str, Any]) -> Any:
    """Return a type variable created by a constructor. Part of the format."""
    keywords: dict[str, Any] = {}
    if kind == "TypeVar":
        keywords["bound"] = state["__bound__"]
        keywords["covariant"] = state["__covariant__"]
        keywords["contravariant"] = state["__contravariant__"]
    if _HAS_DEFAULTS and "__default__" in state:
        keywords["default"] = state["__default__"]
    make: Any = getattr(typing, kind)
    made = make(name, *state.get("__constraints__", ()), **keywords)
    made.__module__ = state["__module__"]
    return made


_holders: dict[int, tuple[Any, list[Any]]] = {}
"""Objects whose parts are not set yet, each with the list that takes them."""


def _execute(text: str, module: str | None) -> tuple[dict[str, Any], list[Any]]:
    """Run a definition whose parts are read from the returned list."""
    holder: list[Any] = []
    names: dict[str, Any] = {"_holder_": holder}
    if module is not None:
        names["__name__"] = module
    exec(text, names)  # noqa: S102 - the text is of this module's making
    return names, holder


def lazy_variable(name: str, has_bound: bool, constraints: int, has_default: bool) -> Any:
    """Return a type variable created by PEP 695 syntax; `set_lazy` follows.

    Part of the format.
    """
    if not _HAS_SYNTAX:
        make: Any = typing.TypeVar  # whose attributes can be set, then
        return make(name)
    bound = ": _holder_[0]" if has_bound else ""
    if constraints:
        bound = f": ({', '.join(f'_holder_[{index + 2}]' for index in range(constraints))},)"
    default = " = _holder_[1]" if has_default and _HAS_DEFAULTS else ""
    names, holder = _execute(f"def _make_[{name}{bound}{default}](): ...", None)
    [variable] = names["_make_"].__type_params__
    _holders[id(variable)] = variable, holder
    return variable


def lazy_specification(name: str, state: dict[str, Any]) -> Any:
    """Return a parameter specification created by PEP 695 syntax. Part of the format."""
    if not _HAS_SYNTAX:
        return new_variable("ParamSpec", name, state)
    has_default = _HAS_DEFAULTS and "__default__" in state
    default = " = _holder_[0]" if has_default else ""
    names, holder = _execute(f"def _make_[**{name}{default}](): ...", None)
    holder.append(state.get("__default__"))
    [made] = names["_make_"].__type_params__
    made.__module__ = state["__module__"]
    return made


def set_lazy(variable: Any, state: dict[str, Any]) -> None:
    """Set the bound of a type variable or the value of an alias."""
    waiting = _holders.pop(id(variable), None)
    if waiting is not None:
        bound = state.get("__value__", state.get("__bound__"))
        waiting[1][:] = bound, state.get("__default__"), *state.get("__constraints__", ())
    elif not _HAS_SYNTAX and isinstance(variable, typing.TypeVar):
        for name in ("__bound__", "__constraints__"):
            setattr(variable, name, state[name])
    if isinstance(variable, typing.TypeVar):
        variable.__module__ = state["__module__"]


def _reduce_alias(obj: Any) -> Any:
    if _has_name(obj):
        return obj.__name__
    value = _evaluated(obj, "__value__")
    if not obj.__type_params__:
        made = (obj.__name__, obj.__module__)
        return lazy_alias, made, {"__value__": value}, None, None, set_lazy
    if _mentions(value, obj, set()):
        raise CannotKeep("a generic alias that refers to itself can't be made again")
    return generic_alias, (obj.__name__, obj.__module__, obj.__type_params__, value)


def _mentions(value: Any, wanted: Any, seen: set[int]) -> bool:
    """Whether `wanted` is a part of `value`."""
    if value is wanted:
        return True
    if id(value) in seen:
        return False
    seen.add(id(value))
    parts = [getattr(value, "__origin__", None), *(getattr(value, "__args__", None) or ())]
    if type(value) is _alias_type:
        parts.append(value.__value__)
    if type(value) in (list, tuple):
        parts += value
    return any(_mentions(part, wanted, seen) for part in parts if part is not None)


def lazy_alias(name: str, module: str | None) -> Any:
    """Return the result of ``type NAME = ...``; `set_lazy` follows. Part of the format."""
    names, holder = _execute(f"type {name} = _holder_[0]", module)
    _holders[id(names[name])] = names[name], holder
    return names[name]


def generic_alias(name: str, module: str | None, parameters: Any, value: Any) -> Any:
    """Return the result of ``type NAME[...] = ...``. Part of the format."""
    text = f"_made_ = _make_({name!r}, _value_, type_params=_parameters_)"
    names: dict[str, Any] = {"_make_": _alias_type, "_value_": value, "_parameters_": parameters}
    if module is not None:
        names["__name__"] = module
    exec(text, names)  # noqa: S102 - the text is of this module's making
    return names["_made_"]


reducers: dict[type, Callable[[Any], Any]] = {
    typing.TypeVar: _reduce_variable,
    typing.ParamSpec: _reduce_variable,
    typing.TypeVarTuple: _reduce_variable,
}
if _alias_type is not None:
    reducers[_alias_type] = _reduce_alias
