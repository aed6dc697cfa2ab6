"""No hook of an author costs more than its own object, when it runs while state is loaded.

Each hook, by each thing that may be raised, in each phase: a TAP that is loaded, an
object that a journal brings, one that it changes, and what adopts them all.
"""

# The table's texts are laid out as code is.

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evolving import Evolving, differences, evolving
from load_hooks import AT_SAVE, HOOKS, USUAL, fill, lives, with_hook

from tapd.errors import LostObject, UpgradeRefused
from tapd.image.evolution.stand_ins import is_stand_in

RAISED = (
    "ValueError('no')", "SystemExit(3)", "KeyboardInterrupt", "asyncio.CancelledError",
    "GeneratorExit", "RecursionError", "BaseException",
)  # fmt: skip


@pytest.fixture(scope="module")
def module() -> Iterator[Evolving]:
    with evolving() as made:
        yield made


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("base", ["Persistent", "object"])
@pytest.mark.parametrize("hook", HOOKS)
def test_it_costs_its_own_object(module: Evolving, hook: str, base: str) -> None:
    usual = USUAL.format(base=base)
    for phase, first in lives(module, usual).items():
        saved = first.save()
        for error in RAISED:
            module.install(with_hook(base, hook, error))
            second = module.start(first.tap, first.journal)
            root, where = second.root, (phase, error)
            assert (root.before, root.after) == ("before", "after"), where
            assert root.inside[0] is root.one is root.held.it is root.inside[1]["it"], where
            assert list(root.keys.values()) == [1, 2], where
            if is_stand_in(root.one):
                assert [loss.path for loss in second.kept.losses()] == ["root.one"], where
                with pytest.raises(LostObject):
                    _ = root.one.a
            if hook not in AT_SAVE or is_stand_in(root.one):
                second.commit()
                again = second.save()
                module.install(usual)
                back = module.start(again, [])
                assert differences(saved, back.save()) == [], where
                assert not back.kept.losses(), where
        del second, root
        gc.collect()


LOCKED = """
import threading
class T(Persistent):
    def __init__(self):
        self.a, self.lock = 1, threading.Lock()
    def __getstate__(self):
        state = self.__dict__.copy()
        del state["lock"]
        return state
"""
RENEWING = """
    def __setstate__(self, state):
        super().__setstate__(state)
        self.lock = threading.Lock()
"""


@pytest.mark.parametrize("text", [LOCKED, LOCKED + RENEWING], ids=["left out", "made anew"])
def test_a_state_without_its_lock(module: Evolving, text: str) -> None:
    """The most usual ``__getstate__`` there is: each start succeeds, and its state is kept."""
    for in_journal in (False, True):
        module.install(text)
        life = module.begin(lambda root: setattr(root, "it", module.evaluate("T()")),
                            in_journal=in_journal)  # fmt: skip
        for count in range(3):
            life = module.start(life.tap, life.journal)
            assert life.root.it.a == 1
            life.root.count = count
            life.commit()
            if "super" in text:
                life.root.it.a = 1
                life.commit()
        life = module.start(life.save(), [])
        assert life.root.count == 2
        assert life.root.it.a == 1


ATTRS = {
    "slots": "@attr.define\nclass T(Persistent):\n    a: int\n    b: list = attr.Factory(list)\n",
    "no slots": "@attr.define(slots=False)\nclass T(Persistent):\n    a: int\n"
    "    b: list = attr.Factory(list)\n",
    "inherited": "@attr.define\nclass S(Persistent):\n    a: int\n@attr.define\nclass T(S):\n"
    "    b: list = attr.Factory(list)\n",
    "by identity": "@attr.define(eq=False)\nclass T(Persistent):\n    a: int\n"
    "    b: list = attr.Factory(list)\n",
}


@pytest.mark.parametrize("text", ATTRS.values(), ids=ATTRS)
def test_attrs_on_a_durable_class(module: Evolving, text: str) -> None:
    for in_journal in (False, True):
        module.install(text)
        life = module.begin(lambda root: setattr(root, "it", module.evaluate("T(1, [2])")),
                            in_journal=in_journal)  # fmt: skip
        for count in range(3):
            life = module.start(life.tap, life.journal)
            it = life.root.it
            assert (it.a, list(it.b)) == (count + 1, [2, *range(count)])
            it.a += 1
            it.b.append(count)
            life.commit()
        life = module.start(life.save(), [])
        assert (life.root.it.a, list(life.root.it.b)) == (4, [2, 0, 1, 2])
        assert not life.kept.losses()


NEW = {
    "with __getnewargs__": " def __getnewargs__(self): return self.a,",
    "without": "",
}


@pytest.mark.parametrize("more", NEW.values(), ids=NEW)
def test_a_new_that_wants_arguments(module: Evolving, more: str) -> None:
    """It is not run: what it did is part of the state."""
    text = (
        "class T(Persistent):\n made = 0\n def __new__(cls, a):\n  T.made += 1\n"
        f"  self = super().__new__(cls)\n  self.a = a\n  return self\n{more}\n"
    )
    for in_journal in (False, True):
        module.install(text)
        life = module.begin(
            lambda root: setattr(root, "all", [module.evaluate("T(1)"), module.evaluate("T(2)")]),
            in_journal=in_journal,
        )
        made = module.evaluate("T.made")
        for _ in range(2):
            life = module.start(life.tap, life.journal)
            assert [each.a for each in life.root.all] == [1, 2]
            life.root.all[0].b = 1
            life.commit()
        life = module.start(life.save(), [])
        assert [each.a for each in life.root.all] == [1, 2]
        assert module.evaluate("T.made") == made


def test_a_state_that_looks_at_what_was_lost(module: Evolving, tmp_path: Path) -> None:
    """An open file is lost; a ``__setstate__`` that uses it fails, in a TAP and a journal alike."""
    module.install(
        "class T(Persistent):\n"
        " def __setstate__(self, state):\n"
        "  super().__setstate__(state)\n"
        "  self.name = self.file.name\n"
    )

    def make(root: Any) -> None:
        root.it = module.evaluate("T()")
        root.it.a = 1
        root.it.file = (tmp_path / "x").open("w")
        root.file = root.it.file

    for in_journal in (False, True):
        first = module.begin(make, in_journal=in_journal)
        second = module.start(first.tap, first.journal)
        [loss] = second.kept.losses()
        assert (loss.path, loss.type_name) == ("root.it", "evolving_home.T")
        assert "LostObject" in loss.reason
        first.root.file.close()


@pytest.mark.parametrize("error", RAISED)
def test_an_upgrade_that_raises_is_refused(module: Evolving, error: str) -> None:
    text = "class T(Persistent):\n def __init__(self): self.a = 1\n"
    for in_journal in (False, True):
        module.install(text)
        first = module.begin(lambda root: setattr(root, "it", module.evaluate("T()")),
                             in_journal=in_journal)  # fmt: skip
        module.install(
            f"{text} persistence_version = 2\n def upgrade_to_version_2(self): raise {error}\n"
        )
        with pytest.raises(UpgradeRefused, match="upgrade_to_version_2 failed"):
            module.start(first.tap, first.journal)


def test_a_module_that_ends_the_process_when_it_is_imported(module: Evolving) -> None:
    module.install(USUAL.format(base="Persistent"))
    first = module.begin(lambda root: fill(root, module), in_journal=False)
    with pytest.raises(SystemExit):
        module.install("sys.exit(3)")
    second = module.start(first.tap, [])
    assert is_stand_in(second.root.one)
    assert second.root.after == "after"


def test_the_version_of_a_state_is_kept_with_it(module: Evolving) -> None:
    """Else an upgrade would run on what was upgraded already."""
    text = "class T(Persistent):\n persistence_version = 3\n def __init__(self): self.a = 1\n"
    raising = f"{text} def __setstate__(self, state): raise ValueError\n"
    for other in ("", raising, "T = 5"):
        for in_journal in (False, True):
            module.install(text)
            first = module.begin(lambda root: setattr(root, "it", module.evaluate("T()")),
                                 in_journal=in_journal)  # fmt: skip
            saved = first.save()
            module.install(other)
            second = module.start(first.tap, first.journal)
            second.root.it._p_changed = True
            second.root.more = 1
            second.commit()
            del second.root.more
            module.install(text)  # it has no upgrade_to_version_2
            assert differences(saved, module.start(second.save(), []).save()) == []
            back = module.start(second.tap, second.journal)
            assert back.root.it.a == 1


@pytest.mark.parametrize("in_journal", [False, True])
def test_a_frozenset_that_its_own_member_holds(module: Evolving, in_journal: bool) -> None:
    """The hash of the member needs its state, and the state the frozenset."""
    module.install("class T:\n def __hash__(self): return hash(self.a)\n")

    def fill(root: Any) -> None:
        one = module.evaluate("T()")
        one.a = 1
        one.key = {frozenset({one}): 2}
        one.value = frozenset({one})
        root.one = one
        root.beside = [3]

    first = module.begin(fill, in_journal=in_journal)
    life = first
    for _ in range(2):
        life = module.start(life.save() if not in_journal else first.tap, first.journal)
        one = life.root.one
        assert life.root.beside == [3]
        [key] = one.key
        assert key == frozenset({one})
        assert is_stand_in(one.value)
        [loss] = life.kept.losses()
        assert (loss.path, loss.type_name) == ("root.one.value", "builtins.frozenset")


SLOW = """
import signal
class T({base}):
 def __init__(self): self.a = 1
 def __setstate__(self, state):
  signal.raise_signal(signal.SIGINT)
  self.__dict__.update(state)
"""


@pytest.mark.parametrize("in_journal", [False, True])
@pytest.mark.parametrize("base", ["object", "Persistent", "list", "int"])
def test_ctrl_c_ends_a_load_and_costs_no_object(
    module: Evolving, base: str, in_journal: bool
) -> None:
    module.install(SLOW.replace("{base}", base))
    first = module.begin(lambda root: root.__setattr__("one", module.evaluate("T()")),
                         in_journal=in_journal)  # fmt: skip
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            module.start(first.tap, first.journal)
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_tried_in_vain_has_no_last_word(module: Evolving) -> None:
    """A ``__del__`` of a round that was given up would take what the object still needs."""
    ended = (
        "class T:\n gone = []\n def __init__(self): self.a = 1\n"
        " def __del__(self): self.gone.append(self.a)\n"
    )
    odd = "class S:\n def __init__(self): self.b = 1\n"
    module.install(ended + odd)

    def make(root: Any) -> None:
        root.it, root.odd = module.evaluate("T()"), module.evaluate("S()")

    first = module.begin(make, in_journal=False)
    module.install(f"{ended}{odd} def __setstate__(self, state): raise ValueError\n")
    second = module.start(first.tap, [])
    gc.collect()
    assert is_stand_in(second.root.odd)
    assert module.evaluate("T.gone") == []
    assert second.root.it.a == 1
