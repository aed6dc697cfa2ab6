"""Pickles a whole graph for a TAP, in the simplest form that its depth allows.

The first attempt nests objects as pickle does, and queues only durable ones. If that is too
deep for the C stack, plain instances are queued as well, and if that is not enough,
everything is.
"""

from __future__ import annotations

import contextlib
import gc
import io
import sys
from collections.abc import Iterable
from typing import Any

from tapd.errors import NotStorable
from tapd.image import hooks
from tapd.image.loss import Loss
from tapd.image.pickling.deep_graph import DeepGraphPickler, NestedGraphPickler
from tapd.image.pickling.graph import FindDetached, GraphPickler, GraphRoot, root_name
from tapd.image.reduction.reducer import RETRIES_MAX
from tapd.model.durable.persistent import is_durable_type
from tapd.values import Value

_RECURSION_MAX = 2000


class Dump(Value):
    """A pickled graph.

    Attributes:
        data: the pickle.
        losses: what was replaced by placeholders.
        globals: ``module:qualname`` of every class and function referred to by name.
    """

    data: bytes
    losses: tuple[Loss, ...]
    globals: tuple[str, ...]


def dump_graph(root: object, find_detached: FindDetached | None = None) -> Dump:
    """Pickle the whole graph under `root`.

    Args:
        root: of the graph.
        find_detached: finds further durable objects to write (`detached_finder`).

    Raises:
        NotStorable: something can't be saved and could not be singled out.
    """
    enabled = gc.isenabled()
    # The collector would walk the growing memo again and again, and free nothing.
    limit = sys.getrecursionlimit()
    gc.disable()
    try:
        if limit > _RECURSION_MAX:
            # An author raised the limit. The C pickler would trust it and overflow the C stack.
            with contextlib.suppress(RecursionError):
                sys.setrecursionlimit(_RECURSION_MAX)
        return _dump_graph(root, find_detached)
    finally:
        sys.setrecursionlimit(limit)
        if enabled:
            gc.enable()


def detached_finder(root: Any) -> FindDetached | None:
    """Return a function that finds durable objects of the jar of `root` not reachable from it.

    Something volatile may attach them again, and the journal refers to them by number. Frozen
    objects (`gc.freeze`) are not found.
    """
    jar = getattr(root, "_p_jar", None)
    if jar is None:
        return None

    def find(written: set[int]) -> Iterable[Any]:
        found = gc.get_objects()
        kinds = {cls for cls in set(map(type, found)) if is_durable_type(cls)}
        return sorted(
            (
                obj
                for obj in found
                if type(obj) in kinds and obj._p_jar is jar and obj._p_oid not in written
            ),
            key=lambda obj: obj._p_oid,
        )

    return find


def _dump_nested(
    first: DeepGraphPickler, root: object, find_detached: FindDetached | None
) -> tuple[NestedGraphPickler, io.BytesIO] | None:
    """Write as a plain pickle what `first` wrote with persistent ids; None if that fails."""
    buffer = io.BytesIO()
    pickler = NestedGraphPickler(buffer, root, first.found(), find_detached)
    pickler.banned = first.banned
    try:
        pickler.dump(GraphRoot(root))
    except BaseException as error:  # no harm: the pickle of `first` is valid
        if isinstance(error, MemoryError):
            raise
        hooks.check(error, nests=False)
        return None
    return pickler, buffer


def _dump_graph(root: object, find_detached: FindDetached | None) -> Dump:
    flat = deep = False
    banned: dict[int, str] = {}
    for _ in range(RETRIES_MAX):
        buffer = io.BytesIO()
        pickler: GraphPickler = (
            DeepGraphPickler(buffer, root, find_detached)
            if deep
            else GraphPickler(buffer, root, flat=flat, find_detached=find_detached)
        )
        pickler.banned = banned
        try:
            pickler.dump(GraphRoot(root))
        except RecursionError as error:
            if deep:
                where = pickler.path_of(pickler.last)
                raise NotStorable(
                    f"saving {root_name(root)}: {where} is nested too deeply"
                ) from error
            # First too deep: flat. Still too deep: deep.
            flat, deep = True, flat
        except BaseException as error:
            hooks.check(error, nests=not deep)
            last = pickler.last
            reason = hooks.describe(error)
            if last is None or id(last) in banned:
                raise NotStorable(f"saving {root_name(root)}: {reason}") from error
            # Try again without the object that was being written: each round bans one more.
            banned[id(last)] = reason
        else:
            nested = (
                _dump_nested(pickler, root, find_detached)
                if isinstance(pickler, DeepGraphPickler)
                else None
            )
            if nested is not None:
                pickler, buffer = nested
            return Dump(buffer.getvalue(), pickler.losses_of_graph, tuple(sorted(pickler.globals)))
    raise NotStorable(f"saving {root_name(root)}: more than {RETRIES_MAX} objects fail")
