"""A whole graph to bytes, for a TAP.

Imports `errors`, `model` and this room's `reducer`. Durable objects are emitted
bare, and their states come from a queue at the end, so that chains of any length
need no C stack; an instance of any other class is written where it is met, as
pickle does. Where such instances nest too deeply for C, all of it is done again
with these in the queue as well.

The result is a plain pickle (protocol 5) of the root: the functions of
`image.rebuild` that it names are part of the format.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import dataclasses
import gc
import io
import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from tapd.errors import CannotKeep, NotStorable
from tapd.image import definitions, paths, rebuild
from tapd.image.evolution import version_of
from tapd.image.loss import Loss, Placeholder, type_name_of
from tapd.image.reducer import NEWOBJ, RETRIES_MAX, Reduced, Reducer, has_usual_hash
from tapd.model.persistent import Persistent, TrackedDict, TrackedList


@dataclasses.dataclass(frozen=True, slots=True)
class Dump:
    """A pickled graph.

    Attributes:
        data: the pickle.
        losses: what was replaced by placeholders.
        globals: ``module:qualname`` of every class and function referred to by name.
    """

    data: bytes
    losses: tuple[Loss, ...]
    globals: tuple[str, ...]


class _Queue:
    """Stands in the pickle for the states that follow the graph."""


class GraphRoot:
    """Wraps the root, so that the states may follow it."""

    def __init__(self, root: Any) -> None:
        self.root = root


class GraphPickler(Reducer):
    """Writes a graph with the states of durable objects at its end."""

    queue_type: ClassVar[type] = rebuild.StateQueue

    def __init__(self, write_to: Any, root: Any, *, flat: bool) -> None:
        super().__init__(write_to)
        self._root = root
        self._flat = flat
        self._states: collections.deque[tuple[Any, Any, Any]] = collections.deque()
        self._late: list[Any] = []
        # Item n was taken from the queue when the first `_bounds[n]` were in it.
        self._items: list[Any] = []
        self._bounds: list[int] = []
        self._parents: dict[int, Any] = {}
        self._own: dict[int, Any] = {}
        # Classes whose instances go the shortest ways, with the arguments of NEWOBJ.
        self._plain: dict[type, tuple[type]] = {}
        self._waiting: dict[type, tuple[type]] = {}
        self._durable: dict[type, tuple[type]] = {}
        self._local: dict[int, Any] = {}
        self._deciders[_Queue] = self._reduce_queue
        self._deciders[GraphRoot] = self._reduce_root

    def _reduce_root(self, obj: Any) -> Reduced:
        return rebuild.finish_graph, (obj.root, _Queue())

    def _reduce_queue(self, _obj: Any) -> Reduced:
        return self.queue_type, (), None, self._drain()

    def _drain(self) -> Iterator[Any]:
        """Yield object, meta and state of all that wait, and of what these add.

        The pickler looks one item ahead, so it has written a state for certain
        only when two more were taken: the padding of None is there for that.
        """
        late, states, bounds, items = self._late, self._states, self._bounds, self._items
        getters = _GETTERS
        index = 0
        while True:
            while index < len(late):
                obj = late[index]
                bounds.append(len(late))
                items.append(obj)
                yield obj
                oid = obj._p_oid
                yield oid if type(oid) is int else None
                getter = getters.get(type(obj))
                yield self._state_of(obj) if getter is None else getter(obj)
                index += 1
            while states:
                entry = states.popleft()
                bounds.append(len(late))
                items.append(entry[0])
                yield from entry
            for _ in range(3):
                yield None
            if index == len(late) and not states:
                return

    def _wait(self, obj: Any, meta: Any, state: Any) -> None:
        """Put a state that is not `obj`'s to ask for later into the queue."""
        self._parents[id(obj)] = self._items[-1] if self._items else None
        self._states.append((obj, meta, state))

    def _parent_of(self, item: Any) -> Any:
        """Return the object in whose state `item` was first met; None for the graph itself."""
        if id(item) in self._parents:
            return self._parents[id(item)]
        index = next(index for index, obj in enumerate(self._late) if obj is item)
        after = bisect.bisect_right(self._bounds, index) - 1
        return self._items[after] if after >= 0 else None

    def _state_of(self, obj: Any) -> Any:
        try:
            return obj.__getstate__()
        except Exception as error:
            return Placeholder(self.path_of(obj), type_name_of(type(obj)), f"its state: {error}")

    def remember_plain(self, cls: type) -> None:
        if not self.banned:
            waits = self._flat and _may_wait(cls)
            (self._waiting if waits else self._plain)[cls] = (cls,)

    def _reduce_plain(self, obj: Any) -> Reduced:
        if self._flat and _may_wait(type(obj)):
            self._wait(obj, rebuild.set_plain, obj.__dict__)
            return NEWOBJ, (type(obj),)
        return NEWOBJ, (type(obj),), obj.__dict__

    def with_state(
        self, function: Any, make: Any, made: tuple[Any, ...], state: tuple[Any, ...]
    ) -> Reduced:
        if not self._flat:
            return super().with_state(function, make, made, state)
        self._wait(function, definitions.set_function, state)
        return make, made

    def finish_reduced(self, obj: Any, reduced: Reduced) -> Reduced:
        if (
            self._flat
            and type(reduced) is tuple
            and len(reduced) > 2
            and not any(reduced[3:])
            and reduced[0] is NEWOBJ
            and _may_wait(type(obj))
        ):
            self._wait(obj, rebuild.set_reduced, reduced[2])
            return reduced[:2]
        return reduced

    def reducer_override(self, obj: Any) -> Reduced:
        """Return how `obj` is written; the commonest kinds go the shortest ways."""
        cls = type(obj)
        args = self._plain.get(cls)
        if args is not None:
            return NEWOBJ, args, obj.__dict__
        args = self._durable.get(cls)
        if args is not None:
            self._late.append(obj)
            return NEWOBJ, args
        args = self._waiting.get(cls)
        if args is not None:
            self._wait(obj, rebuild.set_plain, obj.__dict__)
            return NEWOBJ, args
        return self.reduce(obj)

    def reduce_durable(self, obj: Any) -> Reduced:
        cls = type(obj)
        version = version_of(cls)
        may_wait = has_usual_hash(cls)
        if may_wait and version == 1 and _has_safe_state(cls):
            if not self.banned:
                self._durable[cls] = (cls,)
            self._late.append(obj)
            return NEWOBJ, (cls,)
        oid = obj._p_oid
        if type(oid) is not int:
            oid = None
        # A stranger's __getstate__ may fail: then the object is lost as a whole.
        state = _guarded_state(obj)
        if may_wait:
            self._wait(obj, (oid, version), state)
            return NEWOBJ, (cls,)
        # It may be a key somewhere, so its state must be there when its hash is taken.
        return NEWOBJ, (cls,), ((oid, version), state), None, None, rebuild.set_durable

    def path_of(self, obj: Any) -> str:
        item = self._items[-1] if self._items else None
        path = self._local_path(item, obj)
        while item is not None and item is not self._root:
            parent = self._parent_of(item)
            path = self._local_path(parent, item) + path
            item = parent
        return _root_name(self._root) + path

    def _local_path(self, item: Any, obj: Any) -> str:
        local = self._local.get(id(item))
        if local is None:
            if item is None:
                roots: Any = (("", self._root),)
            else:
                roots = paths.durable_children(item, self._state_of_known(item))
            local = self._local[id(item)] = paths.local_paths(roots)
        return str(local.get(id(obj), ".<...>"))

    def _state_of_known(self, item: Any) -> Any:
        try:
            return item.__getstate__()
        except Exception:
            return None


class DeepGraphPickler(GraphPickler):
    """Finds the containers of a graph in which these too nest too deeply for C.

    Each list, dict and set is written as a persistent id where it is met, and its
    contents by the queue. `load_graph` reads it, plain `pickle.loads` does not, so
    it is what a `NestedGraphPickler` begins with, and kept only where that fails.
    Tuples that deep are lost, since one can't be made before its contents.
    """

    queue_type = list  # a state may copy a container, so all are filled before

    def __init__(self, write_to: Any, root: Any) -> None:
        super().__init__(write_to, root, flat=True)
        self._containers: dict[int, tuple[Any, Any]] = {}
        self._lost: dict[int, tuple[Any, Loss]] = {}

    def found(self) -> tuple[list[Any], list[tuple[Any, Loss]], dict[int, Any]] | None:
        """Return containers to fill, tuples lost, and in what each container was met.

        None where a container is also what an object is made from: it can't be
        empty then.
        """
        if self._containers.keys() & self._own.keys():
            return None
        containers = [obj for _pid, obj in self._containers.values()]
        return containers, list(self._lost.values()), self._parents

    def persistent_id(self, obj: Any) -> Any:
        """Return what stands for a container; called for every object there is."""
        cls = type(obj)
        if cls is tuple:
            return self._lost_tuple(obj)
        copy = rebuild.CONTAINERS.get(cls)
        if copy is None or id(obj) in self._own:
            return None
        known = self._containers.get(id(obj))
        if known is None:
            known = self._containers[id(obj)] = (cls.__name__, len(self._containers)), obj
            contents = list(obj.items()) if cls is dict else list(obj)
            self._wait(obj, rebuild.fill_container, contents)
        return known[0]

    def reduce(self, obj: Any) -> Reduced:
        """Reduce `obj`; the containers that it is made from are written where they are met."""
        reduced = super().reduce(obj)
        if type(reduced) is tuple:
            for part in (*reduced[1], *reduced[2:3]):
                self._write_here(part)
        return reduced

    def _write_here(self, container: Any) -> None:
        if type(container) in rebuild.CONTAINERS:
            self._own[id(container)] = container

    def _reduce_root(self, obj: Any) -> Reduced:
        return rebuild.finish_deep_graph, super()._reduce_root(obj)[1]

    def _drain(self) -> Iterator[Any]:
        for index, item in enumerate(super()._drain()):
            if index % 3 == 2:
                self._write_here(item)
            yield item

    def _lost_tuple(self, obj: tuple[Any, ...]) -> Any:
        if id(obj) in self._lost:
            loss = self._lost[id(obj)][1]
            return "lost", loss.path, loss.type_name, loss.reason
        level = [obj]
        for _ in range(_TUPLES_MAX):
            level = [item for each in level for item in each if type(item) is tuple][:1000]
            if not level:
                return None
        reason = "tuples nested too deeply; use lists or objects"
        loss = Loss(self.path_of(obj), "tuple", reason)
        self.losses.append(loss)
        self._lost[id(obj)] = obj, loss
        return "lost", loss.path, loss.type_name, loss.reason


class _Made:
    """Stands in the pickle for the containers that are made before all else."""


class NestedGraphPickler(GraphPickler):
    """Writes such a graph as a plain pickle, once its containers are known.

    Before the root it writes an empty container for each. Then the pickler's memo
    is changed, once: what it remembers of the empty one becomes that of the real
    one, which from there on is written as a reference, wherever it is met. The
    queue has the contents.
    """

    queue_type = list  # as above

    def __init__(
        self,
        write_to: Any,
        root: Any,
        found: tuple[list[Any], list[tuple[Any, Loss]], dict[int, Any]],
    ) -> None:
        super().__init__(write_to, root, flat=True)
        containers, lost, parents = found
        self.losses += [loss for _obj, loss in lost]
        self._deciders[_Made] = self._reduce_made
        self._stand_ins = [(obj, type(obj)()) for obj in containers]
        self._stand_ins += [
            (obj, Placeholder(loss.path, loss.type_name, loss.reason)) for obj, loss in lost
        ]
        self._parents.update(parents)
        self._unfilled = containers

    def _reduce_root(self, obj: Any) -> Reduced:
        return rebuild.finish_nested_graph, (_Made(), obj.root, _Queue())

    def _reduce_made(self, _obj: Any) -> Reduced:
        return list, (), None, self._make()

    def _make(self) -> Iterator[Any]:
        """Yield what stands for each; when all is written, for the padding, swap."""
        for _obj, stand_in in self._stand_ins:
            yield stand_in
        for _ in range(3):
            yield None
        memo = self.memo.copy()
        for obj, stand_in in self._stand_ins:
            number, _ = memo.pop(id(stand_in))
            memo[id(obj)] = number, obj
        self.memo = memo

    def _drain(self) -> Iterator[Any]:
        for obj in self._unfilled:
            self._bounds.append(len(self._late))
            self._items.append(obj)
            yield obj
            yield rebuild.fill_container
            yield list(obj.items()) if type(obj) is dict else list(obj)
        yield from super()._drain()


_TUPLES_MAX = 60
_RECURSION_MAX = 2000
_GETTERS: dict[type, Callable[[Any], Any]] = {TrackedList: list, TrackedDict: dict}
"""What gives the state of the commonest types with no call of a method in Python."""


def _root_name(root: Any) -> str:
    return type(root).__name__.lower()


def _has_safe_state(cls: type) -> bool:
    getstate = getattr(cls, "__getstate__", None)
    return getstate is Persistent.__getstate__ or cls.__module__.startswith(("tapd.", "BTrees."))


def _guarded_state(obj: Any) -> Any:
    try:
        return obj.__getstate__()
    except Exception as error:
        raise CannotKeep(f"its state: {type(error).__name__}: {error}") from None


def _may_wait(cls: type) -> bool:
    """Whether nothing asks for the state of an instance of `cls` before all is loaded."""
    return has_usual_hash(cls) and not hasattr(cls, "__setstate__")


def dump_graph(root: object) -> Dump:
    """Pickle the whole graph under `root`.

    Raises:
        NotStorable: what can't be kept could not be told from the rest.
    """
    enabled = gc.isenabled()
    limit = sys.getrecursionlimit()
    gc.disable()
    try:
        if limit > _RECURSION_MAX:
            # Somebody raised it, and the C pickler would believe that the stack is so deep.
            with contextlib.suppress(RecursionError):
                sys.setrecursionlimit(_RECURSION_MAX)
        return _dump_graph(root)
    finally:
        sys.setrecursionlimit(limit)
        if enabled:
            gc.enable()


def _dump_nested(
    first: DeepGraphPickler, root: object
) -> tuple[NestedGraphPickler, io.BytesIO] | None:
    """Write as a plain pickle what `first` wrote; None where that can't be."""
    found = first.found()
    if found is None:
        return None
    buffer = io.BytesIO()
    pickler = NestedGraphPickler(buffer, root, found)
    pickler.banned = first.banned
    try:
        pickler.dump(GraphRoot(root))
    except MemoryError:
        raise
    except Exception:  # no loss: the form of `first` is good
        return None
    return pickler, buffer


def _dump_graph(root: object) -> Dump:
    flat = deep = False
    banned: dict[int, str] = {}
    for _ in range(RETRIES_MAX):
        buffer = io.BytesIO()
        pickler: GraphPickler = (
            DeepGraphPickler(buffer, root) if deep else GraphPickler(buffer, root, flat=flat)
        )
        pickler.banned = banned
        try:
            pickler.dump(GraphRoot(root))
        except RecursionError as error:
            if deep:
                where = pickler.path_of(pickler.last)
                raise NotStorable(
                    f"saving {_root_name(root)}: {where} is nested too deeply"
                ) from error
            flat, deep = True, flat
        except MemoryError:
            raise
        except Exception as error:
            last = pickler.last if pickler.culprit is None else pickler.culprit
            if last is None or id(last) in banned:
                raise NotStorable(f"saving {_root_name(root)}: {error}") from error
            banned[id(last)] = f"{type(error).__name__}: {error}"
        else:
            nested = _dump_nested(pickler, root) if isinstance(pickler, DeepGraphPickler) else None
            if nested is not None:
                pickler, buffer = nested
            return Dump(buffer.getvalue(), tuple(pickler.losses), tuple(sorted(pickler.globals)))
    raise NotStorable(f"saving {_root_name(root)}: more than {RETRIES_MAX} objects fail")
