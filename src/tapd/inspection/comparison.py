"""Compares two graphs of stubs by path, without running their code.

Objects at the same path are compared. A tracked container and a plain one are the same
(`model.durable.persistent`): a TAP made by `tapd-mktap` has plain ones.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tapd.inspection.graph import (
    ROOT_NAME,
    SCALARS,
    Graph,
    children_of,
    count_label,
    describe_scalar,
    is_scalar,
    type_label,
)
from tapd.inspection.secrecy import hide, is_secret_name, is_secret_value
from tapd.inspection.stubs import Stub

_TRACKED = "tapd.model.durable.tracked:Tracked"
_TEXT_DEPTH_MAX = 3


def compare_graphs(
    old: Graph, new: Graph, *, count_max: int = 1000, with_secrets: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield path and kind of each difference: "+ ...", "- ..." or "old -> new".

    Args:
        old: the graph before.
        new: the graph after.
        count_max: yield at most so many differences.
        with_secrets: include passwords, hashes and the like (`secrecy`).
    """
    return itertools.islice(_Comparison(with_secrets=with_secrets).walk(old, new), count_max)


class _Comparison:
    def __init__(self, *, with_secrets: bool) -> None:
        self._with_secrets = with_secrets
        self._kept: list[Any] = []  # ids are only good while their objects live

    def walk(self, old: Graph, new: Graph) -> Iterator[tuple[str, str]]:
        """Yield the differences, breadth first."""
        queue: list[tuple[str, Any, Any, bool]] = [(ROOT_NAME, old.root, new.root, False)]
        seen: set[tuple[int, int]] = set()
        for path, was, becomes, is_hidden in queue:  # grows while it is read
            before, after = _plain(was), _plain(becomes)
            if is_scalar(before) or is_scalar(after) or _kind(before) != _kind(after):
                if _brief(before) != _brief(after) or _differ(before, after):
                    yield path, f"{self._tell(before, is_hidden)} -> {self._tell(after, is_hidden)}"
                continue
            if (id(was), id(becomes)) in seen:
                continue
            seen.add((id(was), id(becomes)))
            self._kept += (before, after)
            then, now = self._parts(before), self._parts(after)
            for label, value in then.items():
                hidden = is_hidden or self._hides(label)
                if label in now:
                    queue.append((path + label, value, now[label], hidden))
                else:
                    yield path + label, f"- {self._tell(value, hidden)}"
            for label, value in now.items():
                if label not in then:
                    hidden = is_hidden or self._hides(label)
                    yield path + label, f"+ {self._tell(value, hidden)}"

    def _hides(self, label: str) -> bool:
        return not self._with_secrets and is_secret_name(label)

    def _tell(self, value: Any, is_hidden: bool) -> str:
        value = _plain(value)
        if is_hidden or (not self._with_secrets and is_secret_value(value)):
            return (isinstance(value, SCALARS) and hide(value)) or _brief(value)
        return _brief(value)

    def _parts(self, obj: Any) -> dict[str, Any]:
        if not isinstance(obj, set | frozenset | _Members):
            return dict(children_of(obj))
        parts: dict[str, Any] = {}
        counts: collections.Counter[str] = collections.Counter()
        for value in obj:
            text = self._tell(value, False) if is_scalar(value) else _text(value)
            counts[text] += 1
            parts[f"{{{text}{f' {counts[text]}' if counts[text] > 1 else ''}}}"] = value
        return parts


class _Deque(list[Any]):
    """The items of a deque, to distinguish it from a list."""


class _Members(tuple[Any, ...]):
    """The members of a set; stubs may be unhashable."""

    __slots__ = ()


def _plain(value: Any) -> Any:
    """Return the builtin container that `value` represents; otherwise `value` itself."""
    if not isinstance(value, Stub):
        return value
    make = _PLAIN.get(type(value).reference)
    return value if make is None else make(value)


def _plain_deque(value: Stub) -> Any:
    state = value.state
    inner = state[0] if isinstance(state, tuple) and len(state) == 2 else ()
    given = value.args[0] if value.args else ()
    return _Deque([*_list(inner), *_list(given), *(value.items or ())])


def _plain_dict(value: Stub) -> Any:
    return dict(value.state) if isinstance(value.state, dict) else _dict(value.entries)


def _plain_bytes(value: Stub) -> Any:
    data = value.state if isinstance(value.state, bytes) else (*value.args, None)[0]
    return bytearray(data) if isinstance(data, bytes) else value


_NAMES: dict[Any, str] = {_Members: "set", _Deque: "deque"}
_PLAIN: dict[str, Callable[[Stub], Any]] = {
    "collections:deque": _plain_deque,
    f"{_TRACKED}Deque": _plain_deque,
    f"{_TRACKED}List": lambda value: [*_list(value.state), *(value.items or ())],
    f"{_TRACKED}Dict": _plain_dict,
    f"{_TRACKED}Set": lambda value: _Members([*_list(value.state), *_list((*value.args, ())[0])]),
    f"{_TRACKED}Bytearray": _plain_bytes,
}


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else ()


def _dict(entries: Any) -> Any:
    try:
        return dict(entries or ())
    except TypeError:  # keys of a hostile pickle may be unhashable
        return {}


def _kind(value: Any) -> str:
    return _NAMES.get(type(value)) or type_label(value)


def _differ(before: Any, after: Any) -> bool:
    """Whether two scalars with the same shortened text differ."""
    return isinstance(before, SCALARS) and isinstance(after, SCALARS) and before != after


def _brief(value: Any) -> str:
    if isinstance(value, SCALARS):
        return describe_scalar(value)
    return f"{_kind(value)}{count_label(value)}"


def _text(value: Any, depth: int = 0) -> str:
    """Describe a member of a set; a tuple with its parts."""
    if type(value) is tuple and depth < _TEXT_DEPTH_MAX:
        return f"({', '.join(_text(part, depth + 1) for part in value)})"
    return _brief(value)
