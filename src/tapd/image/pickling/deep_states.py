"""A state of the journal that nests too deeply for C, to bytes.

Imports this room's `graph`, `deep`, `shared` and `paths`. As `image.pickling.states` does,
other durable objects, and plain ones that have a number, are referred to by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tapd.image import paths
from tapd.image.evolution.versions import split_state
from tapd.image.pickling.deep import DeepGraphPickler
from tapd.image.pickling.graph import GraphPickler
from tapd.image.pickling.shared import SharedObjects
from tapd.image.reduction.reducer import UNKNOWN, Reduced


def durable_reference(oid: int) -> Any:
    """Stand for the function that finds a durable object by number; never called."""
    raise AssertionError(oid)


def paths_in(state: Any) -> paths.LocalPaths:
    """Return where things are in a state of a durable object."""
    bare = split_state(state)[1]
    return paths.LocalPaths((("", bare), *paths.durable_children(None, bare)))


class _StatePickler(GraphPickler):
    """Refers to what has a number by that, beside what its forms do."""

    _options: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        write_to: Any,
        state: Any,
        path: str,
        oid_of: Callable[[Any], int],
        shared: SharedObjects,
    ) -> None:
        super().__init__(write_to, state, **self._options)
        self._path = path
        self._oid_of = oid_of
        self._shared = shared
        self._ways: paths.LocalPaths | None = None

    def reducer_override(self, obj: Any) -> Reduced:
        """Return how `obj` is written."""
        shared = self._shared.get(obj)
        if shared is not None:
            return durable_reference, (self._oid_of(shared),)
        return super().reducer_override(obj)

    def reduce_durable(self, obj: Any) -> Reduced:
        """Return how a durable object is written: its number."""
        return durable_reference, (self._oid_of(obj),)

    def path_of(self, obj: Any) -> str:
        """Return where `obj` is."""
        if self._ways is None:
            self._ways = paths_in(self._root)
        way = self._ways.of(obj)
        return self._path + (UNKNOWN if way is None else way)


class FlatStatePickler(_StatePickler):
    """Writes plain instances by the queue."""

    _options: ClassVar[dict[str, Any]] = {"flat": True}


class DeepStatePickler(_StatePickler, DeepGraphPickler):
    """Writes all containers by the queue: they nest too deeply as well."""
