"""Class evolution: versions, renames, and stand-ins that lose nothing."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tapd.errors import LostObject, UpgradeRefused
from tapd.image.evolution import names
from tapd.image.evolution.versions import Broken, BrokenDurable, Restoration, register_rename
from tapd.image.pickling.pickler import StateLoader, StatePickler, dump_graph, load_graph
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict


def no_object(number: int) -> Any:
    """Resolve no number: there are no references."""
    raise AssertionError(number)


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """A module that the test fills with classes, and takes them from again."""
    made = types.ModuleType("evolving")
    made.__spec__ = __spec__
    sys.modules["evolving"] = made
    known = dict(names._renames)
    yield made
    sys.modules.pop("evolving", None)
    names._renames.clear()
    names._renames.update(known)
    names.broken_class.cache_clear()


def put(module: types.ModuleType, name: str, base: type = Persistent, **attributes: Any) -> Any:
    cls = type(name, (base,), {"__module__": module.__name__, "__qualname__": name, **attributes})
    setattr(module, name, cls)
    return cls


def test_older_state_is_upgraded_step_by_step(module: types.ModuleType) -> None:
    old = put(module, "Room")()
    old.title = "hall"
    data = dump_graph([old]).data
    steps: list[int] = []

    def step(number: int) -> Callable[[Any], None]:
        return lambda _self: steps.append(number)

    put(
        module, "Room", persistence_version=3,
        upgrade_to_version_2=step(2), upgrade_to_version_3=step(3),
    )  # fmt: skip
    new = load_graph(data)[0]
    assert steps == [2, 3]
    steps.clear()
    assert load_graph(dump_graph([new]).data)[0].title == "hall"
    assert steps == []


def test_an_upgrade_sees_the_state_of_other_objects(module: types.ModuleType) -> None:
    cls = put(module, "Room")
    one, two = cls(), cls()
    one.other, two.other = two, one
    one.n, two.n = 1, 2
    data = dump_graph(one).data

    def upgrade(self: Any) -> None:
        self.sum = self.n + self.other.n

    put(module, "Room", persistence_version=2, upgrade_to_version_2=upgrade)
    back = load_graph(data)
    assert (back.sum, back.other.sum) == (3, 3)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"persistence_version": 2}, "has no upgrade_to_version_2"),
        ({"persistence_version": 2, "upgrade_to_version_2": lambda _self: 1 / 0}, "ZeroDivision"),
    ],
)
def test_what_cannot_be_upgraded_is_refused(
    module: types.ModuleType, attributes: dict[str, Any], reason: str
) -> None:
    data = dump_graph([put(module, "Room")()]).data
    put(module, "Room", **attributes)
    with pytest.raises(UpgradeRefused, match=reason):
        load_graph(data)


def test_state_from_newer_code_is_refused(module: types.ModuleType) -> None:
    data = dump_graph([put(module, "Room", persistence_version=5)()]).data
    put(module, "Room", persistence_version=4)
    with pytest.raises(UpgradeRefused, match=r"version 5, the installed code has 4"):
        load_graph(data)


def test_upgrades_wait_for_the_journal(module: types.ModuleType) -> None:
    cls = put(module, "Room")
    room = cls()
    room._p_oid = 1
    room.n = 1
    data = dump_graph(room).data
    room.n = 2
    pickler = StatePickler(lambda obj: int(obj._p_oid))
    state = pickler.dump_object(room).data

    def upgrade(self: Any) -> None:
        self.doubled = self.n * 2

    put(module, "Room", persistence_version=2, upgrade_to_version_2=upgrade)
    restoration = Restoration()
    back = load_graph(data, restoration)
    assert not hasattr(back, "doubled")
    loader = StateLoader({1: back}.__getitem__, restoration)
    loader.restore(back, state)
    assert loader.finish() == 1
    assert back.doubled == 4
    assert restoration.finish() == 0
    again = pickler.dump_object(back).data
    fresh = back.__class__.__new__(back.__class__)
    loader.restore(fresh, again)
    assert loader.finish() == 0
    assert fresh.doubled == 4


def test_a_renamed_class_is_found(module: types.ModuleType) -> None:
    old = put(module, "Room")()
    old.n = 5
    data = dump_graph([old, type(old)]).data
    del module.Room
    new = put(module, "Chamber")
    register_rename("evolving:Room", "evolving:Hall")
    register_rename("evolving:Hall", "evolving:Chamber")
    back = load_graph(data)
    assert (type(back[0]), back[0].n, back[1]) == (new, 5, new)


def test_a_renamed_module_is_found(module: types.ModuleType) -> None:
    data = dump_graph([put(module, "Room")()]).data
    register_rename("evolving:*", "evolved:*")
    sys.modules["evolved"] = sys.modules.pop("evolving")
    try:
        assert type(load_graph(data)[0]) is module.Room
    finally:
        del sys.modules["evolved"]


def test_a_module_says_itself_what_it_renamed(
    module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dump_graph([put(module, "Guest")()]).data
    del sys.modules["evolving"]
    (tmp_path / "evolving.py").write_text(
        "from tapd.image.evolution.versions import register_rename\n"
        "from tapd.model.durable.persistent import Persistent\n"
        "register_rename('evolving:Guest', 'evolving:Person')\n"
        "class Person(Persistent): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert type(load_graph(data)[0]).__name__ == "Person"


@pytest.mark.parametrize("base", [object, Persistent])
def test_a_vanished_class_keeps_its_state_and_comes_back(
    module: types.ModuleType, base: type
) -> None:
    cls = put(module, "Room", base)
    room = cls()
    room.title = "hall"
    room.me = room
    graph: Any = TrackedDict({"room": room, "also": [room]})
    data = dump_graph(graph).data
    del module.Room
    lost = load_graph(data)
    assert isinstance(lost["room"], (Broken, BrokenDurable))
    assert lost["room"].broken_state["title"] == "hall"
    assert "evolving:Room" in repr(lost["room"])
    again = dump_graph(lost)
    assert again.losses == ()
    assert "evolving:Room" in again.globals
    names.broken_class.cache_clear()
    module.Room = cls  # type: ignore[attr-defined]  # a module of the test's own
    back = load_graph(again.data)
    assert type(back["room"]) is cls
    assert back["room"].title == "hall"
    assert back["room"].me is back["room"] is back["also"][0]


def test_a_vanished_durable_class_goes_through_the_journal(module: types.ModuleType) -> None:
    cls = put(module, "Room")
    room = cls()
    room.title = "hall"
    room._p_oid = 3
    data = dump_graph(room).data
    del module.Room
    lost = load_graph(data)
    assert lost._p_oid == 3
    pickler = StatePickler(lambda obj: int(obj._p_oid))
    reference, state = pickler.dump_class(type(lost)), pickler.dump_object(lost).data
    assert pickler.dump_state({"it": lost}).losses == ()
    module.Room = cls  # type: ignore[attr-defined]  # a module of the test's own
    names.broken_class.cache_clear()
    loader = StateLoader(no_object)
    found = loader.load_class(reference)
    assert found is cls
    back = found.__new__(found)
    loader.restore(back, state)
    assert back.title == "hall"


def test_a_vanished_container_keeps_its_items(module: types.ModuleType) -> None:
    listed, mapped = put(module, "L", list)([1, 2]), put(module, "M", dict)(a=1)
    listed.tag = "x"
    data = dump_graph([listed, mapped]).data
    held = module.L, module.M
    del module.L, module.M
    again = dump_graph(load_graph(data)).data
    names.broken_class.cache_clear()
    module.L, module.M = held  # type: ignore[attr-defined]  # a module of the test's own
    back = load_graph(again)
    assert back == [[1, 2], {"a": 1}]
    assert back[0].tag == "x"


def test_a_method_of_a_vanished_class_comes_back(module: types.ModuleType) -> None:
    cls = put(module, "Room", ring=lambda self: self.n)
    cls.ring.__qualname__, cls.ring.__module__, cls.ring.__name__ = "Room.ring", "evolving", "ring"
    room = cls()
    room.n = 5
    data = dump_graph([room.ring]).data
    del module.Room
    lost = load_graph(data)
    with pytest.raises(LostObject):
        lost[0]()
    again = dump_graph(lost)
    assert again.losses == ()
    names.broken_class.cache_clear()
    module.Room = cls  # type: ignore[attr-defined]  # a module of the test's own
    assert load_graph(again.data)[0]() == 5


def test_a_reloaded_class_goes_by_its_name(module: types.ModuleType) -> None:
    old = put(module, "Room")()
    old.n = 1
    new = put(module, "Room")
    dump = dump_graph([old])
    assert dump.losses == ()
    assert type(load_graph(dump.data)[0]) is new
