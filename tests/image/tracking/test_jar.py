"""The jar and its replay: whatever is done to durable objects comes back the same."""

from __future__ import annotations

import collections
import datetime as dt
import gc
import io
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapd.image.evolution.versions import Restoration
from tapd.image.pickling.pickler import StateLoader, StatePickler, dump_graph, load_graph
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.image.tracking.strict import StrictJar
from tapd.image.typed import compile_typed
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import (
    TrackedBytearray,
    TrackedDeque,
    TrackedDict,
    TrackedList,
    TrackedSet,
)


class Box(Persistent):
    """Holds anything."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def attach(root: Any) -> StrictJar:
    jar = StrictJar()
    jar.adopt(root)
    return jar


VALUES = st.recursive(
    st.integers(-5, 5) | st.text(max_size=3) | st.binary(max_size=3) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(st.integers(0, 9), max_size=3)
    ),
    max_leaves=8,
)

DICT_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 5), VALUES),
        st.tuples(st.just("del"), st.integers(0, 5)),
        st.tuples(st.just("pop"), st.integers(0, 5)),
        st.tuples(st.just("setdefault"), st.integers(0, 5), VALUES),
        st.tuples(st.just("update"), st.dictionaries(st.integers(0, 5), VALUES, max_size=2)),
        st.tuples(st.just("clear")),
        st.tuples(st.just("popitem")),
        st.tuples(st.just("commit")),
    ),
    max_size=25,
)


@given(steps=DICT_STEPS)
@settings(max_examples=60, deadline=None)
def test_dict_steps(steps: list[tuple[Any, ...]]) -> None:
    """A tracked dict does as a dict does, and each commit restores it."""
    root = Box(d={})
    jar = attach(root)
    plain: dict[int, Any] = {}
    for step in steps:
        match step:
            case ("set", key, value):
                root.d[key] = plain[key] = value
            case ("del", key) if key in plain:
                del root.d[key], plain[key]
            case ("pop", key):
                root.d.pop(key, None)
                plain.pop(key, None)
            case ("setdefault", key, value):
                root.d.setdefault(key, value)
                plain.setdefault(key, value)
            case ("update", values):
                root.d.update(values)
                plain.update(values)
            case ("clear",):
                root.d.clear()
                plain.clear()
            case ("popitem",) if plain:
                assert root.d.popitem()[0] == plain.popitem()[0]
            case ("commit",):
                jar.commit()
    jar.commit()
    assert root.d == plain
    assert list(root.d) == list(plain)


LIST_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), VALUES),
        st.tuples(st.just("extend"), st.lists(VALUES, max_size=3)),
        st.tuples(st.just("insert"), VALUES),
        st.tuples(st.just("pop")),
        st.tuples(st.just("replace"), VALUES),
        st.tuples(st.just("reverse")),
        st.tuples(st.just("commit")),
    ),
    max_size=25,
)


@pytest.mark.parametrize("make", [list, lambda: collections.deque(maxlen=4)], ids=["list", "deque"])
@given(steps=LIST_STEPS)
@settings(max_examples=60, deadline=None)
def test_list_and_deque_steps(make: Any, steps: list[tuple[Any, ...]]) -> None:
    root = Box(items=make())
    jar = attach(root)
    plain = make()
    for step in steps:
        match step:
            case ("append", value):
                root.items.append(value)
                plain.append(value)
            case ("extend", values):
                root.items.extend(values)
                plain.extend(values)
            case ("insert", value) if getattr(plain, "maxlen", None) is None:
                root.items.insert(0, value)
                plain.insert(0, value)
            case ("pop",) if plain:
                root.items.pop()
                plain.pop()
            case ("replace", value) if plain:
                root.items[0] = plain[0] = value
            case ("reverse",):
                root.items.reverse()
                plain.reverse()
            case ("commit",):
                jar.commit()
    jar.commit()
    assert list(root.items) == list(plain)


def test_every_mutator_reports() -> None:
    """No method of a plain container changes a tracked one in silence."""
    makers: list[tuple[Any, Any]] = [
        (list, TrackedList), (dict, TrackedDict), (set, TrackedSet),
        (bytearray, TrackedBytearray), (collections.deque, TrackedDeque),
    ]  # fmt: skip
    samples: dict[type, Any] = {
        list: [1, 2], dict: {1: 2, 3: 4}, set: {1, 2}, bytearray: bytearray(b"ab"),
        collections.deque: collections.deque([1, 2]),
    }  # fmt: skip
    arguments: list[tuple[Any, ...]] = [
        (), (0,), (1,), (0, 7), ([7],), ({7},), ({7: 8},), (b"x",), (2,), (slice(0, 1),),
        (slice(0, 1), [5]),
    ]  # fmt: skip
    tried = 0
    for plain_class, tracked_class in makers:
        assert sorted(map(str, tracked_class(samples[plain_class]))) == sorted(
            map(str, samples[plain_class])
        )
        for name in dir(plain_class):
            if name in ("__init__", "__class__", "__new__", "__setstate__", "__init_subclass__"):
                continue
            for args in arguments:
                plain = plain_class(samples[plain_class])
                before = repr(plain)
                try:
                    getattr(plain, name)(*args)
                except Exception:
                    continue
                if repr(plain) == before:
                    continue
                root = Box(it=tracked_class(samples[plain_class]))
                jar = attach(root)
                getattr(root.it, name)(*args)
                assert jar.has_changes, f"{tracked_class.__name__}.{name}{args} reports nothing"
                jar.commit()
                tried += 1
    assert tried > 60


def test_one_list_stored_twice_stays_one() -> None:
    root = Box()
    jar = attach(root)
    shared: list[int] = []
    root.one = shared
    root.other = Box(same=shared)
    shared.append(1)  # in the same turn: it counts
    jar.commit()
    assert root.one is root.other.same
    root.one.append(2)
    jar.commit()
    assert root.other.same == [1, 2]


def test_a_list_that_holds_itself() -> None:
    root = Box()
    jar = attach(root)
    loop: list[Any] = []
    loop.append(loop)
    root.loop = loop
    jar.commit()
    assert root.loop[0] is root.loop


DEEP = 100_000


@pytest.mark.parametrize(
    ("wrap", "levels"),
    [
        (lambda inner: [inner], DEEP),
        (lambda inner: {"in": inner}, DEEP // 5),
        (lambda inner: collections.deque([inner], 3), DEEP // 5),
        (lambda inner: [{"in": inner, "n": 1}], DEEP // 5),
    ],
    ids=["lists", "dicts", "deques", "all kinds"],
)
def test_containers_nested_deeply_are_journaled(wrap: Any, levels: int) -> None:
    root = Box(deep=None)
    data = dump_graph(root).data
    jar = Jar()
    jar.adopt(root)
    inner: Any = [1]
    for _ in range(levels):
        inner = wrap(inner)
    root.deep = inner
    del inner  # what somebody else holds is not replaced
    changes = jar.commit()
    assert not jar.losses
    innermost = root.deep
    depth = 0
    while innermost != [1]:
        innermost = next(iter(innermost.values() if isinstance(innermost, dict) else innermost))
        depth += type(innermost) is not tuple
    assert isinstance(innermost, TrackedList)
    innermost.append(2)
    later = jar.commit()
    assert len(later.deltas) == 1
    assert not later.states
    restoration = Restoration()
    back = load_graph(data, restoration)
    fresh = Jar()
    replay = Replay(fresh.adopt(back, restoration.durables), restoration, fresh)
    replay.apply(changes)
    replay.apply(later)
    replay.finish()
    restored = back.deep
    for _ in range(depth):
        while type(restored) is tuple:
            restored = restored[0]
        restored = next(iter(restored.values() if isinstance(restored, dict) else restored))
    assert restored == [1, 2]


def test_tuples_nested_deeply_are_named_once_and_cost_no_neighbour() -> None:
    root = Box(n=0)
    jar = Jar()
    jar.adopt(root)
    deep: Any = [1]
    for _ in range(DEEP):
        deep = (deep,)
    root.deep, root.n = deep, 1
    changes = jar.commit()
    assert [oid for oid, _data in changes.states if oid == root._p_oid]
    assert "nested too deeply" in jar.losses[0].reason
    root.n = 2
    assert jar.commit().states


def test_what_can_t_be_kept_is_named_by_one_path_from_the_root_on() -> None:
    root = Box(inner=Box(n=1))
    jar = Jar()
    jar.adopt(root)
    root.file = root.inner.file = (open_file := io.BytesIO().getbuffer())
    jar.commit()
    assert {loss.path for loss in jar.losses} == {"box.file", "box.inner.file"}
    assert {loss.path for loss in dump_graph(root).losses} == {"box.file"}  # where it is met first
    open_file.release()


def test_tuples_that_share_their_parts_are_looked_at_once() -> None:
    """Forty levels of pairs of one tuple are 2**40 ways to its list."""
    shared: Any = ([1],)
    for _ in range(40):
        shared = (shared, shared)
    root = Box(shared=shared, numbers=(1, (2, (3, "4"))))
    numbers = root.numbers
    attach(root).commit()
    assert root.shared[0] is root.shared[1]
    assert root.numbers is numbers


def test_btrees_hold_plain_containers() -> None:
    from BTrees.OOBTree import OOBTree

    root = Box(tree=OOBTree())
    jar = attach(root)
    for number in range(200):
        root.tree[f"{number:03}"] = [number]
        if number % 20 == 0:
            jar.commit()
    root.tree["007"].append("more")
    jar.commit()
    restored = load_graph(dump_graph(root).data)
    assert restored.tree["007"] == [7, "more"]
    assert len(restored.tree) == 200


def test_a_small_change_of_much_is_little() -> None:
    """One new key of ten thousand, one line of a long history: the journal takes a delta."""
    root = Box(table=dict.fromkeys(range(10000), "x" * 20), history=list(range(10_000)))
    jar = Jar()
    jar.adopt(root)
    root.table["new"] = 1
    root.history.append("new")
    changes = jar.commit()
    assert not changes.states
    assert sum(len(data) for _oid, data in changes.deltas) < 200


def test_replay_takes_the_last_state_only() -> None:
    root = Box(value=0)
    jar = Jar()
    jar.adopt(root)
    base = dump_graph(root).data
    records: list[Changes] = []
    for value in range(5):
        root.value = value
        records.append(jar.commit())
    restoration = Restoration()
    restored = load_graph(base, restoration)
    replay = Replay(Jar().adopt(restored), restoration)
    for record in records:
        replay.apply(record)
    replay.finish()
    assert restored.value == 4


def test_nothing_is_written_where_nothing_changed() -> None:
    root = Box(value=0, _v_scratch=1)
    jar = Jar()
    jar.adopt(root)
    root._v_scratch = [1]
    assert not jar.commit()


class Named(Persistent):
    """A durable key: its hash is made of its state, and of another object's."""

    def __init__(self, name: str, of: Any = None) -> None:
        self.name = name
        self.of = of

    def __hash__(self) -> int:
        return hash((self.name, self.of.n if self.of is not None else 0))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and (self.name, self.of) == (other.name, other.of)


def test_durable_keys_with_a_hash_of_their_own() -> None:
    """Their states come in the order of the journal; their hashes must be right all the same."""
    root = Box(plain={}, tracked=TrackedDict(), members=TrackedSet())
    jar = Jar()
    jar.adopt(root)
    base = dump_graph(root).data
    holder = Box(n=7)
    keys = [Named("a"), Named("b", holder), Named("c")]
    for index, key in enumerate(keys):
        root.tracked[key] = index
        root.members.add(key)
    root.plain[keys[0]] = "zero"
    root.first = {keys[1]: 1, keys[2]: 2}
    changes = jar.commit()
    for order in (changes.states, changes.states[::-1]):
        restoration = Restoration()
        restored = load_graph(base, restoration)
        after = Jar()
        replay = Replay(after.adopt(restored, restoration.durables), restoration, after)
        replay.apply(Changes(changes.new, list(order), changes.deltas))
        replay.finish()
        again = [Named("a"), next(iter(k for k in restored.tracked if k.name == "b")), Named("c")]
        assert [restored.tracked[key] for key in again] == [0, 1, 2]
        assert all(key in restored.members for key in again)
        assert restored.plain == {again[0]: "zero"}
        assert restored.first[again[1]] == 1
        assert restored.first[again[2]] == 2
        assert list(restored.tracked.values()) == [0, 1, 2]


class FailingLate:
    """Gives many innocent items, then fails."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __reduce__(self) -> Any:
        def give() -> Any:
            yield from self.items
            raise ValueError("no more")

        return FailingLate, ([],), None, give()


@pytest.mark.parametrize("way", ["graph", "state"])
def test_what_fails_in_the_midst_costs_no_innocent_item(way: str) -> None:
    """More items than there are retries: it is their holder that can't be kept."""
    innocent = [dt.date(2026, 1, 1) + dt.timedelta(n) for n in range(300)]
    root = Box(bad=FailingLate(innocent), good=innocent, n=1)
    if way == "graph":
        dump: Any = dump_graph(root)
        restored = load_graph(dump.data)
        assert restored.good == innocent
    else:
        dump = StatePickler(lambda _obj: 0).dump_state(root.__getstate__())
        assert StateLoader(lambda _oid: None).load_state(dump.data)["good"] == innocent
    [loss] = dump.losses
    assert (loss.path.rpartition(".")[2], loss.reason) == ("bad", "ValueError: no more")


def test_a_long_life_at_the_prompt_does_not_grow() -> None:
    """Classes are typed again and again, and sessions come and go, for years."""
    root = Box(shells=TrackedDict())
    jar = Jar()
    jar.adopt(root)
    classes = weakref.WeakSet[Any]()
    for number in range(400):
        space = root.shells["shell"] = Namespace()
        text = (
            "from tapd import Persistent\nclass P: ...\nclass R(Persistent): ...\n"
            f"p, r = P(), R()\np.n = r.n = {number}\n"
        )
        code = compile_typed(text, space, "exec")
        assert code is not None
        exec(code, space.names)
        classes.update((space.names["P"], space.names["R"]))
        root.held = space.names["p"]
        space.touch()
        assert jar.commit()
    gc.collect()
    jar.commit()
    assert len(classes) < 200
    assert len(jar._class_records._typed_references) < 200
    assert len(jar._class_records._references) < 20
