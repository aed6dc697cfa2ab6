"""The queue of states: it sets them in whatever portions they come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.image.evolution.stand_ins import DurableStandIn
from tapd.image.evolution.versions import Restoration
from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.image.reduction import rebuild
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict, TrackedList


class Box(Persistent):
    """Holds anything."""


class Fragile(Persistent):
    """Refuses odd numbers."""

    def __setstate__(self, state: Any) -> None:
        if state["number"] % 2:
            raise ValueError("odd")
        super().__setstate__(state)


def triples(count: int) -> tuple[list[Any], list[Any]]:
    """Return objects, and what a queue is told of them."""
    objects: list[Any] = []
    items: list[Any] = []
    for number in range(count):
        made: Any = (Box(), TrackedList(), TrackedDict())[number % 3]
        state: Any = ({"number": number}, [number], {"number": number})[number % 3]
        objects.append(made)
        items += (made, number, state)
    return objects, [*items, None, None, None]


@given(cuts=st.lists(st.integers(0, 30), max_size=10))
def test_states_may_be_cut_anywhere(cuts: list[int]) -> None:
    objects, items = triples(7)
    queue = rebuild.StateQueue()
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(items)], strict=True):
        queue.extend(items[begin:end])
    assert rebuild.finish_graph("root", queue) == "root"
    assert [obj._p_oid for obj in objects] == list(range(7))
    assert objects[6].number == 6
    assert objects[4] == [4]
    assert objects[5] == {"number": 5}


def test_a_list_of_states_does_as_well() -> None:
    """TAPs of the first days of tapd have one."""
    objects, items = triples(4)
    rebuild.finish_graph(None, items)
    assert objects[3].number == 3


def test_a_state_that_is_missing_is_no_whole_graph() -> None:
    _objects, items = triples(1)
    queue = rebuild.StateQueue()
    queue.extend(items[:2])
    with pytest.raises(ValueError, match="missing"):
        rebuild.finish_graph(None, queue)


def test_one_that_fails_costs_no_other() -> None:
    fragile: list[Any] = [Fragile.__new__(Fragile) for _ in range(4)]
    for number, each in enumerate(fragile):
        each._p_oid = number
        each.number = number
    restoration = Restoration()
    back = load_graph(dump_graph(fragile).data, restoration)
    assert [each.__dict__.get("number") for each in back] == [0, None, 2, None]
    kept = [each for each in back if isinstance(each, DurableStandIn)]
    assert [each.__getstate__() for each in kept] == [{"number": 1}, {"number": 3}]
    assert {id(each) for each in kept} == set(map(id, restoration.stand_ins.alive()))
    assert all("can't be set: ValueError: odd" in repr(each) for each in kept)
    assert len([each for each in restoration.durables if each is not None]) == 4
