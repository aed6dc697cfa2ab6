"""Whatever changes, and however, a kill in the next moment restores it: values and identities.

Each test changes state in a way that tells nobody, and asks a `World` what a
process would find that loads the last TAP and replays the journal.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import functools
import gc
import heapq
import random
import struct
import types
import weakref
from collections.abc import Callable
from heapq import heappush
from typing import Any, NamedTuple

import numpy as np
import pytest

from tapd.image.evolution.versions import Restoration
from tapd.image.pickling.pickler import detached_finder, dump_graph, load_graph
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.polling import Watched
from tapd.image.tracking.replay import Replay
from tapd.model.durable.persistent import Persistent, Tracked
from tapd.model.durable.tracked import TrackedDict, TrackedList


class Plain:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class OtherPlain(Plain):
    pass


class Slotted:
    __slots__ = ("a", "b")


class Box(Persistent):
    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    def method(self) -> None:
        pass


class OtherBox(Box):
    pass


class Slim:
    __slots__ = ("a",)


class OtherSlim:
    __slots__ = ("a",)


class SlottedBox(Persistent):
    __slots__ = ("items",)


class LockedBox(Box):
    def __getstate__(self) -> Any:
        state = self.__dict__.copy()
        state.pop("lock", None)
        return state


class Distant(Persistent):
    """Its state is not among its attributes."""

    def __getstate__(self) -> Any:
        return {"rows": list(self._v_rows)}

    def __setstate__(self, state: Any) -> None:
        self._v_rows = state["rows"]


@dataclasses.dataclass(frozen=True)
class Frozen:
    held: Any


class Pair(NamedTuple):
    one: Any
    other: Any


class World:
    """An application's root, the TAP that it was saved in last, and the journal since."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.jar = Jar()
        self.jar.adopt(root)
        self.checkpoint()

    def checkpoint(self) -> None:
        self.jar.commit()
        self.tap = dump_graph(self.root, detached_finder(self.root)).data
        self.journal: list[Changes] = []

    def commit(self) -> Changes:
        changes = self.jar.commit()
        self.journal.append(changes)
        return changes

    def killed(self) -> Any:
        """Commit, and return the root that the next process has."""
        self.commit()
        return self.restored()[0]

    def restored(self) -> tuple[Any, Jar]:
        restoration = Restoration()
        root = load_graph(self.tap, restoration)
        jar = Jar()
        replay = Replay(jar.adopt(root, restoration.durables), restoration, jar)
        for changes in self.journal:
            replay.apply(changes)
        replay.finish()
        return root, jar

    def kill(self) -> None:
        """Go on as the next process."""
        self.commit()
        self.root, self.jar = self.restored()


def test_plain_instances_in_a_list_that_grows() -> None:
    """The first thing that anyone writes."""
    world = World(Box(players=[Plain(name="host", points=0)]))
    for number in range(3):
        world.root.players.append(Plain(name=str(number), points=0))
        world.root.players[0].points += 1
        world.kill()
    assert [each.points for each in world.root.players] == [3, 0, 0, 0]
    world.root.players.append(world.root.players[0])
    world.kill()
    assert world.root.players[-1] is world.root.players[0]


@pytest.mark.parametrize("classes", [(Plain, OtherPlain), (Slim, OtherSlim)])
def test_another_class_of_a_plain_object_is_seen(classes: tuple[type, type]) -> None:
    first, second = classes
    world = World(Box(held=first()))
    world.root.held.a = 1
    for cls in (second, first, second):
        world.kill()
        world.commit()
        world.commit()  # now it has a fingerprint
        world.root.held.__class__ = cls
        world.kill()
        assert type(world.root.held) is cls


def test_numpy_arrays_and_their_views_are_looked_at() -> None:
    world = World(Box(grid=np.zeros((3, 4)), views=[]))
    world.root.views.append(world.root.grid[1:, ::2])
    for number in (1, 2, 3):
        world.root.views[0][0, 0] = number
        world.root.grid[0, 0] += number
        np.add.at(world.root.grid, (2, 0), 1)
        world.kill()
        assert world.root.grid[1, 0] == number
        assert world.root.views[0][1, 0] == number
    assert world.root.grid[0, 0] == 6


KEYS: list[Callable[[], Any]] = [
    Plain, object, lambda: (Plain(), 1), lambda: Frozen(Plain()), lambda: float("nan"),
    lambda: Box().method, lambda: frozenset({Plain()}),
]  # fmt: skip


@pytest.mark.parametrize("make", KEYS)
def test_keys_of_which_the_identity_matters(make: Callable[[], Any]) -> None:
    first, second = make(), make()
    world = World(Box(by={first: 1, second: 2}, first=first, third=make()))
    assert len(world.killed().by) == 2
    world.root.by[world.root.third] = 3
    assert list(world.killed().by.values()) == [1, 2, 3]
    del world.root.by[second]
    back = world.killed()
    assert list(back.by.values()) == [1, 3]
    if type(first) is not float:  # of a number there is no identity
        assert back.by[back.first] == 1
        assert back.by[back.third] == 3


def alias_method(box: Any) -> None:
    box.add = box.items.append
    box.add(1)


def alias_in_plain(box: Any) -> None:
    box.other = Plain(items=box.items)
    box.other.items.append(1)


def alias_in_chain_map(box: Any) -> None:
    box.other = collections.ChainMap(box.table, {})
    box.other["a"] = 1


def alias_in_partial(box: Any) -> None:
    box.other = functools.partial(list.append, box.items)
    box.other(1)


def alias_in_named_tuple(box: Any) -> None:
    box.other = Pair(box.items, box.table)
    box.other.one.append(1)


def alias_in_frozen(box: Any) -> None:
    box.other = Frozen(box.items)
    box.other.held.append(1)


def alias_in_proxy(box: Any) -> None:
    box.other = types.MappingProxyType(box.table)
    box.table["a"] = 1


def alias_in_closure(box: Any) -> None:
    box.other = Box(items=box.items)
    box.other.items.append(1)


@pytest.mark.parametrize("alias", [
    alias_method, alias_in_plain, alias_in_chain_map, alias_in_partial, alias_in_named_tuple,
    alias_in_frozen, alias_in_proxy, alias_in_closure,
])  # fmt: skip
def test_aliases_of_a_plain_container_do_not_part(alias: Callable[[Any], None]) -> None:
    world = World(Box())
    world.root.items, world.root.table = [], {}
    alias(world.root)
    world.commit()
    world.root.items.append(2)
    world.root.table["b"] = 2
    for root in (world.root, world.killed()):
        match getattr(root, "other", None):
            case (Plain() | Box()) as other:
                assert vars(other)["items"] is root.items
            case collections.ChainMap() as other:
                assert other.maps[0] is root.table
            case functools.partial() as other:
                assert other.args[0] is root.items
            case Pair() as other:
                assert (other.one, other.other) == (root.items, root.table)
                assert other.one is root.items
            case Frozen() as other:
                assert other.held is root.items
            case types.MappingProxyType() as other:
                root.table["c"] = 3
                assert other["c"] == 3
            case None:
                root.add(3)
                assert root.items[-1] == 3
        assert 2 in root.items


def test_a_local_variable_that_goes_on_appending() -> None:
    world = World(Box())

    def appending() -> Any:
        items: list[int] = []
        world.root.items = items
        while True:
            items.append((yield))

    running = appending()
    next(running)
    for number in range(4):
        running.send(number)
        world.commit()
    assert world.killed().items == [0, 1, 2, 3]
    running.close()
    for _ in range(3):
        world.commit()
    assert type(world.root.items) is list or isinstance(world.root.items, Tracked)


def test_what_two_durable_objects_hold_is_one() -> None:
    shared = Plain(n=0)
    world = World(Box(one=Box(held=shared), two=Box(held=shared), three=Box()))
    for number in range(1, 4):
        world.root.one.held.n = number
        world.kill()
        assert world.root.two.held.n == number
        assert world.root.two.held is world.root.one.held
    world.root.three.held = [world.root.one.held]
    world.kill()
    assert world.root.three.held[0] is world.root.two.held
    world.root.two.held = Plain(n=3)  # as equal as can be, and another
    world.kill()
    assert world.root.one.held is world.root.three.held[0]
    assert world.root.two.held is not world.root.one.held
    world.root.one.held.n = 9
    assert (world.killed().two.held.n, world.killed().three.held[0].n) == (3, 9)


def test_a_group_is_written_only_when_it_changes() -> None:
    shared = collections.Counter(n=0)
    world = World(Box(one=Box(held=shared), two=Box(held=shared), other=Box(n=1)))
    world.root.other.n += 1
    assert not world.commit().joint
    world.root.one.held["n"] += 1
    assert len(world.commit().joint) == 1
    assert not world.commit()
    assert not world.commit()


def test_a_plain_object_that_many_hold_is_written_alone() -> None:
    """Whoever holds it refers to its number, and is written only when it changes itself."""
    game: Any = Plain(score=0, players=[])
    world = World(Box(boxes=[Box(game=game, n=number) for number in range(50)], game=game))
    game.players += world.root.boxes[:3]
    world.commit()
    world.commit()
    game.score += 1
    changes = world.commit()
    assert [len(changes.states), changes.joint, changes.new] == [1, [], []]
    world.root.boxes[7].n = 0
    assert len(world.commit().states) == 1
    world.kill()
    assert all(box.game is world.root.game for box in world.root.boxes)
    assert world.root.game.score == 1
    world.checkpoint()
    world.root.game.score = 5
    assert len(world.commit().states) == 1
    world.root.late = Box(game=world.root.game)
    world.kill()
    assert world.root.late.game is world.root.boxes[0].game
    assert world.root.late.game.score == 5


def test_a_plain_object_with_a_number_goes_with_its_holders() -> None:
    game: Any = Plain(rooms=[])
    world = World(Box(one=Box(game=game), two=Box(game=game)))
    game.owner = world.root.one
    world.commit()
    world.commit()
    gone = weakref.ref(game)
    del game
    del world.root.one, world.root.two
    world.commit()
    world.root.n = 1
    world.commit()
    gc.collect()
    assert gone() is None
    assert not world.jar._pickler.shared
    assert not world.jar._watch


def test_a_plain_object_with_a_number_changes_its_class() -> None:
    game = Plain(n=1)
    world = World(Box(one=Box(game=game), two=Box(game=game)))
    world.commit()
    game.__class__ = OtherPlain
    back = world.killed()
    assert type(back.one.game) is OtherPlain
    assert back.one.game is back.two.game


def test_slots_of_a_durable_object() -> None:
    world = World(Box(inner=SlottedBox()))
    world.root.inner.items = [1]
    world.commit()
    world.root.inner.items.append(2)
    assert world.killed().inner.items == [1, 2]


def test_a_durable_dataclass_with_slots() -> None:
    box = SlottedBox()
    box.items = {}
    world = World(Box(inner=box))
    world.root.inner.items["a"] = [1]
    world.commit()
    world.root.inner.items["a"].append(2)
    assert world.killed().inner.items == {"a": [1, 2]}


class Cached(Persistent):
    @functools.cached_property
    def rows(self) -> list[int]:
        return []

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value


def test_what_is_written_to_dict() -> None:
    world = World(Cached())
    world.root.rows.append(1)
    world.commit()
    world.root.rows.append(2)
    assert world.killed().rows == [1, 2]
    world.root.__dict__.update(a=1)
    assert world.killed().a == 1
    vars(world.root)["b"] = 2
    assert world.killed().b == 2
    world.root.c = 3
    assert world.killed().c == 3
    attributes = world.root.__dict__
    for number in range(4):
        world.commit()
        attributes["d"] = number
    assert world.killed().d == 3
    world = World(Box(rows=[]))
    world.root.__dict__ = {"rows": [7]}
    assert world.killed().__getstate__() == {"rows": [7]}


def test_a_buffer_that_is_written_past_its_methods() -> None:
    world = World(Box(buffer=bytearray(8)))
    struct.pack_into(">I", world.root.buffer, 0, 7)
    world.kill()
    assert world.root.buffer[3] == 7
    view = memoryview(world.root.buffer)
    world.commit()
    view[0] = 9
    world.commit()
    view[1] = 10
    assert world.killed().buffer[:4] == bytes([9, 10, 0, 7])


@pytest.mark.parametrize("change", [
    lambda items: heapq.heappush(items, 0), lambda items: heappush(items, 0), heapq.heappop,
    heapq.heapify, lambda items: heapq.heapreplace(items, 0),
    lambda items: heapq.heappushpop(items, 9), lambda items: bisect.insort(items, 2),
    random.Random(3).shuffle, lambda items: items.__init__([1]), lambda items: items.sort(),
    lambda items: items.__setitem__(slice(0, 2), [7, 7, 7]), lambda items: items.__delitem__(0),
])  # fmt: skip
def test_a_list_that_a_function_in_c_changes(change: Callable[[Any], None]) -> None:
    world = World(Box(items=[5, 3, 8, 1]))
    world.commit()
    assert isinstance(world.root.items, TrackedList)
    change(world.root.items)
    assert list(world.killed().items) == list(world.root.items)


def test_a_container_is_made_anew() -> None:
    world = World(Box(table={1: 2}, items=[1], group={1}, queue=collections.deque([1])))
    world.commit()
    root = world.root
    root.table.__init__({3: 4})
    root.items.__init__((5, 6))
    root.group.__init__({7})
    root.queue.__init__([8], 3)
    back = world.killed()
    assert (back.table, back.items, back.group) == ({1: 2, 3: 4}, [5, 6], {7})
    assert list(back.queue) == [8]
    assert back.queue.maxlen == root.queue.maxlen


def test_a_class_that_is_changed() -> None:
    world = World(Box(inner=Box(n=1), watched=Box(held=Plain(n=1))))
    for name in ("inner", "watched"):
        getattr(world.root, name).__class__ = OtherBox
        assert type(getattr(world.killed(), name)) is OtherBox
    world.kill()
    world.checkpoint()
    world.root.inner.__class__ = Box
    world.kill()
    assert type(world.root.inner) is Box
    world.root.new = Box()
    world.commit()
    world.root.new.__class__ = OtherBox
    assert type(world.killed().new) is OtherBox


def test_taken_out_over_a_checkpoint_and_put_back() -> None:
    world = World(Box(inner=Box(n=1, deep=Box(n=2)), items=TrackedList()))
    volatile = world.root.inner
    number = volatile._p_oid
    del world.root.inner
    world.checkpoint()
    world.checkpoint()
    world.root.items.append(Box(n="new"))
    world.commit()
    volatile.deep.n = 3
    world.root.back = volatile
    back = world.killed()
    assert (back.back.n, back.back.deep.n, back.items[0].n) == (1, 3, "new")
    assert back.items[0]._p_oid != number


def test_a_container_taken_out_over_a_checkpoint_and_put_back() -> None:
    world = World(Box(items=[[1]], table={"a": 1}))
    items, table = world.root.items, world.root.table
    del world.root.items, world.root.table
    world.checkpoint()
    items.append(2)
    world.root.inner = Box(items=items, table=table)
    back = world.killed().inner
    assert (back.items, back.table) == ([[1], 2], {"a": 1})


def test_a_checkpoint_drops_what_nobody_holds() -> None:
    world = World(Box(inner=Box(text="gone" * 10)))
    del world.root.inner
    gc.collect()
    world.checkpoint()
    assert b"gonegone" not in world.tap


def test_the_usual_getstate_that_drops_a_lock() -> None:
    world = World(Box(inner=LockedBox(items=[], lock=object())))
    world.root.inner.items.append(1)
    world.commit()
    assert isinstance(world.root.inner.items, TrackedList)
    world.root.inner.items.append(2)
    back = world.killed()
    assert back.inner.items == [1, 2]
    assert not hasattr(back.inner, "lock")
    assert not world.commit()


def test_a_state_that_is_made_of_something_else() -> None:
    distant = Distant()
    distant._v_rows = [1]
    world = World(Box(inner=distant))
    world.commit()
    distant._v_rows.append(2)
    assert world.killed().inner._v_rows == [1, 2]


@pytest.mark.parametrize("value", [
    lambda: Plain(n=[1]), lambda: collections.OrderedDict(a=[1]),
    lambda: collections.defaultdict(list, a=[1]), lambda: collections.Counter("aab"),
    lambda: [([1],)], lambda: ({"a": [1]},), lambda: Frozen([1]), lambda: Pair([1], {}),
    lambda: frozenset({Plain(n=1)}), lambda: bytearray(b"ab"),
    lambda: collections.deque([Plain(n=1)], 5),
    lambda: functools.partial(print, [1], end={}), lambda: types.SimpleNamespace(a=[1]),
    lambda: collections.UserDict(a=[1]), lambda: ValueError([1]),
])  # fmt: skip
def test_what_holds_plain_objects_is_looked_at(value: Callable[[], Any]) -> None:
    """However a change is made to what is deepest in it, the next record has it."""
    world = World(Box(held=value(), by=TrackedDict()))
    world.root.by["x"] = value()
    world.commit()
    world.commit()
    for holder, name in ((world.root, "held"), (world.root.by, "x")):
        held = holder[name] if name == "x" else holder.held
        parts = [
            each
            for each in _reachable(held)
            if type(each) in (list, dict, bytearray) or isinstance(each, Plain | dict)
        ]
        assert parts
        for number, part in enumerate(parts):
            match part:
                case list() | bytearray():
                    part.append(number)
                case dict():
                    part["new"] = number
                case _:
                    part.new = number
            changes = world.commit()
            assert changes.states or changes.joint
            assert not world.commit()


def _reachable(value: Any) -> list[Any]:
    found: list[Any] = [value]
    for each in found:  # grows meanwhile
        if isinstance(
            each, type | types.FunctionType | types.BuiltinFunctionType | types.ModuleType
        ):
            continue
        found += [
            part
            for part in gc.get_referents(each)
            if not isinstance(part, type | types.ModuleType | Jar | Watched)
            and all(part is not known for known in found)
        ]
    return found


class Adding(Box):
    """Its ``__setstate__`` only adds."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)


def test_a_replay_sets_a_state_on_a_bare_object() -> None:
    slotted = SlottedBox()
    slotted.items = 1
    world = World(Box(one=Adding(a=1, b=2), two=slotted))
    del world.root.one.a, world.root.two.items
    back = world.killed()
    assert not hasattr(back.one, "a")
    assert not hasattr(back.two, "items")
    assert back.one.b == 2


def test_what_changes_while_a_commit_runs_is_in_the_next() -> None:
    class Last:
        def __del__(self) -> None:
            world.root.ended = True

    world = World(Box(ended=False, items=[]))
    world.commit()
    world.root._v_last = last = [Last()]

    class Dropping:
        def __reduce__(self) -> Any:
            last.clear()
            return int, (7,)

    world.root.items.append(Dropping())
    world.commit()
    assert world.root.ended
    assert world.killed().ended


def test_a_bound_method_of_a_plain_list() -> None:
    world = World(Box(inner=Box()))
    world.root.inner.items = [[]]
    world.root.add = world.root.inner.items.append
    back = world.killed()
    back.add(1)
    assert back.inner.items == [[], 1]


def test_a_copied_dict_has_no_volatile_attribute_in_the_state() -> None:
    world = World(Box(one=LockedBox(items=Plain(n=1), lock=object())))
    world.root.one._v_live = object()
    for number in range(3):
        world.root.one.items.n = number
        world.commit()
    assert not world.commit()
    assert sorted(world.killed().one.__getstate__()) == ["items"]
    assert sorted(vars(dump_free(world.tap).one)) == ["items"]


def dump_free(tap: bytes) -> Any:
    """Return the graph of a TAP, which belongs to no jar."""
    return load_graph(tap)


def test_a_key_that_can_be_hashed_no_more_breaks_no_commit() -> None:
    @dataclasses.dataclass
    class Unhashable(Box):
        n: int = 0

    key = Box(n=1)
    world = World(Box(key=key))
    world.root.by = {"k": [], (key, 1): []}
    key.__class__ = Unhashable
    world.commit()
    assert len(world.root.by) == 2


def test_a_load_leaves_a_durable_class_as_it_is() -> None:
    """Its states are set in C, without a method of ours for what has slots."""
    world = World(Box(inner=Box()))
    world.kill()
    assert type(world.root).__setstate__ is Persistent.__setstate__
