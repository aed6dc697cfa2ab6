"""Reductions for types of the standard library and types written in C.

Two tables by exact type, and one by base class: `reducers` returns a reduce tuple;
`lost_reason` says why instances can't be saved. A type in none of them uses its own
``__reduce_ex__``.
"""

from __future__ import annotations

import _thread
import collections
import dataclasses
import enum
import functools
import gc
import importlib
import io
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from tapd.errors import CannotKeep
from tapd.image.code import enums, type_variables
from tapd.image.evolution.names import bound_method, name_of, named
from tapd.image.reduction.arrays import array_view, reduce_array
from tapd.image.reduction.kinds import DeadReferent
from tapd.image.reduction.named_values import reducer_by_name
from tapd.values import Value

__all__ = ["array_view"]  # old TAPs refer to it here

Reduced = tuple[Any, ...] | str

# --- called at load: part of the format ---------------------------------


def new_lock() -> Any:
    """Return an unlocked lock in place of one that was saved."""
    return threading.Lock()


def new_rlock() -> Any:
    """Return an unlocked reentrant lock in place of one that was saved."""
    return threading.RLock()


def new_simple_queue() -> Any:
    """Return an empty `queue.SimpleQueue` in place of an empty one."""
    return importlib.import_module("queue").SimpleQueue()


def weak_set(items: list[Any]) -> Any:
    """Return a `weakref.WeakSet` of those `items` that something else refers to."""
    return weakref.WeakSet(items)


def lru_cached(function: Any, maxsize: int | None, typed: bool) -> Any:
    """Return `function` wrapped by an empty `functools.lru_cache`."""
    return functools.lru_cache(maxsize, typed)(function)


def set_wrapper(obj: Any, attributes: dict[str, Any]) -> None:
    """Set the attributes that a wrapper once copied from its function."""
    obj.__dict__.clear()
    obj.__dict__.update(attributes)


def wrapped_of(outer: Any) -> Any:
    """Return the function inside of a decorator; its module no longer names it."""
    return outer.__wrapped__


def new_type(name: str, supertype: Any, module: str) -> Any:
    """Return a `typing.NewType`."""
    new_type_of: Any = typing.NewType
    made = new_type_of(name, supertype)
    made.__module__ = module
    return made


def _reduce_rlock(_obj: Any) -> Reduced:
    return new_rlock, ()


def _reduce_lock(_obj: Any) -> Reduced:
    return new_lock, ()


def _reduce_simple_queue(obj: Any) -> Reduced:
    if obj.qsize():
        raise CannotKeep("a SimpleQueue that holds items can't be looked into; use queue.Queue")
    return new_simple_queue, ()


def _reduce_ref(obj: Any) -> Reduced:
    referent = obj()
    if referent is None:
        return type(obj), (DeadReferent(),)
    return type(obj), (referent,) if obj.__callback__ is None else (referent, obj.__callback__)


_Dead = DeadReferent
"""Its name in old TAPs."""


def _reduce_weak_method(obj: Any) -> Reduced:
    method = obj()
    if method is None:
        raise CannotKeep("a weak reference to a method that is gone")
    return type(obj), (method,)


def _reduce_proxy(obj: Any) -> Reduced:
    try:
        referent = obj.__repr__.__self__
    except ReferenceError:
        referent = DeadReferent()
    if type(referent) is type(obj):
        raise CannotKeep("a weak proxy whose object can't be reached")
    return weakref.proxy, (referent,)


def _reduce_weak_set(obj: Any) -> Reduced:
    return weak_set, (list(obj),)


def _reduce_weak_mapping(obj: Any) -> Reduced:
    return type(obj), (), None, None, iter(list(obj.items()))


def _reduce_mappingproxy(obj: Any) -> Reduced:
    """Reduce a view of a dict to the dict itself, since others may change it."""
    shown = gc.get_referents(obj)[0]
    if type(shown) is dict:
        owner = getattr(shown.get("__dict__", shown.get("__weakref__")), "__objclass__", None)
        if owner is not None and _names_of_class(owner) == shown:
            return vars, (owner,)
    return types.MappingProxyType, (shown,)


def _names_of_class(cls: type) -> Any:
    return gc.get_referents(type.__dict__["__dict__"].__get__(cls))[0]


def new_forward_ref(arg: str, is_argument: bool, module: Any, is_class: bool) -> Any:
    """Return a `typing.ForwardRef` that is not resolved yet."""
    make: Any = typing.ForwardRef
    return make(arg, is_argument=is_argument, module=module, is_class=is_class)


def _reduce_forward_ref(obj: Any) -> Reduced:
    return new_forward_ref, (
        obj.__forward_arg__, obj.__forward_is_argument__,
        obj.__forward_module__, obj.__forward_is_class__,
    )  # fmt: skip


_SCANNER_PARTS = (
    "strict", "object_hook", "object_pairs_hook", "parse_float", "parse_int", "parse_constant",
)  # fmt: skip


def new_json_scanner(parts: dict[str, Any]) -> Any:
    """Return the scanner of a `json.JSONDecoder`."""
    module: Any = importlib.import_module("json.scanner")
    return module.make_scanner(types.SimpleNamespace(**parts, memo={}))


def _reduce_json_scanner(obj: Any) -> Reduced:
    return new_json_scanner, ({name: getattr(obj, name) for name in _SCANNER_PARTS},)


def _reduce_property(obj: Any) -> Reduced:
    return type(obj), (obj.fget, obj.fset, obj.fdel, obj.__doc__)


def _reduce_cached_property(obj: Any) -> Reduced:
    state = {name: value for name, value in obj.__dict__.items() if name != "lock"}
    return type(obj), (obj.func,), state


def _reduce_single_dispatch_method(obj: Any) -> Reduced:
    # The rest differs between Python versions and is set by its constructor.
    return type(obj), (obj.func,), {"dispatcher": obj.dispatcher}


def _reduce_wrapped_method(obj: Any) -> Reduced:
    name = name_of(obj)
    if name is not None:
        return named, name
    return type(obj), (obj.__func__,), obj.__dict__, None, None, set_wrapper


def _reduce_lru_cache(obj: Any) -> Reduced:
    name = name_of(obj)
    if name is not None:
        return obj.__qualname__  # type: ignore[no-any-return]  # checked by name_of
    parameters = obj.cache_parameters()
    made = obj.__wrapped__, parameters["maxsize"], parameters["typed"]
    return lru_cached, made, obj.__dict__, None, None, set_wrapper


def _reduce_method(obj: Any) -> Reduced:
    function, owner = obj.__func__, obj.__self__
    name = str(getattr(function, "__name__", ""))
    for cls in type(owner).__mro__:
        if name in cls.__dict__:
            if cls.__dict__[name] is function:
                return bound_method, (owner, name)
            break
    if issubclass(type(owner), type) and name:
        found = getattr(owner, name, None)
        if type(found) is types.MethodType and found.__func__ is function:
            return getattr, (owner, name)
    return types.MethodType, (function, owner)


def _reduce_module(obj: Any) -> Reduced:
    name = obj.__name__
    found: Any = sys.modules.get(name)
    if found is not obj or (name != "__main__" and found.__spec__ is None):
        raise CannotKeep(f"module {name} can't be imported by that name")
    return importlib.import_module, (name,)


def _reduce_new_type(obj: Any) -> Reduced:
    if name_of(obj) is not None:
        return obj.__qualname__  # type: ignore[no-any-return]  # checked by name_of
    return new_type, (obj.__name__, obj.__supertype__, obj.__module__)


def _type_variable(
    name: str, constraints: tuple[Any, ...], bound: Any, covariant: bool, contravariant: bool
) -> Any:
    """Return a `typing.TypeVar`; called by TAPs of 0.1.0."""
    variable: Any = typing.TypeVar
    return variable(
        name, *constraints, bound=bound, covariant=covariant, contravariant=contravariant
    )


def _new_exception(cls: Any, args: tuple[Any, ...]) -> Any:
    """Return an exception; called by old TAPs."""
    return cls.__new__(cls, *args)


def _reduce_asyncio(obj: Any) -> Reduced:
    """Reduce an asyncio lock, event or queue, without its loop and waiters."""
    state = dict(obj.__dict__)
    if "_loop" in state:
        state["_loop"] = None
    for name in ("_waiters", "_getters", "_putters"):
        if state.get(name):
            state[name] = collections.deque()
    return _new_object_of, (type(obj),), state


def _new_object_of(cls: Any) -> Any:
    return cls.__new__(cls)


def _constant(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _reduce_list_iterator(obj: Any) -> Reduced:
    reduced = obj.__reduce__()
    if len(reduced) < 3:  # exhausted: it has dropped its list
        return reduced  # type: ignore[no-any-return]  # a tuple, by its type
    make, (items,), index = reduced
    if not issubclass(type(items), list):
        return make, (items,), index
    return _list_iterator, (items, index, type(obj) is _LIST_REVERSED)


def _list_iterator(items: list[Any], index: int, is_reversed: bool) -> Any:
    """Return an iterator positioned at `index`. Part of the format.

    A tracked list is filled after everything else is created, and an iterator can't be placed
    beyond the end of its list. So the list has that length for a moment.
    """
    made: Any = list.__reversed__(items) if is_reversed else list.__iter__(items)
    length = list.__len__(items)
    list.extend(items, [None] * (index + is_reversed - length))
    made.__setstate__(index)
    list.__delitem__(items, slice(length, None))
    return made


def _reduce_dataclass_sentinel(obj: Any) -> Reduced:
    for name in _SENTINEL_NAMES:
        if getattr(dataclasses, name, None) is obj:
            return _constant, ("dataclasses", name)
    raise CannotKeep("a sentinel of dataclasses that this Python does not name")


_SENTINEL_NAMES = (
    "MISSING", "KW_ONLY", "_FIELD", "_FIELD_CLASSVAR", "_FIELD_INITVAR", "_HAS_DEFAULT_FACTORY",
)  # fmt: skip
_PARTS: tuple[Any, ...] = (
    dataclasses.Field,
    dataclasses._DataclassParams,  # type: ignore[attr-defined]  # noqa: SLF001 - each dataclass has one
)
_ADDED_LATER = {"match_args": True, "kw_only": False, "slots": False, "weakref_slot": False}
"""Parameters added since Python 3.12, with their defaults."""


def _reduce_dataclass_part(obj: Any) -> Reduced:
    values = {name: getattr(obj, name) for name in type(obj).__slots__ if hasattr(obj, name)}
    return _new_dataclass_part, (type(obj).__name__,), values, None, None, _set_dataclass_part


def _new_dataclass_part(name: str) -> Any:
    """Return a bare field, or bare parameters, of a dataclass."""
    cls = next(cls for cls in _PARTS if cls.__name__ == name)
    return cls.__new__(cls)


def _set_dataclass_part(obj: Any, values: dict[str, Any]) -> None:
    """Set the values that this Python version knows."""
    for name in type(obj).__slots__:
        if name in values:
            setattr(obj, name, values[name])
        else:
            setattr(obj, name, _ADDED_LATER.get(name))


_SENTINELS: tuple[Any, ...] = (
    dataclasses.MISSING,
    dataclasses.KW_ONLY,
    dataclasses._FIELD,  # type: ignore[attr-defined]  # noqa: SLF001 - no other way to its type
    getattr(dataclasses, "_HAS_DEFAULT_FACTORY", dataclasses.MISSING),
)

_LIST_ITERATOR: type = type(iter([]))
_LIST_REVERSED: type = type(reversed([]))

reducers: dict[type, Callable[[Any], Reduced]] = {
    _thread.LockType: _reduce_lock,
    type(threading.RLock()): _reduce_rlock,
    weakref.ref: _reduce_ref,
    weakref.WeakMethod: _reduce_weak_method,
    weakref.WeakSet: _reduce_weak_set,
    weakref.WeakKeyDictionary: _reduce_weak_mapping,
    weakref.WeakValueDictionary: _reduce_weak_mapping,
    weakref.ProxyType: _reduce_proxy,
    weakref.CallableProxyType: _reduce_proxy,
    types.MappingProxyType: _reduce_mappingproxy,
    _LIST_ITERATOR: _reduce_list_iterator,
    _LIST_REVERSED: _reduce_list_iterator,
    property: _reduce_property,
    functools.cached_property: _reduce_cached_property,
    functools.singledispatchmethod: _reduce_single_dispatch_method,
    staticmethod: _reduce_wrapped_method,
    classmethod: _reduce_wrapped_method,
    functools._lru_cache_wrapper: _reduce_lru_cache,  # noqa: SLF001 - functools has no public name for it
    types.MethodType: _reduce_method,
    types.ModuleType: _reduce_module,
    typing.NewType: _reduce_new_type,
    typing.ForwardRef: _reduce_forward_ref,
    **type_variables.reducers,
    **dict.fromkeys(_PARTS, _reduce_dataclass_part),
    **{type(sentinel): _reduce_dataclass_sentinel for sentinel in _SENTINELS},
}

_RUNTIME = "it belongs to one process; ask application.runtime for it"
# By name, without an import: if the module was never imported, there is no instance.
_LOST = {
    "threading:Thread": "a thread ends with its process; start it in Service.start",
    "_thread:_local": "thread-local data belongs to the threads of one process",
    "asyncio:AbstractEventLoop": "an event loop belongs to one process; use application.runtime",
    "_asyncio:Future": "a task or future ends with its process; start it again in Service.start",
    "asyncio.futures:_PyFuture": "a task or future ends with its process",
    "asyncio:Handle": "a scheduled callback ends with its process; use application.call_later",
    "asyncio:BaseTransport": "a connection of asyncio belongs to one process",
    "asyncio:StreamReader": "a stream of asyncio belongs to one process",
    "asyncio:StreamWriter": "a stream of asyncio belongs to one process",
    "concurrent.futures._base:Future": "a future ends with its process",
    "concurrent.futures._base:Executor": "an executor's workers end with its process",
    "_socket:socket": "a socket is not state; let the application listen or connect",
    "tapd.net.streams.stream:Stream": (
        "a transport belongs to one process; keep the protocol that has it"
    ),
    # The runtime, and what its bound methods are bound to.
    "tapd.net.turn.runtime:LiveRuntime": _RUNTIME,
    "tapd.net.turn.schedule:Schedule": _RUNTIME,
    "tapd.net.timers:Timers": _RUNTIME,
    "tapd.net.rate_limit:Tellings": _RUNTIME,
    "types:GeneratorType": "a generator's position can't be saved; keep what it yields",
    "types:AsyncGeneratorType": "a generator's position can't be saved; keep what it yields",
    "types:CoroutineType": "a coroutine's position can't be saved; keep what it needs",
    "types:FrameType": "a frame is a call that is running",
    "types:TracebackType": "a traceback holds frames",
    "types:CodeType": "bytecode is never saved; keep the source text",
    "types:MemberDescriptorType": "it is a part of a class, not a value",
    "types:GetSetDescriptorType": "it is a part of a class, not a value",
    "builtins:memoryview": "a memoryview shows memory of this process; keep bytes(it)",
    "mmap:mmap": "a memory map belongs to one process",
    "_contextvars:Context": "context variables belong to one process",
    "_contextvars:ContextVar": "context variables belong to one process",
    "_contextvars:Token": "context variables belong to one process",
    "subprocess:Popen": "a child process does not outlive its parent's state",
    "selectors:BaseSelector": "a selector holds file descriptors",
    "select:epoll": "a poll object holds file descriptors",
    "weakref:finalize": "a finalizer belongs to one process",
    "_io:_IOBase": "an open file is not state; keep its path",
    "tempfile:_TemporaryFileWrapper": "a temporary file is gone with its process",
    "tempfile:SpooledTemporaryFile": "a temporary file is gone with its process",
    "tempfile:TemporaryDirectory": "a temporary directory is gone with its process",
}


# C types reachable only through instances, or with a less helpful error of their own.
_LOST_BY_NAME = {
    "sqlite3:Connection": "a database's connection belongs to one process; keep its path",
    "sqlite3:Cursor": "a database's cursor belongs to one process; keep what it found",
    "select:poll": "a poll object holds file descriptors",
    "_hashlib:HASH": "a hash that was begun can't be saved; keep what goes into it",
    "zlib:Compress": "a stream that is being compressed can't be saved; end it, begin anew",
    "zlib:Decompress": "a stream that is being decompressed can't be saved; keep its input",
    "_csv:reader": "a reader's position can't be saved; keep the rows",
    "re:Match": "a match can't be saved; keep its groups",
    "builtins:dict_keys": "a view of a dict; keep the dict, or a list of this",
    "builtins:dict_values": "a view of a dict; keep the dict, or a list of this",
    "builtins:dict_items": "a view of a dict; keep the dict, or a list of this",
}


def _imported(named: Any) -> Iterator[tuple[type, str]]:
    """Yield type and value of each entry of `named` whose module is imported."""
    for name, rest in named.items():
        module, _colon, qualname = name.partition(":")
        found = getattr(sys.modules.get(module), qualname, None)
        if found is not None:
            yield found, rest


def lost_reason(cls: type) -> str | None:
    """Return why instances of `cls` can't be saved; None if they may be."""
    for base, reason in _imported(_LOST):
        if issubclass(cls, base):
            return None if issubclass(cls, (io.BytesIO, io.StringIO)) else reason
    return _LOST_BY_NAME.get(f"{cls.__module__}:{cls.__qualname__}")


def reducer_by_base(cls: type) -> Callable[[Any], Reduced] | None:
    """Return the reducer of a base class of `cls`, if there is one."""
    if enums.is_typed_enum(cls):
        return enums.reduce_member
    if any(
        base.__module__.startswith("asyncio.") and "_loop" in base.__dict__ for base in cls.__mro__
    ):
        return _reduce_asyncio
    if issubclass(cls, types.ModuleType):
        return _reduce_module
    known = _BY_NAME.get(f"{cls.__module__}:{cls.__qualname__}")
    return reducer_by_name(cls) if known is None else known


_BY_NAME: dict[str, Callable[[Any], Reduced]] = {
    "_queue:SimpleQueue": _reduce_simple_queue,
    "threading:_RLock": _reduce_rlock,
    "_json:Scanner": _reduce_json_scanner,
    "numpy:ndarray": reduce_array,
}
"""C types whose module is imported only if instances exist."""


_IMMUTABLE = frozenset({
    "datetime:datetime", "datetime:date", "datetime:time", "datetime:timedelta",
    "datetime:timezone", "zoneinfo:ZoneInfo", "decimal:Decimal", "fractions:Fraction",
    "uuid:UUID", "builtins:range", "builtins:complex", "builtins:slice", "re:Pattern",
    "ipaddress:IPv4Address", "ipaddress:IPv6Address", "ipaddress:IPv4Network",
    "ipaddress:IPv6Network", "ipaddress:IPv4Interface", "ipaddress:IPv6Interface",
    "pathlib:PurePosixPath", "pathlib:PureWindowsPath", "pathlib:PosixPath",
    "pathlib:WindowsPath", "pathlib._local:PurePosixPath", "pathlib._local:PosixPath",
    "builtins:method", "builtins:module", "builtins:builtin_function_or_method",
    "types:GenericAlias", "types:UnionType", "builtins:NotImplementedType",
    "builtins:ellipsis", "functools:partial", "tapd.image.evolution.names:BrokenMethod",
})  # fmt: skip


def is_immutable_type(cls: type) -> bool:
    """Whether `cls` instances can change only through what they refer to."""
    if f"{cls.__module__}:{cls.__qualname__}" in _IMMUTABLE or issubclass(cls, enum.Enum | Value):
        return True
    if issubclass(cls, tuple):
        return hasattr(cls, "_fields") and cls.__dictoffset__ == 0
    parameters = cls.__dict__.get("__dataclass_params__")
    return parameters is not None and bool(parameters.frozen)
