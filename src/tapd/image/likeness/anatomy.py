"""Describes the parts of a class's instances, and how to read them without running its code.

Every class has an `Anatomy`, made once: which of value, sequence, mapping, members and
attributes its instances have, and how to read each, whatever the class overrides
(``__getattr__``, ``__iter__``, a property called ``__dict__``). Only hooks by which an author
defines the state (``__getstate__``, ``__reduce__``) are called.
"""

from __future__ import annotations

import array
import collections
import copyreg
import ctypes
import decimal
import enum
import functools
import random
import re
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from tapd.image.bare import HEAP_TYPE
from tapd.image.code.classes import is_made_in_c
from tapd.image.code.code_parts import PARTS, Attributes, class_parts, nothing, parts_named
from tapd.image.evolution.stand_ins import Broken
from tapd.image.evolution.versions import state_of
from tapd.image.loss import type_name_of
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.persistent import Tracked, is_durable_type
from tapd.model.durable.tracked import PLAIN_TO_TRACKED, TrackedBytearray
from tapd.values import Value

_PLAIN = {
    TrackedBytearray: bytearray,
    **{tracked: plain for plain, tracked in PLAIN_TO_TRACKED.items()},
}


class Anatomy:
    """What instances of one class consist of; None for parts they don't have.

    Attributes:
        kind: the class's name; for a tracked container that of the plain one.
        has_identity: whether one object and two equal ones are different things.
        is_durable: whether instances have numbers.
        value: returns what a builtin base holds, as a number, text or bytes.
        sequence: returns the items, in order.
        mapping: returns the keys and values, in order.
        members: returns the items, in no order.
        attributes: returns the rest, by name.
        is_weak: it holds weak references; a missing referent is no difference.
        is_simple: instances have an identity and no number, and exactly one of sequence,
            mapping and attributes, which runs no author's code.
    """

    __slots__ = (
        "attributes", "has_identity", "is_durable", "is_simple", "is_weak", "kind", "mapping",
        "members", "sequence", "value",
    )  # fmt: skip

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.has_identity = True
        self.is_durable = False
        self.is_weak = False
        self.is_simple = False
        self.value: Callable[[Any], Any] | None = None
        self.sequence: Callable[[Any], Iterable[Any]] | None = None
        self.mapping: Callable[[Any], Iterable[tuple[Any, Any]]] | None = None
        self.members: Callable[[Any], Iterable[Any]] | None = None
        self.attributes: Callable[[Any], Attributes] | None = None


# --- the parts that builtin bases bring ------------------------------------------

_whole = slice(None)
_VALUE_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (bool, bool.__bool__ if hasattr(bool, "__bool__") else int.__int__),
    (int, int.__int__),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, _whole)),
    (float, float.__float__),
    (complex, lambda value: complex.__repr__(complex.__pos__(value))),
    (bytearray, lambda value: bytes(bytearray.__getitem__(value, _whole))),
    (array.array, lambda value: f"{value.typecode}{array.array.tobytes(value).hex()}"),
    (decimal.Decimal, decimal.Decimal.__str__),
    (range, range.__repr__),
    (re.Pattern, lambda value: f"{value.pattern!r}, {value.flags}"),
)
_SEQUENCE_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (collections.deque, collections.deque.__iter__),
)
_MAPPING_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (collections.OrderedDict, collections.OrderedDict.items),
    (dict, dict.items),
)
_MEMBER_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
)
_WEAK_MAPPINGS = (weakref.WeakValueDictionary, weakref.WeakKeyDictionary)


def _of(bases: Iterable[tuple[type, Callable[[Any], Any]]], cls: type) -> Any:
    return next((get for base, get in bases if issubclass(cls, base)), None)


# --- attributes ------------------------------------------------------------------


def _generic_dict(obj: Any) -> Any:
    """Return the ``__dict__`` of `obj`, even if its class hides it."""
    get: Any = ctypes.pythonapi.PyObject_GenericGetDict
    get.restype, get.argtypes = ctypes.py_object, (ctypes.py_object, ctypes.c_void_p)
    return get(obj, None)


def dict_getter(cls: type) -> Callable[[Any], Attributes] | None:
    """Return a getter for the ``__dict__`` of `cls` instances; None if they have none."""
    if not cls.__dictoffset__ and not cls.__flags__ & _MANAGED_DICT:
        return None
    for base in type.__dict__["__mro__"].__get__(cls):
        found = type.__dict__["__dict__"].__get__(base).get("__dict__")
        if type(found) is types.GetSetDescriptorType:
            return found.__get__
    return _generic_dict


_MANAGED_DICT = 1 << 4
_MEMBER, _GETSET = types.MemberDescriptorType, types.GetSetDescriptorType
_NO_SLOTS = frozenset({"__weakref__", "__dict__"})


def slots_of(cls: type) -> list[tuple[str, Any]]:
    """Return the descriptors of the ``__slots__`` of `cls` and its bases, by name."""
    found: dict[str, Any] = {}
    for base in type.__dict__["__mro__"].__get__(cls):
        if not base.__flags__ & HEAP_TYPE or base in _PLAIN or base is Tracked:
            continue
        if is_made_in_c(base):
            continue
        for name, descriptor in type.__dict__["__dict__"].__get__(base).items():
            if type(descriptor) is _MEMBER and name not in _NO_SLOTS:
                # A class and its base may both have a slot of this name: these are two slots.
                found[name if name not in found else f"{base.__qualname__}.{name}"] = descriptor
    return list(found.items())


def _read(obj: Any, descriptors: Iterable[tuple[str, Any]], into: Attributes) -> Attributes:
    for name, descriptor in descriptors:
        try:
            into[name] = descriptor.__get__(obj)
        except AttributeError:
            continue  # an empty slot
    return into


def _attributes_of(
    cls: type, extra: Iterable[tuple[str, Any]] = (), skipped: frozenset[str] = frozenset()
) -> Callable[[Any], Attributes] | None:
    """Return a getter for ``__dict__``, slots, and the values of the descriptors `extra`."""
    own = dict_getter(cls)
    descriptors = [*slots_of(cls), *extra]
    if is_durable_type(cls):
        return None if own is None and not descriptors else _durable_attributes(own, descriptors)
    if own is not None and not descriptors and not skipped:
        return own
    if own is None and not descriptors:
        return None

    def attributes(obj: Any) -> Attributes:
        found = dict(own(obj)) if own is not None else {}
        _read(obj, descriptors, found)
        for name in skipped:
            found.pop(name, None)
        return found

    return attributes


def _durable_attributes(own: Any, descriptors: list[tuple[str, Any]]) -> Any:
    """Return a getter for the attributes that are neither volatile nor the jar's."""

    def attributes(obj: Any) -> Attributes:
        found = own(obj) if own is not None else {}
        if descriptors:
            found = _read(obj, descriptors, dict(found))
        if any(type(name) is str and name.startswith(("_v_", "_p_")) for name in found):
            return {
                name: value
                for name, value in found.items()
                if type(name) is not str or not name.startswith(("_v_", "_p_"))
            }
        return found

    return attributes


def _c_members(cls: type, base: type, but: frozenset[str]) -> list[tuple[str, Any]]:
    """Return the C members that `cls` has from `base` and its subclasses."""
    found: dict[str, Any] = {}
    for each in type.__dict__["__mro__"].__get__(cls):
        if issubclass(each, base) and (not each.__flags__ & HEAP_TYPE or is_made_in_c(each)):
            for name, descriptor in type.__dict__["__dict__"].__get__(each).items():
                if (
                    type(descriptor) in (_MEMBER, _GETSET)
                    and name not in but
                    and not name.endswith("offset__")
                ):
                    found.setdefault(name, descriptor)
    return list(found.items())


_NOT_OF_EXCEPTIONS = frozenset({"__traceback__", "__dict__", "obj", "characters_written"})
"""Not saved: frames, and the object whose attribute was missing."""


_NO_IDENTITY = frozenset({
    "int", "float", "complex", "bool", "str", "bytes", "NoneType", "ellipsis",
    "NotImplementedType", "range", "slice", "tuple", "frozenset", "method", "module", "type",
    "builtin_function_or_method", "method-wrapper", "code", "weakref.ReferenceType",
    "mappingproxy", "re.Pattern", "datetime.datetime", "datetime.date", "datetime.time",
    "datetime.timedelta", "datetime.timezone", "zoneinfo.ZoneInfo", "decimal.Decimal",
    "fractions.Fraction", "uuid.UUID", "types.GenericAlias", "types.UnionType",
    "ipaddress.IPv4Address", "ipaddress.IPv6Address", "ipaddress.IPv4Network",
    "ipaddress.IPv6Network", "ipaddress.IPv4Interface", "ipaddress.IPv6Interface",
    "pathlib.PurePosixPath", "pathlib.PureWindowsPath", "pathlib.PosixPath",
    "pathlib._local.PurePosixPath", "pathlib._local.PureWindowsPath", "pathlib._local.PosixPath",
})  # fmt: skip

_BY_TEXT = ("ipaddress.", "pathlib.", "zoneinfo.")
"""Modules of values that cache results in themselves; their text is their whole value."""

_STATELESS = frozenset({"_thread.lock", "_thread.RLock", "threading._RLock", "_queue.SimpleQueue"})
"""Recreated at each start, or always empty."""

_OF_LOOPS = frozenset({"_loop", "_waiters", "_getters", "_putters"})


def is_value_type(cls: type) -> bool:
    """Whether code can't rely on the identity of a `cls` instance, only on its value.

    These are numbers, text and bytes; None, ranges and slices; dates and times,
    UUIDs, addresses, paths and patterns; tuples and frozensets, whatever they hold,
    and subclasses of these without attributes (as NamedTuples are); enum members,
    classes and modules, which have a name; methods, which are created at each access; and
    frozen classes compared by contents (a frozen dataclass with ``__eq__``).
    """
    if type_name_of(cls) in _NO_IDENTITY:
        return True
    if issubclass(cls, Value) or issubclass(type(cls), _ENUM_TYPE):
        return True
    if issubclass(cls, (int, float, complex, str, bytes, tuple, frozenset)):
        return dict_getter(cls) is None and not slots_of(cls)
    parameters = type.__dict__["__dict__"].__get__(cls).get("__dataclass_params__")
    return parameters is not None and bool(parameters.frozen) and bool(parameters.eq)


_ENUM_TYPE: Any = enum.EnumType


def anatomy_of(cls: type) -> Anatomy:
    """Return the anatomy of `cls`."""
    kind = type_name_of(_PLAIN.get(cls, cls))
    anatomy = Anatomy(kind)
    anatomy.has_identity = not is_value_type(cls)
    anatomy.is_durable = is_durable_type(cls)
    if issubclass(type(cls), _ENUM_TYPE):
        anatomy.attributes = parts_named("_name_", "_value_")
    elif kind in _STATELESS:
        anatomy.attributes = nothing
    elif cls in PARTS:
        anatomy.attributes = PARTS[cls]
        anatomy.is_weak = cls is weakref.ref
    elif issubclass(cls, type):
        anatomy.attributes = class_parts
    elif not _take_base(anatomy, cls):
        _take_hooks(anatomy, cls)
    else:
        anatomy.is_simple = _is_simple(anatomy)
    return anatomy


def _is_simple(anatomy: Anatomy) -> bool:
    aspects = (anatomy.sequence, anatomy.mapping, anatomy.attributes)
    return (
        anatomy.has_identity
        and not (anatomy.is_durable or anatomy.is_weak or anatomy.kind.startswith("BTrees."))
        and anatomy.value is None
        and anatomy.members is None
        and sum(each is not None for each in aspects) == 1
    )


def _weak_items(obj: Any) -> list[tuple[Any, Any]]:
    base = next(each for each in _WEAK_MAPPINGS if isinstance(obj, each))
    return list(base.items(obj))


def _take_base(anatomy: Anatomy, cls: Any) -> bool:
    """Take the parts of a known base; return whether only attributes are left."""
    if _take_whole(anatomy, cls):
        return True
    if _has_hooks(cls) and not issubclass(cls, Tracked):
        return False
    anatomy.value = _of(_VALUE_BASES, cls)
    anatomy.sequence = _of(_SEQUENCE_BASES, cls)
    anatomy.mapping = _of(_MAPPING_BASES, cls)
    anatomy.members = _of(_MEMBER_BASES, cls)
    extra = _extra_of(cls)
    if extra is None:
        if not anatomy.is_durable and not _is_of_python(cls):
            return anatomy.value is not None  # written in C: it may have hidden contents
        extra = []
    skipped = _OF_LOOPS if cls.__module__.startswith("asyncio.") else frozenset()
    anatomy.attributes = _attributes_of(cls, extra, skipped)
    return True


def _take_whole(anatomy: Anatomy, cls: Any) -> bool:
    """Take the parts of instances that consist of one known builtin only."""
    if issubclass(cls, _WEAK_MAPPINGS):
        anatomy.mapping, anatomy.is_weak = _weak_items, True
    elif issubclass(cls, weakref.WeakSet):
        anatomy.members, anatomy.is_weak = weakref.WeakSet.__iter__, True
    elif anatomy.kind.startswith(_BY_TEXT) and not anatomy.has_identity:
        anatomy.value = cls.__str__
    elif cls.__module__.startswith("BTrees.") and hasattr(cls, "items"):
        anatomy.mapping = lambda obj: list(cls.items(obj))
    elif cls.__module__.startswith("BTrees.") and hasattr(cls, "keys"):
        anatomy.sequence = lambda obj: list(cls.keys(obj))
    elif issubclass(cls, Broken):
        anatomy.attributes = _broken_parts
    elif cls is Namespace:
        anatomy.attributes = lambda obj: {"names": _without_builtins(obj.names)}
    else:
        return False
    return True


def _extra_of(cls: Any) -> list[tuple[str, Any]] | None:
    """Return the descriptors of what `cls` has in C besides its contents; None if unknown."""
    if issubclass(cls, BaseException):
        return _c_members(cls, BaseException, _NOT_OF_EXCEPTIONS)
    if issubclass(cls, functools.partial):
        return _c_members(cls, functools.partial, frozenset({"__dict__"}))
    if issubclass(cls, random.Random):
        return [("<state>", _Asked(random.Random.getstate))]
    for base, name in ((collections.deque, "maxlen"), (collections.defaultdict, "default_factory")):
        if issubclass(cls, base):
            return [(name, base.__dict__[name])]
    return None


def _broken_parts(obj: Any) -> Attributes:
    """Return what a stand-in keeps, without the reason: its wording may differ each time."""
    kept: Attributes = object.__getattribute__(obj, "_p_broken")
    return {name: value for name, value in kept.items() if name != "reason"}


def _without_builtins(names: Attributes) -> Attributes:
    return {name: value for name, value in names.items() if name != "__builtins__"}


class _Asked:
    """Makes a method look like a descriptor of its result."""

    def __init__(self, method: Callable[[Any], Any]) -> None:
        self._method = method

    def __get__(self, obj: Any, _cls: Any = None) -> Any:
        return self._method(obj)


def _is_of_python(cls: type) -> bool:
    """Whether instances hold nothing but a known base's contents, ``__dict__`` and slots."""
    return all(
        base is object
        or base in _KNOWN_BASES
        or (base.__flags__ & HEAP_TYPE and "__module__" in type.__dict__["__dict__"].__get__(base))
        for base in type.__dict__["__mro__"].__get__(cls)
    ) and not _is_in_c(cls)


_KNOWN_BASES = frozenset(
    base
    for table in (_VALUE_BASES, _SEQUENCE_BASES, _MAPPING_BASES, _MEMBER_BASES)
    for base, _get in table
)


def _is_in_c(cls: type) -> bool:
    return any(
        base is not object and base not in _KNOWN_BASES and is_made_in_c(base)
        for base in type.__dict__["__mro__"].__get__(cls)
    )


_HOOKS = ("__getstate__", "__reduce__", "__reduce_ex__")


def has_own_state(cls: type) -> bool:
    """Whether an author's code takes part in saving or restoring instances."""
    if _has_hooks(cls):
        return True
    for base in type.__dict__["__mro__"].__get__(cls):
        names = type.__dict__["__dict__"].__get__(base)
        if base.__flags__ & HEAP_TYPE and base.__module__ not in _OWN_WAYS:
            hook = names.get("__setstate__")
            if type(hook) is types.FunctionType and hook.__module__ != "dataclasses":
                return True
    return False


def _has_hooks(cls: type) -> bool:
    """Whether a Python class defines its own state."""
    if cls in copyreg.dispatch_table and cls not in _DISPATCHED:
        return True
    for base in type.__dict__["__mro__"].__get__(cls):
        if not base.__flags__ & HEAP_TYPE or base.__module__ in _OWN_WAYS:
            continue
        names = type.__dict__["__dict__"].__get__(base)
        for hook in _HOOKS:
            if hook in names and getattr(names[hook], "__module__", "") != "dataclasses":
                return type(names[hook]) is types.FunctionType
    return False


_DISPATCHED = frozenset({re.Pattern, complex})
_OWN_WAYS = frozenset({
    "collections", "fractions", "uuid", "decimal", "random", "tapd.values",
    "tapd.model.durable.persistent", "tapd.model.durable.tracked", "tapd.model.durable.namespace",
})  # fmt: skip
"""Modules whose reductions contain the same as the attributes."""


def _take_hooks(anatomy: Anatomy, cls: Any) -> None:
    """Use the class's own hooks to get the state of instances."""
    anatomy.value = anatomy.sequence = anatomy.mapping = anatomy.members = None
    if anatomy.is_durable:
        anatomy.attributes = lambda obj: _labelled(state_of(obj))
    elif cls.__module__ == "itertools":
        anatomy.value = cls.__repr__
    else:
        anatomy.attributes = functools.partial(_reduced_parts, cls)


def _reduced_parts(cls: Any, obj: Any) -> Attributes:
    """Return the contents of a reduce tuple, by label."""
    reduce = copyreg.dispatch_table.get(cls)
    reduced = reduce(obj) if reduce is not None else cls.__reduce_ex__(obj, 4)
    if type(reduced) is not tuple:
        return {"<name>": reduced}
    make, args, *rest = (*reduced, None, None, None)[:5]
    parts: Attributes = {}
    if not getattr(make, "__name__", "").startswith("__newobj"):
        parts["<made by>"] = make
    args = tuple(args)
    if args and args[0] is cls:
        args = args[1:]
    parts |= {f"<argument {index}>": part for index, part in enumerate(args)}
    state, items, entries = rest
    if make is iter and state is None:
        state = 0  # an exhausted iterator is made of an empty list
    for part in state if type(state) is tuple and len(state) == 2 else (state,):
        parts |= _labelled(part)
    if items is not None:
        parts["<items>"] = list(items)
    if entries is not None:
        parts["<entries>"] = dict(entries) if _are_simple(entries := list(entries)) else entries
    return parts


def _are_simple(entries: list[tuple[Any, Any]]) -> bool:
    return all(type(key) in (str, int, bytes) for key, _value in entries)


def _labelled(state: Any) -> Attributes:
    if type(state) is dict:
        return {
            name if type(name) is str else f"<state {name!r:.40}>": value
            for name, value in state.items()
        }
    return {} if state is None else {"<state>": state}
