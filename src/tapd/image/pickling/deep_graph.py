"""Pickles graphs whose plain objects are nested too deep for the C stack.

No object may be written inside the one that holds it. A list, dict or set is created empty
first and filled at the end. Everything an object has besides its constructor arguments
(state, items, entries) also comes at the end.

What remains nested are arguments only: tuples in tuples, a `functools.partial` of a partial.
These can't be created before their parts, so parts nested deeper than `_LEVELS_MAX` levels are
lost, and reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tapd.image.code import definitions
from tapd.image.loss import Loss, Placeholder
from tapd.image.pickling.graph import FindDetached, GraphPickler, GraphQueue, GraphRoot
from tapd.image.reduction import parts, rebuild
from tapd.image.reduction.reducer import Reduced, has_usual_hash

_LEVELS_MAX = 250
_TUPLES_MAX = 60
_TUPLES = (tuple, frozenset)
_ATOMS = frozenset({int, str, bytes, float, complex, bool, type(None)})
_SETTERS = (None, rebuild.set_plain, rebuild.set_reduced, parts.set_parts, parts.set_told)
_TOO_DEEP = "nested too deeply; use lists or durable objects"


class _Made:
    """Marks the containers that are created before everything else."""


class _ShallowPickler(GraphPickler):
    """Writes of each object only its constructor arguments; the rest goes through the queue."""

    MARKS = frozenset({_Made, GraphQueue, GraphRoot})
    queue_type = list  # a state may copy a container, so all are filled before

    def __init__(self, write_to: Any, root: Any, find_detached: FindDetached | None = None) -> None:
        super().__init__(write_to, root, flat=True, find_detached=find_detached)
        self._levels: dict[int, int] = {}
        self._own: dict[int, Any] = {}
        self._held: list[Any] = []  # ids are only good while their objects live
        # Tuples created here; they don't count as nesting.
        self._pairs: dict[int, Any] = {}

    def reducer_override(self, obj: Any) -> Reduced:
        """Return how `obj` is written; without fast paths."""
        try:
            return self.reduce(obj)
        except BaseException as error:  # a metaclass's __hash__
            return self.lose_for(obj, error)

    def reduce(self, obj: Any) -> Reduced:
        """Reduce `obj`; everything but its constructor arguments is queued."""
        if type(obj) in self.MARKS:
            return super().reduce(obj)
        level = self._levels.get(id(obj), 0)
        if level > _LEVELS_MAX:
            return self.lose(obj, _TOO_DEEP)
        reduced = super().reduce(obj)
        if type(reduced) is not tuple:
            return reduced
        state, items, entries, setter = (*reduced[2:], None, None, None, None)[:4]
        has_more = any(part is not None for part in (state, items, entries))
        if has_more and setter in _SETTERS and has_usual_hash(type(obj)):
            more = (state, list(items or ()), list(entries or ()), setter)
            self._pairs.update((id(pair), pair) for pair in (more, *more[2]))
            self._wait(obj, rebuild.set_whole, more)
            reduced = reduced[:2]
        made_of = reduced[1]
        if reduced[0] is definitions.make_function and type(made_of[2]) is dict:
            made_of = made_of[:2] + made_of[3:]  # leave out its globals, which may be filled later
        self._write_here((*made_of, *reduced[2:3]), level + 2)
        return reduced

    def _write_here(self, parts: Iterable[Any], level: int) -> None:
        """Note that `parts` are written where they are met, at this nesting level."""
        queue = [(part, level) for part in parts]
        for part, at in queue:  # grows meanwhile
            cls = type(part)
            if (
                not _is_hashable(cls)
                or cls in _ATOMS
                or id(part) in self._levels
                or id(part) in self._own
            ):
                continue
            if cls in rebuild.CONTAINERS:
                self._own[id(part)] = part
                queue.extend((each, at + 1) for each in (part.values() if cls is dict else part))
                continue
            self._levels[id(part)] = at
            self._held.append(part)
            if cls in _TUPLES:
                queue.extend((each, at + 1) for each in part)

    def _drain(self) -> Iterator[Any]:
        for index, item in enumerate(super()._drain()):
            if index % 3 == 2:
                for part in item if type(item) is tuple else (item,):
                    if type(part) in rebuild.CONTAINERS:
                        self._own[id(part)] = part
            yield item


def _is_hashable(cls: type) -> bool:
    """Whether `cls` can be hashed and compared without an author's metaclass."""
    meta = type(cls)
    return meta is type or (meta.__hash__ is type.__hash__ and meta.__eq__ is type.__eq__)


class DeepGraphPickler(_ShallowPickler):
    """Finds the containers of a graph in which containers are too deep for C as well.

    Each list, dict and set is written as a persistent id where it is met, and its contents
    through the queue. `load_graph` reads this form, plain `pickle.loads` does not. So it is
    only the first pass for `NestedGraphPickler`, and the result only if that fails.
    """

    def __init__(self, write_to: Any, root: Any, find_detached: FindDetached | None = None) -> None:
        super().__init__(write_to, root, find_detached)
        self._containers: dict[int, tuple[Any, Any]] = {}
        self._lost: dict[int, tuple[Any, Loss]] = {}

    def found(self) -> tuple[list[Any], list[tuple[Any, Loss]], dict[int, Any]]:
        """Return the containers to fill, the lost tuples, and where each container was met.

        Containers among constructor arguments are left out: they can't be empty then.
        """
        containers = [obj for _pid, obj in self._containers.values() if id(obj) not in self._own]
        return containers, list(self._lost.values()), self._parents

    def persistent_id(self, obj: Any) -> Any:
        """Return the persistent id of a container. Called for every object."""
        cls = type(obj)
        if not _is_hashable(cls):
            return None  # `reducer_override` reports it
        if cls in _TUPLES:
            return None if id(obj) in self._pairs else self._lost_tuple(obj)
        if cls not in rebuild.CONTAINERS or id(obj) in self._own:
            return None
        known = self._containers.get(id(obj))
        if known is None:
            known = self._containers[id(obj)] = (cls.__name__, len(self._containers)), obj
            contents: list[Any] = list(obj.items()) if cls is dict else list(obj)
            if cls is dict:
                self._pairs.update((id(pair), pair) for pair in contents)
            self._wait(obj, rebuild.fill_container, contents)
        return known[0]

    def _reduce_root(self, obj: Any) -> Reduced:
        return rebuild.finish_deep_graph, super()._reduce_root(obj)[1]

    def _lost_tuple(self, obj: Any) -> Any:
        if id(obj) in self._lost:
            loss = self._lost[id(obj)][1]
            return "lost", loss.path, loss.type_name, loss.reason
        level = [obj]
        for _ in range(_TUPLES_MAX):
            level = [item for each in level for item in each if type(item) in _TUPLES][:1000]
            if not level:
                return None
        loss = Loss(self.path_of(obj), type(obj).__name__, _TOO_DEEP)
        self.losses.append(loss)
        self._lost[id(obj)] = obj, loss
        return "lost", loss.path, loss.type_name, loss.reason


class NestedGraphPickler(_ShallowPickler):
    """Writes such a graph as a plain pickle, once its containers are known.

    An empty container for each is written before the root. Then the pickler's memo is changed,
    once: the entry of the empty container becomes that of the real one. From there on the real
    one is written as a reference wherever it is met. The queue has the contents.
    """

    def __init__(
        self,
        write_to: Any,
        root: Any,
        found: tuple[list[Any], list[tuple[Any, Loss]], dict[int, Any]],
        find_detached: FindDetached | None = None,
    ) -> None:
        super().__init__(write_to, root, find_detached)
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
        return rebuild.finish_nested_graph, (_Made(), obj.root, super()._reduce_root(obj)[1][1])

    def _reduce_made(self, _obj: Any) -> Reduced:
        return list, (), None, self._make()

    def _make(self) -> Iterator[Any]:
        """Yield the stand-ins; after the padding, when all are written, swap the memo entries."""
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
