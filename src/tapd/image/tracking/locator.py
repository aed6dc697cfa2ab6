"""Finds the path of a durable object from the root, for log messages of the jar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tapd.image.loss import Loss
from tapd.image.paths import find_path
from tapd.image.pickling.shared_objects import Shared

_LOSSY_MAX = 1000
_LOOKED_AT_MAX = 20_000


class Whereabouts:
    """Finds paths in one graph.

    Attributes:
        root: the root of the graph.
    """

    def __init__(self) -> None:
        self.root: Any = None
        self._lossy: dict[int, str] = {}

    def named(self, obj: Any, losses: Iterable[Loss]) -> list[Loss]:
        """Return `losses`, found in `obj`, with paths that begin at the root.

        The path of `obj` is cached: it may lose something at every commit.
        """
        named = []
        for loss in losses:
            place = self._lossy.get(obj._p_oid)
            if place is None:
                if len(self._lossy) > _LOSSY_MAX:
                    self._lossy.clear()
                place = self._lossy[obj._p_oid] = self.place_of(obj)
            named.append(loss.replace(path=f"{place}{loss.path}"))
        return named

    def place_of(self, obj: Any) -> str:
        """Return the path of `obj`; its class name if a bounded search does not find it."""
        thing = obj.it if type(obj) is Shared else obj
        place = find_path(self.root, thing, objects_max=_LOOKED_AT_MAX)
        return place or type(thing).__qualname__

    def describe(self, obj: Any) -> str:
        """Return path, class and number of `obj`; the search is unbounded."""
        thing = obj.it if type(obj) is Shared else obj
        name = f"{type(thing).__qualname__} #{obj._p_oid}"
        path = find_path(self.root, thing)
        return f"{path}, {name}" if path else name
