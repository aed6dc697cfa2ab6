"""Where the durable objects of a jar are, in words: for what the jar has to say of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tapd.image.loss import Loss
from tapd.image.paths import find_path
from tapd.image.pickling.shared import Shared

_LOSSY_MAX = 1000
_LOOKED_AT_MAX = 20_000


class Whereabouts:
    """Finds objects of one graph.

    Attributes:
        root: of the graph.
    """

    def __init__(self) -> None:
        self.root: Any = None
        self._lossy: dict[int, str] = {}

    def named(self, obj: Any, losses: Iterable[Loss]) -> list[Loss]:
        """Return `losses`, found in `obj`, with paths that begin at the root.

        Where `obj` is, is looked for once: it may be lossy at every commit.
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
        """Return the path of `obj`, or the name of its class where it is not found soon."""
        thing = obj.it if type(obj) is Shared else obj
        place = find_path(self.root, thing, objects_max=_LOOKED_AT_MAX)
        return place or type(thing).__qualname__

    def describe(self, obj: Any) -> str:
        """Return path, class and number of `obj`, however long it is looked for."""
        thing = obj.it if type(obj) is Shared else obj
        name = f"{type(thing).__qualname__} #{obj._p_oid}"
        path = find_path(self.root, thing)
        return f"{path}, {name}" if path else name
