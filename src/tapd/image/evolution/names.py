"""Finds classes and functions by name, through renames; a missing class becomes a stand-in.

A TAP names what it needs as ``module:qualname``. At save a name is used only if it leads back
to the same object (`name_of`). At load a name that is not found goes through the rename map. If
that fails too, a `Broken` stand-in keeps the state of the vanished class and saves it back
unchanged.
"""

from __future__ import annotations

import copyreg
import functools
import logging
import sys
import types
from typing import Any

from tapd.errors import LostObject
from tapd.image import hooks
from tapd.image.bare import HEAP_TYPE, builtin_base, value_base
from tapd.image.evolution import moved
from tapd.image.evolution.dataclass_states import fit_class
from tapd.image.evolution.registry import leave_c
from tapd.image.evolution.stand_ins import (
    Broken,
    BrokenDurable,
    broken_durable_type,
    broken_type,
    new_object,
)
from tapd.model.durable.persistent import is_durable_type
from tapd.model.source_location import describe_origin

__all__ = [
    "Broken",
    "BrokenDurable",
    "BrokenMethod",
    "bound_method",
    "broken_class",
    "builtin_base",
    "durable_class",
    "find_name",
    "is_own_name",
    "name_of",
    "named",
    "new_object",
    "register_rename",
    "renamed",
    "value_base",
    "value_class",
    "value_object",
    "why_broken",
    "wrapper_of",
]  # fmt: skip

_log = logging.getLogger(__name__)

_renames = {f"{old}:*": f"{new}:*" for old, new in moved.MOVED.items()} | moved.MOVED_NAMES
moved.install()


def register_rename(old: str, new: str) -> None:
    """Make TAPs that name a class or function `old` find `new`.

    Call it at the import of a module that the server imports anyway, or of the old module.

    Args:
        old: ``module:qualname``, or ``module:*`` for everything in a module.
        new: the current name, in the same form.
    """
    _renames[old] = new


def renamed(module: str, qualname: str) -> tuple[str, str]:
    """Return the current name of ``module:qualname``; follows chains of renames."""
    for _ in range(len(_renames) + 1):
        new = _renames.get(f"{module}:{qualname}")
        if new is None:
            new = _renames.get(f"{module}:*")
            if new is None:
                break
            new = new.replace("*", qualname)
        module, _colon, qualname = new.partition(":")
    return module, qualname


_aliases = {
    id(value): name
    for name, value in vars(types).items()
    if isinstance(value, type) and value.__module__ != "types"
}
"""Builtin types that can't be found by their own name; by id, since they live for ever."""


def _walk_name(module: Any, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), module)


def name_of(obj: Any) -> tuple[str, str] | None:
    """Return the module and qualified name by which `obj` can be imported again, or None.

    A class or function of ``__main__`` has none: ``__main__`` is another module at load. A
    class that its module has since replaced under the same name (the module was reloaded) goes
    by that name, since a restart would find the new one anyway.
    """
    alias = _aliases.get(id(obj))
    if alias is not None:
        return "types", alias
    try:
        module_name: Any = obj.__module__
        qualname: Any = obj.__qualname__
    except BaseException as error:
        hooks.check(error, nests=False)
        return None
    if type(module_name) is not str or type(qualname) is not str or module_name == "__main__":
        return None
    found = _find_at_save(module_name, qualname)
    if found is obj:
        return module_name, qualname
    if issubclass(type(obj), type):
        is_same = issubclass(type(found), type) and _same_origin(obj, found)
        return (module_name, qualname) if is_same else _other_name(obj, module_name)
    return None


def _other_name(cls: type, module_name: str) -> tuple[str, str] | None:
    """Return another name that its module has for `cls`: ``Point = namedtuple("P", "x y")``."""
    module: Any = sys.modules.get(module_name)
    if not issubclass(type(module), types.ModuleType) or module.__spec__ is None:
        return None
    for name, value in list(vars(module).items()):
        if value is cls:
            return module_name, name
    return None


def _find_at_save(module_name: str, qualname: str) -> Any:
    """Return what a later process will find by this name; None if perhaps nothing."""
    module: Any = sys.modules.get(module_name)
    if not issubclass(type(module), types.ModuleType) or "<" in qualname:
        return None
    try:
        return None if module.__spec__ is None else _walk_name(module, qualname)
    except BaseException as error:
        hooks.check(error, nests=False)
        return None


def is_own_name(cls: type, name: tuple[str, str]) -> bool:
    """Whether `name` is the name pickle itself would use for `cls`, and leads to it."""
    return (cls.__module__, cls.__qualname__) == name and _walk_name(
        sys.modules[name[0]], name[1]
    ) is cls


def wrapper_of(function: Any) -> Any:
    """Return the importable function that wraps `function` under its name, or None."""
    try:
        found = _walk_name(sys.modules[function.__module__], function.__qualname__)
        if found.__wrapped__ is function and name_of(found) is not None:
            return found
    except Exception:
        return None
    return None


def _same_origin(old: type, new: type) -> bool:
    return (
        type(old) is type(new)
        and old.__module__ == new.__module__
        and old.__qualname__ == new.__qualname__
        and not any(base is old for base in new.__mro__)
    )


def _checked(found: Any) -> Any:
    if _is_value(found):
        raise TypeError(f"it is a {type(found).__qualname__} now")
    return found


def _is_value(found: Any) -> bool:
    """Whether `found` is pickled by its contents, so that no TAP can have meant it by its name."""
    cls: Any = type(found)
    return cls in _VALUES or (
        bool(cls.__flags__ & HEAP_TYPE)
        and not issubclass(cls, type)
        and cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and cls not in copyreg.dispatch_table
        and not cls.__module__.startswith(_LIBRARY)
    )


_LIBRARY = ("tapd.", "typing", "dataclasses", "functools")
_VALUES = frozenset({
    int, str, bytes, float, bool, type(None), complex, tuple, list, dict, set, frozenset, bytearray,
})  # fmt: skip


def find_name(module_name: str, qualname: str) -> Any:
    """Return the object that is called ``module_name:qualname`` today.

    Raises:
        LookupError: there is no such object, even after renames.
    """
    name = renamed(module_name, qualname)
    tried: set[tuple[str, str]] = set()
    while True:
        try:
            if name[0] not in sys.modules:
                hooks.enter(name[0])
                __import__(name[0])
            found = _walk_name(sys.modules[name[0]], name[1])
            return found if type(found) is type else _checked(found)
        except BaseException as error:  # importing a module may raise anything
            hooks.check_load(error)
            tried.add(name)
            # The module may have registered a rename while it was imported just now.
            name = renamed(*name)
            if name in tried:
                raise LookupError(f"{name[0]}:{name[1]}: {error}") from error


why_broken: dict[tuple[str, str], str] = {}
"""The reason for each name that this process could not find."""


def _note_why(module_name: str, qualname: str, error: LookupError) -> None:
    cause = error.__cause__ or error
    why_broken[module_name, qualname] = f"{type(cause).__name__}: {cause}{describe_origin(cause)}"


@functools.cache
def broken_class(module_name: str, qualname: str, *, durable: bool = False, why: str = "") -> Any:
    """Return the stand-in class for ``module_name:qualname``; `why` if the name can be found."""
    if not why:
        reason = why_broken.get((module_name, qualname), "no reason is known")
        _log.warning(
            "%s:%s can't be found (%s); its instances are kept as they were saved",
            module_name, qualname, reason,
        )  # fmt: skip
    name = f"{module_name}:{qualname}"
    return broken_durable_type(name, why) if durable else broken_type(name)


def value_class(module_name: str, qualname: str, base: str) -> Any:
    """Return the class of this name, derived from the builtin `base`; otherwise a stand-in.

    Part of the format.
    """
    found = named(module_name, qualname)
    is_class = issubclass(type(found), type)
    if is_class and issubclass(found, Broken):
        return found
    if is_class and builtin_base(found) == base and not is_durable_type(found):
        return found
    leave_c()
    return broken_class(module_name, qualname, why=f"it was a kind of {base}")


def named(module_name: str, qualname: str) -> Any:
    """Return the object of this name, or a stand-in. Part of the format: TAPs call it by name."""
    try:
        found = find_name(module_name, qualname)
        is_in_c = type(found) is type and not found.__flags__ & HEAP_TYPE
        return found if is_in_c else fit_class(found)
    except LookupError as error:
        _note_why(module_name, qualname, error)
        broken = broken_class(module_name, qualname)
        leave_c()
        return broken


def durable_class(module_name: str, qualname: str) -> Any:
    """Return the durable class of this name, or a stand-in. Part of the format."""
    try:
        found = find_name(module_name, qualname)
    except LookupError as error:
        _note_why(module_name, qualname, error)
        return broken_class(module_name, qualname, durable=True)
    if issubclass(type(found), type) and is_durable_type(found):
        return fit_class(found)
    kind = "a class" if issubclass(type(found), type) else f"a {type(found).__name__}"
    why = f"it was a class of durable objects and is {kind} that is not Persistent now"
    return broken_class(module_name, qualname, durable=True, why=why)


def value_object(cls: Any, base: Any, *values: Any) -> Any:
    """Return an instance of a builtin's subclass, without its ``__new__``. Part of the format."""
    if issubclass(cls, Broken):
        broken = cls.__new__(cls)
        broken._p_broken["made"] = value_object, (base, *values)
        return broken
    return base.__new__(cls, *values)


class BrokenMethod:
    """A bound method whose object is a stand-in, or whose class has lost the method."""

    def __init__(self, obj: Any, name: str) -> None:
        self.obj = obj
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return bound_method, (self.obj, self.name)

    def __repr__(self) -> str:
        return f"<broken: method {self.name} of {self.obj!r}>"

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise LostObject(f"{self!r} can't be called: its class or the method is gone")


def bound_method(obj: Any, name: str) -> Any:
    """Return ``obj.name`` without reading the object's state. Part of the format."""
    for cls in type(obj).__mro__:
        if name in cls.__dict__:
            return cls.__dict__[name].__get__(obj, type(obj))
    return BrokenMethod(obj, name)
