"""Adopting a loaded graph: most objects are not inspected, and none is missed."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from BTrees.OOBTree import OOBTree
from hypothesis import given, settings
from hypothesis import strategies as st

from tapd.image.evolution.versions import Restoration
from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.model.durable.persistent import Persistent, Tracked
from tapd.model.durable.tracked import TrackedDeque, TrackedDict, TrackedList


class Box(Persistent):
    """Holds anything."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Plain:
    """Changes without telling anybody."""

    def __init__(self, value: Any) -> None:
        self.value = value


HOLDERS: st.SearchStrategy[Any] = st.recursive(
    st.integers() | st.text(max_size=2) | st.builds(Plain, st.integers()) | st.just((1, (2, []))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.builds(TrackedList, st.lists(inner, max_size=3)),
        st.builds(TrackedDeque, st.lists(inner, max_size=3)),
        st.builds(TrackedDict, st.dictionaries(st.integers(0, 3), inner)),
        st.builds(lambda value: Box(one=value), inner),
        st.builds(Plain, inner),
        st.builds(OOBTree, st.dictionaries(st.integers(0, 90), inner, max_size=9)),
    ),
    max_leaves=12,
)


def take_in(data: bytes, *, known: bool) -> tuple[Any, Jar, dict[int, Any]]:
    restoration = Restoration()
    root = load_graph(data, restoration)
    jar = Jar()
    return root, jar, jar.adopt(root, restoration.durables if known else ())


def watched_kinds(jar: Jar) -> list[str]:
    """Return the types of what is watched, in an order of no matter, once all is converted."""
    jar.commit()
    assert not jar.commit()
    return sorted(type(jar._watch.object_of(oid)).__name__ for oid in jar._watch.oids)


@given(values=st.lists(HOLDERS, max_size=4))
@settings(max_examples=150, deadline=None)
def test_it_finds_what_looking_into_each_finds(values: list[Any]) -> None:
    data = dump_graph(Box(values=values, tree=OOBTree({n: Box(n=n) for n in range(40)}))).data
    root, jar, objects = take_in(data, known=True)
    assert not jar.has_changes
    assert all(obj._p_jar is jar and not obj._p_changed for obj in objects.values())
    assert all(objects[obj._p_oid] is obj for obj in (root, root.tree))
    other_root, other_jar, _objects = take_in(data, known=False)
    assert watched_kinds(jar) == watched_kinds(other_jar)
    assert type(root.values) is type(other_root.values)
    assert isinstance(root.values, Tracked)


@given(values=st.lists(HOLDERS, max_size=4))
@settings(max_examples=50, deadline=None)
def test_numbers_are_the_same_at_each_load(values: list[Any]) -> None:
    """Journals name objects by number, and each start counts anew where a TAP has none."""
    data = dump_graph(Box(values=values)).data
    one, other = (take_in(data, known=True)[2] for _ in range(2))
    assert {oid: type(obj) for oid, obj in one.items()} == {
        oid: type(obj) for oid, obj in other.items()
    }


def test_no_number_is_given_twice() -> None:
    """One object of a TAP has a number, high or low; the rest have none."""
    root = Box(a=Box(), b=Box(c=Box()))
    root.b._p_oid = 2
    objects = take_in(dump_graph(root).data, known=True)[2]
    assert len(objects) == 4
    assert sorted(obj._p_oid for obj in objects.values()) == sorted(objects)


@pytest.mark.parametrize("held", [[1], {"a": 1}, (1, [2]), Plain(1), {1}, bytearray(b"x")])
def test_a_change_after_the_load_is_seen(held: Any) -> None:
    data = dump_graph(Box(held=held, far=TrackedList([TrackedDict(k=held)]))).data
    root, jar, _objects = take_in(data, known=True)
    target = root.held[1] if isinstance(held, tuple) else root.held
    match target:
        case Plain():
            target.value += 1
        case dict():
            target["b"] = 2
        case set():
            target.add(2)
        case _:
            target.append(2)
    assert jar.commit()


def test_what_nothing_holds_is_watched_no_more() -> None:
    root = Box(rooms=TrackedList(Box(held=Plain(n)) for n in range(5)))
    jar = Jar()
    jar.adopt(root)
    gone = weakref.ref(root.rooms[0])
    root.rooms.clear()
    jar.commit()
    gc.collect()
    assert gone() is None
    jar.commit()
    assert not jar._watch


def test_a_replay_joins_what_it_brings() -> None:
    root = Box(rooms=TrackedList())
    data = dump_graph(root).data
    root, jar, _ = take_in(data, known=True)
    root.rooms.append(Box(held=Plain(1), name="new"))
    changes = jar.commit()
    restoration = Restoration()
    restored = load_graph(data, restoration)
    after = Jar()
    replay = Replay(after.adopt(restored, restoration.durables), restoration, after)
    replay.apply(changes)
    replay.finish()
    assert not after.commit()
    room = restored.rooms[0]
    room.held.value = 2
    assert [oid for oid, _data in after.commit().states] == [room._p_oid]
    room.name = "newer"
    assert after.commit().states
    restored.rooms.append(Box())
    assert restored.rooms[1] is not None
    [(oid, _class)] = after.commit().new
    assert oid > room._p_oid


def test_a_journal_that_names_what_could_not_be_loaded(caplog: pytest.LogCaptureFixture) -> None:
    """An object that is gone costs no other, nor the start."""
    root = Box(lost=Box(n=1), kept=Box(n=1))
    jar = Jar()
    objects = jar.adopt(root)
    data = dump_graph(root).data
    lost = root.lost._p_oid
    root.lost.n = root.kept.n = 2
    root.again = root.lost
    changes = jar.commit()
    assert lost in objects
    restoration = Restoration()
    restored = load_graph(data, restoration)
    known = Jar().adopt(restored, restoration.durables)
    del known[lost]
    replay = Replay(known, restoration)
    replay.apply(changes)
    replay.finish()
    assert restored.kept.n == 2
    assert "could not be loaded" in repr(restored.again)
    assert f"object {lost}" in caplog.text
