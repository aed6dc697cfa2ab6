"""Strict mode: after each commit, does the journal say what memory holds?

For the tests of server types. A `StrictJar` keeps the last state that it
checked as a pickle; at each commit it restores that, applies the commit's
changes as a recovery would, and compares the result with the live graph, object
by object. What differs is named: a change that nothing reported.
"""

from __future__ import annotations

import collections
import enum
import types
from collections.abc import Iterable
from typing import Any

from tapd.errors import UntrackedChange
from tapd.image.changes import Changes
from tapd.image.evolution import Restoration
from tapd.image.jar import Jar
from tapd.image.pickler import dump_graph, load_graph
from tapd.image.replay import Replay
from tapd.model.persistent import is_durable_type

_ATOMS = (
    int, float, complex, str, bytes, bool, type(None), type, range, enum.Enum,
    types.FunctionType, types.BuiltinFunctionType, types.ModuleType,
)  # fmt: skip


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
        self._base = dump_graph(self._root).data
        self.checks += 1
        return changes

    def compare(self, restored: Any, live: Any) -> None:
        """Raise where the two graphs differ; `tapd.testing` says it in more words."""
        _Comparison().compare_graphs(restored, live)


class _Comparison:
    """Walks two graphs side by side, durable objects once each."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._due: list[tuple[Any, Any]] = []
        self._depth: set[tuple[int, int]] = set()

    def compare_graphs(self, restored: Any, live: Any) -> None:
        """Raise `UntrackedChange` where the graphs differ."""
        self._durable(restored, live, "the root")
        while self._due:
            one, other = self._due.pop()
            name = f"{type(other).__qualname__} #{other._p_oid}"
            self._compare(one.__getstate__(), other.__getstate__(), name)

    def _durable(self, one: Any, other: Any, path: str) -> None:
        if type(one).__qualname__ != type(other).__qualname__ or one._p_oid != other._p_oid:
            self._fail(path, one, other)
        if other._p_oid not in self._seen:
            self._seen.add(other._p_oid)
            self._due.append((one, other))

    def _compare(self, one: Any, other: Any, path: str) -> None:
        if is_durable_type(type(other)) and is_durable_type(type(one)):
            self._durable(one, other, path)
        elif _kind_name(one) != _kind_name(other):
            self._fail(path, one, other)
        elif isinstance(other, _ATOMS):
            if not isinstance(other, (type, types.FunctionType)) and one != other:
                self._fail(path, one, other)
        elif (id(one), id(other)) not in self._depth:
            self._depth.add((id(one), id(other)))
            self._compare_parts(one, other, path)

    def _compare_parts(self, one: Any, other: Any, path: str) -> None:
        if isinstance(other, (set, frozenset)):
            if sorted(map(repr, one)) != sorted(map(repr, other)):
                self._fail(path, one, other)
        elif isinstance(other, dict):
            if list(map(repr, one)) != list(map(repr, other)):
                self._fail(f"{path} (keys)", list(one), list(other))
            for (key, left), right in zip(one.items(), other.values(), strict=True):
                self._compare(left, right, f"{path}.{key}")
        elif isinstance(other, (list, tuple, collections.deque)):
            if len(one) != len(other):
                self._fail(f"{path} (length)", one, other)
            for index, (left, right) in enumerate(zip(one, other, strict=True)):
                self._compare(left, right, f"{path}[{index}]")
        elif hasattr(other, "__dict__"):
            self._compare(vars(one), vars(other), path)
        elif repr(one) != repr(other):
            self._fail(path, one, other)

    def _fail(self, path: str, restored: Any, live: Any) -> None:
        raise UntrackedChange(
            f"{path}: the journal would restore {restored!r:.200}, memory holds {live!r:.200}; "
            "something changed it past its own methods or attributes (heapq, a memoryview, "
            "list.append(it, ...), its __dict__): change it by those, or put a changed copy "
            "into it, as in items[:] = copy"
        )


def _kind_name(obj: Any) -> str:
    """Return the name of an object's class; a tracked container is of the kind of its plain one."""
    return type(obj).__qualname__.removeprefix("Tracked").lower()
