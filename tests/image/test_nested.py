"""Plain containers that nest too deeply for C: in a plain pickle, and shown."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapd.image.inspection import read_graph
from tapd.image.loss import Placeholder
from tapd.image.pickler import dump_graph, load_graph
from tapd.model.application import Application

DEPTH = 100_000
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
    graph = read_graph(dump_graph(root).data, "t.tap")  # in the form with numbers
    assert len(graph) > DEPTH


class Copies:
    def __init__(self, source: list[int]) -> None:
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
