"""Graphs and states through bytes: identity, depth, losses, and what a state reports."""

# The tables of values are more readable in long lines.

from __future__ import annotations

import dataclasses
import enum
import gc
import pickle
import sys
import threading
import time
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from BTrees.OOBTree import OOBTree
from hypothesis import given
from hypothesis import strategies as st

from tapd.errors import LostObject
from tapd.image.pickling.pickler import (
    Placeholder,
    StateLoader,
    StatePickler,
    class_reference,
    dump_graph,
    load_class,
    load_graph,
)
from tapd.model.application import Application
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDeque, TrackedDict, TrackedList


def no_object(number: int) -> Any:
    """Resolve no number: there are no references."""
    raise AssertionError(number)


_HOME = types.ModuleType("pickler_home")
_HOME.__spec__ = __spec__
sys.modules["pickler_home"] = _HOME


def housed(thing: Any) -> Any:
    """Give a class or function of this file a module that can be imported by name."""
    thing.__module__ = "pickler_home"
    thing.__qualname__ = thing.__name__
    setattr(_HOME, thing.__name__, thing)
    return thing


@housed
class Node:
    next: Any


@housed
class SlotNode:
    __slots__ = ("next",)


@housed
class Room(Persistent):
    pass


@housed
class HashedRoom(Persistent):
    def __init__(self, name: str) -> None:
        self.name = name

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return type(other) is HashedRoom and other.name == self.name


@housed
@dataclasses.dataclass(frozen=True)
class Frozen:
    value: Any


@housed
@dataclasses.dataclass
class Thawed:
    value: Any


@housed
class Colour(enum.Enum):
    RED = 1


@housed
class Pair(typing.NamedTuple):
    a: Any
    b: Any


@housed
class Keyed:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __hash__(self) -> int:
        return hash(self.inner.next)

    def __eq__(self, other: object) -> bool:
        return True


@housed
class FailsInMidst:
    """Its reduction looks right and fails when pickle follows it."""

    def __reduce__(self) -> Any:
        def items() -> Iterator[Any]:
            yield 1
            raise RuntimeError("in the midst")

        return list, (), None, items()


@housed
class GrownStricter:
    def __init__(self, value: int) -> None:
        if getattr(GrownStricter, "strict", False):
            raise TypeError("no longer so")
        self.value = value

    def __reduce__(self) -> Any:
        return GrownStricter, (self.value,)


# --- graphs ---------------------------------------------------------------------


def shape(root: Any) -> Any:
    """Return a value that is equal for graphs of equal shape, identity included."""
    seen: dict[int, int] = {}
    kept = []

    def visit(obj: Any) -> Any:
        if obj is None or type(obj) in (int, str, bytes, float, bool):
            return obj
        if id(obj) in seen:
            return "seen", seen[id(obj)]
        seen[id(obj)] = len(seen)
        kept.append(obj)
        name = type(obj).__name__
        if isinstance(obj, dict):
            return name, [(visit(key), visit(value)) for key, value in obj.items()]
        if isinstance(obj, (list, tuple, TrackedDeque)):
            return name, [visit(item) for item in obj]
        if isinstance(obj, (set, frozenset)):
            return name, sorted(map(repr, obj))
        return name, visit(dict(obj.__dict__))

    return visit(root)


_MAKERS: list[Callable[[], Any]] = [
    Node, Room, list, dict, TrackedList, TrackedDict, TrackedDeque,
]  # fmt: skip


@st.composite
def graphs(draw: Any) -> Any:
    """A graph of several kinds of objects with cycles and shared references."""
    nodes = [
        _MAKERS[draw(st.integers(0, len(_MAKERS) - 1))]() for _ in range(draw(st.integers(1, 12)))
    ]
    values = st.one_of(
        st.integers(), st.text(max_size=5), st.binary(max_size=5), st.none(),
        st.integers(0, len(nodes) - 1).map(nodes.__getitem__),
        st.tuples(st.integers(0, len(nodes) - 1).map(nodes.__getitem__), st.integers()),
    )  # fmt: skip
    for node in nodes:
        for index in range(draw(st.integers(0, 4))):
            value = draw(values)
            if isinstance(node, dict):
                node[f"k{index}"] = value
            elif isinstance(node, (Node, Room)):
                setattr(node, f"k{index}", value)
            else:
                node.append(value)
    return nodes[0]


@given(graphs())
def test_any_graph_comes_back_with_its_identities(root: Any) -> None:
    dump = dump_graph(root)
    assert dump.losses == ()
    expected = shape(root)
    assert shape(load_graph(dump.data)) == expected
    assert shape(pickle.loads(dump.data)) == expected


@given(st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(),
              st.binary(), st.datetimes(), st.decimals(allow_nan=False), st.uuids()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner), st.tuples(inner)),
    max_leaves=20,
))  # fmt: skip
def test_any_state_comes_back(state: Any) -> None:
    dump = StatePickler(lambda _obj: 0).dump_state(state)
    assert dump.losses == ()
    assert StateLoader(no_object).load_state(dump.data) == state


def _chain(make: Callable[[], Any], length: int) -> Any:
    root = node = make()
    for _ in range(length):
        node.next = make()
        node = node.next
    node.next = None
    return root


def _length(node: Any) -> int:
    """Count a chain, taking it apart: freeing it whole would need a C stack as deep."""
    count = 0
    while node.next is not None:
        following = node.next
        node.next = None
        node = following
        count += 1
    return count


@pytest.mark.parametrize("make", [Node, SlotNode, Room])
def test_a_deep_chain_is_saved_and_loaded(make: Any) -> None:
    root = _chain(make, 50_000)
    back = load_graph(dump_graph(root).data)
    assert (_length(back), _length(root)) == (50_000, 50_000)


def test_a_deep_chain_of_dataclasses() -> None:
    root = node = Thawed(None)
    for _ in range(20_000):
        node.value = Thawed(None)
        node = node.value
    back = load_graph(dump_graph(root).data)
    for each in (back, root):
        count, node = 0, each
        while node.value is not None:
            following = node.value
            node.value = None
            node = following
            count += 1
        assert count == 20_000


def test_a_deep_chain_costs_one_state_no_neighbour() -> None:
    namespace = Namespace()
    namespace.names["x"] = 5
    namespace.names["chain"] = root = _chain(Node, 20_000)
    dump = StatePickler(lambda _obj: 0).dump_state(namespace.__getstate__())
    back = StateLoader(no_object).load_state(dump.data)
    assert back["x"] == 5
    assert _length(back["chain"]) == _length(root) == 20_000


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"k": x}], ids=["list", "dict"])
def test_deep_plain_containers_are_kept(wrap: Callable[[Any], Any]) -> None:
    deep: Any = wrap(5)
    for _ in range(20_000):
        deep = wrap(deep)
    root = Room()
    root.deep, root.also, root.n = deep, deep, 7
    dump = dump_graph(root)
    assert dump.losses == ()
    back = load_graph(dump.data)
    assert back.n == 7
    assert back.deep is back.also
    state = StatePickler(lambda _obj: 0).dump_state({"deep": deep, "n": 7})
    loaded = StateLoader(no_object).load_state(state.data)
    assert loaded["n"] == 7
    for value in (back.deep, loaded["deep"]):
        depth, inner = 0, value
        while type(inner) is not int:
            inner = inner[0] if type(inner) is list else inner["k"]
            depth += 1
        assert depth == 20_001


def test_deep_tuples_are_named_and_cost_no_neighbour() -> None:
    deep: Any = ()
    for _ in range(20_000):
        deep = (deep,)
    root = Room()
    root.deep, root.n = deep, 7
    dump = dump_graph(root)
    assert [loss.type_name for loss in dump.losses] == ["tuple"]
    assert load_graph(dump.data).n == 7


def test_objects_with_a_hash_of_their_own_are_whole_when_they_become_keys() -> None:
    room = HashedRoom("hall")
    root = Room()
    root.by_room = {room: 1}
    root.rooms = frozenset([room])
    back = load_graph(dump_graph(root).data)
    assert back.by_room[HashedRoom("hall")] == 1
    assert room in back.rooms


def test_a_key_whose_hash_asks_another_object() -> None:
    node = Node()
    node.next = 5
    back = load_graph(dump_graph({Keyed(node): "value"}).data)
    assert [key.inner.next for key in back] == [5]


def test_numbers_are_kept_and_jars_are_not() -> None:
    room, listed = Room(), TrackedList([1])
    room._p_oid, listed._p_oid = 5, 70_000
    room.listed = listed
    room._v_live = threading.Lock()
    back = load_graph(dump_graph(room).data)
    assert (back._p_oid, back.listed._p_oid) == (5, 70_000)
    assert back._p_jar is None
    assert not hasattr(back, "_v_live")


def test_an_application_comes_back() -> None:
    application = Application("telnet")
    application.authorizer.accounts["admin"] = typing.cast("Any", {"hash": "x"})
    application.call_later(5, application.next_key)
    dump = dump_graph(application)
    assert dump.losses == ()
    assert "tapd.model.application:Application" in dump.globals
    back = load_graph(dump.data)
    assert repr(back) == "<telnet app>"
    assert back.lineage == application.lineage
    timer = back.delayeds[1]
    assert timer.function() == 2
    assert timer.function.__self__ is back


def test_a_large_tree_is_saved() -> None:
    root = Room()
    root.tree = OOBTree({index: Node() for index in range(20_000)})
    back = load_graph(dump_graph(root).data)
    assert len(back.tree) == 20_000
    assert type(back.tree[19_999]) is Node


def test_gc_is_as_it_was() -> None:
    gc.disable()
    try:
        load_graph(dump_graph([1]).data)
        assert not gc.isenabled()
    finally:
        gc.enable()
    load_graph(dump_graph([1]).data)
    assert gc.isenabled()


# --- losses ---------------------------------------------------------------------


def test_losses_are_named_by_path() -> None:
    root = Room()
    root.rooms = TrackedDict({"hall": Room()})
    root.rooms["hall"].things = TrackedList([1, (2, Node())])
    root.rooms["hall"].things[1][1].thread = threading.current_thread()
    dump = dump_graph(root)
    assert [loss.path for loss in dump.losses] == ["room.rooms['hall'].things[1][1].thread"]
    back = load_graph(dump.data)
    lost = back.rooms["hall"].things[1][1].thread
    assert type(lost) is Placeholder
    assert lost.loss == dump.losses[0]


def test_a_placeholder_refuses_use_and_is_saved_again() -> None:
    dump = dump_graph({"t": threading.current_thread()})
    lost = load_graph(dump.data)["t"]
    for use in (
        lambda: lost.start(1), lambda: lost(2), lambda: lost[0], lambda: len(lost),
        lambda: list(lost), lambda: lost + 1, lambda: setattr(lost, "x", 1), lambda: lost < 1,
    ):  # fmt: skip
        with pytest.raises(LostObject, match=r"\['t'\] was a threading"):
            use()
    again = dump_graph([lost])
    assert again.losses == ()
    assert repr(load_graph(again.data)[0]) == repr(lost)
    assert not hasattr(lost, "__len__x__")


def test_what_fails_in_the_midst_costs_no_neighbour() -> None:
    dump = dump_graph({"before": Node(), "it": FailsInMidst(), "after": Node()})
    back = load_graph(dump.data)
    assert type(back["before"]) is type(back["after"]) is Node
    assert "in the midst" in repr(back["it"])
    state = StatePickler(lambda _obj: 0).dump_state({"before": 1, "it": FailsInMidst()}, "room")
    assert [loss.path for loss in state.losses] == ["room.it"]
    assert StateLoader(no_object).load_state(state.data)["before"] == 1


def test_what_fails_at_load_costs_no_neighbour() -> None:
    root = Room()
    root.things = [GrownStricter(5), Node(), {1, 2}, HashedRoom("x")]
    data = dump_graph(root).data
    GrownStricter.strict = True  # type: ignore[attr-defined]  # what a new version does
    try:
        back = load_graph(data)
    finally:
        del GrownStricter.strict  # type: ignore[attr-defined]  # set above
    assert "no longer so" in repr(back.things[0])
    assert type(back.things[1]) is Node
    assert back.things[2:] == [{1, 2}, HashedRoom("x")]


def test_a_state_that_cannot_be_made_loses_the_object_only() -> None:
    class Refuses(Persistent):
        def __getstate__(self) -> Any:
            raise ValueError("not now")

    housed(Refuses)
    dump = dump_graph([Refuses(), 1])
    assert [(loss.path, loss.reason) for loss in dump.losses] == [
        ("list[0]", "its state: ValueError: not now")
    ]
    assert load_graph(dump.data)[1] == 1


@pytest.mark.parametrize("kind", ["durable", "plain", "list"])
def test_losses_at_the_end_of_a_long_chain_take_no_longer(kind: str) -> None:
    """Each has a path, and none is as long as the chain: they stand in the manifest."""
    make = {"durable": Room, "plain": Node, "list": list}[kind]
    root = last = make()
    for number in range(20_000):
        link = make()
        parts = [link] if number < 19_000 else [link, (_ for _ in range(0))]
        if isinstance(last, list):
            last += parts
        else:
            last.parts = parts
        last = link
    started_s = time.process_time()
    losses = dump_graph(root).losses
    assert time.process_time() - started_s < 5.0  # it was hours
    assert len(losses) == 1000
    assert {loss.type_name for loss in losses} == {"generator"}
    assert max(len(loss.path) for loss in losses) < 1000
    assert losses[-1].path.startswith(f"{make.__name__.lower()}...")
    assert losses[-1].path.endswith("[0][0][0][1]" if kind == "list" else ".parts[0].parts[1]")


def test_a_reason_is_of_a_readable_length() -> None:
    class Talks(Persistent):
        def __getstate__(self) -> Any:
            raise ValueError("x" * 1_000_000)

    housed(Talks)
    assert len(dump_graph([Talks()]).losses[0].reason) < 2000


# --- states -----------------------------------------------------------------------


def test_durable_objects_are_numbers_in_a_state() -> None:
    room, listed = Room(), TrackedList[Any]()
    by_number = {3: room, 900: listed}
    numbers = {id(obj): number for number, obj in by_number.items()}
    pickler = StatePickler(lambda obj: numbers[id(obj)])
    state = {"room": room, "pair": (listed, room), "n": 5}
    dump = pickler.dump_state(state)
    assert len(dump.data) < 60
    back = StateLoader(by_number.__getitem__).load_state(dump.data)
    assert back["room"] is room
    assert back["pair"][0] is listed


def test_one_pickler_serves_many_states() -> None:
    pickler = StatePickler(lambda _obj: 0)
    loader = StateLoader(no_object)
    pickler.dump_state({"a": Node()})
    second = pickler.dump_state({"a": "b" * 200_000, "c": b"d" * 200_000})
    assert pickler.dump_state({"a": threading.current_thread()}).losses
    assert pickler.dump_state({"a": 1}).losses == ()
    assert loader.load_state(second.data) == {"a": "b" * 200_000, "c": b"d" * 200_000}


def test_a_recursive_dump_state_is_not_disturbed() -> None:
    room = Room()
    seen = []

    def number(obj: Any) -> int:
        seen.append(obj)
        return 1

    pickler = StatePickler(number)
    data = pickler.dump_state({"a": room, "b": room}).data
    assert seen == [room]
    back = StateLoader({1: room}.__getitem__).load_state(data)
    assert back == {"a": room, "b": room}


def test_equal_states_give_equal_bytes() -> None:
    pickler = StatePickler(lambda _obj: 5)
    state = {"a": Node(), "b": [1, 2], "c": Room()}
    assert pickler.dump_state(state).data == pickler.dump_state(state).data


@pytest.mark.parametrize("cls", [Room, Namespace, TrackedDict, OOBTree])
def test_classes_are_named_in_the_journal(cls: Any) -> None:
    assert load_class(class_reference(cls)) is cls


def test_a_raised_recursion_limit_does_not_overflow_the_stack() -> None:
    """The C pickler trusts the limit, and a chain of this length would need 100 MB of stack."""
    limit = sys.getrecursionlimit()
    root = _chain(Node, 200_000)
    sys.setrecursionlimit(1_000_000)
    try:
        data = dump_graph(root).data
        assert sys.getrecursionlimit() == 1_000_000
    finally:
        sys.setrecursionlimit(limit)
    assert (_length(load_graph(data)), _length(root)) == (200_000, 200_000)
