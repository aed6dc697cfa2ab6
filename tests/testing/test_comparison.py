"""Two graphs are alike, or their first difference is named; a pickle's round trip is alike."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import decimal
import enum
import pickle
import random
import re
import uuid
from typing import Any

import pytest
from BTrees.OOBTree import OOBTree
from hypothesis import given
from hypothesis import strategies as st

from tapd import Persistent
from tapd.image.likeness.anatomy import anatomy_of
from tapd.model.durable.tracked import TrackedDict, TrackedList
from tapd.testing.checking import explain_untracked
from tapd.testing.comparison import Comparison, is_one_of, walk


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slotted:
    __slots__ = ("one", "two")


class Thing(Persistent):
    kind = "thing"

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Colour(enum.Enum):
    RED = 1


ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.binary(max_size=5), st.just(Colour.RED), st.datetimes(), st.decimals(), st.uuids(),
)  # fmt: skip
KEYS = st.one_of(st.integers(), st.text(max_size=3), st.tuples(st.integers(), st.text(max_size=2)))


def containers(inside: Any) -> Any:
    return st.one_of(
        st.lists(inside, max_size=4),
        st.tuples(inside, inside),
        st.dictionaries(KEYS, inside, max_size=4),
        st.sets(st.integers(), max_size=4),
        st.builds(TrackedList, st.lists(inside, max_size=3)),
        st.builds(TrackedDict, st.dictionaries(KEYS, inside, max_size=3)),
        st.builds(collections.deque, st.lists(inside, max_size=3)),
        st.builds(Plain, a=inside, b=inside),
        st.builds(Thing, a=inside),
    )


GRAPHS = st.recursive(ATOMS, containers, max_leaves=12)


@given(GRAPHS)
def test_a_round_trip_is_alike(graph: Any) -> None:
    assert Comparison().compare([graph], pickle.loads(pickle.dumps([graph]))) is None


@given(GRAPHS, GRAPHS)
def test_what_pickles_to_other_bytes_differs(one: Any, other: Any) -> None:
    """And the other way round: no difference means that the two are equal."""
    if Comparison().compare(one, other) is None:
        assert anatomy_of(type(one)).kind == anatomy_of(type(other)).kind  # tracked, or plain
        if not list(walk(one))[1:]:
            assert repr(one) == repr(other)


def changed(change: Any) -> tuple[str, str, str]:
    root = Thing(
        rooms={"lobby": Thing(members=[Plain(notes=[1, 2]), Plain(notes=[])], seen={1, 2})},
        rest=[1.5, (1, [2]), OOBTree({"a": 1}), re.compile("x"), Slotted(), random.Random(1)],
        when=[dt.date(2026, 1, 1), decimal.Decimal(1), uuid.UUID(int=1)],
    )
    root.rest[4].one = 1
    other = copy.deepcopy(root)
    assert Comparison().compare(root, other) is None
    change(other)
    difference = Comparison().compare(root, other)
    assert difference is not None
    return difference.path, difference.one, difference.other


@pytest.mark.parametrize(
    ("change", "path", "one", "other"),
    [
        (lambda r: r.rooms["lobby"].members[0].notes.append(3),
         "rooms['lobby'].members[0].notes[2]", "missing", "3"),
        (lambda r: r.rooms.update(x=1), "rooms['x']", "missing", "1"),
        (lambda r: r.rooms.pop("lobby"), "rooms['lobby']", None, "missing"),
        (lambda r: r.rooms["lobby"].seen.add(3), "rooms['lobby'].seen.<item 3>", "missing", "3"),
        (lambda r: r.rest[1][1].clear(), "rest[1][1][0]", "2", "missing"),
        (lambda r: r.rest[2].__setitem__("b", 2), "rest[2]['b']", "missing", "2"),
        (lambda r: r.rest.__setitem__(3, re.compile("y")), "rest[3]", None, "re.compile('y')"),
        (lambda r: setattr(r.rest[4], "one", 2), "rest[4].one", "1", "2"),
        (lambda r: r.rest[5].random(), None, None, None),
        (lambda r: setattr(r, "when", [*r.when[:2], uuid.UUID(int=2)]), None, None, None),
        (lambda r: setattr(r, "kind", "other"), "kind", "'thing'", "'other'"),
    ],
)  # fmt: skip
def test_the_first_difference_is_named(
    change: Any, path: str | None, one: str | None, other: str | None
) -> None:
    found = changed(change)
    for wanted, seen in zip((path, one, other), found, strict=True):
        assert wanted is None or wanted == seen, found


def test_an_attribute_that_is_as_its_class_says_differs_from_none() -> None:
    assert Comparison().compare(Thing(), Thing(kind="thing")) is None


def test_one_object_is_not_two() -> None:
    one = Plain(notes=[])
    shared, apart = Thing(a=one, b=one), Thing(a=Plain(notes=[]), b=Plain(notes=[]))
    for pair in ((shared, apart), (apart, shared)):
        difference = Comparison().compare(*pair)
        assert difference is not None
        assert {difference.path, difference.other_path} == {"a", "b"}
        assert difference.type_name == "Plain"
    day = dt.date(2026, 1, 1)
    assert Comparison().compare(Thing(a=day, b=day), Thing(a=day, b=dt.date(2026, 1, 1))) is None


def test_durable_keys_of_two_runs_are_taken_by_their_place() -> None:
    """They have other numbers there; that they are alike is looked at by itself."""
    one, other = Thing(name="x"), Thing(name="x")
    one._p_oid, other._p_oid = 1, 2
    of_two_runs = Comparison(numbers=False)
    assert of_two_runs.compare(TrackedDict({one: 1}), TrackedDict({other: 1})) is None
    assert Comparison().compare(TrackedDict({one: 1}), TrackedDict({other: 1})) is not None
    difference = of_two_runs.compare(TrackedDict({one: 1}), TrackedDict({Thing(name="y"): 1}))
    assert difference is not None
    assert "Thing" in difference.path


def test_patterns_know_no_brackets() -> None:
    assert is_one_of("services['a'].x[1]", ["services['a'].x[1]"])
    assert is_one_of("services['a'].x[1]", ["b", "services[*].x*"])
    assert not is_one_of("services['a'].x[1]", ["services['b'].x[1]", "services"])


def test_whose_fault_it_is() -> None:
    """What tapd looks at by itself it has to see: its author is blamed for what they wrote."""
    live = Thing(heap=TrackedList([1]), note=Plain(texts=[1]), number=1)

    def explained(restored: Thing) -> str:
        difference = Comparison().compare(restored, live)
        assert difference is not None
        return explain_untracked(difference, live)

    by_c = explained(Thing(heap=TrackedList([]), note=Plain(texts=[1]), number=1))
    assert "something wrote past them, as list.append(heap, x)" in by_c
    own = explained(Thing(heap=TrackedList([1]), note=Plain(texts=[1]), number=2))
    assert "A Thing was written past its attributes" in own
    missed = explained(Thing(heap=TrackedList([1]), note=Plain(texts=[]), number=1))
    assert "a fault of tapd, not of yours" in missed
    assert "note.texts[0] was changed" in missed


def test_one_that_would_be_two_and_two_that_would_be_one() -> None:
    one = Plain()
    shared, apart = Thing(a=one, b=one), Thing(a=Plain(), b=Plain())
    splits, joins = (
        explain_untracked(difference, live)
        for restored, live in ((apart, shared), (shared, apart))
        if (difference := Comparison().compare(restored, live)) is not None
    )
    assert "a and b are one Plain in memory, and would be two after a kill" in splits
    assert "a and b are two Plain in memory, and would be one after a kill" in joins
    assert "a fault of tapd" in joins
