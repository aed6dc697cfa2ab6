"""Numbers plain objects shared by several durable ones, so that a replay keeps them shared.

A journal record holds the state of one durable object and refers to others by number. A plain
object held by two of them would be in both records, and every change would have to rewrite all
its holders. A `Shared` is a durable object behind such a plain one. Records refer to its
number, its state in the journal is that of the plain object, and a replay puts the plain object
in place of the reference. In a TAP it is an ordinary object with the plain one as its only
attribute.

The holders keep it alive (`image.tracking.polling.Watched`); the jar has only weak references.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tapd.image.evolution import names
from tapd.image.evolution.stand_ins import Broken
from tapd.image.reduction.mutability import Kind, kind_of
from tapd.image.reduction.reducer import has_usual_hash, is_plain_type
from tapd.model.durable.persistent import Persistent, own_dict


class Shared(Persistent):
    """Stands for a plain object in the journal.

    Attributes:
        it: the plain object.
    """

    _p_convert = False
    it: Any

    def journal_state(self) -> dict[str, Any]:
        """Return the attributes of the plain object; for a stand-in, the saved ones."""
        if issubclass(type(self.it), Broken):
            return dict(self.it.broken_state or {})
        return dict(self.it.__dict__)


def can_be_shared(obj: Any) -> bool:
    """Whether `obj` can be created first and given its state later."""
    cls = type(obj)
    return is_plain_type(cls) and has_usual_hash(cls) and names.name_of(cls) is not None


class SharedObjects:
    """The plain objects that have numbers of their own."""

    def __init__(self) -> None:
        self._by_id: dict[int, weakref.ref[Shared]] = {}
        self.ids = self._by_id.keys()  # a live view: checked for each pickled or polled object

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def add(self, shared: Shared) -> None:
        """Have records refer to `shared` in place of its object."""
        key = id(shared.it)
        by_id = self._by_id

        def forget(refer: weakref.ref[Shared]) -> None:
            if by_id.get(key) is refer:
                del by_id[key]

        by_id[key] = weakref.ref(shared, forget)

    def get(self, obj: Any) -> Shared | None:
        """Return the `Shared` of `obj`; None if it has none."""
        refer = self._by_id.get(id(obj))
        shared = None if refer is None else refer()
        return shared if shared is not None and shared.it is obj else None


def make_shared(obj: Any) -> Shared:
    """Return a new `Shared` of `obj`."""
    shared = Shared()
    own_dict(shared)["it"] = obj
    return shared


def find_first_shared(
    roots: Iterable[Any], shared_ids: set[int], ends: Collection[int]
) -> Iterator[Any]:
    """Yield the objects of `shared_ids` that are reached from `roots` before any other of them.

    Does not descend into objects of `ends`.
    """
    seen: set[int] = set()
    queue = list(roots)
    for obj in queue:  # grows meanwhile
        kind = kind_of(type(obj))
        if kind not in (Kind.PLAIN, Kind.ROW) or id(obj) in seen or id(obj) in ends:
            continue
        seen.add(id(obj))
        if id(obj) in shared_ids:
            yield obj
        else:
            queue += gc.get_referents(obj)
