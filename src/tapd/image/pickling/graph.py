"""Pickles a whole graph for a TAP, with the states of durable objects in a queue at its end.

Durable objects are written bare where they are met, and their states follow at the end: chains
of any length need no C stack. Other instances are written where they are met, as pickle does,
or go through the queue too if they are too deep for C.

The result is a plain pickle (protocol 5) of the root. The functions of
`image.reduction.rebuild` that it names are part of the format.
"""

from __future__ import annotations

import bisect
import collections
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from tapd.errors import CannotKeep
from tapd.image import hooks, paths
from tapd.image.bare import bare_object, has_usual_new
from tapd.image.code import definitions
from tapd.image.evolution.versions import version_of
from tapd.image.loss import Loss, Placeholder, type_name_of
from tapd.image.reduction import parts, rebuild
from tapd.image.reduction.reducer import NEWOBJ, Reduced, Reducer, has_usual_hash
from tapd.model.durable.persistent import is_durable_type
from tapd.model.durable.tracked import TrackedDict, TrackedList

FindDetached = Callable[[set[int]], Iterable[Any]]
_number_of = operator.attrgetter("_p_oid")


class GraphQueue:
    """Marks the place of the queue of states, after the graph."""


class GraphRoot:
    """Wraps the root, so that the states can follow it."""

    def __init__(self, root: Any) -> None:
        self.root = root


class GraphPickler(Reducer):
    """Writes a graph, then the states of its durable objects."""

    queue_type: ClassVar[type] = rebuild.StateQueue

    def __init__(
        self, write_to: Any, root: Any, *, flat: bool, find_detached: FindDetached | None = None
    ) -> None:
        """Begin.

        Args:
            write_to: takes the pickle.
            root: the root of the graph.
            flat: write the states of plain instances at the end as well.
            find_detached: called at the end with the numbers of all durable objects
                written; returns further ones to write.
        """
        super().__init__(write_to)
        self._root = root
        self._find_detached = find_detached
        self._detached: Iterator[Any] | None = None
        self._flat = flat
        self.nests = not flat
        self._states: collections.deque[tuple[Any, Any, Any]] = collections.deque()
        self._late: list[Any] = []
        # Item n was taken from the queue when the first `_bounds[n]` were in it.
        self._items: list[Any] = []
        self._bounds: list[int] = []
        self._parents: dict[int, Any] = {}
        self._losses_of_graph = 0
        self._others: list[Any] = []  # durable objects not in `_late`
        # Fast paths: classes of instances, each with the arguments of NEWOBJ.
        self._plain: dict[type, tuple[type]] = {}
        self._waiting: dict[type, tuple[type]] = {}
        self._durable: dict[type, tuple[type]] = {}
        self._local: dict[int, paths.LocalPaths] = {}
        self._numbers: dict[int, int] = {}  # positions in `_late`, filled as far as needed
        self._deciders[GraphQueue] = self._reduce_queue
        self._deciders[GraphRoot] = self._reduce_root

    def _reduce_root(self, obj: Any) -> Reduced:
        return rebuild.finish_graph, (obj.root, GraphQueue())

    def _reduce_queue(self, _obj: Any) -> Reduced:
        return self.queue_type, (), None, self._drain()

    def _drain(self) -> Iterator[Any]:
        """Yield object, meta and state of everything queued, including what these add.

        The pickler looks one item ahead, so a state is certainly written only once two more
        items were taken. The padding of None is there for that.
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
            # Padding: flushes the last state, which may queue further objects.
            for _ in range(3):
                yield None
            if index < len(late) or states:
                continue
            # Detached objects last: a loss among them is no loss of the graph.
            if self._detached is None:
                self._detached = iter(self._all_detached())
                self._losses_of_graph = len(self.losses)
            obj = next(self._detached, None)
            if obj is None:
                return
            bounds.append(len(late))
            items.append(obj)
            yield obj  # its state follows through the queue
            yield rebuild.note_detached
            yield None

    def _all_detached(self) -> Iterable[Any]:
        if self._find_detached is None:
            return ()
        written = set(map(_number_of, self._late))
        written.update(map(_number_of, self._others))
        return self._find_detached(written)

    @property
    def losses_of_graph(self) -> tuple[Loss, ...]:
        """The losses in the graph itself, without those in detached objects."""
        return tuple(self.losses[: self._losses_of_graph])

    def _wait(self, obj: Any, meta: Any, state: Any) -> None:
        """Queue a state that must be taken now, unlike a durable object's."""
        self._parents[id(obj)] = self._items[-1] if self._items else None
        self._states.append((obj, meta, state))

    def _parent_of(self, item: Any) -> Any:
        """Return the object in whose state `item` was first met; None if in the graph itself."""
        if id(item) in self._parents:
            return self._parents[id(item)]
        late, numbers = self._late, self._numbers
        numbers.update((id(late[number]), number) for number in range(len(numbers), len(late)))
        after = bisect.bisect_right(self._bounds, numbers[id(item)]) - 1
        return self._items[after] if after >= 0 else None

    def _state_of(self, obj: Any) -> Any:
        try:
            return obj.__getstate__()
        except BaseException as error:
            hooks.check(error, nests=False)
            reason = f"its state: {hooks.describe(error)}"
            return Placeholder(self._place_of(obj), type_name_of(type(obj)), reason)

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
            and not any(reduced[3:5])
            and has_usual_hash(type(obj))
        ):
            setter = reduced[5] if len(reduced) > 5 else None
            is_usual = setter is None and reduced[0] is NEWOBJ and _may_wait(type(obj))
            if is_usual or setter in _SETTERS:
                self._wait(obj, setter or rebuild.set_reduced, reduced[2])
                return reduced[:2]
        return reduced

    def reducer_override(self, obj: Any) -> Reduced:
        """Return how `obj` is written; fast paths for the most common kinds."""
        try:
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
        except BaseException as error:  # a metaclass's __hash__
            return self.lose_for(obj, error)
        return self.reduce(obj)

    def reduce_durable(self, obj: Any) -> Reduced:
        cls = type(obj)
        version = version_of(cls)
        may_wait = has_usual_hash(cls)
        made = (NEWOBJ, (cls,)) if has_usual_new(cls) else (bare_object, (cls,))
        if may_wait and version == 1 and parts.has_safe_state(cls):
            if made[0] is not NEWOBJ:
                self._late.append(obj)
                return made
            if not self.banned:
                self._durable[cls] = (cls,)
            self._late.append(obj)
            return NEWOBJ, (cls,)
        oid = obj._p_oid
        if type(oid) is not int:
            oid = None
        # An author's __getstate__ may fail: then the whole object is lost.
        state = parts.durable_state(obj)
        self._others.append(obj)
        if may_wait:
            self._wait(obj, (oid, version), state)
            return made
        # It may be a key somewhere, so its state must be set before it is hashed.
        return *made, ((oid, version), state), None, None, rebuild.set_durable

    def path_of(self, obj: Any) -> str:
        item = self._items[-1] if self._items else None
        path = self._local_path(item, obj)
        for _ in range(paths.LABELS_MAX):
            if item is None or item is self._root:
                return root_name(self._root) + path
            parent = self._parent_of(item)
            path = self._local_path(parent, item) + path
            item = parent
        return f"{root_name(self._root)}...{path}"

    def _local_path(self, item: Any, obj: Any) -> str:
        local = self._local.get(id(item))
        if local is None:
            roots: Any = (("", self._root),)
            if is_durable_type(type(item)):
                roots = paths.durable_children(item, self._state_of_known(item))
            elif item is not None:
                roots = paths.children(item)
            local = self._local[id(item)] = paths.LocalPaths(roots)
        way = local.of(obj)
        return ".<...>" if way is None else way

    def _state_of_known(self, item: Any) -> Any:
        try:
            return parts.durable_state(item)
        except CannotKeep:
            return None


_SETTERS = (parts.set_parts, parts.set_told)
_GETTERS: dict[type, Callable[[Any], Any]] = {TrackedList: list, TrackedDict: dict}
"""State getters of the most common types, without a call of a Python method."""


def root_name(root: Any) -> str:
    """Return the name of a graph's root in paths."""
    return type(root).__name__.lower()


def _may_wait(cls: type) -> bool:
    """Whether nothing needs the state of a `cls` instance before everything is loaded."""
    return has_usual_hash(cls) and not hasattr(cls, "__setstate__")
