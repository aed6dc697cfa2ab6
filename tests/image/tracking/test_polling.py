"""Watched objects: no change is missed, what is the same costs little, and slowness is told."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapd.image.pickling.pickler import StatePickler
from tapd.image.tracking.fingerprint import FingerprintTaker
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.polling import Watch, Watched
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict, TrackedList


class Colour(enum.Enum):
    RED = 1


class Plain:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Other(Plain):
    pass


@dataclasses.dataclass(frozen=True)
class Frozen:
    held: Any


class Box(Persistent):
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def state_of(box: Any) -> bytes:
    return StatePickler(lambda obj: obj._p_oid or 0).dump_object(box).data


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([0, 1, True, 1.0, "a", b"a", None, Colour.RED, dt.date(2026, 1, 1), ()]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", 1]), inner, max_size=3),
        st.builds(lambda value: Plain(value=value), inner),
        st.builds(Frozen, inner),
        st.tuples(inner, inner),
        st.sets(st.integers(0, 3)),
    ),
    max_leaves=10,
)


def changes_of(value: Any) -> list[Callable[[], None]]:
    """Return all sorts of small changes to what is below `value`."""
    found: list[Callable[[], None]] = []
    if isinstance(value, list):
        found += [lambda: value.append(1), value.clear, value.reverse]
        if value:
            found.append(lambda: value.__setitem__(0, True))
    elif isinstance(value, dict):
        found += [lambda: value.update(a=2), value.clear]
        if value:
            found.append(lambda: value.update({k: value.pop(k) for k in list(value)[:1]}))
    elif isinstance(value, set):
        found += [lambda: value.add(9), value.clear]
    elif isinstance(value, Plain):
        found += [
            lambda: setattr(value, "value", 1.0),
            lambda: setattr(value, "more", None),
            value.__dict__.clear,
            lambda: setattr(value, "__class__", Other),
            lambda: setattr(value, "__dict__", {"value": 0}),
        ]
    parts = value if isinstance(value, list | tuple) else ()
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, Plain | Frozen):
        parts = list(value.__dict__.values())
    for part in parts:
        found += changes_of(part)
    return found


@given(value=VALUES, which=st.integers(0, 1000))
@settings(max_examples=300, deadline=None)
def test_a_fingerprint_misses_no_change(value: Any, which: int) -> None:
    box = Box(held=Plain(value=value))
    fingerprint = FingerprintTaker().take([box.held])
    assert fingerprint is not None
    before = state_of(box)
    assert fingerprint.holds()
    changes = changes_of(box.held)
    changes[which % len(changes)]()
    if state_of(box) != before:
        assert not fingerprint.holds()


class WithState:
    def __getstate__(self) -> Any:
        return {}


@pytest.mark.parametrize("held", [WithState(), iter([1]), collections.Counter()])
def test_of_what_is_not_known_through_and_through_there_is_none(held: Any) -> None:
    assert FingerprintTaker().take([Plain(value=[held])]) is None


def test_an_instance_that_changes_is_seen_in_each_turn() -> None:
    box = Box(held=Plain(value=[1]), rooms=TrackedList([Plain(n=0), Box()]))
    box.by = TrackedDict({"x": Plain(n=0)})
    jar = Jar()
    jar.adopt(box)
    for number in range(2, 9):
        assert not jar.commit()
        assert not jar.commit()  # by its fingerprint
        box.held.value[0] = number
        assert [oid for oid, _data in jar.commit().states] == [box._p_oid]
        assert not jar.commit()
        box.rooms[0].n = number
        assert [oid for oid, _data in jar.commit().states] == [box.rooms._p_oid]
        assert not jar.commit()
        box.by["x"].n = number
        assert [oid for oid, _data in jar.commit().states] == [box.by._p_oid]


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlots:
    held: Any


class Pair(NamedTuple):
    held: Any
    other: int = 0


@pytest.mark.parametrize("make", [Frozen, FrozenSlots, Pair, slice])
@pytest.mark.parametrize("inner", [lambda held: held, lambda held: ((), (1, held)), Frozen])
def test_a_container_in_what_is_frozen_is_seen_to_change(
    make: Callable[[Any], Any], inner: Callable[[Any], Any]
) -> None:
    held: list[int] = []
    calm = Box(held=make(inner(1)))
    box = Box(frozen=make(inner(held)), calm=calm)
    jar = Jar()
    jar.adopt(box)
    for number in range(3):
        assert not jar.commit()
        held.append(number)
        assert [oid for oid, _data in jar.commit().states] == [box._p_oid]
    if make not in (Frozen, FrozenSlots) and inner is not Frozen:
        assert calm._p_oid not in jar._watch  # `object.__setattr__` can change what is frozen


def test_a_fingerprint_keeps_no_durable_object() -> None:
    root = Box(rooms=TrackedList(Box(held=Plain(n=[n])) for n in range(5)))
    root.rooms[0].held.owner = root.rooms[0]
    jar = Jar()
    jar.adopt(root)
    for _ in range(3):
        jar.commit()
    gone = [weakref.ref(room) for room in root.rooms]
    root.rooms.clear()
    jar.commit()
    root.other = 1
    jar.commit()  # what was written last is in the pickler's memo until it writes again
    gc.collect()
    assert [refer() for refer in gone] == [None] * 5
    jar.commit()
    assert not jar._watch


def watched_by(jar: Jar, clock: Callable[[], float]) -> None:
    """Have `jar` take the time that its looking takes from `clock`."""
    jar._watch._clock = clock


def test_slowness_is_told_once_with_the_path_and_what_to_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = Box(deep=TrackedDict({"rooms": TrackedList([Plain(n=0)])}))
    jar = Jar()
    jar.adopt(box)
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 0.006
        return now_s

    watched_by(jar, clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            jar.commit()
    assert len(caplog.records) == 1
    told = caplog.records[0].getMessage()
    assert "box.deep['rooms'], TrackedList #" in told
    assert "tapd.Persistent" in told
    assert "BTree" in told


def test_a_slow_moment_of_the_machine_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    steps = [0.1 if number % 6 == 0 else 0.0001 for number in range(200)]
    box = Box(held=Plain(n=0))
    jar = Jar()
    jar.adopt(box)
    watched_by(jar, steps.pop)
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            steps_left = len(steps)
            jar.commit()
            assert len(steps) < steps_left
    assert not caplog.records


@given(st.lists(st.tuples(st.integers(0, 4), st.sets(st.integers(0, 5))), max_size=25))
@settings(max_examples=200, deadline=None)
def test_who_shares_with_whom_is_known_after_every_change(
    turns: list[tuple[int, set[int]]],
) -> None:
    parts = [Plain(number=number) for number in range(6)]
    boxes = [Box() for _ in range(5)]
    for oid, box in enumerate(boxes):
        box._p_oid = oid
    watch = Watch(str)
    held: dict[int, set[int]] = {}
    for oid, numbers in turns:
        if numbers:
            held[oid] = numbers
            watch.put({oid: (boxes[oid], Watched(b"", [parts[each] for each in sorted(numbers)]))})
        else:
            held.pop(oid, None)
            watch.forget(boxes[oid])
        for one, its in held.items():
            others = {each for each in held if each != one and held[each] & its}
            assert watch.is_shared(one) == bool(others)
            shared = {id(parts[part]) for each in others for part in held[each] & its}
            assert watch.shared_ids_of([one]) == shared
            assert others <= set(watch.group_of(one))
