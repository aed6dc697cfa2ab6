"""Pairs the members of two sets, or the keys of two mappings.

Equal values are found by a token. Objects hashed by identity may be anywhere in a set, so they
are found by earlier pairings, by a sketch of their contents, and, if several have the same
sketch, by trying which pair shows no difference.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tapd.image.likeness.anatomy import Anatomy
from tapd.image.loss import type_name_of
from tapd.model.durable.persistent import Tracked, is_durable_type

_DEPTH_MAX = 3
_PARTS_MAX = 12
_TRIES_MAX = 2000
_TRIED_OBJECTS_MAX = 300


class Walk(Protocol):
    """The knowledge of a comparison in progress."""

    def known_partner(self, one: Any) -> Any:
        """Return the partner of `one`, or some unrelated object."""

    def is_taken(self, other: Any) -> bool:
        """Whether `other` has a partner."""

    def would_be_alike(self, one: Any, other: Any, objects_max: int) -> bool:
        """Whether the two could be a pair."""


class Matcher:
    """Pairs the items of two collections by their positions."""

    def __init__(self, walk: Walk, sketcher: Sketcher) -> None:
        self._walk = walk
        self._sketcher = sketcher
        self._tries = 0

    def match(
        self, ones: Sequence[Any], others: Sequence[Any]
    ) -> tuple[list[tuple[int, int]], list[int], list[int]]:
        """Return pairs of positions, and the positions left over on either side."""
        places = {id(other): at for at, other in enumerate(others)}
        pairs: dict[int, int] = {}
        for at, one in enumerate(ones):
            there = places.get(id(self._walk.known_partner(one)))
            if there is not None:
                pairs[at] = there
        taken = set(pairs.values())
        groups: dict[Any, list[int]] = collections.defaultdict(list)
        for at, other in enumerate(others):
            if at not in taken:
                groups[self._token(other)].append(at)
        for at, one in enumerate(ones):
            if at in pairs:
                continue
            group = groups.get(self._token(one))
            if group:
                pairs[at] = self._choose(one, others, group)
        taken = set(pairs.values())
        left = [at for at in range(len(ones)) if at not in pairs]
        right = [at for at in range(len(others)) if at not in taken]
        return self._pair_rest(ones, others, pairs, left, right)

    def _token(self, value: Any) -> Any:
        return self._sketcher.token(value) or self._sketcher.sketch(value)

    def _choose(self, one: Any, others: Sequence[Any], group: list[int]) -> int:
        """Return the position of the best partner of `one`, and remove it from `group`."""
        if len(group) > 1:
            for place, at in enumerate(group):
                self._tries += 1
                if self._tries > _TRIES_MAX:
                    break
                if not self._walk.is_taken(others[at]) and self._walk.would_be_alike(
                    one, others[at], _TRIED_OBJECTS_MAX
                ):
                    return group.pop(place)
        return group.pop(0)

    def _pair_rest(
        self,
        ones: Sequence[Any],
        others: Sequence[Any],
        pairs: dict[int, int],
        left: list[int],
        right: list[int],
    ) -> tuple[list[tuple[int, int]], list[int], list[int]]:
        """Pair objects of one class whose contents differ, so that the contents are reported."""
        for at in list(left):
            if self._sketcher.token(ones[at]) is not None:
                continue
            cls = type(ones[at])
            partner = next(
                (
                    there
                    for there in right
                    if type_name_of(type(others[there])) == type_name_of(cls)
                ),
                None,
            )
            if partner is not None:
                pairs[at] = partner
                left.remove(at)
                right.remove(partner)
        return sorted(pairs.items()), left, right


class Sketcher:
    """Summarizes an object's contents in a few values."""

    def __init__(self, anatomy: Callable[[type], Anatomy], *, numbers: bool) -> None:
        """Begin.

        Args:
            anatomy: returns the anatomy of a class.
            numbers: whether the number of a durable object identifies it.
        """
        self._anatomy = anatomy
        self._numbers = numbers

    def token(self, value: Any) -> Any:
        """Return a token that only equal values share; None for an object with an identity."""
        cls = type(value)
        if cls is str or cls is int or cls is bytes:
            return cls.__name__, value
        if is_durable_type(cls):
            number = value._p_oid if self._numbers and not issubclass(cls, Tracked) else None
            return None if number is None else ("durable", number)
        anatomy = self._anatomy(cls)
        if anatomy.has_identity:
            return None
        return self.sketch(value, depth=_DEPTH_MAX * 4)

    def sketch(self, value: Any, depth: int = _DEPTH_MAX) -> Any:
        """Return a summary that alike objects share: the values inside, to a certain depth."""
        cls = type(value)
        if cls is str or cls is int or cls is bytes:
            return cls.__name__, value
        anatomy = self._anatomy(cls)
        if depth == 0:
            return anatomy.kind
        parts: list[Any] = [anatomy.kind]
        try:
            if issubclass(cls, type):
                return anatomy.kind, type_name_of(value)
            if anatomy.value is not None:
                parts.append(repr(anatomy.value(value)))
            if anatomy.sequence is not None:
                items = list(anatomy.sequence(value))
                parts += [
                    len(items),
                    *(self.sketch(item, depth - 1) for item in items[:_PARTS_MAX]),
                ]
            if anatomy.members is not None:
                members = list(anatomy.members(value))
                sketches = sorted(repr(self.sketch(item, depth - 1)) for item in members[:1000])
                parts += [len(members), *sketches]
            if anatomy.mapping is not None:
                entries = list(anatomy.mapping(value))
                parts.append(len(entries))
                for key, item in entries[:_PARTS_MAX]:
                    parts += [self.sketch(key, depth - 1), self.sketch(item, depth - 1)]
            if anatomy.attributes is not None and cls.__name__ != "code":
                attributes = anatomy.attributes(value)
                for name in sorted(map(str, attributes))[: _PARTS_MAX * 2]:
                    parts += [name, self.sketch(attributes.get(name), depth - 1)]
        except MemoryError:
            raise
        except BaseException:
            parts.append("?")
        return tuple(parts)
