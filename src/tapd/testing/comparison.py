"""Where two graphs of state differ first, in the words of an author.

Imports `model` and `failures`. Walks both side by side, nearest objects first,
each object once, so the path that is named is a short one, such as
``services['chat'].rooms['lobby'].members[3].notes``. Two things are compared:
what the objects hold, and which of them are one and the same object.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import fnmatch
import inspect
import re
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tapd.image.loss import Placeholder
from tapd.model.persistent import Tracked, is_durable_type
from tapd.testing.failures import show

_ATOMS = frozenset({int, float, complex, str, bytes, bool, type(None), type(...), range})
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
_MISSING = object()
_NO_STATE = frozenset({"_thread", "functools", "logging", "operator", "re", "threading"})
"""Modules of objects of which two equal ones are as good as one."""


_NUMBERED = ("connections", "connectors", "delayeds")
_NUMBER = re.compile(r"last_key|(delayeds|connectors)\[\d+\]\.(key|connection_key)")


def is_one_of(path: str, patterns: Iterable[str]) -> bool:
    """Whether `path` matches one of `patterns`, where ``*`` and ``?`` stand for any text.

    Brackets, which paths are full of, stand for themselves.
    """
    return any(fnmatch.fnmatchcase(path, each.replace("[", "[[]")) for each in patterns)


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two graphs differ.

    Attributes:
        path: from the application on; "" for itself.
        owner: the class of the nearest durable object on the way.
        one, other: what is there, shown for people.
        other_path: where `one` is a single object in one graph and two in the other:
            the other place where it is.
        type_name: of what differs.
    """

    path: str
    owner: str
    one: str
    other: str
    type_name: str
    other_path: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """A pair of objects to compare, and how it was reached."""

    path: str
    owner: str
    one: Any
    other: Any


class Comparison:
    """Compares graphs; what was lost, by leave of the author, is not compared."""

    def __init__(self, ignore: Sequence[str] = (), *, numbers: bool = True) -> None:
        """Begin.

        Args:
            ignore: patterns of paths to leave out (see `is_one_of`).
            numbers: compare the numbers of connections and timers as well, of which
                a kill may leave some out.
        """
        self._ignore = tuple(ignore)
        self._numbers = numbers
        self._pairs: dict[int, tuple[Any, Any, str]] = {}
        self._reverse: dict[int, Any] = {}
        self._due: collections.deque[_Place] = collections.deque()

    def compare(self, one: Any, other: Any) -> Difference | None:
        """Return the first difference, or None."""
        self._due.append(_Place("", type(one).__qualname__, one, other))
        while self._due:
            difference = self._look(self._due.popleft())
            if difference is not None:
                return difference
        return None

    def _is_ignored(self, path: str) -> bool:
        is_number = not self._numbers and _NUMBER.fullmatch(path) is not None
        return is_number or is_one_of(path, self._ignore)

    def _look(self, place: _Place) -> Difference | None:
        one, other = place.one, place.other
        if Placeholder in (type(one), type(other)) or self._is_ignored(place.path):
            return None
        if not _are_alike(one, other):
            return _differ(place)
        if type(one) in _ATOMS or isinstance(one, (*_NAMED, enum.Enum)):
            return None
        known = self._pairs.get(id(one))
        if known is None:
            return self._look_at_new(place)
        if known[1] is other or not _has_identity(one):
            return None
        return _differ(place, other_path=known[2])

    def _look_at_new(self, place: _Place) -> Difference | None:
        one, other = place.one, place.other
        if _has_identity(one):
            before = self._reverse.get(id(other))
            if before is not None and before[0] is not one:
                return _differ(place, other_path=before[1])
            self._reverse[id(other)] = (one, place.path)
        self._pairs[id(one)] = (one, other, place.path)
        return self._look_inside(place)

    def _look_inside(self, place: _Place) -> Difference | None:
        one, other = place.one, place.other
        if isinstance(one, (dict, collections.abc.Mapping)) or _is_tree(one, "items"):
            if not self._numbers and place.path in _NUMBERED:
                return self._look_at_numbered(place, list(one.items()), list(other.items()))
            return self._look_at_items(place, list(one.items()), list(other.items()))
        if isinstance(one, (list, tuple, collections.deque)) or _is_tree(one, "keys"):
            return self._look_at_sequence(place, list(one), list(other))
        if isinstance(one, (set, frozenset)):
            return self._look_at_set(place)
        if isinstance(one, (bytearray, bytes, str, int, float)) and not hasattr(one, "__dict__"):
            return None if one == other else _differ(place)
        return self._look_at_attributes(place)

    def _look_at_items(
        self, place: _Place, items: list[tuple[Any, Any]], others: list[tuple[Any, Any]]
    ) -> Difference | None:
        keys = [self._key_token(key) for key, _value in items]
        other_keys = [self._key_token(key) for key, _value in others]
        if keys != other_keys:
            for key, item in zip(keys, items, strict=True):
                path = place.path + _label(item[0])
                if key not in other_keys and not self._is_ignored(path):
                    return _differ(_inside(place, _label(item[0]), item[1], _MISSING))
            for key, item in zip(other_keys, others, strict=True):
                path = place.path + _label(item[0])
                if key not in keys and not self._is_ignored(path):
                    return _differ(_inside(place, _label(item[0]), _MISSING, item[1]))
            if sorted(map(repr, keys)) == sorted(map(repr, other_keys)):
                return _differ(
                    _inside(
                        place, " (order of keys)", [k for k, _ in items], [k for k, _ in others]
                    )
                )
            return None
        for (key, value), (other_key, other_value) in zip(items, others, strict=True):
            if type(key) not in _ATOMS:
                self._push(place, f".<key {type(key).__qualname__}>", key, other_key)
            self._push(place, _label(key), value, other_value)
        return None

    def _key_token(self, key: Any) -> Any:
        """Return the token of a key; of two runs the same durable object has other numbers.

        So only its type counts there: what is at the same place is looked at as a pair.
        """
        if not self._numbers and is_durable_type(type(key)):
            return "durable", type(key).__qualname__
        return _token(key)

    def _look_at_numbered(
        self, place: _Place, items: list[tuple[Any, Any]], others: list[tuple[Any, Any]]
    ) -> Difference | None:
        for (key, value), (_key, other) in zip(items, others, strict=False):
            self._push(place, _label(key), value, other)
        for key, value in items[len(others) :]:
            return _differ(_inside(place, _label(key), value, _MISSING))
        for key, value in others[len(items) :]:
            return _differ(_inside(place, _label(key), _MISSING, value))
        return None

    def _look_at_sequence(
        self, place: _Place, items: list[Any], others: list[Any]
    ) -> Difference | None:
        for index, (item, other) in enumerate(zip(items, others, strict=False)):
            self._push(place, f"[{index}]", item, other)
        if len(items) != len(others):
            index = min(len(items), len(others))
            one = items[index] if index < len(items) else _MISSING
            other = others[index] if index < len(others) else _MISSING
            # Behind the items: one that differs in the midst says more than the length.
            self._due.append(_inside(place, f"[{index}]", one, other))
        return None

    def _look_at_set(self, place: _Place) -> Difference | None:
        ones = {_token(item): item for item in place.one}
        others = {_token(item): item for item in place.other}
        for token, item in ones.items():
            if token not in others:
                return _differ(_inside(place, f".<item {show(item, 40)}>", item, _MISSING))
            self._push(place, f".<item {show(item, 40)}>", item, others[token])
        for token, item in others.items():
            if token not in ones:
                return _differ(_inside(place, f".<item {show(item, 40)}>", _MISSING, item))
        return None

    def _look_at_attributes(self, place: _Place) -> Difference | None:
        one, other = _parts(place.one), _parts(place.other)
        if one is None or other is None:
            try:
                same = bool(place.one == place.other) or repr(place.one) == repr(place.other)
            except Exception:
                same = True  # a stranger's object that can't be looked at; its type is the same
            return None if same else _differ(place)
        for name, value in one.items():
            there = other.get(name, _MISSING)
            if there is _MISSING:
                there = _default(place.other, name)  # an attribute may be what its class says
            if there is not _MISSING:
                self._push(place, name, value, there)
            elif not self._is_ignored(_step(place.path, name)):
                return _differ(_inside(place, name, value, _MISSING))
        for name, value in other.items():
            if name in one:
                continue
            there = _default(place.one, name)
            if there is not _MISSING:
                self._push(place, name, there, value)
            elif not self._is_ignored(_step(place.path, name)):
                return _differ(_inside(place, name, _MISSING, value))
        return None

    def _push(self, place: _Place, label: str, one: Any, other: Any) -> None:
        if type(one) in _ATOMS and type(one) is type(other) and one == other:
            return  # as mostly
        self._due.append(_inside(place, label, one, other))


def _are_alike(one: Any, other: Any) -> bool:
    """Whether two objects are of one class, and equal where they are plain values."""
    if _name_of(type(one)) != _name_of(type(other)):
        return False
    if type(one) in _ATOMS or isinstance(one, enum.Enum):
        return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN
    if isinstance(one, _NAMED):
        return one is other or _name_of(one) == _name_of(other)
    return True


def _inside(place: _Place, label: str, one: Any, other: Any) -> _Place:
    owner = place.owner
    value = place.one
    if is_durable_type(type(value)) and not isinstance(value, Tracked):
        owner = type(value).__qualname__
    return _Place(_step(place.path, label), owner, one, other)


def _step(path: str, label: str) -> str:
    return (path + label).removeprefix(".")


def _default(value: Any, label: str) -> Any:
    """Return what the class of `value` says an attribute is where the object has none."""
    found = inspect.getattr_static(type(value), label[1:], _MISSING)
    return _MISSING if hasattr(type(found), "__get__") else found


def _differ(place: _Place, other_path: str | None = None) -> Difference:
    there = place.one if place.one is not _MISSING else place.other
    return Difference(
        place.path,
        place.owner,
        _show(place.one),
        _show(place.other),
        type(there).__qualname__,
        other_path,
    )


def _show(value: Any) -> str:
    if value is _MISSING:
        return "missing"
    text = show(value)
    if text.startswith("<") and " object at 0x" in text and hasattr(value, "__dict__"):
        parts = ", ".join(
            f"{name}={show(part, 40)}" for name, part in list(vars(value).items())[:6]
        )
        return f"{type(value).__qualname__}({parts})"
    return text


def _name_of(named: Any) -> str:
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', repr(named))}"


def _label(key: Any) -> str:
    return f"[{show(key, 60)}]" if type(key) in _ATOMS else f"[<{type(key).__qualname__}>]"


def _token(key: Any) -> Any:
    """Return what stands for a key or an item when looking for its like in the other graph."""
    kind = type(key)
    if kind in _ATOMS:
        return kind.__name__, repr(key)
    if is_durable_type(kind):
        return "durable", key._p_oid
    if isinstance(key, (tuple, frozenset)):
        tokens = [_token(part) for part in key]
        return kind.__name__, repr(sorted(tokens) if isinstance(key, frozenset) else tokens)
    text = repr(key)
    return kind.__qualname__, "" if " object at 0x" in text else text


def _is_tree(value: Any, method: str) -> bool:
    return type(value).__module__.startswith("BTrees.") and hasattr(value, method)


def _has_identity(value: Any) -> bool:
    """Whether it matters that `value` is one object and not two equal ones."""
    kind = type(value)
    if is_durable_type(kind):
        return True
    if kind in (tuple, frozenset) or issubclass(kind, (bytes, str, int, float)):
        return False
    if kind.__module__ in _NO_STATE:
        return False
    params = getattr(kind, "__dataclass_params__", None)
    if params is not None and params.frozen:
        return False
    # What can be a key by its value is taken for a value: dates, paths, numbers, ...
    hashes = getattr(kind, "__hash__", None)
    return hashes is None or hashes is object.__hash__


def _parts(value: Any) -> dict[str, Any] | None:
    """Return what an instance's state consists of, by label; None where that can't be told."""
    if is_durable_type(type(value)):
        state = value.__getstate__()
        return _labelled(state) if isinstance(state, dict) else {".<state>": state}
    if type(value).__module__ == "itertools":
        return None  # their repr tells all; to pickle them is deprecated
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:
        return None
    if not isinstance(reduced, tuple):
        return None
    parts: dict[str, Any] = {}
    for index, part in enumerate(reduced[1][1:] if reduced[1] else ()):
        parts[f".<argument {index}>"] = part
    if not getattr(reduced[0], "__name__", "").startswith("__newobj"):
        parts |= {f".<made of {index}>": part for index, part in enumerate(reduced[1])}
    for state in _states(reduced):
        parts |= state
    return parts


def _states(reduced: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    if len(reduced) > 2 and reduced[2] is not None:
        for state in reduced[2] if isinstance(reduced[2], tuple) else (reduced[2],):
            if isinstance(state, dict):
                yield _labelled(state)
            elif state is not None:
                yield {".<state>": state}
    if len(reduced) > 3 and reduced[3] is not None:
        yield {f"[{index}]": item for index, item in enumerate(reduced[3])}
    if len(reduced) > 4 and reduced[4] is not None:
        yield {_label(key): item for key, item in reduced[4]}


def _labelled(state: dict[Any, Any]) -> dict[str, Any]:
    return {f".{name}": value for name, value in state.items()}


def walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield every object of a graph once, nearest first, with its path."""
    due = collections.deque([_Place("", "", root, None)])
    seen: dict[int, Any] = {}
    while due:
        place = due.popleft()
        value = place.one
        if id(value) in seen:
            continue
        yield place.path, value
        if type(value) in _ATOMS or isinstance(value, _NAMED):
            continue
        seen[id(value)] = value
        due.extend(_inside(place, label, part, None) for label, part in _children(value))


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, collections.abc.Mapping)) or _is_tree(value, "items"):
        for key, part in list(value.items()):
            yield _label(key), part
    elif isinstance(value, (list, tuple, collections.deque, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(list(value)))
    elif not isinstance(value, (bytearray, Placeholder)):
        yield from (_parts(value) or {}).items()
