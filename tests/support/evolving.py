"""A class in two versions: saved by one, loaded by the other, in a TAP and in a journal.

The classes of a version are the text of a module, which `Evolving` runs anew for each
version, as a process does that is started with other code.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from tapd.image.evolution import names
from tapd.image.evolution.versions import Restoration
from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.image.unfit import Kept
from tapd.inspection.comparison import compare_graphs
from tapd.inspection.graph import read_graph
from tapd.model.durable.persistent import Persistent

HOME = "evolving_home"
PRELUDE = """
import asyncio, collections, dataclasses, enum, sys
import attr
from tapd import Persistent, TrackedDeque, TrackedDict, TrackedList, TrackedSet
"""


class Root(Persistent):
    """Holds the graph; it does not change."""


class Life:
    """A process of one version: what it loaded, and what it commits.

    Attributes:
        root: of its graph.
        tap: what it was loaded from, or would be.
        journal: what happened since.
        kept: what its code could not take.
    """

    def __init__(self, root: Any, jar: Jar, tap: bytes, journal: list[Changes], kept: Kept) -> None:
        self.root = root
        self.jar = jar
        self.tap = tap
        self.journal = journal
        self.kept = kept

    def commit(self) -> None:
        self.journal.append(self.jar.commit())

    def save(self) -> bytes:
        """Return a TAP of all there is now."""
        return dump_graph(self.root).data


class Evolving:
    """The module whose text changes."""

    def __init__(self) -> None:
        self.module = types.ModuleType(HOME)
        self.module.__spec__ = __spec__
        self._versions: dict[str, dict[str, Any]] = {}

    def install(self, text: str) -> None:
        """Have the module be that of a version; its code is run when it is met first."""
        names.broken_class.cache_clear()
        names.why_broken.clear()
        vars(self.module).clear()
        if text in self._versions:
            vars(self.module).update(self._versions[text])
            return
        vars(self.module).update(__name__=HOME, __spec__=__spec__, __builtins__=__builtins__)
        exec(PRELUDE + text, vars(self.module))
        self._versions[text] = dict(vars(self.module))

    def evaluate(self, expression: str) -> Any:
        return eval(expression, vars(self.module))

    def begin(self, fill: Callable[[Any], None], *, in_journal: bool) -> Life:
        """Return a process whose root was filled before its TAP, or after it."""
        root = Root()
        jar = Jar()
        if not in_journal:
            fill(root)
        jar.adopt(root)
        life = Life(root, jar, dump_graph(root).data, [], Kept(root, Restoration().stand_ins))
        if in_journal:
            fill(root)
            life.commit()
        return life

    def start(self, tap: bytes, journal: list[Changes]) -> Life:
        """Return the process that goes on from a TAP and what was committed since."""
        restoration = Restoration()
        root = load_graph(tap, restoration)
        jar = Jar()
        replay = Replay(jar.adopt(root, restoration.durables), restoration, jar)
        restoration.durables.clear()
        for changes in journal:
            replay.apply(changes)
        replay.finish()
        kept = Kept(root, restoration.stand_ins, look_everywhere=True)
        return Life(root, jar, tap, list(journal), kept)


@contextlib.contextmanager
def evolving() -> Iterator[Evolving]:
    """Yield a module that can be imported meanwhile."""
    made = Evolving()
    sys.modules[HOME] = made.module
    try:
        yield made
    finally:
        del sys.modules[HOME]
        names.broken_class.cache_clear()
        names.why_broken.clear()


def differences(one: bytes, other: bytes) -> list[tuple[str, str]]:
    """Return where two TAPs differ, by path; members of sets have no order."""
    graphs = read_graph(one, "one"), read_graph(other, "other")
    found = compare_graphs(*graphs, count_max=10, with_secrets=True)
    return [(path, change) for path, change in found if "members{" not in path]
