"""Two graphs are alike, or where they differ is named, for every kind of state there is."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import heapq
import io
import itertools
import math
import pathlib
import random
import re
import threading
import time
import types
import typing
import uuid
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from BTrees.IIBTree import IITreeSet
from BTrees.OOBTree import OOBTree

from tapd import Persistent
from tapd.image.evolution.names import broken_class
from tapd.image.likeness.differences import Difference
from tapd.image.likeness.graphs import Likeness
from tapd.image.loss import Placeholder
from tapd.image.typed import compile_typed
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.tracked import (
    TrackedBytearray,
    TrackedDeque,
    TrackedDict,
    TrackedList,
    TrackedSet,
)


def never(*_args: Any) -> Any:
    raise SystemExit("code of a class was run to compare its instances")


class Plain:
    a: Any
    partner: Any
    next: Any
    own: Any

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Hostile(Plain):
    """Its every hook ends the process."""

    __eq__ = __repr__ = __str__ = __getattr__ = __iter__ = __len__ = __bool__ = never

    def __hash__(self) -> int:
        return 1


class HostileList(list[Any]):
    __eq__ = __repr__ = __getattr__ = __iter__ = __len__ = __getitem__ = never


class HostileDict(dict[Any, Any]):
    __eq__ = __repr__ = __iter__ = __len__ = items = keys = __getitem__ = never


class Shadowed:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]  # as an author may
        return never()

    def __init__(self, value: Any) -> None:
        object.__setattr__(self, "value", value)


class Slotted:
    __slots__ = ("one", "two")

    def __init__(self, one: Any) -> None:
        self.one = one


class SlottedToo(Slotted):
    __slots__ = ("one", "three")

    def __init__(self, one: Any, other: Any) -> None:
        super().__init__(one)
        vars(Slotted)["one"].__set__(self, other)


class Thing(Persistent):
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class SlottedThing(Persistent):
    __slots__ = ("notes",)

    def __init__(self, notes: Any) -> None:
        self.notes = notes


class ListOf(list[Any]):
    pass


class DictOf(collections.OrderedDict[Any, Any]):
    pass


class Name(str):  # noqa: SLOT000 - it has a __dict__ by intent
    pass


class Count(int):
    pass


class Day(dt.date):
    pass


class Trouble(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__("trouble")
        self.code = code


class Stateful:
    def __init__(self, kept: Any, cache: Any) -> None:
        self.kept, self.cache = kept, cache

    def __getstate__(self) -> Any:
        return {"kept": self.kept}


class Reduced:
    def __init__(self, items: Any) -> None:
        self.items = items

    def __reduce__(self) -> Any:
        return Reduced, (self.items,)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: Any


@dataclasses.dataclass(slots=True)
class SlotPoint:
    x: Any


@dataclasses.dataclass(frozen=True)
class FrozenPoint:
    x: Any


class Pair(typing.NamedTuple):
    left: Any
    right: Any


def with_attribute(obj: Any, **attributes: Any) -> Any:
    obj.__dict__.update(attributes)
    return obj


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def closure(value: Any) -> Any:
    def inner(argument: Any = value) -> Any:
        return argument, value

    return inner


def seeded(number: int) -> random.Random:
    return random.Random(number)


def typed_function(text: str) -> Any:
    namespace = Namespace()
    code = compile_typed(text, namespace, "exec")
    assert code is not None
    exec(code, namespace.names)
    return namespace.names["f"], namespace


def oid(number: int, **attributes: Any) -> Thing:
    thing = Thing(**attributes)
    thing._p_oid = number
    return thing


nan = math.nan
NAIVE = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - it is state like any other
DIFFERENT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "int": (lambda: 1, lambda: 2),
    "bool and int": (lambda: True, lambda: 1),
    "int and float": (lambda: 1, lambda: 1.0),
    "zeros": (lambda: 0.0, lambda: -0.0),
    "nan": (lambda: nan, lambda: 1.0),
    "complex": (lambda: complex(0.0, nan), lambda: complex(-0.0, nan)),
    "str and bytes": (lambda: "a", lambda: b"a"),
    "none": (lambda: None, lambda: False),
    "ellipsis": (lambda: ..., lambda: None),
    "range": (lambda: range(2), lambda: range(3)),
    "slice": (lambda: slice(1), lambda: slice(2)),
    "list": (lambda: [1, 2], lambda: [1, 3]),
    "longer list": (lambda: [1], lambda: [1, 2]),
    "list and tuple": (lambda: [1], lambda: (1,)),
    "tuple": (lambda: (1, [2]), lambda: (1, [3])),
    "dict": (lambda: {"a": 1}, lambda: {"a": 2}),
    "key": (lambda: {"a": 1}, lambda: {"b": 1}),
    "key's type": (lambda: {1: 1}, lambda: {True: 1}),
    "order": (lambda: {"a": 1, "b": 2}, lambda: {"b": 2, "a": 1}),
    "tuple as key": (lambda: {(1, "a"): 1}, lambda: {(1, "b"): 1}),
    "nan as key": (lambda: {float("nan"): 1}, lambda: {float("nan"): 2}),
    "object as key": (lambda: {Plain(a=1): 1}, lambda: {Plain(a=2): 1}),
    "object as key, once more": (lambda: {Plain(a=1): 1}, lambda: {Plain(a=1): 1, Plain(a=1): 1}),
    "set": (lambda: {1, 2}, lambda: {1, 3}),
    "types in a set": (lambda: {1}, lambda: {1.0}),
    "objects in a set": (
        lambda: {Plain(a=each) for each in range(9)},
        lambda: {Plain(a=each or 7) for each in range(9)},
    ),
    "deep in a set": (
        lambda: {Plain(a=[[[[[[each]]]]]]) for each in range(9)},
        lambda: {Plain(a=[[[[[[each or 1]]]]]]) for each in range(9)},
    ),
    "frozenset": (lambda: frozenset({1}), lambda: frozenset({2})),
    "deque": (lambda: collections.deque([1]), lambda: collections.deque([2])),
    "maxlen": (lambda: collections.deque([1], 3), lambda: collections.deque([1], 4)),
    "bytearray": (lambda: bytearray(b"a"), lambda: bytearray(b"b")),
    "array": (lambda: array.array("i", [1]), lambda: array.array("i", [2])),
    "array's type": (lambda: array.array("i", [1]), lambda: array.array("l", [1])),
    "ordered": (
        lambda: collections.OrderedDict(a=1, b=2), lambda: collections.OrderedDict(b=2, a=1),
    ),
    "counter": (lambda: collections.Counter("aab"), lambda: collections.Counter("ab")),
    "factory": (lambda: collections.defaultdict(list), lambda: collections.defaultdict(dict)),
    "chain map": (lambda: collections.ChainMap({"a": 1}), lambda: collections.ChainMap({"a": 2})),
    "proxy": (
        lambda: types.MappingProxyType({"a": [1]}), lambda: types.MappingProxyType({"a": [2]}),
    ),
    "tracked": (lambda: TrackedList([1]), lambda: TrackedList([2])),
    "attribute": (lambda: Plain(a=1), lambda: Plain(a=2)),
    "attribute less": (lambda: Plain(a=1), Plain),
    "attribute more": (Plain, lambda: Plain(a=1)),
    "slot": (lambda: Slotted(1), lambda: Slotted(2)),
    "slot of a base": (lambda: SlottedToo(1, 2), lambda: SlottedToo(1, 3)),
    "shadowed dict": (lambda: Shadowed(1), lambda: Shadowed(2)),
    "hostile": (lambda: Hostile(a=1), lambda: Hostile(a=2)),
    "hostile list": (lambda: HostileList([1]), lambda: HostileList([2])),
    "hostile dict": (lambda: HostileDict(a=1), lambda: HostileDict(a=2)),
    "durable": (lambda: Thing(a=1), lambda: Thing(a=2)),
    "durable slot": (lambda: SlottedThing([1]), lambda: SlottedThing([2])),
    "number": (lambda: oid(1), lambda: oid(2)),
    "class": (Plain, Thing),
    "list's attribute": (
        lambda: with_attribute(ListOf([1]), x=1), lambda: with_attribute(ListOf([1]), x=2),
    ),
    "list's item": (lambda: ListOf([1]), lambda: ListOf([2])),
    "dict's order": (lambda: DictOf(a=1, b=2), lambda: DictOf(b=2, a=1)),
    "name": (lambda: Name("a"), lambda: Name("b")),
    "name's attribute": (
        lambda: with_attribute(Name("a"), x=1), lambda: with_attribute(Name("a"), x=2),
    ),
    "count": (lambda: Count(1), lambda: Count(2)),
    "day": (lambda: Day(2026, 1, 1), lambda: Day(2026, 1, 2)),
    "datetime": (lambda: NAIVE, lambda: NAIVE.replace(fold=1)),
    "time zone": (
        lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        lambda: dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    ),
    "delta": (lambda: dt.timedelta(1), lambda: dt.timedelta(2)),
    "decimal": (lambda: decimal.Decimal("1.0"), lambda: decimal.Decimal("1.00")),
    "fraction": (lambda: fractions.Fraction(1, 2), lambda: fractions.Fraction(1, 3)),
    "uuid": (lambda: uuid.UUID(int=1), lambda: uuid.UUID(int=2)),
    "path": (lambda: pathlib.PurePosixPath("a/b"), lambda: pathlib.PurePosixPath("a/c")),
    "pattern": (lambda: re.compile("x"), lambda: re.compile("x", re.IGNORECASE)),
    "exception": (lambda: ValueError(1), lambda: ValueError(2)),
    "exception's slot": (lambda: Trouble(1), lambda: Trouble(2)),
    "cause": (
        lambda: caused(ValueError(1), KeyError(1)), lambda: caused(ValueError(1), KeyError(2)),
    ),
    "errno": (lambda: OSError(2, "x", "a"), lambda: OSError(2, "x", "b")),
    "group": (
        lambda: ExceptionGroup("g", [ValueError(1)]), lambda: ExceptionGroup("g", [ValueError(2)]),
    ),
    "own state": (lambda: Stateful([1], 1), lambda: Stateful([2], 1)),
    "own reduction": (lambda: Reduced([1]), lambda: Reduced([2])),
    "enum": (lambda: Colour.RED, lambda: Colour.BLUE),
    "flag": (lambda: Rights.READ, lambda: Rights.READ | Rights.WRITE),
    "dataclass": (lambda: Point([1]), lambda: Point([2])),
    "slots dataclass": (lambda: SlotPoint([1]), lambda: SlotPoint([2])),
    "frozen dataclass": (lambda: FrozenPoint([1]), lambda: FrozenPoint([2])),
    "named tuple": (lambda: Pair(1, [2]), lambda: Pair(1, [3])),
    "tree": (lambda: OOBTree({"a": [1]}), lambda: OOBTree({"a": [2]})),
    "tree set": (lambda: IITreeSet([1]), lambda: IITreeSet([2])),
    "classes": (lambda: Plain, lambda: Thing),
    "functions": (lambda: never, lambda: closure),
    "closures": (lambda: closure([1]), lambda: closure([2])),
    "code": (
        lambda: typed_function("def f(a):\n return a + 1\n"),
        lambda: typed_function("def f(a):\n return a + 2\n"),
    ),
    "function's attribute": (
        lambda: with_attribute(closure(1), x=1), lambda: with_attribute(closure(1), x=2),
    ),
    "typed names": (
        lambda: typed_function("x = 1\ndef f(a):\n return x\n"),
        lambda: typed_function("x = 2\ndef f(a):\n return x\n"),
    ),
    "method": (lambda: Plain(a=1).__init__, lambda: Plain(a=2).__init__),  # type: ignore[misc]
    "builtin method": (lambda: [1].append, lambda: [2].append),
    "builtin": (lambda: len, lambda: max),
    "partial": (lambda: functools.partial(max, [1]), lambda: functools.partial(max, [2])),
    "partial's keyword": (
        lambda: functools.partial(max, key=1), lambda: functools.partial(max, key=2),
    ),
    "module": (lambda: re, lambda: io),
    "reference": (lambda: refer(Plain(a=1)), lambda: refer(Plain(a=2))),
    "random": (lambda: seeded(1), lambda: seeded(2)),
    "count from": (lambda: itertools.count(1), lambda: itertools.count(2)),
    "text buffer": (lambda: io.StringIO("a"), lambda: io.StringIO("b")),
    "iterator": (lambda: iter([1, 2]), lambda: iter([1, 3])),
    "alias": (lambda: type("list[int]", (), {}) and list[int], lambda: list[str]),
    "placeholder": (
        lambda: Placeholder("x", "lock", "why"), lambda: Placeholder("x", "socket", "why"),
    ),
    "broken": (lambda: broken(1), lambda: broken(2)),
}  # fmt: skip


def refer(obj: Any) -> Any:
    return [obj, weakref.ref(obj)][::-1]


def broken(value: Any) -> Any:
    cls = broken_class("nowhere", "Gone")
    stand_in = cls.__new__(cls)
    stand_in.__setstate__({"value": value})
    return stand_in


def difference(one: Any, other: Any, **options: Any) -> Difference | None:
    outcome = Likeness(**options).compare(one, other)
    assert outcome.is_whole
    return outcome.differences[0] if outcome.differences else None


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_is_made_twice_alike_is_alike_and_what_is_not_is_not(kind: str) -> None:
    for make in DIFFERENT[kind]:
        assert difference(make(), make()) is None
    one, other = DIFFERENT[kind]
    assert difference(one(), other()) is not None
    assert difference(other(), one()) is not None
    assert difference([one()], [other()]) is not None
    assert difference({"a": Plain(x=one())}, {"a": Plain(x=other())}) is not None
    assert difference(Thing(x=(one(),)), Thing(x=(other(),))) is not None


@pytest.mark.parametrize(
    ("plain", "tracked"),
    [
        (lambda: [[1]], TrackedList), (lambda: {"a": [1]}, TrackedDict), (lambda: {1}, TrackedSet),
        (lambda: bytearray(b"a"), TrackedBytearray),
        (lambda: collections.deque([1], 3), lambda it: TrackedDeque(it, it.maxlen)),
    ],
)  # fmt: skip
def test_a_tracked_container_is_alike_to_the_plain_one(plain: Any, tracked: Any) -> None:
    assert difference(plain(), tracked(plain())) is None
    assert difference(tracked(plain()), plain()) is None


MADE: dict[str, Callable[[], Any]] = {
    "list": list, "dict": dict, "set": set, "tracked": TrackedList, "deque": collections.deque,
    "bytearray": bytearray, "plain": Plain, "durable": Thing, "slots": lambda: Slotted(1),
    "dataclass": lambda: Point(1), "list's class": ListOf, "named": lambda: Name("a"),
    "object": object, "lock": threading.Lock, "closure": lambda: closure(1), "tree": OOBTree,
    "partial": lambda: functools.partial(max), "exception": ValueError, "own state":
    lambda: Stateful(1, 2), "array": lambda: array.array("i"), "count": itertools.count,
    "ordered": collections.OrderedDict, "enum with eq": lambda: Hostile(a=1),
}  # fmt: skip


@pytest.mark.parametrize("kind", MADE)
def test_one_object_is_not_two(kind: str) -> None:
    make = MADE[kind]
    shared, a, b = make(), make(), make()
    one, two = Thing(a=shared, b=[shared]), Thing(a=a, b=[b])
    for first, second, is_one in ((one, two, True), (two, one, False)):
        found = difference(first, second)
        assert found is not None
        assert {found.path, found.other_path} == {"a", "b[0]"}
        assert found.is_one == is_one
        assert found.owner == "Thing"
    assert difference(one, Thing(a=a, b=[a])) is None
    assert difference(two, two) is None


@pytest.mark.parametrize(
    "value",
    [
        1, 1.5, 1j, "a" * 50, b"a" * 50, None, (1, ("a",)), frozenset({1}), range(3), slice(1),
        NAIVE, dt.timedelta(5), decimal.Decimal(7), fractions.Fraction(1, 7),
        uuid.UUID(int=3), pathlib.PurePosixPath("a/b"), re.compile("z"), Colour.RED, Pair(1, 2),
        FrozenPoint(1), Plain, len, re, Plain().__init__, list[int],  # type: ignore[misc]
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_of_values_nobody_promises_identity(value: Any) -> None:
    copies = [value if value is re else copy.copy(value) for _ in range(2)]
    if type(value) is tuple:
        copies = [(1, ("a",)), (int("1"), ("a",))]
    assert difference([value, value], copies) is None
    assert difference(copies, [value, value]) is None


def test_a_set_of_objects_is_matched_by_what_they_hold_and_what_holds_them() -> None:
    def graph(*, crossed: bool = False) -> Any:
        members = [Plain(a=1) for _ in range(20)]
        for at, each in enumerate(members):
            each.partner = members[(at + 1) % 20]
        first, second = members[:2] if not crossed else members[:3:2]
        return {"set": set(members), "keys": {each: each.a for each in members[::-1]},
                "first": first, "second": second}  # fmt: skip

    assert difference(graph(), graph()) is None
    assert difference(graph(), graph(crossed=True)) is not None


def test_members_that_only_their_friends_tell_apart_are_tried() -> None:
    def graph(turn: int) -> Any:
        return {Plain(a=[[[[[(each + turn) % 7]]]]]) for each in range(7)}

    for _ in range(20):
        assert difference([graph(0)], [graph(3)]) is None


@pytest.mark.parametrize("size", [1_000_000])
def test_a_chain_of_a_million_needs_no_stack(size: int) -> None:
    def chain() -> Any:
        link: Any = None
        for number in range(size):
            link = [number, link]
        return link

    one, other = chain(), chain()
    outcome = Likeness().compare(one, other)
    assert outcome.differences == ()
    assert outcome.objects == size
    for link in (one, other):  # else to free it needs the stack
        rest = link
        while rest is not None:
            rest[1], rest = None, rest[1]


def test_cycles_end() -> None:
    def ring() -> Any:
        first = Plain()
        first.next = Plain(next=first, all=[first])
        first.own = (first, {first})
        return first

    assert difference(ring(), ring()) is None


def test_tuples_of_tuples_are_looked_at_once() -> None:
    def doubled() -> Any:
        value: Any = ([],)
        for _ in range(60):
            value = (value, value)
        return value

    assert Likeness().compare(doubled(), doubled()).objects < 1000


def test_what_is_volatile_or_stands_in_for_a_loss_is_no_difference() -> None:
    assert difference(Thing(a=1, _v_x=1), Thing(a=1, _v_x=2)) is None
    assert difference(Plain(_v_x=1), Plain(_v_x=2)) is not None
    lost = Placeholder("x", "lock", "why")
    lost_lock = Placeholder("x", "_thread.lock", "why")
    assert difference([lost_lock], [threading.Lock()]) is None
    assert difference([lost], [Plain()]) is not None
    taken = threading.Lock()
    taken.acquire()
    assert difference([taken], [threading.Lock()]) is None
    assert difference(Stateful(1, cache=1), Stateful(1, cache=2)) is None


def test_a_class_that_cannot_say_its_state_costs_only_its_own_instances() -> None:
    class Bad:
        def __getstate__(self) -> Any:
            raise KeyboardInterrupt

    found = Likeness().compare([Bad(), 1], [Bad(), 2]).differences
    assert [each.path for each in found] == ["[1]"]


@pytest.mark.parametrize(
    ("change", "path", "one", "other"),
    [
        (lambda r: r.rooms["lobby"].members[3].notes.append(1),
         "rooms['lobby'].members[3].notes[0]", "missing", "1"),
        (lambda r: r.rooms["lobby"].members.pop(), "rooms['lobby'].members[3]",
         "Plain(notes=[])", "missing"),
        (lambda r: r.rooms.update(x=Plain(a=1)), "rooms['x']", "missing", "Plain(a=1)"),
        (lambda r: r.rooms.update({(1, "a"): 1}), "rooms[<tuple>]", "missing", "1"),
        (lambda r: r.seen.add(2), "seen.<item 2>", "missing", "2"),
        (lambda r: r.tree.update({"b": 2}), "tree['b']", "missing", "2"),
        (lambda r: heapq.heappush(r.heap, 0), "heap[0]", "1", "0"),
        (lambda r: setattr(r, "text", "y" * 9999), "text", None, None),
    ],
)  # fmt: skip
def test_a_difference_has_its_path(
    change: Any, path: str, one: str | None, other: str | None
) -> None:
    def graph() -> Any:
        members = [Plain(notes=[]) for _ in range(4)]
        return Thing(
            rooms={"lobby": Thing(members=members)}, seen={1}, tree=OOBTree({"a": 1}), heap=[1, 2],
            text="x" * 9999,
        )  # fmt: skip

    changed = graph()
    change(changed)
    found = difference(graph(), changed)
    assert found is not None
    assert found.path == path
    assert one is None or (found.one, found.other) == (one, other)
    assert len(found.one) < 200
    back = difference(changed, graph())
    assert back is not None
    assert (back.path, back.one, back.other) == (path, found.other, found.one)


def test_it_keeps_to_its_budgets_and_says_so() -> None:
    one, other = [[each] for each in range(5000)], [[each] for each in range(5000)]
    outcome = Likeness(objects_max=100).compare(one, other)
    assert (outcome.objects, outcome.is_whole) == (100, False)
    outcome = Likeness(deadline_s=time.monotonic() - 1).compare(one, other)
    assert not outcome.is_whole
    assert 0 < outcome.objects < 5000


def test_a_part_may_be_compared_by_itself() -> None:
    one, other = (Thing(a=Thing(b=[1], c=Thing(d=2))) for _ in range(2))
    other.a.c.d = 3
    other.a.b.append(2)
    outcome = Likeness(descends=lambda _obj: False, differences_max=9).compare_pairs(
        [("first", one.a, other.a)]
    )
    assert [each.path for each in outcome.differences] == ["first.b[1]"]


def test_as_many_differences_are_told_as_are_wanted() -> None:
    one, other = [[each] for each in range(9)], [[each + 1] for each in range(9)]
    found = Likeness(differences_max=3).compare(one, other).differences
    assert [each.path for each in found] == ["[0][0]", "[1][0]", "[2][0]"]


def test_a_million_objects_take_seconds() -> None:
    """A generous bound: what it guards against is a factor, not a few per cent."""

    def graph() -> Any:
        return [Plain(n=each, s=str(each), l=[each]) for each in range(100_000)]

    one, other = graph(), graph()
    started_s = time.process_time()
    assert Likeness().compare(one, other).objects == 200_001
    assert time.process_time() - started_s < 4
