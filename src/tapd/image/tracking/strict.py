"""Strict mode: after each commit, checks that the journal restores what memory holds.

For tests of server types. A `StrictJar` keeps the last checked state as a pickle. At each
commit it restores that, applies the commit's changes as a recovery would, and compares the
result with the live graph, object by object. A difference is a change that nothing reported;
the error names it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from tapd.errors import UntrackedChange
from tapd.image.evolution.versions import Restoration
from tapd.image.likeness.differences import Difference
from tapd.image.likeness.graphs import Likeness
from tapd.image.pickling.pickler import detached_finder, dump_graph, load_graph
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.model.durable.persistent import set_mark


class StrictJar(Jar):
    """A jar that verifies each commit.

    Attributes:
        checks: how many commits were verified.
    """

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0
        self._root: Any = None
        self._base = b""
        self._gone: set[int] = set()  # numbers of objects that were freed

    def adopt(self, root: Any, durables: Iterable[Any] = ()) -> dict[int, Any]:
        """Take in the graph of `root`, and take it as verified."""
        objects = super().adopt(root, durables)
        self._root = root
        self.begin_proofs()
        return objects

    def begin_proofs(self) -> None:
        """Take the current graph as verified; later commits are checked against it."""
        with self._only_looking():
            self._base = dump_graph(self._root, self._find_detached).data

    def _find_detached(self, written: set[int]) -> Iterable[Any]:
        """Find detached objects; scan the heap only if a number is unaccounted for."""
        missing = set(range(1, self.last_oid + 1)) - written - self._gone
        find = detached_finder(self._root)
        if not missing or find is None:
            return ()
        detached = list(find(written))
        self._gone |= missing.difference(obj._p_oid for obj in detached)
        return detached

    @contextlib.contextmanager
    def _only_looking(self) -> Iterator[None]:
        """Discard the change marks that reading a ``__dict__`` causes."""
        before = list(self._changed)
        try:
            yield
        finally:
            for obj in self._changed[len(before) :]:
                set_mark(obj, "_p_changed", False)
            self._changed = before

    def commit(self) -> Changes:
        """Commit, then check that the changes restore the live graph.

        Raises:
            UntrackedChange: names the first object that differs, and its path.
        """
        changes = super().commit()
        # The same steps as a recovery: load a TAP, replay a record, finish.
        restoration = Restoration()
        restored = load_graph(self._base, restoration)
        jar = Jar()
        replay = Replay(jar.adopt(restored, restoration.durables), restoration, jar)
        replay.apply(changes)
        replay.finish()
        with self._only_looking():
            self.compare(restored, self._root)
        self.begin_proofs()
        self.checks += 1
        return changes

    def compare(self, restored: Any, live: Any) -> None:
        """Raise if the two graphs differ; `tapd.testing` overrides this with a longer report."""
        differences = Likeness().compare(restored, live).differences
        if differences:
            raise UntrackedChange(explain_difference(differences[0]))


def explain_difference(found: Difference) -> str:
    """Describe a difference between what the journal would restore and what memory holds."""
    if found.other_path is not None:
        there, restored = ("two", "one") if found.is_one else ("one", "two")
        return (
            f"{found.other_path} and {found.path} are {there} {found.type_name} in memory; the "
            f"journal would restore {restored}"
        )
    return (
        f"{found.path} (in a {found.owner}): the journal would restore {found.one}, memory holds "
        f"{found.other}; something changed it where nothing could see it"
    )
