"""Strict mode: after each commit, does the journal say what memory holds?

For the tests of server types. A `StrictJar` keeps the last state that it
checked as a pickle; at each commit it restores that, applies the commit's
changes as a recovery would, and compares the result with the live graph, object
by object. What differs is named: a change that nothing reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tapd.errors import UntrackedChange
from tapd.image.changes import Changes
from tapd.image.differences import Difference
from tapd.image.evolution import Restoration
from tapd.image.jar import Jar
from tapd.image.likeness import Likeness
from tapd.image.pickler import dump_graph, load_graph
from tapd.image.replay import Replay


class StrictJar(Jar):
    """A jar that proves each commit.

    Attributes:
        checks: how many commits were compared.
    """

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0
        self._root: Any = None
        self._base = b""

    def adopt(self, root: Any, durables: Iterable[Any] = ()) -> dict[int, Any]:
        """Take in the graph of `root`, and remember it as checked."""
        objects = super().adopt(root, durables)
        self._root = root
        self._base = dump_graph(root).data
        return objects

    def commit(self) -> Changes:
        """Return what changed, having compared what it restores with what is there.

        Raises:
            UntrackedChange: naming the first object that differs, and where.
        """
        changes = super().commit()
        restoration = Restoration()
        restored = load_graph(self._base, restoration)
        jar = Jar()
        replay = Replay(jar.adopt(restored, restoration.durables), restoration, jar)
        replay.apply(changes)
        replay.finish()
        self.compare(restored, self._root)
        self._base = dump_graph(self._root, detached=bool(self._pickler.shared)).data
        self.checks += 1
        return changes

    def compare(self, restored: Any, live: Any) -> None:
        """Raise where the two graphs differ; `tapd.testing` says it in more words."""
        differences = Likeness().compare(restored, live).differences
        if differences:
            raise UntrackedChange(explain_difference(differences[0]))


def explain_difference(found: Difference) -> str:
    """Return what is wrong where the journal would restore something else than there is."""
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
