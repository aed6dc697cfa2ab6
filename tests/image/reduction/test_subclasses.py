"""Subclasses of what Python brings: each base, with everything that a class may add to it.

What a class adds is attributes, slots, an ``__init__`` or ``__new__`` with arguments of
their own, and overridden methods, none of which may be run at save or load. The
comparison asks the base's own methods, and the descriptors that Python made.
"""

from __future__ import annotations

import array
import collections
import contextlib
import datetime as dt
import decimal
import fractions
import functools
import io
import ipaddress
import itertools
import pathlib
import pickle
import queue
import random
import struct
import sys
import types
import uuid
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from save_forms import FORMS, flat_data

from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.inspection.graph import read_graph

_HOME = types.ModuleType("subclass_home")
_HOME.__spec__ = __spec__
sys.modules["subclass_home"] = _HOME
_numbers = itertools.count()


def housed(thing: Any) -> Any:
    """Give a class of this file a module and a name by which it can be imported."""
    thing.__module__ = "subclass_home"
    thing.__name__ = thing.__qualname__ = f"{thing.__name__}{next(_numbers)}"
    setattr(_HOME, thing.__name__, thing)
    return thing


class Referent:
    pass


housed(Referent)
_REFERENT = Referent()


class Base(NamedTuple):
    """A class of Python's own.

    Attributes:
        cls: the class.
        make: returns an instance of a subclass, past its constructor.
        contents: returns what an instance holds beside attributes, to be compared.
    """

    cls: Any
    make: Callable[[Any], Any]
    contents: Callable[[Any], Any]


def _filled(base: Any, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """Return what makes an instance bare and has the base's ``__init__`` fill it."""

    def make(cls: Any) -> Any:
        obj = base.__new__(cls)
        base.__init__(obj, *args, **kwargs)
        return obj

    return make


def _nothing(_obj: Any) -> None:
    """It holds nothing beside attributes."""


def _value(base: Any, *args: Any) -> Callable[[Any], Any]:
    new: Any = base.__new__
    return lambda cls: new(cls, *args)


def _dict(base: Any) -> Callable[[Any], Any]:
    def make(cls: Any) -> Any:
        obj = base.__new__(cls)
        for key, value in (("a", 1), ("b", [2]), (None, (3,))):
            base.__setitem__(obj, key, value)
        return obj

    return make


def _struct(cls: Any) -> Any:
    new: Any = struct.Struct.__new__
    obj = new(cls, "<i")
    struct.Struct.__init__(obj, "<i")
    return obj


def _default_dict(cls: Any) -> Any:
    obj = collections.defaultdict.__new__(cls)
    collections.defaultdict.__init__(obj, list)
    dict.__setitem__(obj, "a", [1])
    return obj


def _path(base: Any) -> Callable[[Any], Any]:
    def make(cls: Any) -> Any:
        obj = base.__new__(cls, "/a", "b")
        if base.__init__ is not object.__init__:
            base.__init__(obj, "/a", "b")
        return obj

    return make


def _raised(base: Any, *args: Any) -> Callable[[Any], Any]:
    new: Any = base.__new__

    def make(cls: Any) -> Any:
        obj = new(cls, *args)
        base.__init__(obj, *args)
        obj.__cause__ = ValueError("cause")
        obj.__context__ = KeyError("context")
        BaseException.add_note(obj, "a note")
        with contextlib.suppress(BaseException):  # so that it has a traceback
            raise obj
        return obj

    return make


def _of_exception(error: Any) -> Any:
    members = {
        name: member.__get__(error)
        for base in type(error).__mro__
        if not base.__flags__ & 1 << 9
        for name, member in base.__dict__.items()
        if type(member) is types.MemberDescriptorType
    }
    told = (error.__cause__, error.__context__, *members.pop("exceptions", ()))
    return (
        repr(BaseException.args.__get__(error)), members,  # type: ignore[attr-defined]
        BaseException.__dict__["__suppress_context__"].__get__(error),
        [(type(each), each.args) for each in told],
    )  # fmt: skip


def _of_default_dict(obj: Any) -> Any:
    factory: Any = collections.defaultdict.__dict__["default_factory"]
    return factory.__get__(obj), [*dict.items(obj)]


def _of_path(obj: Any) -> Any:
    for base in type(obj).__mro__:
        given: Any = base.__dict__.get("_raw_paths")  # Python 3.12 and later
        if type(given) is types.MemberDescriptorType:
            return list(given.__get__(obj))
    return pathlib.PurePosixPath.__str__(obj)


def _raw(names: str) -> Callable[[Any], Any]:
    return lambda obj: [object.__getattribute__(obj, name) for name in names.split()]


def _stream(obj: Any) -> Any:
    base: Any = next(base for base in type(obj).__mro__ if base.__module__ == "_io")
    return base.__getstate__(obj)[:-1]


BASES: dict[str, Base] = {
    "object": Base(object, _value(object), _nothing),
    "list": Base(list, _filled(list, [1, [2]]), list.copy),
    "dict": Base(dict, _dict(dict), lambda obj: [*dict.items(obj)]),
    "set": Base(set, _filled(set, [1, 2]), lambda obj: {*set.__iter__(obj)}),
    "frozenset": Base(frozenset, _value(frozenset, [1, 2]), lambda obj: {*frozenset.__iter__(obj)}),
    "tuple": Base(tuple, _value(tuple, [1, [2]]), lambda obj: [*tuple.__iter__(obj)]),
    "str": Base(str, _value(str, "text"), str.__str__),
    "bytes": Base(bytes, _value(bytes, b"text"), lambda obj: bytes.__getitem__(obj, slice(None))),
    "bytearray": Base(
        bytearray, _filled(bytearray, b"text"), lambda obj: bytearray.__getitem__(obj, slice(None))
    ),
    "int": Base(int, _value(int, 7), int.__int__),
    "float": Base(float, _value(float, 1.5), float.__float__),
    "complex": Base(complex, _value(complex, 1j), complex.__complex__),
    "OrderedDict": Base(
        collections.OrderedDict, _dict(collections.OrderedDict),
        lambda obj: [*collections.OrderedDict.items(obj)],
    ),
    "defaultdict": Base(
        collections.defaultdict, _default_dict,
        _of_default_dict,
    ),
    "Counter": Base(collections.Counter, _dict(dict), lambda obj: [*dict.items(obj)]),
    "deque": Base(
        collections.deque, _filled(collections.deque, [1, [2]], 5),
        lambda obj: ([*collections.deque.__iter__(obj)], collections.deque.maxlen.__get__(obj)),
    ),
    "ChainMap": Base(collections.ChainMap, _filled(collections.ChainMap, {"a": 1}), _raw("maps")),
    "UserDict": Base(collections.UserDict, _value(object), _nothing),
    "UserList": Base(collections.UserList, _value(object), _nothing),
    "UserString": Base(collections.UserString, _value(object), _nothing),
    "array": Base(array.array, _value(array.array, "i", [1, 2]), array.array.tolist),
    "datetime": Base(
        dt.datetime, _value(dt.datetime, 2026, 5, 17, 1, 2, 3, 4, dt.UTC),
        lambda obj: dt.datetime.__reduce_ex__(obj, 5)[1],
    ),
    "date": Base(dt.date, _value(dt.date, 2026, 5, 17), lambda obj: dt.date.__reduce__(obj)[1]),
    "time": Base(dt.time, _value(dt.time, 1, 2), lambda obj: dt.time.__reduce_ex__(obj, 5)[1]),
    "timedelta": Base(
        dt.timedelta, _value(dt.timedelta, 1, 2, 3), lambda obj: dt.timedelta.__reduce__(obj)[1]
    ),
    "tzinfo": Base(dt.tzinfo, _value(dt.tzinfo), _nothing),
    "Decimal": Base(
        decimal.Decimal, _value(decimal.Decimal, "1.10"),
        lambda obj: decimal.Decimal.__reduce__(obj)[1],
    ),
    "Fraction": Base(
        fractions.Fraction, _value(fractions.Fraction, 1, 3), _raw("_numerator _denominator")
    ),
    "UUID": Base(uuid.UUID, _filled(uuid.UUID, int=5), _raw("int is_safe")),
    "IPv4Address": Base(
        ipaddress.IPv4Address, _filled(ipaddress.IPv4Address, "1.2.3.4"), _raw("_ip")
    ),
    "PurePosixPath": Base(
        pathlib.PurePosixPath, _path(pathlib.PurePosixPath),
        _of_path,
    ),
    "PosixPath": Base(pathlib.PosixPath, _path(pathlib.PosixPath), _of_path),
    "partial": Base(
        functools.partial, _value(functools.partial, int, 1),
        lambda obj: functools.partial.__reduce__(obj)[2][:3],
    ),
    "SimpleNamespace": Base(types.SimpleNamespace, _value(types.SimpleNamespace), _nothing),
    "BytesIO": Base(io.BytesIO, _filled(io.BytesIO, b"abc"), _stream),
    "StringIO": Base(io.StringIO, _filled(io.StringIO, "abc"), _stream),
    "Random": Base(random.Random, _filled(random.Random, 5), random.Random.getstate),
    "SystemRandom": Base(random.SystemRandom, _value(random.SystemRandom), _nothing),
    "Struct": Base(
        struct.Struct, _struct, _raw("format")
    ),
    "property": Base(
        property, _filled(property, Referent), _raw("fget")
    ),
    "staticmethod": Base(
        staticmethod, _filled(staticmethod, Referent), _raw("__func__")
    ),
    "weakref": Base(
        weakref.ref, _value(weakref.ref, _REFERENT), weakref.ref.__call__
    ),
    "SimpleQueue": Base(queue.SimpleQueue, _value(queue.SimpleQueue), queue.SimpleQueue.qsize),
    **{
        error.__name__: Base(error, _raised(error, *args), _of_exception)
        for error, args in (
            (Exception, (1, 2)), (BaseException, ()), (KeyError, ("k",)), (OSError, (2, "no", "f")),
            (FileNotFoundError, (2, "no", "f")), (StopIteration, (5,)), (SystemExit, (3,)),
            (SyntaxError, ("bad", ("f", 1, 2, "text"))), (ImportError, ("no",)),
            (UnicodeDecodeError, ("ascii", b"\xff", 0, 1, "bad")), (AttributeError, ("a",)),
            (ExceptionGroup, ("g", [ValueError(1)])),
        )
    },
}  # fmt: skip


class Ran(BaseException):
    """Raised by code that neither save nor load may run."""


def _refuse(*_args: Any, **_kwargs: Any) -> Any:
    raise Ran


_ITEM_METHODS = (
    "__setitem__", "__getitem__", "__delitem__", "append", "extend", "update", "add", "items",
    "keys", "values", "__iter__", "__len__", "__contains__", "__setattr__", "__eq__", "__bool__",
    "__getattr__", "__repr__", "copy", "__call__", "__lt__", "__missing__", "__str__", "__int__",
    "clear", "__float__", "__index__", "__bytes__", "setdefault", "pop", "get",
)  # fmt: skip


def _bare(base: Any) -> Any:
    return type("Bare", (base,), {})


def _slotted(base: Any) -> Any:
    return type("Slotted", (base,), {"__slots__": ("slot", "empty")})


def _slotted_below(base: Any) -> Any:
    return type("Below", (_slotted(base),), {"__slots__": ("slot", "other", "__dict__")})


def _of_init(base: Any) -> Any:
    def __init__(_self: Any, _one: int, _two: int, *, _three: int) -> None:  # noqa: N807
        raise Ran

    return type("OfInit", (base,), {"__init__": __init__})


def _of_new(base: Any) -> Any:
    def __new__(_cls: Any, _one: int, _two: int, *, _three: int) -> Any:  # noqa: N807
        raise Ran

    return type("OfNew", (base,), {"__new__": __new__})


def _of_methods(base: Any) -> Any:
    methods: dict[str, Any] = dict.fromkeys(_ITEM_METHODS, _refuse)
    return type(
        "OfMethods", (base,), {**methods, "__hash__": base.__hash__, "__slots__": ("slot",)}
    )


def _of_descriptors(base: Any) -> Any:
    """What is set by a name of its own is not what is read by it."""
    below: Any = type("Shadowed", (base,), {"__slots__": ("slot", "__dict__")})
    return type("OfDescriptors", (below,), {"slot": property(_refuse), "x": property(_refuse)})


def _of_getattribute(base: Any) -> Any:
    return type("OfGetattribute", (base,), {"__getattribute__": _refuse})


def _of_class(base: Any) -> Any:
    return type("OfClass", (base,), {"__class__": property(_refuse)})


VARIANTS: dict[str, Callable[[Any], Any]] = {
    "attributes": _bare,
    "slots": _slotted,
    "slots twice": _slotted_below,
    "arguments of __init__": _of_init,
    "arguments of __new__": _of_new,
    "overridden methods": _of_methods,
    "descriptors": _of_descriptors,
    "__getattribute__": _of_getattribute,
    "__class__": _of_class,
}


def raw_parts(obj: Any) -> dict[str, Any]:
    """Return the attributes and slots of `obj`, by the descriptors that Python made."""
    found: dict[str, Any] = {}
    for index, base in enumerate(type(obj).__mro__):
        own = type.__dict__["__dict__"].__get__(base)
        attributes = own.get("__dict__")
        if type(attributes) in (types.GetSetDescriptorType, types.MemberDescriptorType):
            found |= attributes.__get__(obj)
        if base.__module__ == "subclass_home":
            for name, member in own.items():
                if type(member) is types.MemberDescriptorType:
                    try:
                        found[f"{index} {name}"] = member.__get__(obj)
                    except AttributeError:  # empty
                        continue
    return found


def give_parts(obj: Any) -> None:
    """Fill the attributes and slots of `obj`."""
    for base in type(obj).__mro__:
        own = type.__dict__["__dict__"].__get__(base)
        attributes = own.get("__dict__")
        if type(attributes) in (types.GetSetDescriptorType, types.MemberDescriptorType):
            attributes.__get__(obj).update(x=[1], y="y")
        for name, member in own.items():
            if (
                type(member) is types.MemberDescriptorType
                and name != "empty"
                and base.__module__ == "subclass_home"
            ):
                member.__set__(obj, [f"in {name} of {base.__name__}"])


def examples() -> Iterator[Any]:
    """Yield each pair of base and variant that Python allows."""
    for base_name, base in BASES.items():
        for variant, derive in VARIANTS.items():
            try:
                cls = derive(base.cls)
                base.make(cls)
            except (TypeError, AttributeError):  # say, slots of a tuple
                continue
            except Ran:  # the base's own __new__ runs it
                continue
            for each in reversed(cls.__mro__):
                if each is not cls and each.__module__ == __name__:
                    housed(each)
            housed(cls)
            yield pytest.param(base, cls, id=f"{base_name}, {variant}")


EXAMPLES = list(examples())


def test_there_are_many() -> None:
    assert len(EXAMPLES) > 380


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("base", "cls"), EXAMPLES)
def test_what_a_class_adds_to_a_base_is_kept(base: Base, cls: Any, form: str) -> None:
    obj = base.make(cls)
    give_parts(obj)
    back, losses = FORMS[form]([obj, "after", obj])
    assert losses == []
    assert back[1] == "after"
    assert back[0] is back[2]
    assert type(back[0]) is cls
    if base.cls is not weakref.ref:
        assert base.contents(back[0]) == base.contents(obj)
    assert raw_parts(back[0]) == raw_parts(obj)


def _shown(form: str, value: Any) -> list[str]:
    data: dict[str, Any] = {"tap": lambda: dump_graph(value).data, "flat": lambda: flat_data(value)}
    lines = read_graph(data[form](), "t.tap").render_tree(depth_max=5, children_max=20)
    return [line for _depth, line, _size in lines]


@pytest.mark.parametrize("form", ["tap", "flat"])
def test_what_is_saved_by_its_parts_is_shown_as_what_it_is(form: str) -> None:
    listed, keyed, made = (
        BASES[name].make(housed(_of_init(BASES[name].cls))) for name in ("list", "dict", "str")
    )
    slotted = BASES["object"].make(housed(_of_methods(object)))
    for obj in (listed, keyed, made, slotted):
        give_parts(obj)
    lines = _shown(form, {"l": listed, "d": keyed, "s": made, "o": slotted})
    name = type(listed).__qualname__
    assert f"['l']: subclass_home:{name} of 4" in lines
    assert "[0] = 1" in lines
    assert ".y = 'y'" in lines
    assert "['a'] = 1" in lines
    assert "(0) = 'text'" in lines
    assert ".slot: list of 1" in lines
    assert not any("class" in line and "subclass_home" not in line for line in lines)


# --- what an author says himself ---------------------------------------------------------


class Dropping(dict[str, Any]):
    """Keeps no lock, and logs what is set in it."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.lock = object()

    def __setitem__(self, key: str, value: Any) -> None:
        self.log.append(key)
        super().__setitem__(key, value)

    def __getstate__(self) -> dict[str, Any]:
        return {"log": self.log}


class Counted(list[Any]):
    made: list[Any] = []

    def __new__(cls, *_args: Any) -> Any:
        self = super().__new__(cls)
        cls.made.append(self)
        return self

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> Any:
        return Counted, (self.name,), None, list.__iter__(self)


class OnlyOne(dict[str, Any]):
    """There is one of it."""

    one: Any = None

    def __new__(cls) -> Any:
        if cls.one is None:
            cls.one = super().__new__(cls)
        return cls.one


class Named(str):
    __slots__ = ()
    asked: list[str] = []

    def __new__(cls, text: str, tag: str) -> Any:
        cls.asked.append(tag)
        return super().__new__(cls, text)

    def __getnewargs__(self) -> Any:
        return str(self), "again"


class Pair(collections.namedtuple("Pair", "x y")):  # noqa: PYI024
    __slots__ = ()

    def __new__(cls, x: int) -> Any:
        return super().__new__(cls, x, -x)


for _cls in (Dropping, Counted, OnlyOne, Named, Pair):
    housed(_cls)


@pytest.mark.parametrize("form", FORMS)
def test_what_an_author_says_is_honoured(form: str) -> None:
    dropping = Dropping([])
    dropping["a"] = [1]
    counted = Counted("n")
    counted.append(5)
    Counted.made.clear()
    Named.asked.clear()
    value = [dropping, counted, OnlyOne(), Named("text", "t"), Pair(3)]
    back, losses = FORMS[form](value)
    assert losses == []
    assert (dict(back[0]), back[0].log, hasattr(back[0], "lock")) == ({"a": [1]}, ["a"], False)
    assert (back[1].name, list(back[1])) == ("n", [5])
    assert Counted.made == [back[1]], "its constructor runs at load, and not at save"
    assert back[2] is OnlyOne()
    assert (back[3], Named.asked) == ("text", ["t", "again"])
    assert type(back[4]) is type(value[4])
    assert tuple(back[4]) == (3, -3)


def test_a_dict_grows_no_more_with_each_load() -> None:
    value: Any = Dropping([])
    value["a"] = 1
    for _ in range(3):
        value = load_graph(dump_graph(value).data)
    assert value.log == ["a"]


def test_a_cycle_through_contents_and_attributes() -> None:
    loop = BASES["list"].make(housed(_of_init(list)))
    list.append(loop, loop)
    loop.me = loop
    error = ValueError("e")
    error.__context__ = KeyError("k")
    error.__context__.__context__ = error
    for form, save in FORMS.items():
        back, losses = save([loop, error])
        assert losses == [], form
        assert back[0][-1] is back[0].me is back[0]
        assert back[1].__context__.__context__ is back[1]


@pytest.mark.parametrize("form", FORMS)
def test_a_view_of_a_dict_shows_that_very_dict(form: str) -> None:
    shown = {"a": 1}
    back, losses = FORMS[form]([types.MappingProxyType(shown), shown, vars(Referent)])
    assert losses == []
    back[1]["b"] = 2
    assert back[0] == {"a": 1, "b": 2}
    assert back[2] == vars(Referent)


@pytest.mark.parametrize("form", FORMS)
def test_numpy_arrays_that_share_memory_go_on_to(form: str) -> None:
    whole = np.arange(12.0).reshape(3, 4)
    turned = np.asfortranarray(whole)
    views = [whole[1:, ::2], whole[::-1], whole.T, turned[:, 1]]
    back, losses = FORMS[form]([whole, turned, *views])
    assert losses == []
    back[0][...] = back[1][...] = 7
    assert [view.shape for view in back[2:]] == [view.shape for view in views]
    assert all((view == 7).all() for view in back[2:])
    memory = bytearray(4)
    (loss,) = FORMS[form]([np.frombuffer(memory, "u1"), memory])[1]
    assert "a bytearray; keep array.copy()" in loss.reason
    held = np.array([None, [1]], dtype=object)
    (loss,) = FORMS[form]({"whole": held, "part": held[1:]})[1]
    assert "part" in loss.path
    assert "keep view.copy()" in loss.reason


ARRAYS: dict[str, Callable[[], Any]] = {
    "number": lambda: np.array(3),
    "empty": lambda: np.zeros((0, 3)),
    "columns first": lambda: np.asfortranarray(np.arange(6).reshape(2, 3)),
    "record": lambda: np.array([("x", 1)], dtype=[("n", "U5"), ("k", "i4")]),
    "record array": lambda: np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
    "dates": lambda: np.array(["2020-01-01"], dtype="M8[D]"),
    "masked": lambda: np.ma.array([1, 2], mask=[False, True]),
    "read-only": lambda: _read_only(np.arange(3)),
    "of bytes": lambda: np.frombuffer(b"abcd", dtype="u1"),
    "backwards": lambda: np.arange(5)[::-1],
    "with gaps": lambda: np.arange(12).reshape(3, 4)[:, ::2],
    "read-only view": lambda: _read_only(np.arange(3)[:2]),
    "view of a read-only one": lambda: _view_before_read_only(np.arange(3)),
    "view of all": lambda: np.arange(6).reshape(2, 3).view(),
    "objects": lambda: np.array([None, [1]], dtype=object),
}


def _read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


def _view_before_read_only(array: Any) -> Any:
    view = array[1:]
    array.flags.writeable = False
    return view


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ARRAYS)
def test_numpy_arrays_are_the_same_each_time(kind: str, form: str) -> None:
    array = ARRAYS[kind]()
    older = load_graph(pickle.dumps(array, 5))  # TAPs of before have it so
    for first in (array, older):
        again = first
        for _ in range(3):
            (again,), losses = FORMS[form]([again])
            assert losses == []
            assert type(again) is type(first)
            assert repr(again) == repr(array)
            if first is array:
                assert _form_of(again) == _form_of(first)


def _form_of(array: Any) -> tuple[Any, ...]:
    flags = array.flags
    return array.dtype, array.shape, flags.c_contiguous, flags.f_contiguous, flags.writeable


@pytest.mark.parametrize("base", ["list", "dict", "str", "object", "KeyError"])
def test_an_object_of_a_class_that_is_gone_is_saved_back_as_it_was(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = housed(_of_new(BASES[base].cls)) if base != "KeyError" else housed(_bare(KeyError))
    obj = BASES[base].make(cls)
    give_parts(obj)
    data = dump_graph([obj, 7]).data
    with monkeypatch.context() as patch:
        patch.delattr(_HOME, cls.__name__)
        kept = load_graph(data)
        assert type(kept[0]) is not cls
        again = dump_graph(kept)
    assert again.losses == ()
    back = load_graph(again.data)
    assert type(back[0]) is cls
    assert back[1] == 7
    assert raw_parts(back[0]) == raw_parts(obj)
    assert BASES[base].contents(back[0]) == BASES[base].contents(obj)
