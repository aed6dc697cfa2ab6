"""Reports saved objects that the current code can't load: counts them and finds their paths.

A start goes on with stand-ins and logs them. A reload and `tapctl verify` refuse them
(`refuse`).
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tapd.errors import UpgradeRefused
from tapd.image import paths
from tapd.image.evolution.registry import Registry
from tapd.image.evolution.stand_ins import GONE, Broken, label_of, name_of_typed
from tapd.image.loss import Loss
from tapd.model.durable.persistent import is_durable_type, set_mark

NAMED_MAX = 20
_LOOKED_AT_MAX = 200_000
_REFUSED_MAX = 5


class Kept:
    """The stand-ins of one application.

    Attributes:
        names: of their classes, each ``module:qualname``.
    """

    def __init__(self, root: Any, registry: Registry, *, look_everywhere: bool = False) -> None:
        """Find them below `root`.

        Args:
            root: the application.
            registry: the registry of stand-ins.
            look_everywhere: search for paths without a limit. Otherwise the path of a
                stand-in that is not found soon is left out.
        """
        alive = registry.alive()
        limit = sys.maxsize if look_everywhere else _LOOKED_AT_MAX
        found = find_paths(root, alive, limit) if alive else {}
        unknown = "" if look_everywhere else f"{type(root).__name__.lower()}..."
        self._named: dict[int, Loss] = {}
        self._registry = Registry()
        self.names: set[str] = set()
        for each in alive:
            path = found.get(id(each), unknown)
            if not path:  # unreachable by now
                continue
            name = label_of(each)
            self.names.add(name)
            kind = name.replace(":", ".") or name_of_typed(each) or "a typed class"
            self._named[id(each)] = Loss(path, kind, each.broken_reason)
            self._registry.add(each)

    def __len__(self) -> int:
        """Return how many of them still exist."""
        return len(self._registry.alive())

    def losses(self) -> list[Loss]:
        """Return path, class and reason of each that still exists, as it was found."""
        return [self._named[id(each)] for each in self._registry.alive()]


def find_paths(root: Any, wanted: Iterable[Any], objects_max: int) -> dict[int, str]:
    """Return the path of each of `wanted` below `root`, by id. Runs no code of theirs."""
    missing = {id(each) for each in wanted}
    came_from: dict[int, tuple[int, str]] = {id(root): (0, type(root).__name__.lower())}
    queue = collections.deque([root])
    kept = [root]  # ids are only good while their objects live
    found: dict[int, str] = {}
    while queue and missing and len(kept) < objects_max:
        obj = queue.popleft()
        for label, value in _parts_of(obj):
            if id(value) in came_from:
                continue
            came_from[id(value)] = id(obj), label
            kept.append(value)
            queue.append(value)
            if id(value) in missing:
                missing.discard(id(value))
                found[id(value)] = paths.joined(came_from, id(value))
    return found


def note_kept(application: Any, kept: Kept) -> None:
    """Have `kept_of` find what `application` keeps: it is volatile, and no change."""
    set_mark(application, "_v_kept", kept)


def kept_of(application: Any) -> Kept | None:
    """Return what was noted for `application`, which a load made; None for a new one."""
    kept: Kept | None = getattr(application, "_v_kept", None)
    return kept


def _parts_of(obj: Any) -> Iterator[tuple[str, Any]]:
    try:
        if issubclass(type(obj), Broken):
            kept = obj._p_broken
            yield from paths.durable_children(None, kept.get("state"))
            yield from paths.children([*kept["args"], *kept["list"]])
            yield from paths.children(dict(pair for pair in kept["items"] if _is_hashable(pair[0])))
        elif is_durable_type(type(obj)):
            yield from paths.durable_children(obj, obj.__getstate__())
        elif not paths.is_leaf(obj):
            yield from paths.children(obj)
    except BaseException:  # a stranger's container that can't be walked
        return


def _is_hashable(key: Any) -> bool:
    try:
        hash(key)
    except BaseException:
        return False
    return True


def refuse(kept: Kept, known: Collection[str] = ()) -> None:
    """Refuse code that can't load what was saved.

    Args:
        kept: the stand-ins.
        known: names of classes whose objects did not fit the old code either.

    Raises:
        UpgradeRefused: others don't fit; the message names them.
    """
    new = [
        loss
        for loss in kept.losses()
        if loss.type_name.replace(".", ":") not in {name.replace(".", ":") for name in known}
        and loss.reason != GONE  # reported with the error of their module
    ]
    if not new:
        return
    told = "; ".join(map(str, new[:_REFUSED_MAX]))
    more = f"; and {len(new) - _REFUSED_MAX} more" if len(new) > _REFUSED_MAX else ""
    one = len(new) == 1
    raise UpgradeRefused(
        f"{len(new)} saved object{'' if one else 's'} {'does' if one else 'do'} not fit the code: "
        f"{told}{more}. Nothing is lost: fix the class{'' if one else 'es'}, or go back to the "
        "code that saved this"
    )
