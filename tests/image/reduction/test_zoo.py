"""The zoo: what people leave in a namespace, each kind either kept or named as lost.

A kind is kept when what comes back passes its check; it is lost when it is named,
by path, type and reason, and its neighbours are whole.
"""

# What is opened here is the exhibit; an exit stack closes it.
# ruff: noqa: PTH123, SIM115, UP045, TRY301

from __future__ import annotations

import array
import asyncio
import codecs
import collections
import concurrent.futures
import contextlib
import contextvars
import copy
import csv
import ctypes
import datetime as dt
import decimal
import enum
import fractions
import functools
import hashlib
import io
import ipaddress
import itertools
import json
import logging
import math
import mmap
import operator
import os
import pathlib
import pickle
import queue
import random
import re
import select
import selectors
import socket
import sqlite3
import string
import struct
import subprocess
import sys
import tempfile
import threading
import types
import typing
import unittest.mock
import uuid
import weakref
import zlib
import zoneinfo
from collections.abc import Callable
from typing import Any

import pytest
from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree, OOTreeSet

from tapd.image.pickling.pickler import (
    Placeholder,
    StateLoader,
    StatePickler,
    dump_graph,
    load_graph,
)
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import (
    TrackedBytearray,
    TrackedDeque,
    TrackedDict,
    TrackedList,
    TrackedSet,
)

sys.modules.setdefault("zoo_module", types.ModuleType("zoo_module"))
_HOME = sys.modules["zoo_module"]
_HOME.__spec__ = __spec__


def housed(thing: Any) -> Any:
    """Give a class or function of this file a module that can be imported by name."""
    thing.__module__ = "zoo_module"
    thing.__qualname__ = thing.__name__
    setattr(_HOME, thing.__name__, thing)
    return thing


@housed
class Plain:
    def __init__(self, value: Any = 1) -> None:
        self.value = value

    def method(self) -> Any:
        return self.value


@housed
class Slotted:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a = 1


@housed
class Colour(enum.Enum):
    RED = 1


@housed
class Point(typing.NamedTuple):
    x: int = 1


@housed
class ListOfOwn(list[Any]):
    pass


@housed
class DictOfOwn(dict[Any, Any]):
    pass


@housed
class IntOfOwn(int):
    pass


@housed
class LoggingDict(dict[Any, Any]):
    def __init__(self, log: list[Any], name: str) -> None:
        self.log, self.name = log, name

    def __setitem__(self, key: Any, value: Any) -> None:
        self.log.append(key)
        super().__setitem__(key, value)


@housed
class TaggedText(str):  # noqa: SLOT000 - its attributes are the exhibit
    tag = ""

    def __new__(cls, text: str, tag: str) -> Any:
        self = super().__new__(cls, text)
        self.tag = tag
        return self


@housed
class NotedTime(dt.datetime):
    note = ""


@housed
class NotedCounter(collections.Counter[str]):
    note = ""


@housed
class SlottedError(Exception):
    __slots__ = ("code",)


@housed
class Demanding:
    def __new__(cls, _wanted: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted


Renamed: Any = collections.namedtuple("AnotherName", "x y")  # type: ignore[name-match]  # noqa: PYI024
Renamed.__module__ = "zoo_module"
setattr(_HOME, "Renamed", Renamed)  # noqa: B010 - a module made by hand


@housed
class OddError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")
        self.two = two


@housed
class RaisingReduce:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("no")


@housed
class RaisingGetattr:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __init__(self) -> None:
        self.x = 1


@housed
class RaisingGetattribute:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


@housed
class KeylessGetattr:
    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


@housed
class ExitingReduce:
    def __reduce__(self) -> Any:
        raise SystemExit(1)


@housed
class InterruptedReduce:
    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


@housed
class CancelledReduce:
    def __reduce__(self) -> Any:
        raise asyncio.CancelledError


@housed
class GeneratorState:
    def __getstate__(self) -> Any:
        return (each for each in "ab")


@housed
class MadeFromItself:
    def __reduce__(self) -> Any:
        return MadeFromItself, (self,)


@housed
class MadeWrongly:
    def __reduce__(self) -> Any:
        return MadeWrongly, (1, 2, 3)


@housed
class RaisingState:
    def __getstate__(self) -> Any:
        raise ValueError("state")


@housed
class NonsenseReduce:
    def __reduce_ex__(self, protocol: Any) -> Any:
        return 5


@housed
class WrongTuple:
    def __reduce_ex__(self, protocol: Any) -> Any:
        return (1, 2, 3)


@housed
class WrongName:
    def __reduce_ex__(self, protocol: Any) -> Any:
        return "no_such_name"


@housed
class Liar:
    __class__ = int  # type: ignore[assignment]  # it lies

    def __init__(self) -> None:
        self.truth = 1


@housed
class RaisingClass:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("class")

    def __init__(self) -> None:
        self.x = 1


@housed
class RaisingEq:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        return 1


@housed
class RaisingRepr:
    def __repr__(self) -> str:
        raise RuntimeError("repr")


@housed
class RaisingLen:
    def __len__(self) -> int:
        raise RuntimeError("len")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")


@housed
class Room(Persistent):
    def __init__(self) -> None:
        self.number = 7


@housed
class RefusingRoom(Persistent):
    def __getstate__(self) -> Any:
        raise ValueError("not me")


class Nowhere:
    """Its module can't be imported by name."""


Nowhere.__module__ = "no.such.module"
Nowhere.__qualname__ = "Nowhere"


@housed
def function() -> int:
    return 5


@housed
def generator() -> Any:
    yield 1


@housed
async def coroutine() -> None:
    pass


@housed
async def async_generator() -> Any:
    yield 1


def _frame() -> Any:
    return sys._getframe()


def _traceback() -> Any:
    try:
        raise ValueError
    except ValueError as error:
        return error.__traceback__


def _coroutine(stack: contextlib.ExitStack) -> Any:
    made = coroutine()
    stack.callback(made.close)
    return made


def _closing(stack: contextlib.ExitStack, thing: Any) -> Any:
    stack.callback(thing.close)
    return thing


def _loop_future(stack: contextlib.ExitStack) -> Any:
    return asyncio.Future(loop=_closing(stack, asyncio.new_event_loop()))


def _child(stack: contextlib.ExitStack) -> Any:
    child = subprocess.Popen(["true"])
    stack.callback(child.wait)
    return child


class _Structure(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int)]


housed(_Structure)


def _equal(value: Any) -> tuple[Callable[[Any], Any], Callable[[Any], bool]]:
    return (lambda _stack: value), (lambda back: type(back) is type(value) and back == value)


def _is(value: Any) -> tuple[Callable[[Any], Any], Callable[[Any], bool]]:
    return (lambda _stack: value), (lambda back: back is value)


def _made(
    make: Callable[[], Any], check: Callable[[Any], Any]
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    return (lambda _stack: make()), check


def _self_list() -> list[Any]:
    result: list[Any] = []
    result.append(result)
    return result


def _condition_waits(condition: Any) -> bool:
    with condition:
        return condition.wait(0) is False


def _raised() -> Any:
    try:
        raise ValueError("v") from KeyError("k")
    except ValueError as error:
        error.add_note("noted")
        return error


def _with(obj: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(obj, name, value)
    return obj


def _called_back(_reference: Any) -> None:
    """Is told that something is gone."""


housed(_called_back)


def _logging_dict() -> Any:
    made = LoggingDict([], "d")
    made["a"] = 1
    return made


def _queue() -> Any:
    made: queue.Queue[int] = queue.Queue(5)
    made.put(3)
    return made


def _filled(tree: Any) -> Any:
    tree.update({key: key for key in range(2000)})
    return tree


_now = dt.datetime(2026, 5, 17, 12, 30, tzinfo=dt.UTC)
_namespace = Namespace()

KEPT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "none": _is(None),
    "ellipsis": _is(...),
    "NotImplemented": _is(NotImplemented),
    "true": _is(True),
    "int": _equal(5),
    "large int": _equal(1 << 5000),
    "float": _equal(1.5),
    "nan": _made(lambda: math.nan, math.isnan),
    "complex": _equal(1 + 2j),
    "str": _equal("gr\u00fc\u00dfe"),
    "surrogate": _equal("\udc80"),
    "bytes": _equal(b"\x00\xff"),
    "bytearray": _equal(bytearray(b"abc")),
    "tuple": _equal((1, (2, 3))),
    "list": _equal([1, [2]]),
    "list in itself": _made(_self_list, lambda back: back[0] is back),
    "dict": _equal({"a": {1: 2}}),
    "set": _equal({1, 2}),
    "frozenset": _equal(frozenset({1})),
    "range": _equal(range(1, 10, 2)),
    "slice": _made(lambda: slice(1, 2), lambda back: back == slice(1, 2)),
    "array": _equal(array.array("i", [1, 2])),
    "deque": _equal(collections.deque([1, 2], 5)),
    "OrderedDict": _equal(collections.OrderedDict(a=1)),
    "defaultdict": _equal(collections.defaultdict(list, a=[1])),
    "Counter": _equal(collections.Counter("aab")),
    "ChainMap": _equal(collections.ChainMap({"a": 1}, {"b": 2})),
    "UserDict": _equal(collections.UserDict(a=1)),
    "mappingproxy": _made(lambda: types.MappingProxyType({"a": 1}), lambda back: back["a"] == 1),
    "SimpleNamespace": _equal(types.SimpleNamespace(a=1)),
    "datetime": _equal(_now),
    "date": _equal(_now.date()),
    "time": _equal(_now.timetz()),
    "timedelta": _equal(dt.timedelta(3)),
    "timezone": _equal(dt.timezone(dt.timedelta(hours=2))),
    "ZoneInfo": _is(zoneinfo.ZoneInfo("UTC")),
    "Decimal": _equal(decimal.Decimal("1.10")),
    "Fraction": _equal(fractions.Fraction(1, 3)),
    "UUID": _equal(uuid.UUID(int=5)),
    "IPv4Address": _equal(ipaddress.ip_address("127.0.0.1")),
    "IPv6Network": _equal(ipaddress.ip_network("::/64")),
    "PurePath": _equal(pathlib.PurePosixPath("/a/b")),
    "Path": _equal(pathlib.Path("/a/b")),
    "pattern": _equal(re.compile("a+")),
    "Random": _made(
        lambda: random.Random(5), lambda back: back.random() == random.Random(5).random()
    ),
    "StringIO": _made(lambda: io.StringIO("abc"), lambda back: back.read() == "abc"),
    "BytesIO": _made(lambda: io.BytesIO(b"abc"), lambda back: back.read() == b"abc"),
    "Struct": _made(lambda: struct.Struct("<ih"), lambda back: back.pack(1, 2) == b"\1\0\0\0\2\0"),
    "JSONDecoder": _made(
        json.JSONDecoder, lambda back: back.decode('{"a": [1.5]}') == {"a": [1.5]}
    ),
    "ForwardRef": _equal(typing.ForwardRef("Plain")),
    "calcsize": _made(lambda: Plain(struct.calcsize), lambda back: back.value("i") == 4),
    "plain instance": _made(Plain, lambda back: back.value == 1),
    "instance without attributes": _made(RaisingRepr, lambda back: type(back) is RaisingRepr),
    "slotted instance": _made(Slotted, lambda back: back.a == 1 and not hasattr(back, "b")),
    "enum member": _is(Colour.RED),
    "NamedTuple": _equal(Point(3)),
    "list subclass": _equal(ListOfOwn([1])),
    "dict subclass": _equal(DictOfOwn(a=1)),
    "int subclass": _equal(IntOfOwn(5)),
    "dict subclass with a __setitem__": _made(
        _logging_dict, lambda back: (dict(back), back.log, back.name) == ({"a": 1}, ["a"], "d")
    ),
    "str subclass with a __new__": _made(
        lambda: TaggedText("text", "t"), lambda back: (back, back.tag) == ("text", "t")
    ),
    "datetime subclass with attributes": _made(
        lambda: _with(NotedTime(2026, 5, 17), note="n"),
        lambda back: (back, back.note) == (NotedTime(2026, 5, 17), "n"),
    ),
    "Counter with attributes": _made(
        lambda: _with(NotedCounter("aab"), note="n"),
        lambda back: (back["a"], back.note) == (2, "n"),
    ),
    "class whose __new__ wants arguments": _made(
        lambda: Demanding(5), lambda back: back.wanted == 5
    ),
    "class under another name": _made(
        lambda: Renamed(1, 2), lambda back: type(back) is Renamed and back.y == 2
    ),
    "exception that was raised": _made(
        _raised,
        lambda back: (
            (back.args, back.__cause__.args, back.__notes__, back.__traceback__)
            == (("v",), ("k",), ["noted"], None)
        ),
    ),
    "exception with slots": _made(
        lambda: _with(SlottedError("a"), code=5), lambda back: (back.args, back.code) == (("a",), 5)
    ),
    "exception": _made(lambda: ValueError("a", 1), lambda back: back.args == ("a", 1)),
    "exception of two arguments": _made(lambda: OddError(1, 2), lambda back: back.two == 2),
    "OSError": _made(lambda: OSError(2, "no", "f"), lambda back: back.filename == "f"),
    "UnicodeDecodeError": _made(
        lambda: UnicodeDecodeError("ascii", b"\xff", 0, 1, "bad"), lambda back: back.reason == "bad"
    ),
    "exception group": _made(
        lambda: ExceptionGroup("g", [ValueError(1)]), lambda back: back.exceptions[0].args == (1,)
    ),
    "class": _is(Plain),
    "builtin class": _is(int),
    "NoneType": _is(type(None)),
    "function": _is(function),
    "async function": _is(coroutine),
    "builtin function": _is(len),
    "builtin method": _made(lambda: [1].append, lambda back: back(2) is None),
    "method": _made(lambda: Plain(6).method, lambda back: back() == 6),
    "class method": _made(lambda: dt.datetime.fromisoformat, lambda back: back("2026-01-01")),
    "unbound method": _is(Plain.method),
    "partial": _made(lambda: functools.partial(int, base=2), lambda back: back("10") == 2),
    "itemgetter": _made(lambda: operator.itemgetter(1), lambda back: back("ab") == "b"),
    "cmp_to_key class": _is(functools.cmp_to_key),
    "lru_cache of a module": _is(json.detect_encoding),
    "module": _is(math),
    "submodule": _is(os.path),
    "generic alias": _equal(list[int]),
    "union": _equal(int | None),
    "typing alias": _equal(typing.Optional[int]),
    "list iterator": _made(lambda: iter([1, 2]), lambda back: list(back) == [1, 2]),
    "range iterator": _made(lambda: iter(range(2)), lambda back: list(back) == [0, 1]),
    "dict iterator": _made(lambda: iter({"a": 1}), lambda back: list(back) == ["a"]),
    "enumerate": _made(lambda: enumerate("ab"), lambda back: list(back) == [(0, "a"), (1, "b")]),
    "zip": _made(lambda: zip("a", "b", strict=False), lambda back: list(back) == [("a", "b")]),
    "map": _made(lambda: map(int, "12"), lambda back: list(back) == [1, 2]),
    "reversed": _made(lambda: reversed([1, 2]), lambda back: list(back) == [2, 1]),
    "Lock": _made(threading.Lock, lambda back: back.acquire(blocking=False)),
    "RLock": _made(threading.RLock, lambda back: back.acquire(blocking=False)),
    "Condition": _made(threading.Condition, _condition_waits),
    "Semaphore": _made(lambda: threading.Semaphore(2), lambda back: back.acquire(blocking=False)),
    "Event": _made(threading.Event, lambda back: not back.wait(0)),
    "Barrier": _made(lambda: threading.Barrier(1), lambda back: back.wait() == 0),
    "Queue": _made(_queue, lambda back: back.get_nowait() == 3 and back.maxsize == 5),
    "PriorityQueue": _made(queue.PriorityQueue, lambda back: back.empty()),
    "SimpleQueue": _made(queue.SimpleQueue, lambda back: back.empty()),
    "asyncio.Lock": _made(asyncio.Lock, lambda back: not back.locked()),
    "asyncio.Event": _made(asyncio.Event, lambda back: not back.is_set()),
    "asyncio.Queue": _made(asyncio.Queue, lambda back: back.empty()),
    "WeakSet": _made(weakref.WeakSet, lambda back: len(back) == 0),
    "WeakValueDictionary": _made(weakref.WeakValueDictionary, lambda back: len(back) == 0),
    "WeakKeyDictionary": _made(weakref.WeakKeyDictionary, lambda back: len(back) == 0),
    "weakref with a callback": _made(
        lambda: weakref.ref(Plain, _called_back),
        lambda back: back() is Plain and back.__callback__ is _called_back,
    ),
    "dead weakref": _made(lambda: weakref.ref(Plain()), lambda back: back() is None),
    "logger": _is(logging.getLogger("zoo")),
    "string.Template": _made(lambda: string.Template("$a"), lambda back: back.template == "$a"),
    "ctypes number": _made(lambda: ctypes.c_int(5), lambda back: back.value == 5),
    "ctypes structure": _made(lambda: _Structure(5), lambda back: back.x == 5),
    "raises in __getattr__": _made(RaisingGetattr, lambda back: back.x == 1),
    "raises KeyError in __getattr__": _made(
        lambda: _with(KeylessGetattr(), x=1), lambda back: back.x == 1
    ),
    "raises in __getattribute__": _made(
        RaisingGetattribute, lambda back: type(back) is RaisingGetattribute
    ),
    "lies about its class": _made(Liar, lambda back: type(back) is Liar and back.truth == 1),
    "raises in __class__": _made(RaisingClass, lambda back: back.x == 1),
    "raises in __eq__": _made(RaisingEq, lambda back: type(back) is RaisingEq),
    "key that raises in __eq__": _made(lambda: {RaisingEq(): 1}, lambda back: len(back) == 1),
    "raises in __len__": _made(RaisingLen, lambda back: type(back) is RaisingLen),
    "property": _made(lambda: property(function), lambda back: back.fget is function),
    "staticmethod": _made(lambda: staticmethod(function), lambda back: back.__func__ is function),
    "cached_property": _made(
        lambda: functools.cached_property(function), lambda back: back.func is function
    ),
    "TypeVar": _made(lambda: typing.TypeVar("T", bound=int), lambda back: back.__bound__ is int),
    "NewType": _made(lambda: typing.NewType("UserId", int), lambda back: back.__supertype__ is int),
    "Durable": _made(Room, lambda back: back.number == 7),
    "TrackedList": _equal(TrackedList([1, 2])),
    "TrackedDict": _equal(TrackedDict({"a": 1})),
    "TrackedSet": _equal(TrackedSet({1})),
    "TrackedBytearray": _made(
        lambda: _tracked_bytes(b"ab"), lambda back: back == b"ab" and type(back) is TrackedBytearray
    ),
    "TrackedDeque": _made(lambda: TrackedDeque([1], 5), lambda back: back.maxlen == 5),
    "OOBTree": _made(lambda: _filled(OOBTree()), lambda back: len(back) == 2000 and back[7] == 7),
    "IOBTree": _made(lambda: _filled(IOBTree()), lambda back: list(back) == list(range(2000))),
    "OOTreeSet": _made(lambda: OOTreeSet(range(2000)), lambda back: len(back) == 2000),
    "Namespace": _made(Namespace, lambda back: type(back) is Namespace),
    "Mock": _made(lambda: Plain(unittest.mock.call(1)), lambda back: back is not None),
    "codec": _made(lambda: codecs.lookup("utf-8"), lambda back: back.name == "utf-8"),
}


# Of the kept: what comes back without what belonged to the process.
RENEWED: dict[str, str] = {
    "Lock": "comes back unlocked",
    "RLock": "comes back unlocked",
    "Condition": "with an unlocked lock; nobody waits",
    "Semaphore": "its count is kept; nobody waits",
    "Event": "its flag is kept; nobody waits",
    "Barrier": "nobody waits",
    "Queue": "its items are kept; nobody waits",
    "PriorityQueue": "its items are kept; nobody waits",
    "SimpleQueue": "an empty one; one that holds items is lost, for nothing can look into it",
    "asyncio.Lock": "of no loop; nobody waits",
    "asyncio.Event": "of no loop; nobody waits",
    "asyncio.Queue": "its items are kept; of no loop, nobody waits",
    "WeakSet": "what something else holds is in it",
    "WeakValueDictionary": "what something else holds is in it",
    "WeakKeyDictionary": "what something else holds is in it",
    "dead weakref": "comes back dead",
    "exception that was raised": "without its traceback",
}


def _tracked_bytes(data: bytes) -> TrackedBytearray:
    made = TrackedBytearray()
    made.extend(data)
    return made


def _directory(stack: contextlib.ExitStack) -> Any:
    directory = tempfile.TemporaryDirectory()
    stack.callback(directory.cleanup)
    return directory


LOST: dict[str, Callable[[contextlib.ExitStack], Any]] = {
    "generator": lambda _stack: generator(),
    "generator expression": lambda _stack: (x for x in "ab"),
    "coroutine": _coroutine,
    "async generator": lambda _stack: async_generator(),
    "thread": lambda _stack: threading.current_thread(),
    "thread-local": lambda _stack: threading.local(),
    "loop": lambda stack: _closing(stack, asyncio.new_event_loop()),
    "future": _loop_future,
    "concurrent future": lambda _stack: concurrent.futures.Future(),
    "executor": lambda _stack: concurrent.futures.ThreadPoolExecutor(1),
    "socket": lambda stack: _closing(stack, socket.socket()),
    "text file": lambda stack: _closing(stack, open(__file__)),
    "binary file": lambda stack: _closing(stack, open(__file__, "rb")),
    "unbuffered file": lambda stack: _closing(stack, open(__file__, "rb", buffering=0)),
    "stdout": lambda _stack: sys.__stdout__,
    "temporary file": lambda stack: _closing(stack, tempfile.NamedTemporaryFile()),
    "memory map": lambda stack: _closing(stack, mmap.mmap(-1, 10)),
    "memoryview": lambda _stack: memoryview(b"abc"),
    "frame": lambda _stack: _frame(),
    "traceback": lambda _stack: _traceback(),
    "code": lambda _stack: function.__code__,
    "sqlite connection": lambda stack: _closing(stack, sqlite3.connect(":memory:")),
    "sqlite cursor": lambda stack: _closing(stack, sqlite3.connect(":memory:")).cursor(),
    "context": lambda _stack: contextvars.copy_context(),
    "context variable": lambda _stack: contextvars.ContextVar("v"),
    "child process": _child,
    "selector": lambda stack: _closing(stack, selectors.DefaultSelector()),
    "epoll": lambda stack: _closing(stack, select.epoll()),
    "poll": lambda _stack: select.poll(),
    "finalizer": lambda _stack: weakref.finalize(Plain, print),
    "hash": lambda _stack: hashlib.sha256(),
    "compressor": lambda _stack: zlib.compressobj(),
    "csv reader": lambda _stack: csv.reader([]),
    "pickler": lambda _stack: pickle.Pickler(io.BytesIO()),
    "dict keys": lambda _stack: {"a": 1}.keys(),
    "match": lambda _stack: re.match("a", "a"),
    "ctypes pointer": lambda _stack: ctypes.pointer(ctypes.c_int(1)),
    "ctypes function": lambda _stack: ctypes.CFUNCTYPE(None)(lambda: None),
    "full SimpleQueue": lambda _stack: _full_queue(),
    "raises in __reduce_ex__": lambda _stack: RaisingReduce(),
    "raises in __getstate__": lambda _stack: RaisingState(),
    "raises SystemExit in __reduce__": lambda _stack: ExitingReduce(),
    "raises KeyboardInterrupt in __reduce__": lambda _stack: InterruptedReduce(),
    "raises CancelledError in __reduce__": lambda _stack: CancelledReduce(),
    "its __getstate__ gives a generator": lambda _stack: GeneratorState(),
    "made from itself": lambda _stack: MadeFromItself(),
    "made from wrong arguments": lambda _stack: MadeWrongly(),
    "reduces to nonsense": lambda _stack: NonsenseReduce(),
    "reduces to a wrong tuple": lambda _stack: WrongTuple(),
    "reduces to a wrong name": lambda _stack: WrongName(),
    "module made by hand": lambda _stack: types.ModuleType("by_hand"),
    "lambda of this file": lambda _stack: eval("lambda: 1"),
    "builtin of no module": lambda _stack: types.MethodType(eval("lambda self: 1"), 5),
    "durable that refuses": lambda _stack: RefusingRoom(),
    "capsule": lambda _stack: dt.datetime_CAPI,
    "temporary directory": _directory,
    "iterator that calls": lambda _stack: iter(eval("lambda: 1"), 1),
    "cycle of a generator": lambda _stack: itertools.cycle(x for x in "ab"),
}


def _full_queue() -> Any:
    made: queue.SimpleQueue[int] = queue.SimpleQueue()
    made.put(1)
    return made


def test_the_zoo_is_large() -> None:
    assert len(KEPT) + len(LOST) >= 150


@pytest.mark.parametrize("kind", KEPT)
def test_a_kept_kind_comes_back(kind: str) -> None:
    make, check = KEPT[kind]
    with contextlib.ExitStack() as stack:
        value = make(stack)
        root = Room()
        root.values = ["before", value, "after", value]
        dump = dump_graph(root)
        assert not dump.losses
        for back in (load_graph(dump.data), pickle.loads(dump.data)):
            assert back.values[0] == "before"
            assert back.values[2] == "after"
            assert check(back.values[1])
            assert back.values[3] is back.values[1] or kind in {"int", "large int", "nan", "float"}


@pytest.mark.parametrize("kind", LOST)
def test_a_lost_kind_is_named_and_costs_no_neighbour(kind: str) -> None:
    with contextlib.ExitStack() as stack:
        value = LOST[kind](stack)
        root = Room()
        root.values = ["before", {"it": value}, "after"]
        dump = dump_graph(root)
        assert dump.losses, kind
        for loss in dump.losses:
            assert loss.path.startswith("room.values[1]['it']")
            assert loss.reason
        for back in (load_graph(dump.data), pickle.loads(dump.data)):
            assert back.values[0] == "before"
            assert back.values[2] == "after"
            assert "room.values[1]['it']" in repr(back.values[1]["it"]) or not isinstance(
                back.values[1]["it"], Placeholder
            )


@pytest.mark.parametrize("kind", [*KEPT, *LOST])
def test_the_journal_agrees_with_the_tap(kind: str) -> None:
    with contextlib.ExitStack() as stack:
        make = KEPT[kind][0] if kind in KEPT else LOST[kind]
        value = make(stack)
        durables: list[Any] = []

        def number(obj: Any) -> int:
            durables.append(obj)
            return len(durables) - 1

        dump = StatePickler(number).dump_state({"before": 1, "it": value, "after": 2})
        back = StateLoader(durables.__getitem__).load_state(dump.data)
        assert back["before"] == 1
        assert back["after"] == 2
        if kind in KEPT:
            assert not dump.losses
            if not durables:
                assert KEPT[kind][1](back["it"])
        elif kind != "durable that refuses":
            assert dump.losses
            assert dump.losses[0].path.startswith(".it")


def test_a_weak_reference_follows_its_referent() -> None:
    held = Plain(3)
    dump = dump_graph({"held": held, "weak": weakref.ref(held), "proxy": weakref.proxy(held)})
    back = load_graph(dump.data)
    assert back["weak"]() is back["held"]
    assert back["proxy"].value == 3
    assert load_graph(dump_graph({"weak": weakref.ref(held)}).data)["weak"]() is None


def test_a_class_that_no_module_holds_is_rebuilt_or_lost_with_its_reason() -> None:
    dump = dump_graph([Nowhere(), 1])
    back = load_graph(dump.data)
    assert back[1] == 1
    assert type(back[0]).__name__ == "Nowhere"


def test_copies_of_the_zoo_need_no_order() -> None:
    values = [make(None) for kind, (make, _check) in KEPT.items() if "weak" not in kind]
    assert len(load_graph(dump_graph(copy.copy(values)).data)) == len(values)
