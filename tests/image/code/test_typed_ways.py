"""Typed code comes back as it was by every way of saving and loading; so do the zoo's animals."""

# The texts are data, laid out as they are typed.
# ruff: noqa: ISC004

from __future__ import annotations

import contextlib
import logging
import pathlib
import subprocess
import sys
from typing import Any

import kept_page
import pytest
import typed_kinds
from other_pythons import ENVIRONMENT
from portrait import differences, portrait_of
from typed_kinds import Prompt, holds, kinds_here
from typed_ways import FORMS, WAYS, application_of, by_jar, is_costly, namespaces_of, sent

from tapd.image.pickling.pickler import StateLoader, StatePickler, dump_graph, load_graph
from tapd.model.durable.namespace import Namespace


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


COMBINED = [
    *((form, way) for form in FORMS for way in ("tap", "jar")),
    *(("usual", way) for way in WAYS if way not in ("tap", "jar")),
]


@pytest.mark.parametrize(("form", "way"), COMBINED)
def test_every_kind_is_the_same_by_every_way(form: str, way: str) -> None:
    texts = {kind: text for kind, (text, _check) in kinds_here().items()}
    if is_costly(form, way):
        texts = {kind: texts[kind] for kind in list(texts)[::8]}
    application = application_of(texts)
    before = {kind: portrait_of(each.names) for kind, each in namespaces_of(application).items()}
    loaded = sent(application, form, way)
    after = namespaces_of(loaded)
    assert after.keys() == before.keys()
    found = {kind: differences(before[kind], portrait_of(after[kind].names)) for kind in before}
    assert {kind: told[:3] for kind, told in found.items() if told} == {}
    wrong = [kind for kind, each in after.items() if not holds(kind, each.names)]
    assert wrong == []


@pytest.mark.parametrize("form", ["usual", "flat", "deep"])
def test_the_forms_are_what_they_say(form: str) -> None:
    data = dump_graph({"beside": FORMS[form]()}).data
    assert (b"finish_nested_graph" in data) == (form == "deep")
    assert (b"set_plain" in data) == (form == "flat")


def test_it_lives_in_another_process(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "saved"
    for mode in ("save", "check"):
        command = [sys.executable, typed_kinds.__file__, mode, str(path)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


CHANGES = {
    "an attribute of a class is deleted": ("class C:\n    x = y = 1\n", "del C.x\n"),
    "an attribute of a function is deleted": ("def f(): ...\nf.x = 1\n", "del f.x\n"),
    "a method is replaced": (
        "class C:\n    def f(self): return 1\nc = C()\n", "C.f = lambda self: 2\n",
    ),
    "a class gets other bases and names": (
        "class A: ...\nclass B: ...\nclass C(A): ...\nc = C()\n",
        "C.__bases__ = (B,)\nC.__name__ = 'D'\nC.__qualname__ = 'deep.D'\n",
    ),
    "a flag's members are combined": (
        "import enum\nclass F(enum.Flag):\n    A = 1\n    B = 2\n    C = 4\nx = F.A | F.B\n",
        "y = F.B | F.C\ny.note = [x]\n",
    ),
    "an enum's member gets an attribute": (
        "import enum\nclass E(enum.Enum):\n    A = 1\n", "E.A.note = [E.A]\n",
    ),
    "a closure is made that shares a cell with an older one": (
        "def make():\n"
        "    n = 0\n"
        "    def up():\n        nonlocal n\n        n += 1\n"
        "    def more():\n        def now(): return n\n        return now\n"
        "    return up, more\n"
        "up, more = make()\nup()\n",
        "now = more()\nup()\n",
    ),
    "a dataclass's default is changed": (
        "from dataclasses import dataclass\n@dataclass\nclass D:\n    x: int = 1\n", "D.x = 5\n",
    ),
    "a class is registered": (
        "import abc\nclass A(abc.ABC): ...\nclass B: ...\n", "A.register(B)\n",
    ),
    "a class is derived": (
        "class Base:\n    kinds = []\n    def __init_subclass__(cls): Base.kinds.append(cls)\n",
        "class C(Base): ...\nBase.kinds.append(None)\n",
    ),
    "a submodule is imported": ("import xml\n", "import xml.sax.saxutils\n"),
    "a function is made by exec": ("x = 1\n", "exec('def f(): return x')\n"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("form", ["usual", "deep", "salvage"])
def test_what_a_turn_changes_is_replayed(change: str, form: str) -> None:
    first, then = CHANGES[change]
    application = application_of({change: first})
    namespace = namespaces_of(application)[change]
    namespace.names["_beside_"] = FORMS[form]()
    loaded = by_jar(application, lambda: typed_kinds.type_into(namespace, then))
    again = namespaces_of(loaded)[change]
    del namespace.names["_beside_"], again.names["_beside_"]
    assert differences(portrait_of(namespace.names), portrait_of(again.names)) == []


def test_cells_stay_shared_where_a_state_fails_beside_them() -> None:
    """The second reading once took functions from the first, with cells that no other had."""
    prompt = Prompt()
    prompt.run(
        "def make():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n"
        "    def now(): return n\n    return up, now\nup, now = make()\n"
    )
    names = prompt.namespace.names
    names["between"], names["after"] = FORMS["salvage"](), names.pop("now")
    data = StatePickler(lambda _obj: 7).dump_object(prompt.namespace).data
    namespace = Namespace.__new__(Namespace)
    StateLoader(lambda _oid: namespace).restore(namespace, data)
    namespace.names["up"]()
    assert namespace.names["after"]() == 1


@pytest.mark.parametrize("form", FORMS)
def test_the_zoo_is_the_same_by_every_way(form: str) -> None:
    zoo = kept_page.load_zoo()
    with contextlib.ExitStack() as stack:
        values: dict[str, Any] = {kind: make(stack) for kind, (make, _) in zoo.KEPT.items()}
        data = dump_graph({"animals": values, "again": dict(values), "beside": FORMS[form]()}).data
        loaded = load_graph(data)
    for kind, value in loaded["animals"].items():
        assert zoo.KEPT[kind][1](value), kind
        assert type(value) in _COPIED or loaded["again"][kind] is value


_COPIED = (int, float, complex)
"""What pickle writes anew wherever it is met."""
