"""Whether what a watched object holds is as it was, without pickling it again.

Imports `model` and this room's `census`, `names` and `reducer`. A plain instance
tells nobody that it changes, so the durable object that holds it is looked at in
each turn. To pickle it costs some 5 us for each instance. A fingerprint keeps
what the instances and containers held, and a loop in C asks whether they hold
the same objects still, at a tenth of that.

It never says that something is as it was where that is not so: it is of nothing
but plain instances, lists, dicts and sets of which all is known, and holds what
they hold, so that an identity means something. There is none of what refers to
durable objects: they would live as long as it.
"""

from __future__ import annotations

import enum
import itertools
import operator
from collections.abc import Iterable
from typing import Any

from tapd.image import names
from tapd.image.census import contents_of
from tapd.image.reducer import is_plain_type
from tapd.model.persistent import is_durable_type

_ATOMS: tuple[type, ...] = (
    int,
    str,
    bytes,
    float,
    bool,
    complex,
    type(None),
)
_dict_of = operator.attrgetter("__dict__")


class Fingerprint:
    """What plain instances and containers held, at one moment."""

    __slots__ = ("_dicts", "_instances", "_keys", "_lists", "_sizes", "_types", "_values")

    def __init__(self, instances: list[Any], dicts: list[Any], lists: list[Any]) -> None:
        """Look at them now.

        Args:
            instances: of plain classes.
            dicts: plain ones.
            lists: lists and sets.
        """
        self._instances = instances
        self._types = list(map(type, instances))
        self._dicts = dicts
        self._lists = lists
        self._sizes = self._sizes_now()
        self._keys = list(self._keys_now())
        self._values = list(self._values_now())

    def _sizes_now(self) -> list[int]:
        own = map(_dict_of, self._instances)
        return list(map(len, itertools.chain(own, self._dicts, self._lists)))

    def _keys_now(self) -> Iterable[Any]:
        own = map(_dict_of, self._instances)
        return itertools.chain.from_iterable(itertools.chain(own, self._dicts, self._lists))

    def _values_now(self) -> Iterable[Any]:
        own = map(_dict_of, self._instances)
        return itertools.chain.from_iterable(map(dict.values, itertools.chain(own, self._dicts)))

    def holds(self) -> bool:
        """Whether all is as it was."""
        return (
            all(map(operator.is_, map(type, self._instances), self._types))
            and self._sizes_now() == self._sizes
            and all(map(operator.is_, self._keys_now(), self._keys))
            and all(map(operator.is_, self._values_now(), self._values))
        )


class _Unknown(Exception):
    """Something is there of which not all is known."""


class FingerprintTaker:
    """Takes fingerprints; what a class is, is decided once."""

    def __init__(self) -> None:
        self._kinds: dict[type, str] = dict.fromkeys(_ATOMS, "atom")

    def take(self, obj: Any) -> Fingerprint | None:
        """Return the fingerprint of what the durable `obj` holds; None where there can be none.

        What it holds directly and is durable itself tells of its changes.
        """
        contents = contents_of(type(obj))
        if contents is None:
            return None
        roots = [value for value in contents(obj) if self._kind(type(value)) != "durable"]
        try:
            return self._walk(roots)
        except _Unknown:
            return None

    def _walk(self, roots: Iterable[Any]) -> Fingerprint:
        instances: list[Any] = []
        dicts: list[Any] = []
        lists: list[Any] = []
        seen: set[int] = set()
        queue = list(roots)
        for value in queue:  # grows meanwhile
            kind = self._kind(type(value))
            if kind == "atom" or id(value) in seen:
                continue
            seen.add(id(value))
            if kind == "instance":
                instances.append(value)
                queue.extend(_dict_of(value).values())
            elif kind == "dict":
                dicts.append(value)
                queue.extend(value)
                queue.extend(value.values())
            elif kind == "list":
                lists.append(value)
                queue.extend(value)
            elif kind == "tuple":
                queue.extend(value)
            else:
                raise _Unknown
        return Fingerprint(instances, dicts, lists)

    def _kind(self, cls: type) -> str:
        kind = self._kinds.get(cls)
        if kind is None:
            kind = _decide(cls)
            if kind != "unknown" and names.name_of(cls):  # one that was typed may go again
                self._kinds[cls] = kind
        return kind


def _decide(cls: type) -> str:  # noqa: PLR0911 - one for each kind
    if is_durable_type(cls):
        return "durable"
    if cls is dict:
        return "dict"
    if cls in (list, set):
        return "list"
    if cls in (tuple, frozenset):
        return "tuple"
    if names.name_of(cls) is None:
        return "unknown"  # a class typed at a prompt is saved with its instances
    if type(cls) is enum.EnumType or f"{cls.__module__}:{cls.__qualname__}" in _SCALARS:
        return "atom"
    return "instance" if is_plain_type(cls) else "unknown"


_SCALARS = frozenset({
    "datetime:datetime", "datetime:date", "datetime:time", "datetime:timedelta",
    "decimal:Decimal", "fractions:Fraction", "uuid:UUID",
})  # fmt: skip
