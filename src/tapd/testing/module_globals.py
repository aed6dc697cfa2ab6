"""Restores module globals and class attributes at each simulated kill.

The kit kills a server without ending the test's own process. What the author's modules hold
outside of the application would survive, and hide the very mistake that a test should find. So
it is recorded when the first server starts and restored at each kill, as a new process would
find it: numbers, texts, containers, counters and plain instances, in the modules of the
application's classes and those that they import from the same package.
"""

from __future__ import annotations

import ast
import collections
import itertools
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tapd.testing.failures import show

_NOT_AUTHORS = frozenset(
    {"BTrees", "_pytest", "builtins", "persistent", "pluggy", "pytest", "tapd"}
)
_ATOMS = (int, float, complex, str, bytes, bool, type(None), tuple, frozenset)
_ITEMS_MAX = 10_000
_DEPTH_MAX = 6
_MISSING = object()


class Leftovers:
    """The original globals of an author's modules."""

    def __init__(self, classes: Iterable[type]) -> None:
        """Record them.

        Args:
            classes: of the application's objects; their modules are examined.
        """
        self._notes: list[_Note] = []
        for module in _modules_of(classes):
            self._note_names(module.__name__, module, vars(module))
            for cls in _own_classes(module):
                self._note_names(f"{module.__name__}.{cls.__qualname__}", cls, vars(cls))

    def _note_names(self, where: str, owner: Any, names: Any) -> None:
        taken: dict[str, Callable[[], Any]] = {}
        seen: set[int] = set()
        for name, value in list(names.items()):
            if not name.startswith("__") and (taking := _take(value, seen, 0)) is not None:
                taken[name] = taking
        everything = {name for name in names if not name.startswith("__")}
        self._notes.append(_Note(where, owner, taken, everything))

    def restore(self) -> list[str]:
        """Restore everything; return what had changed, in words."""
        return [text for note in self._notes for text in note.restore()]


class _Note:
    def __init__(
        self, where: str, owner: Any, taken: dict[str, Callable[[], Any]], names: set[str]
    ) -> None:
        self._where = where
        self._owner = owner
        self._taken = taken
        self._names = names

    def restore(self) -> Iterator[str]:
        """Restore the names; yield those that had changed."""
        names = vars(self._owner)
        for name in [name for name in names if not name.startswith("__")]:
            if name not in self._names and _take(names[name], set(), 0) is not None:
                yield f"{self._where}.{name} was set to {show(names[name], 60)}"
                delattr(self._owner, name)
        for name, give in self._taken.items():
            now = names.get(name, _MISSING)
            text = show(now, 60)
            value, changed = give()
            if changed or value is not now:
                yield f"{self._where}.{name} was {text}"
            if value is not now:
                setattr(self._owner, name, value)


def _take(value: Any, seen: set[int], depth: int) -> Callable[[], tuple[Any, bool]] | None:
    """Return a function that restores `value` and tells whether it had changed; None to skip it."""
    if isinstance(value, _ATOMS):
        return lambda: (value, False)
    if id(value) in seen or depth > _DEPTH_MAX:
        return None
    if type(value) in (list, set, dict, bytearray, *_KINDS):
        seen.add(id(value))
        return _take_container(value, seen, depth)
    if type(value) is itertools.count:
        return _take_counter(value)
    attributes = getattr(value, "__dict__", None)
    if type(attributes) is dict and _is_authors(type(value).__module__):
        seen.add(id(value))
        inside = _take_container(attributes, seen, depth)
        return None if inside is None else lambda: (value, inside()[1])
    return None


def _take_counter(value: itertools.count[Any]) -> Callable[[], tuple[Any, bool]] | None:
    """Like `_take`. The position is read from the repr, since Python 3.14 can't copy counters."""
    text = repr(value)
    try:
        start = ast.literal_eval(text.removeprefix("count"))
    except (SyntaxError, ValueError):
        return None  # not a counter of numbers
    arguments = start if isinstance(start, tuple) else (start,)
    return lambda: (value, False) if repr(value) == text else (itertools.count(*arguments), True)


_KINDS = (collections.deque, collections.defaultdict, collections.Counter, collections.OrderedDict)


def _take_container(
    value: Any, seen: set[int], depth: int
) -> Callable[[], tuple[Any, bool]] | None:
    if len(value) > _ITEMS_MAX:
        return None
    before = value.copy() if isinstance(value, dict) else type(value)(value)
    contents = before.values() if isinstance(before, dict) else before
    inner = [
        taking
        for part in ([] if isinstance(value, bytearray) else contents)
        if not isinstance(part, _ATOMS) and (taking := _take(part, seen, depth + 1)) is not None
    ]

    def give() -> tuple[Any, bool]:
        changed = False
        for taking in inner:
            changed = taking()[1] or changed
        if not _same(value, before):
            changed = True
            value.clear()
            if isinstance(value, (dict, set)):
                value.update(before)
            else:
                value.extend(before)
        return value, changed

    return give


def _same(value: Any, before: Any) -> bool:
    """Whether a container holds the same objects as before."""
    if len(value) != len(before):
        return False
    if isinstance(value, set):
        return set(map(id, value)) == set(map(id, before))
    if isinstance(value, bytearray):
        return bool(bytearray.__eq__(value, before))
    if isinstance(value, dict):
        pairs = zip(value.items(), before.items(), strict=True)
        return all(key is old_key and now is old for (key, now), (old_key, old) in pairs)
    return all(now is old for now, old in zip(value, before, strict=True))


def _is_authors(module: str) -> bool:
    top = module.partition(".")[0]
    if module.startswith("tapd.services."):
        return True
    return top not in _NOT_AUTHORS and top not in sys.stdlib_module_names


def _modules_of(classes: Iterable[type]) -> list[types.ModuleType]:
    names = {base.__module__ for cls in classes for base in cls.__mro__}
    due = [sys.modules[name] for name in sorted(names) if _is_authors(name) and name in sys.modules]
    found: dict[str, types.ModuleType] = {}
    while due:
        module = due.pop()
        if module.__name__ in found:
            continue
        found[module.__name__] = module
        top = module.__name__.partition(".")[0]
        for value in list(vars(module).values()):
            name = (
                value.__name__
                if isinstance(value, types.ModuleType)
                else getattr(value, "__module__", None)
            )
            if (
                isinstance(name, str)
                and name.partition(".")[0] == top
                and name in sys.modules
                and _is_authors(name)
            ):
                due.append(sys.modules[name])
    return list(found.values())


def _own_classes(module: types.ModuleType) -> list[type]:
    return [
        value
        for value in list(vars(module).values())
        if isinstance(value, type) and value.__module__ == module.__name__
    ]


def volatile_state(root_values: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the volatile attributes of durable objects, in words."""
    told = []
    for path, value in root_values:
        attributes = getattr(value, "__dict__", None)
        if type(attributes) is not dict or type(value).__module__.startswith("tapd.model."):
            continue
        for name, held in attributes.items():
            if type(name) is str and name.startswith("_v_") and name not in _TAPDS_OWN:
                what = f"{type(value).__qualname__}.{name}"
                told.append(f"{what} held {show(held, 60)} (at {path or 'the application'})")
    return told


_TAPDS_OWN = frozenset({"_v_runtime", "_v_transport"})
