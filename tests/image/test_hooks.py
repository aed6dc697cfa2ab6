"""No hook of an author costs more than its own object, whatever it raises or returns, at save.

Every hook, with everything that it may raise and return, in every form of TAP and
journal: nothing of it leaves, the neighbours are kept, and the object is either kept
or named as lost, by its path.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest
from save_forms import FORMS

from tapd.errors import NotStorable
from tapd.image import hooks
from tapd.image.pickling.pickler import StateLoader, StatePickler, dump_graph, load_graph
from tapd.image.reduction import checks as proof
from tapd.image.tracking.jar import Jar
from tapd.inspection.graph import read_graph
from tapd.model.durable.persistent import Persistent

pytestmark = pytest.mark.filterwarnings("ignore:Pickle, copy, and deepcopy:DeprecationWarning")

_HOME = types.ModuleType("hook_home")
_HOME.__spec__ = __spec__
sys.modules["hook_home"] = _HOME
_numbers = itertools.count()
_armed = [False]
"""Hooks behave while classes and objects are made, and while the test looks at them."""


def housed(thing: Any) -> Any:
    """Give a class of this file a module and a name by which it can be imported."""
    type.__setattr__(thing, "__module__", "hook_home")
    name = f"{type.__getattribute__(thing, '__name__')}{next(_numbers)}"
    type.__setattr__(thing, "__name__", name)
    type.__setattr__(thing, "__qualname__", name)
    setattr(_HOME, name, thing)
    return thing


class OwnBase(BaseException):
    """What no code catches."""


class Mute(Exception):
    def __str__(self) -> str:
        raise SystemExit(5)


class Neighbour:
    def __init__(self) -> None:
        self.value = 1


housed(Neighbour)


def _recurse(*args: Any) -> Any:
    return _recurse(*args)


def _raiser(error: Any) -> Callable[..., Any]:
    def boom(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    return boom


def _exiting(*_args: Any) -> Any:
    sys.exit(5)


RAISED: dict[str, Callable[..., Any]] = {
    "Exception": _raiser(Exception("no")),
    "KeyError": _raiser(KeyError("k")),
    "AttributeError": _raiser(AttributeError("a")),
    "StopIteration": _raiser(StopIteration),
    "SystemExit": _raiser(SystemExit(3)),
    "sys.exit": _exiting,
    "KeyboardInterrupt": _raiser(KeyboardInterrupt),
    "GeneratorExit": _raiser(GeneratorExit),
    "CancelledError": _raiser(asyncio.CancelledError),
    "RecursionError": _raiser(RecursionError("deep")),
    "recursion": _recurse,
    "MemoryError": _raiser(MemoryError),
    "own BaseException": _raiser(OwnBase),
    "without text": _raiser(Mute()),
}
RETURNED: dict[str, Callable[..., Any]] = {
    "None": lambda *_args: None,
    "number": lambda *_args: 5,
    "text": lambda *_args: "no_such_name",
    "self": lambda self, *_args: self,
    "generator": lambda *_args: (each for each in "ab"),
    "endless": lambda *_args: itertools.count(),
    "lock": lambda *_args: threading.Lock(),
    "function": lambda *_args: lambda: 1,
    "list": lambda *_args: [1],
    "pair": lambda *_args: (1, 2),
    "tuple of three": lambda *_args: (list, (), 5),
    "made from itself": lambda self, *_args: (type(self), (self,)),
    "made from what holds it": lambda self, *_args: (tuple, ([self],)),
    "made from wrong arguments": lambda self, *_args: (type(self), (1, 2, 3)),
    "made by what is lost": lambda *_args: ((each for each in "a").send, (1,)),
    "endless items": lambda *_args: (list, (), None, itertools.count()),
    "endless generator": lambda *_args: (list, (), None, (each for each in itertools.count())),
    "endless entries": lambda *_args: (dict, (), None, None, zip(*[itertools.count()] * 2)),  # noqa: B905
    "entries that are no pairs": lambda *_args: (dict, (), None, None, iter([1])),
    "lost parts": lambda *_args: (list, ([threading.current_thread()],)),
    "state of its own": lambda self, *_args: {"it": self, "thread": threading.current_thread()},
    "seven parts": lambda *_args: (1,) * 7,
}


def _armable(behaviour: Callable[..., Any], usual: Callable[..., Any]) -> Callable[..., Any]:
    def hook(*args: Any, **kwargs: Any) -> Any:
        return behaviour(*args, **kwargs) if _armed[0] else usual(*args, **kwargs)

    return hook


def _method(name: str, base: Any = object) -> Callable[[Any], Any]:
    def make(behaviour: Any) -> Any:
        usual: Any = getattr(base, name, None) or _raiser(AttributeError(name))
        return type("Hooked", (base,), {name: _armable(behaviour, usual)})

    return make


def _property(name: str) -> Callable[[Any], Any]:
    def make(behaviour: Any) -> Any:
        return type("Hooked", (), {name: property(_armable(behaviour, _raiser(AttributeError)))})

    return make


def _shadowing(behaviour: Any) -> Any:
    below = housed(type("Below", (), {"__slots__": ("slot",)}))
    return type("Hooked", (below,), {"slot": property(behaviour), "__slots__": ()})


def _of_metaclass(name: str) -> Callable[[Any], Any]:
    def make(behaviour: Any) -> Any:
        usual: Any = getattr(type, name, None) or _raiser(AttributeError(name))
        metaclass = housed(type("Meta", (type,), {name: _armable(behaviour, usual)}))
        return metaclass("Hooked", (), {})

    return make


def _iterator(behaviour: Any) -> Any:
    iterator = type("Items", (), {"__iter__": lambda self: self, "__next__": behaviour})
    return type("Hooked", (), {"__reduce__": lambda _self: (list, (), None, iterator())})


def _with_setstate(behaviour: Any) -> Any:
    names = {
        "__getstate__": _armable(behaviour, object.__getstate__),
        "__setstate__": lambda _self, _state: None,
    }
    return type("Hooked", (), names)


HOOKS: dict[str, Callable[[Any], Any]] = {
    **{
        name: _method(name)
        for name in (
            "__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__",
            "__getattr__", "__getattribute__", "__hash__", "__eq__", "__repr__", "__len__",
            "__iter__", "__bool__", "__setattr__", "__delattr__", "__dir__", "__sizeof__",
        )
    },
    **{
        f"list's {name}": _method(name, list)
        for name in ("__iter__", "__len__", "__getitem__", "append", "__getstate__", "__reduce__")
    },
    **{
        f"dict's {name}": _method(name, dict)
        for name in ("__iter__", "items", "keys", "__getitem__", "__getstate__", "copy")
    },
    "exception's __getstate__": _method("__getstate__", ValueError),
    "str's __getnewargs__": _method("__getnewargs__", str),
    "__class__": _property("__class__"),
    "__dict__": _property("__dict__"),
    "__module__": _property("__module__"),
    "a slot's name": _shadowing,
    "__getstate__ and __setstate__": _with_setstate,
    "items' __next__": _iterator,
    **{
        f"metaclass's {name}": _of_metaclass(name)
        for name in ("__getattribute__", "__getattr__", "__hash__", "__eq__", "__subclasscheck__",
                     "__instancecheck__", "__repr__", "mro", "__call__")
    },
}  # fmt: skip


def _hooked(make: Callable[[Any], Any], behaviour: Any) -> Any:
    cls = housed(make(behaviour))
    base: Any = type.__dict__["__base__"].__get__(cls)
    obj = (object if base.__new__ is object.__new__ else base).__new__(cls)
    for each in type.__dict__["__mro__"].__get__(cls):
        attributes = type.__dict__["__dict__"].__get__(each).get("__dict__")
        if type(attributes) is types.GetSetDescriptorType and each is not type:
            attributes.__get__(obj)["x"] = 1
    return obj


class armed:  # noqa: N801 - a context manager, used like a function
    """Has the hooks do what they do."""

    def __enter__(self) -> None:
        _armed[0] = True

    def __exit__(self, *_error: object) -> None:
        _armed[0] = False


@pytest.fixture(autouse=True)
def few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "ITEMS_MAX", 1000)


def _save_by_jar(value: Any) -> tuple[Any, list[Any]]:
    return _by_jar(value, watched=False)


def _save_by_watching_jar(value: Any) -> tuple[Any, list[Any]]:
    return _by_jar(value, watched=True)


class Box(Persistent):
    pass


housed(Box)


def _by_jar(value: dict[str, Any], *, watched: bool) -> tuple[Any, list[Any]]:
    """Commit `value` in a durable object; where `watched`, when a neighbour changed unseen."""
    box, jar = Box(), Jar()
    jar.adopt(box)
    box.__dict__.update(value)
    box._p_changed = True
    changes = jar.commit()
    losses = list(jar.losses)
    if watched:
        value["before"].value = 2
        changes = jar.commit()
        assert changes.states, "a watched neighbour's change"
        value["before"].value = 1
    by_number = dict(changes.states)
    back = StateLoader(lambda _number: Box()).load_state(by_number[box._p_oid])
    return (back, losses)


ALL_FORMS = {**FORMS, "jar": _save_by_jar, "watched in a jar": _save_by_watching_jar}
BEHAVIOURS = {
    **{f"raises {name}": behaviour for name, behaviour in RAISED.items()},
    **{f"returns {name}": behaviour for name, behaviour in RETURNED.items()},
}


# The jar looks up what it knows of a class by the class itself.
_EVERYWHERE = [
    (hook, form)
    for hook in HOOKS
    for form in ALL_FORMS
    if form in FORMS or hook not in ("metaclass's __hash__", "metaclass's __eq__")
]


@pytest.mark.parametrize(("hook", "form"), _EVERYWHERE)
def test_a_hook_costs_no_more_than_its_object(hook: str, form: str) -> None:
    for name, behaviour in BEHAVIOURS.items():
        obj = _hooked(HOOKS[hook], behaviour)
        value = {"before": Neighbour(), "it": obj, "after": Neighbour()}
        with armed():
            back, losses = ALL_FORMS[form](value)
        told = f"{hook} {name}: {losses}"
        for each in ("before", "after"):
            assert type(back[each]) is Neighbour, told
        assert back["after"].value == 1, told
        for loss in losses:
            assert "it" in loss.path, told
            assert loss.reason, told
        if not losses and name.startswith("raises") and hook != "items' __next__":  # it just ends
            assert type(back["it"]) is type(obj), told


@pytest.mark.parametrize("hook", HOOKS)
def test_a_tap_with_such_an_object_is_shown(hook: str) -> None:
    for behaviour in BEHAVIOURS.values():
        obj = _hooked(HOOKS[hook], behaviour)
        with armed():
            data = dump_graph({"before": 1, "it": obj}).data
            lines = [*read_graph(data, "t").render_tree(depth_max=5, children_max=20)]
        assert any("before" in line for _depth, line, _size in lines)


@pytest.mark.parametrize("count", [1, 1000])
def test_many_of_them_cost_no_more(count: int) -> None:
    """A save that is begun anew for each has its limits."""
    cls = housed(_iterator(_raiser(SystemExit)))
    other = housed(_of_metaclass("__getattribute__")(_raiser(KeyError("meta"))))
    value = [Neighbour(), *(cls() for _ in range(count)), *(other() for _ in range(count)), 7]
    with armed():
        dump = dump_graph(value)
    assert len(dump.losses) == 2 * count
    assert load_graph(dump.data)[-1] == 7


# --- durable objects -------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_durable_object_whose_state_cannot_be_had(behaviour: str) -> None:
    cls = housed(type("Durable", (Persistent,), {"__getstate__": BEHAVIOURS[behaviour]}))
    obj = cls()
    obj.x = 1
    dump = dump_graph({"before": Neighbour(), "it": obj})
    back = load_graph(dump.data)
    assert type(back["before"]) is Neighbour
    for loss in dump.losses:
        assert "it" in loss.path
    pickler = StatePickler(lambda _obj: 1)
    if behaviour in ("raises KeyError", "raises AttributeError"):
        # It takes out what a loaded object has not: the attributes are kept as they are.
        assert not dump.losses
        assert back["it"].x == 1
        assert not pickler.dump_object(obj, "box.it").losses
    elif behaviour.startswith("raises") or behaviour == "returns generator":
        assert dump.losses
        with pytest.raises(NotStorable, match="its state"):
            pickler.dump_object(obj, "box.it")
    elif dump.losses and dump.losses[0].reason.startswith("its state"):
        with pytest.raises(NotStorable, match="its state"):
            pickler.dump_object(obj, "box.it")
    else:
        dumped = pickler.dump_object(obj, "box.it")
        assert StateLoader(lambda _number: None).load_state(dumped.data) is not obj


# --- what is none of a hook's -------------------------------------------------------------


def _interrupted(*_args: Any) -> Any:
    signal.raise_signal(signal.SIGINT)


def _interrupted_within(*_args: Any) -> Any:
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        _args = ()


@pytest.mark.parametrize("interrupt", [_interrupted, _interrupted_within])
@pytest.mark.parametrize("form", ALL_FORMS)
def test_ctrl_c_is_no_hook_s(form: str, interrupt: Any) -> None:
    obj = _hooked(HOOKS["__reduce__"], interrupt)
    with armed(), pytest.raises(KeyboardInterrupt):
        ALL_FORMS[form]({"before": Neighbour(), "it": obj, "after": 1})


def test_what_a_handler_of_signals_raises_is_no_hook_s() -> None:
    def handler(_number: int, _frame: Any) -> None:
        raise SystemExit(7)

    def hook(*_args: Any) -> Any:
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        obj = _hooked(HOOKS["__reduce__"], hook)
        with armed(), pytest.raises(SystemExit) as raised:
            dump_graph({"it": obj})
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert raised.value.code == 7


def _out_of_memory() -> Any:
    return bytearray(1 << 60)


def test_a_lack_of_memory_is_no_hook_s() -> None:
    with pytest.raises(MemoryError) as raised:
        _out_of_memory()
    assert not hooks.is_of_hook(raised.value)


def test_a_graph_that_is_too_deep_is_no_hook_s() -> None:
    cls = housed(type("Slow", (), {"__getstate__": lambda self: dict(self.__dict__)}))
    root = node = cls()
    for _ in range(5000):
        node.next = cls()
        node = node.next
    dump = dump_graph(root)
    assert dump.losses == ()
    back, count = load_graph(dump.data), 0
    while hasattr(back, "next"):
        back, count = back.next, count + 1
    assert count == 5000
