"""What was typed and can't take its state at a load is kept as it was, and told by its path."""

# The texts are data, laid out as they are typed.

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from portrait import differences, portrait_of
from typed_kinds import type_into
from typed_ways import FORMS, application_of, namespaces_of

from tapd.errors import LostObject
from tapd.image.evolution.stand_ins import is_stand_in
from tapd.image.pickling.pickler import Restoration, dump_graph, load_graph
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.image.unfit import Kept
from tapd.model.application import Application

SETS = """
    def __getstate__(self):
        return {"a": self.a}
    def __setstate__(self, state):
        self.a = None
        shelf_of_a_test.open()
        self.a = state["a"]
"""
KINDS = {
    "plain": "class C:" + SETS + "c = C()\nc.a = [1]\n",
    "slots": "class C:\n    __slots__ = 'a',\n" + SETS + "c = C()\nc.a = [1]\n",
    "list": "class C(list):" + SETS + "c = C([1, 2])\nc.a = [1]\n",
    "dict": "class C(dict):" + SETS + "c = C(x=1)\nc.a = [1]\n",
    "set": "class C(set):" + SETS + "c = C({1, 2})\nc.a = [1]\n",
    "deque": "import collections\nclass C(collections.deque):" + SETS
             + "c = C([1, 2], 5)\nc.a = [1]\n",
    "ordered": "import collections\nclass C(collections.OrderedDict):" + SETS
               + "c = C(x=1, y=2)\nc.move_to_end('x')\nc.a = [1]\n",
    "int": "class C(int):" + SETS + "c = C(7)\nc.a = [1]\n",
    "exception": "class C(Exception):" + SETS + "c = C('a', 2)\nc.a = [1]\n",
    "new": "class C:\n    def __new__(cls, b):\n        self = object.__new__(cls)\n"
           "        self.b = b\n        return self\n"
           "    def __getnewargs__(self):\n        return self.b,\n" + SETS
           + "c = C(3)\nc.a = [1]\n",
    "new without": "class C:\n    def __new__(cls, b):\n        return object.__new__(cls)\n"
                   + SETS + "c = C(3)\nc.a = [1]\n",
    "reduced": "class C:\n    def __init__(self, b):\n        self.b = b\n"
               "    def __reduce__(self):\n"
               "        return C, (self.b,), self.__getstate__()\n" + SETS
               + "c = C(3)\nc.a = [1]\n",
    "durable": "from tapd.model.durable.persistent import Persistent\nclass C(Persistent):" + SETS
               + "c = C()\nc.a = [1]\n",
    "durable version": "from tapd import Persistent\nclass C(Persistent):\n"
                       "    persistence_version = 3\n" + SETS + "c = C()\nc.a = [1]\n",
}  # fmt: skip


class Shelf:
    """What the ``__setstate__`` asks for: it is there, or not."""

    is_there = True

    def open(self) -> None:
        if not self.is_there:
            raise SystemExit("no shelf")


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    name = "shelf_of_a_test"
    made = Shelf()
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(__spec__=__spec__, open=made.open)
    yield made
    del sys.modules[name]


def start(data: bytes, journal: list[Any]) -> tuple[Application, Kept]:
    """Return what a TAP and a journal give, and what of it is kept."""
    restoration = Restoration()
    loaded = load_graph(data, restoration)
    jar = Jar()
    replay = Replay(jar.adopt(loaded, restoration.durables), restoration, jar)
    for changes in journal:
        replay.apply(changes)
    replay.finish()
    return loaded, Kept(loaded, restoration.stand_ins, look_everywhere=True)


@pytest.mark.parametrize("in_journal", [False, True], ids=["tap", "journal"])
@pytest.mark.parametrize("form", ["usual", "salvage"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_typed_class_does_not_take_is_kept_and_told(
    kind: str, form: str, in_journal: bool, shelf: Shelf
) -> None:
    application = application_of({"it": "import shelf_of_a_test\n"})
    namespace = namespaces_of(application)["it"]
    names = namespace.names
    jar = Jar()
    if in_journal:
        jar.adopt(application)
        data = dump_graph(application).data
    type_into(namespace, KINDS[kind])
    names |= {"held": [names["c"], (names["c"],)], "beside": FORMS[form]()}
    journal = []
    if in_journal:
        namespace.touch()
        journal = [jar.commit()]
    else:
        data = dump_graph(application).data
    before = portrait_of(names)
    shelf.is_there = False
    broken, kept = start(data, journal)
    found = namespaces_of(broken)["it"].names
    assert is_stand_in(found["c"])
    assert found["held"] == [found["c"], (found["c"],)]
    [loss] = [loss for loss in kept.losses() if "C" in loss.type_name]
    assert loss.path.startswith("application.services['it'].namespace")
    assert "no shelf" in loss.reason
    assert "C" in repr(found["c"])
    with pytest.raises(LostObject, match="fix the class"):
        found["c"].a  # noqa: B018
    again = dump_graph(broken).data
    twice, _kept = start(again, [])
    for each in (again, dump_graph(twice).data):
        shelf.is_there = True
        mended, kept = start(each, [])
        assert [loss for loss in kept.losses() if "C" in loss.type_name] == []
        names = namespaces_of(mended)["it"].names
        assert names["c"].a == [1]
        assert names["held"] == [names["c"], (names["c"],)]
        if form == "usual" and "durable" not in kind:
            assert differences(before, portrait_of(names)) == []
