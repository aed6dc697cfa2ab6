"""A plain object in the states of two durable ones: told once, with both places."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest
from BTrees.OOBTree import OOBTree

from tapd.errors import UntrackedChange
from tapd.image.jar import Jar
from tapd.image.strict import StrictJar
from tapd.model.namespace import Namespace
from tapd.model.persistent import Persistent


class Plain:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Slotted:
    __slots__ = ("value",)


@dataclasses.dataclass(frozen=True)
class Frozen:
    held: Any


class Holder(Persistent):
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Recording(Jar):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def tell_shared(self, explanation: str) -> None:
        self.told.append(explanation)


SHARED: list[Callable[[], Any]] = [
    Plain, Slotted, list, dict, set, bytearray, collections.OrderedDict,
    lambda: collections.defaultdict(list), asyncio.Lock,
]  # fmt: skip


@pytest.mark.parametrize("make", SHARED)
@pytest.mark.parametrize("around", [lambda it: Plain(it=it), lambda it: Frozen((1, it))])
def test_what_two_hold_is_told_with_both_places(
    make: Callable[[], Any], around: Callable[[Any], Any]
) -> None:
    shared = make()
    root = Holder(one=Holder(a=around(shared)), other=Holder(b=around(shared)))
    jar = Recording()
    jar.adopt(root)
    jar.commit()
    assert len(jar.told) == 1
    assert "holder.one.a." in jar.told[0]
    assert "holder.other.b." in jar.told[0]
    assert type(shared).__qualname__ in jar.told[0]
    assert "tapd.Persistent" in jar.told[0]
    root.one.a = root.other.b = 1
    jar.commit()
    assert not jar._sharing._held
    assert not jar._sharing._holders


def test_it_is_told_when_it_begins_and_once() -> None:
    root = Holder(one=Holder(), others=[Holder() for _ in range(5)])
    jar = Recording()
    jar.adopt(root)
    shared: Any = Plain(n=[1])
    root.one.shared = shared
    jar.commit()
    assert not jar.told
    for other in root.others:
        other.shared = shared
        jar.commit()
        shared.n.append(1)
        jar.commit()
    assert len(jar.told) == 1
    assert "derive Plain from tapd.Persistent" in jar.told[0]


def test_what_a_plain_object_takes_up_later_is_seen() -> None:
    root = Holder(one=Holder(mine=Plain()), other=Holder(its=Plain(child=Plain())))
    jar = Recording()
    jar.adopt(root)
    jar.commit()
    assert not jar.told
    root.one.mine.found = root.other.its.child
    jar.commit()
    assert len(jar.told) == 1


def test_holders_of_all_kinds() -> None:
    for make in (
        lambda it: {"a": it},
        lambda it: [it],
        lambda it: collections.deque([it]),
        lambda it: (1, (it,)),
        lambda it: it.__init__,
    ):
        shared = Plain()
        jar = Recording()
        jar.adopt(Holder(one=Holder(x=make(shared)), other=make(shared)))
        assert len(jar.told) == 1, make(shared)
    namespace = Namespace()
    namespace.names["p"] = shared = Plain()
    jar = Recording()
    jar.adopt(Holder(namespace=namespace, other=[shared]))
    assert "names['p']" in jar.told[0]
    jar = Recording()
    jar.adopt(Holder(tree=OOBTree({1: shared}), other=[shared]))
    assert len(jar.told) == 1


def test_what_may_be_in_two_places_is_not_told() -> None:
    durable, text, pair = Holder(), "a" * 1000, (1, "b")
    both = {"a": durable, "b": text, "c": pair, "d": Plain, "e": Frozen(1), "f": len, "g": logging}
    root = Holder(one=Holder(**both), other=Holder(**both), plain=Plain(**both), more=Plain(**both))
    jar = Recording()
    jar.adopt(root)
    jar.commit()
    assert not jar.told


def test_within_one_holder_it_stays_one() -> None:
    shared = Plain()
    jar = Recording()
    jar.adopt(Holder(a=Plain(it=shared), b=Plain(it=shared)))
    assert not jar.told


def test_an_id_that_is_given_again_is_no_finding() -> None:
    root = Holder(one=Holder(), other=Holder())
    jar = Recording()
    jar.adopt(root)
    for _ in range(200):
        root.one.x = Plain()
        jar.commit()
        root.one = None
        root.other.x = Plain()
        jar.commit()
        root.one = Holder()
    assert not jar.told
    del root.one, root.other
    gc.collect()
    jar.commit()
    assert not jar._sharing._held
    assert not jar._sharing._holders


def test_the_log_tells(caplog: pytest.LogCaptureFixture) -> None:
    shared = Plain()
    jar = Jar()
    with caplog.at_level(logging.WARNING):
        jar.adopt(Holder(one=Holder(x=shared), other=Holder(x=shared)))
        jar.commit()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "would be two after a kill" in caplog.text


def test_strict_mode_fails_on_it() -> None:
    root = Holder(one=Holder(), other=Holder())
    jar = StrictJar()
    jar.adopt(root)
    root.one.x = shared = Plain()
    jar.commit()
    root.other.x = shared
    with pytest.raises(UntrackedChange, match=r"one\.x and .*other\.x are one Plain"):
        jar.commit()
