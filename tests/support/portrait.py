"""A portrait of a namespace: everything reachable from it, by value and by identity, as plain data.

Two namespaces with equal portraits can't be told apart by looking: each object is
numbered when it is first met, so what is one object in the one is one in the other.
What can be imported is named and not looked into.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
import sys
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from tapd.image.code.type_variables import _alias_type
from tapd.image.evolution.names import name_of
from tapd.model.durable.namespace import Namespace

_ATOMS = (int, str, bytes, float, complex, bool, type(None), range)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_CACHES = {"_abc_impl", "__slotnames__", "__weakref__", "__dict__"}


def portrait_of(names: dict[str, Any]) -> dict[str, Any]:
    """Return a namespace's portrait; equal ones are equal, `differences` tells of others."""
    return _Portrait().of(names)


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return where two portraits differ."""
    return [
        f"{way}: {before.get(way)!r} is now {after.get(way)!r}"
        for way in sorted(before.keys() | after.keys())
        if before.get(way) != after.get(way)
    ]


def _code(code: types.CodeType) -> tuple[Any, ...]:
    consts = tuple(map(_constant, code.co_consts))
    return code.co_name, code.co_qualname, code.co_code, consts, code.co_names, code.co_varnames


def _constant(value: Any) -> Any:
    if type(value) is types.CodeType:
        return _code(value)
    return sorted(map(repr, value)) if type(value) is frozenset else repr(value)


class _Portrait:
    def __init__(self) -> None:
        self._found: dict[str, Any] = {}
        self._ways: dict[int, str] = {}
        self._kept: list[Any] = []
        self._queue: collections.deque[tuple[str, Any]] = collections.deque()

    def of(self, names: dict[str, Any]) -> dict[str, Any]:
        self._see("names", names)
        while self._queue:
            way, obj = self._queue.popleft()
            try:
                parts = list(self._parts(way, obj))
            except Exception as error:
                parts = [("!", repr(error))]
            for label, part in parts:
                self._see(way + label, part)
        return self._found

    def _see(self, way: str, obj: Any) -> None:
        cls = type(obj)
        if cls in _ATOMS:
            self._found[way] = (cls.__name__, repr(obj))
            return
        if cls in (tuple, frozenset) and not obj:
            self._found[way] = (cls.__name__,)
            return
        if cls is types.ModuleType or issubclass(cls, types.ModuleType):
            self._found[way] = ("module", obj.__name__)
            return
        name = name_of(obj) if hasattr(obj, "__qualname__") else None
        if name is not None:
            self._found[way] = ("named", *name)
            return
        known = None if way.endswith("__parameters__") else self._ways.get(id(obj))
        if known is not None:
            self._found[way] = ("same as", known)
            return
        self._ways[id(obj)] = way
        self._kept.append(obj)
        self._found[way] = ("a", cls.__module__, cls.__qualname__)
        self._queue.append((way, obj))

    def _parts(self, way: str, obj: Any) -> Iterator[tuple[str, Any]]:
        cls = type(obj)
        yield "<type>", cls
        walk = next((walk for base, walk in _WALKS if issubclass(cls, base)), None)
        if walk is not None:
            yield from walk(obj)
        elif not hasattr(obj, "__dict__") and not getattr(cls, "__slots__", None):
            self._found[way + "<repr>"] = _ADDRESS.sub("", repr(obj))
        if not isinstance(obj, type | types.FunctionType | weakref.WeakKeyDictionary):
            yield from _own(obj)


def _own(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is in the dict and the slots of an object."""
    cls = type(obj)
    try:
        own = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        own = {}
    if type(own) is dict and not issubclass(cls, Namespace):
        for key in sorted(own, key=str):
            yield f".{key}", own[key]
    for each in () if isinstance(obj, BaseException) else cls.__mro__:
        for key, value in vars(each).items():
            if type(value) is types.MemberDescriptorType and key != "__vectorcalloffset__":
                try:
                    yield f".{key}", value.__get__(obj, cls)
                except AttributeError:
                    yield f".{key}", "(empty)"


def _class(cls: Any) -> Iterator[tuple[str, Any]]:
    yield ".__name__", cls.__name__
    yield ".__qualname__", cls.__qualname__
    yield ".__bases__", cls.__bases__
    yield ".__mro__", cls.__mro__
    yield ".<size>", (cls.__basicsize__, cls.__dictoffset__ != 0, cls.__weakrefoffset__ != 0)
    yield ".<abstract>", bool(cls.__flags__ & (1 << 20))
    names = type.__dict__["__dict__"].__get__(cls)
    yield ".<names>", sorted(names.keys() - _CACHES)
    for name in sorted(names.keys() - _CACHES):
        yield f".{name}", names[name]


def _function(function: Any) -> Iterator[tuple[str, Any]]:
    yield ".__code__", repr(_code(function.__code__))
    for name in (
        "__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__",
        "__annotations__", "__dict__", "__type_params__",
    ):  # fmt: skip
        yield f".{name}", getattr(function, name, ())
    names = function.__globals__
    home = sys.modules.get(str(names.get("__name__")))
    is_of_module = home is not None and types.ModuleType.__getattribute__(home, "__dict__") is names
    if not function.__code__.co_filename.startswith("<string"):
        yield ".__globals__", names["__name__"] if is_of_module else names
    yield ".<has cells>", function.__closure__ is not None
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f".<cell {name}>", cell


def _cell(cell: Any) -> Iterator[tuple[str, Any]]:
    try:
        yield ".contents", cell.cell_contents
    except ValueError:
        yield ".contents", "(empty)"


def _mapping(obj: Any) -> Iterator[tuple[str, Any]]:
    for index, (key, value) in enumerate(dict.items(obj)):
        if key == "__builtins__":
            continue
        if type(key) in _ATOMS:
            yield f"[{key!r}]", value
        else:
            yield f"<key {index}>", key
            yield f"<value {index}>", value


def _sequence(obj: Any) -> Iterator[tuple[str, Any]]:
    yield "<len>", len(obj)
    for index, value in enumerate(iter(obj)):
        yield f"[{index}]", value


def _set(obj: Any) -> Iterator[tuple[str, Any]]:
    yield "<len>", len(obj)
    for index, value in enumerate(sorted(obj, key=repr)):
        yield f"{{{index}}}", value


def _attributes(*names: str) -> Callable[[Any], Iterator[tuple[str, Any]]]:
    def walk(obj: Any) -> Iterator[tuple[str, Any]]:
        for name in names:
            yield f".{name}", getattr(obj, name, "(none)")

    return walk


_WALKS: list[tuple[Any, Callable[[Any], Iterator[tuple[str, Any]]]]] = [
    (type, _class),
    (types.FunctionType, _function),
    (types.CellType, _cell),
    (dict, _mapping),
    ((list, tuple, collections.deque), _sequence),
    ((set, frozenset, weakref.WeakSet), _set),
    (types.MethodType, _attributes("__self__", "__func__")),
    (property, _attributes("fget", "fset", "fdel", "__doc__")),
    ((staticmethod, classmethod), _attributes("__func__", "__dict__")),
    (functools.partial, _attributes("func", "args", "keywords")),
    (type(functools.lru_cache(lambda: 0)), _attributes("__wrapped__")),
    (types.MappingProxyType, lambda obj: _mapping(dict(obj))),
    (types.GenericAlias, _attributes("__origin__", "__args__")),
    (types.UnionType, _attributes("__args__")),
    (
        (typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple),
        _attributes(
            "__name__", "__module__", "__bound__", "__constraints__", "__covariant__",
            "__contravariant__", "__infer_variance__", "__default__",
        ),
    ),
    (typing.NewType, _attributes("__name__", "__supertype__", "__module__")),
    (dataclasses.Field, _attributes(*dataclasses.Field.__slots__)),
    (BaseException, _attributes("args", "__suppress_context__")),
    (weakref.WeakKeyDictionary, lambda obj: _sequence(list(obj.items()))),
    (weakref.ref, lambda obj: iter([("()", obj())])),
]  # fmt: skip
if _alias_type is not None:
    _WALKS.append(
        (_alias_type, _attributes("__name__", "__module__", "__value__", "__type_params__"))
    )
