"""Finds the path of an object in a graph: ``application.services['telnet'].x``.

For messages about lost objects, so it may be slow: a breadth-first walk from one durable
object, which stops at other durable objects.
"""

from __future__ import annotations

import collections
import functools
import gc
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tapd.errors import CannotKeep
from tapd.image import hooks
from tapd.image.bare import HEAP_TYPE
from tapd.image.code import definitions
from tapd.image.reduction.instances import attributes_getter, filled_slots, slots_of
from tapd.model.durable.persistent import is_durable_type

_ATOM_TYPES = (int, str, bytes, float, bool, type(None), complex, type)
# By id: an author's metaclass may refuse to be hashed.
_ATOMS = frozenset(map(id, _ATOM_TYPES))


LABELS_MAX = 30
"""Longer paths show only their end: in a chain of a million objects each may be a loss."""


def _key_label(key: object) -> str:
    if id(type(key)) in _ATOMS:
        text = repr(key)
        return f"[{text}]" if len(text) <= 60 else f"[{text[:50]}...]"
    return f"[<{type(key).__name__}>]"


def _attributes(obj: Any) -> Iterator[tuple[str, Any]]:
    cls = type(obj)
    try:
        get = attributes_getter(cls)
    except CannotKeep:  # hidden by something else of that name
        get = None
    if get is not None:
        for name, value in list(get(obj).items()):
            yield f".{name}", value
    for name, value in filled_slots(obj, slots_of(cls)).items():
        yield f".{name}", value


def _of_mapping(obj: Any) -> Iterator[tuple[str, Any]]:
    for key, value in list(dict.items(obj)):
        yield _key_label(key), value
        if id(type(key)) not in _ATOMS:
            yield ".<key>", key


def _of_sequence(base: Any) -> Callable[[Any], Iterator[tuple[str, Any]]]:
    def parts(obj: Any) -> Iterator[tuple[str, Any]]:
        for index, value in enumerate(list(base.__iter__(obj))):
            yield f"[{index}]", value

    return parts


def _of_set(base: Any) -> Callable[[Any], Iterator[tuple[str, Any]]]:
    def parts(obj: Any) -> Iterator[tuple[str, Any]]:
        for value in list(base.__iter__(obj)):
            yield ".<item>", value

    return parts


def _of_exception(obj: Any) -> Iterator[tuple[str, Any]]:
    for name in ("args", "__cause__", "__context__"):
        yield f".{name}", BaseException.__dict__[name].__get__(obj)


def _of_class(obj: Any) -> Iterator[tuple[str, Any]]:
    for name, value in type.__dict__["__dict__"].__get__(obj).items():
        yield f".{name}", value


def _named(*names: str) -> Callable[[Any], Iterator[tuple[str, Any]]]:
    def parts(obj: Any) -> Iterator[tuple[str, Any]]:
        for name in names:
            yield f".{name}", getattr(obj, name)

    return parts


def _of_cell(obj: Any) -> Iterator[tuple[str, Any]]:
    yield ".cell_contents", definitions.cell_contents(obj)


_WALKS: tuple[tuple[Any, Callable[[Any], Iterator[tuple[str, Any]]]], ...] = (
    (dict, _of_mapping),
    (list, _of_sequence(list)),
    (tuple, _of_sequence(tuple)),
    (collections.deque, _of_sequence(collections.deque)),
    (set, _of_set(set)),
    (frozenset, _of_set(frozenset)),
    (BaseException, _of_exception),
    (types.FunctionType, definitions.parts_of),
    (types.MethodType, _named("__self__", "__func__")),
    (types.CellType, _of_cell),
    (functools.partial, _named("func", "args", "keywords")),
    (type, _of_class),
    (types.MappingProxyType, lambda obj: _of_mapping(dict(obj))),
    (property, _named("fget", "fset", "fdel")),
    ((staticmethod, classmethod), _named("__func__")),
)


def children(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield what `obj` holds, each with its label, without running code of its class."""
    cls = type(obj)
    walk = next((walk for bases, walk in _WALKS if issubclass(cls, bases)), None)
    if walk is not None:
        yield from walk(obj)
    elif not cls.__flags__ & HEAP_TYPE and id(cls) not in _ATOMS:
        for part in gc.get_referents(obj):  # such as an iterator: its parts have no names
            if type(part) not in (type, types.ModuleType):
                yield ".<part>", part
    if cls.__flags__ & HEAP_TYPE:  # a class made in Python may add attributes to any of these
        yield from _attributes(obj)


class LocalPaths:
    """Paths of what is reached from `roots`, breadth first, stopping at durable objects.

    The walk is lazy: it goes only as far as a question needs.
    """

    def __init__(self, roots: Iterable[tuple[str, Any]]) -> None:
        """Begin at `roots`, each with its label."""
        self._came_from: dict[int, tuple[int, str]] = {}
        self._kept: list[Any] = []  # ids are only good while their objects live
        self._queue: collections.deque[Any] = collections.deque()
        for label, value in roots:
            self._visit(0, label, value)

    def of(self, wanted: Any) -> str | None:
        """Return the path of `wanted`; None if it is not reached."""
        while id(wanted) not in self._came_from and self._queue:
            obj = self._queue.popleft()
            try:
                for label, value in children(obj):
                    self._visit(id(obj), label, value)
            except BaseException as error:  # a stranger's container that can't be walked
                hooks.check(error, nests=False)
                continue
        return joined(self._came_from, id(wanted)) if id(wanted) in self._came_from else None

    def _visit(self, parent: int, label: str, value: Any) -> None:
        if id(type(value)) in _ATOMS or id(value) in self._came_from:
            return
        self._came_from[id(value)] = (parent, label)
        self._kept.append(value)
        if not is_durable_type(type(value)) and type(value) is not types.ModuleType:
            self._queue.append(value)


def find_path(root: Any, wanted: Any, *, objects_max: int = 200_000) -> str:
    """Return the path of the durable object `wanted` in the graph of `root`; "" if it is not found.

    Visits at most `objects_max` objects: the path is for a message.
    """
    name = type(root).__name__.lower()
    if root is wanted:
        return name
    came_from: dict[int, tuple[int, str]] = {id(root): (0, name)}
    queue: collections.deque[Any] = collections.deque([root])
    kept = [root]  # ids are only good while their objects live
    while queue and len(kept) < objects_max:
        obj = queue.popleft()
        try:
            parts = (
                durable_children(obj, obj.__getstate__())
                if is_durable_type(type(obj))
                else (children(obj))
            )
            for label, value in parts:
                if id(type(value)) in _ATOMS or id(value) in came_from:
                    continue
                came_from[id(value)] = id(obj), label
                if value is wanted:
                    return joined(came_from, id(value))
                kept.append(value)
                if type(value) is not types.ModuleType:
                    queue.append(value)
        except BaseException as error:  # a stranger's container that can't be walked
            hooks.check(error, nests=False)
            continue
    return ""


def is_leaf(obj: Any) -> bool:
    """Whether `obj` is a value or a module, where every path ends."""
    return id(type(obj)) in _ATOMS or type(obj) is types.ModuleType


def joined(came_from: Mapping[int, tuple[int, str]], key: int) -> str:
    """Return the path to `key`, given the parent and label of each visited object."""
    labels = []
    while key:
        key, label = came_from[key]
        labels.append(label)
        if len(labels) > LABELS_MAX:
            labels.append("...")
            break
    return "".join(reversed(labels))


def durable_children(obj: Any, state: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a durable object holds, given its state."""
    from tapd.model.durable.namespace import Namespace  # noqa: PLC0415 - only for its label

    if type(state) is dict and not issubclass(type(obj), (dict, list, set)):
        is_namespace = issubclass(type(obj), Namespace)
        for name, value in state.items():
            yield (f".names[{name!r}]" if is_namespace else f".{name}"), value
    else:
        yield from children(state)
