"""Plain containers that nest too deeply for C: in a plain pickle, and shown."""

from __future__ import annotations

import collections
import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapd.image.loss import Placeholder
from tapd.image.pickling.pickler import StateLoader, StatePickler, dump_graph, load_graph
from tapd.inspection.graph import read_graph
from tapd.model.application import Application
from tapd.model.durable.namespace import Namespace

DEPTH = 100_000
CHAIN = 20_000  # 3.13 writes some 10,000 levels without our help
WRAPS: list[Callable[[Any], Any]] = [lambda x: [x], lambda x: {"in": x}, lambda x: [x, {1: x}]]


def deep_of(wrap: Callable[[Any], Any], depth: int = DEPTH) -> Any:
    deep = wrap(5)
    for _ in range(depth - 1):
        deep = wrap(deep)
    return deep


def depth_of(deep: Any) -> int:
    depth = 0
    while type(deep) is not int:
        deep = deep[0] if type(deep) is list else deep["in"]
        depth += 1
    return depth


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("load", [pickle.loads, load_graph])
def test_plain_pickle_reads_it(wrap: Callable[[Any], Any], load: Callable[[bytes], Any]) -> None:
    root = Application("deep")
    deep = deep_of(wrap)
    root.deep, root.also, root.n = deep, [deep], {"n": 7}
    dumped = dump_graph(root)
    assert dumped.losses == ()
    back = load(dumped.data)
    assert depth_of(back.deep) == DEPTH
    assert back.also[0] is back.deep
    assert back.n == {"n": 7}


def test_it_is_shown() -> None:
    root = Application("deep")
    root.deep = deep_of(WRAPS[0])
    graph = read_graph(dump_graph(root).data, "t.tap")
    assert len(graph) > DEPTH
    lines = [line for _at, line, _size in graph.render_tree(depth_max=3, children_max=20)]
    assert ".deep: list of 1" in lines


def test_a_container_an_object_is_made_from_is_whole_when_it_is_made() -> None:
    shared = [1, 2]
    root = Application("deep")
    root.deep = [shared, deep_of(WRAPS[0])]
    root.maker = Copies(shared)
    back = load_graph(dump_graph(root).data)
    assert back.maker.copied == (1, 2)
    assert back.deep[0] == [1, 2]
    assert depth_of(back.deep[1]) == DEPTH
    plain = pickle.loads(dump_graph(root).data)
    assert plain.maker.source is plain.deep[0]
    graph = read_graph(dump_graph(root).data, "t.tap")
    assert len(graph) > DEPTH


def test_a_container_that_is_met_before_what_is_made_from_it() -> None:
    """It would be empty when that is made, were it among those that are filled at the end."""
    inner: list[Any] = [3, {"k": [4]}]
    root = Application("deep")
    root.first = [inner, deep_of(WRAPS[1])]
    root.makers = [Copies(inner), Copies(inner)]
    data = dump_graph(root).data
    for back in (pickle.loads(data), load_graph(data)):
        assert back.makers[0].copied == (3, {"k": [4]})
        assert back.makers[1].source is back.makers[0].source is back.first[0]


class OwnHash:
    """A dict's key could be one of these, so its state is not to come later."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return type(other) is OwnHash and self.x == other.x

    def __hash__(self) -> int:
        return 5


class OwnSetState:
    def __init__(self, x: Any) -> None:
        self.x = x
        self.saw_inner = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.saw_inner = type(self.x) in (int, tuple) or hasattr(self.x, "x")


class ListOfOwn(list[Any]):
    pass


# What is kept whole however deep it is, and of what the innermost part is lost.
KEPT_DEEP: dict[str, Callable[[Any], Any]] = {
    "deque": lambda x: collections.deque([x]),
    "OrderedDict": lambda x: collections.OrderedDict(a=x),
    "defaultdict": lambda x: collections.defaultdict(list, a=x),
    "list subclass": lambda x: ListOfOwn([x]),
    "partial": lambda x: functools.partial(max, x),
    "state set by its class": OwnSetState,
    "exception": ValueError,
    "all of these": lambda x: [collections.deque([{"a": OwnSetState((x,))}])],
}
CUT_DEEP: dict[str, Callable[[Any], Any]] = {
    "made from its source": lambda x: Copies([x]),
    "made twice from one": lambda x: Copies([x, x]),
    "hash of its own": OwnHash,
    "frozenset": lambda x: frozenset([x]),
    "tuples and sets": lambda x: (frozenset([(x,)]),),
}


@pytest.mark.parametrize("kind", KEPT_DEEP)
@pytest.mark.parametrize("load", [pickle.loads, load_graph])
def test_what_waits_for_its_contents_may_be_deep(kind: str, load: Callable[[bytes], Any]) -> None:
    root = Application("deep")
    shared = [1]
    root.deep = [shared, deep_of(KEPT_DEEP[kind], CHAIN)]
    root.n, root.shared = 7, shared
    dumped = dump_graph(root)
    assert dumped.losses == ()
    back = load(dumped.data)
    assert back.n == 7
    assert back.shared is back.deep[0]
    inner, depth = back.deep[1], 0
    while type(inner) is not int:
        if type(inner) is OwnSetState:
            assert inner.saw_inner
            inner = inner.x
        elif type(inner) in (functools.partial, ValueError):
            inner = inner.args[0]
        else:
            inner = inner["a"] if isinstance(inner, dict) else inner[0]
        depth += 1
    assert depth >= CHAIN
    assert len(read_graph(dumped.data, "t.tap")) > CHAIN


@pytest.mark.parametrize("kind", CUT_DEEP)
@pytest.mark.parametrize("load", [pickle.loads, load_graph])
def test_what_cannot_be_so_deep_is_cut_and_named(kind: str, load: Callable[[bytes], Any]) -> None:
    """It once cost the whole save."""
    root = Application("deep")
    root.deep, root.n = deep_of(CUT_DEEP[kind], CHAIN), {"n": [7]}
    dumped = dump_graph(root)
    assert len(dumped.losses) == 1
    assert dumped.losses[0].path.startswith("application.")
    assert "nested too deeply" in dumped.losses[0].reason
    back = load(dumped.data)
    assert back.n == {"n": [7]}
    again = dump_graph(back)
    assert again.losses == ()


@pytest.mark.parametrize("kind", [*KEPT_DEEP, *CUT_DEEP])
def test_in_a_namespace_it_costs_no_other_name(kind: str) -> None:
    namespace = Namespace()
    namespace.names["before"] = namespace.names["after"] = [1]
    namespace.names["deep"] = deep_of((KEPT_DEEP | CUT_DEEP)[kind], CHAIN)
    dump = StatePickler(lambda _obj: 7).dump_object(namespace)
    assert len(dump.losses) == (kind in CUT_DEEP)
    back = Namespace.__new__(Namespace)
    StateLoader(lambda _oid: back).restore(back, dump.data)
    assert back.names["after"] == [1]
    assert back.names["before"] is back.names["after"]
    assert type(back.names["deep"]) is type(namespace.names["deep"]) or kind in CUT_DEEP


class Copies:
    def __init__(self, source: list[Any]) -> None:
        self.copied = tuple(source)
        self.source = source

    def __reduce__(self) -> Any:
        return Copies, (self.source,)


def test_lost_tuples_are_placeholders_in_a_plain_pickle() -> None:
    deep: Any = ()
    for _ in range(DEPTH):
        deep = (deep,)
    root = Application("deep")
    root.deep, root.again, root.lists = deep, deep, deep_of(WRAPS[0])
    dumped = dump_graph(root)
    assert [loss.type_name for loss in dumped.losses] == ["tuple"]
    back = pickle.loads(dumped.data)
    assert type(back.deep) is Placeholder
    assert back.again is back.deep
    assert depth_of(back.lists) == DEPTH


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.frozensets(st.integers(), max_size=2),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=20,
)


@settings(max_examples=25, deadline=None)
@given(values)
def test_what_is_beside_it_is_the_same(value: Any) -> None:
    deep = deep_of(WRAPS[0], 3000)
    cycle: list[Any] = [value, deep]
    cycle.append(cycle)
    root = Application("deep")
    root.all = [deep, value, cycle, {"v": value}]
    back = pickle.loads(dump_graph(root).data)
    assert back.all[1] == value
    assert back.all[3] == {"v": value}
    if isinstance(value, list | dict | set):
        assert back.all[1] is back.all[3]["v"] is back.all[2][0]
    assert back.all[2][2] is back.all[2]
    assert back.all[2][1] is back.all[0]
