"""Pickles a journal state that is too deep for the C stack.

As in `image.pickling.states`, durable objects, and plain ones with a number, are referred to by
number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tapd.image import paths
from tapd.image.evolution.versions import split_state
from tapd.image.pickling.deep_graph import DeepGraphPickler
from tapd.image.pickling.graph import GraphPickler
from tapd.image.pickling.shared_objects import SharedObjects
from tapd.image.reduction.reducer import UNKNOWN, Reduced


def durable_reference(oid: int) -> Any:
    """Name the function that finds a durable object by number. Never called under this name."""
    raise AssertionError(oid)


def paths_in(state: Any) -> paths.LocalPaths:
    """Return the paths of objects in a durable object's state."""
    bare = split_state(state)[1]
    return paths.LocalPaths((("", bare), *paths.durable_children(None, bare)))


class _StatePickler(GraphPickler):
    """Refers by number to objects that have one; otherwise pickles as its bases do."""

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
        """Return the path of `obj`."""
        if self._ways is None:
            self._ways = paths_in(self._root)
        way = self._ways.of(obj)
        return self._path + (UNKNOWN if way is None else way)


class FlatStatePickler(_StatePickler):
    """Writes plain instances through the queue."""

    _options: ClassVar[dict[str, Any]] = {"flat": True}


class DeepStatePickler(_StatePickler, DeepGraphPickler):
    """Writes all containers through the queue, since they are too deep as well."""
