"""Compares two object graphs by value and by identity.

A `Likeness` walks two graphs side by side from pairs of objects, nearest first, and names each
difference by its path. It runs no code of an author except ``__getstate__`` and ``__reduce__``
of classes that define their own state. It does not recurse: a chain of a million objects is no
problem.

**Values** are alike if they have the same type and are equal, more strictly than by ``==``:
True is not 1, -0.0 is not 0.0, NaN is NaN. **Identity**: what is one object in one graph must
be one object in the other. Values are exempt, since code can't rely on their identity
(`anatomy.is_value_type`). A tracked container is treated like a plain one, and a placeholder
like the object it replaces. Volatile attributes of durable objects are ignored.
"""

from __future__ import annotations

import collections
import gc
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from tapd.image.likeness.anatomy import Anatomy, anatomy_of
from tapd.image.likeness.differences import (
    ATTRIBUTE,
    INDEX,
    KEY,
    KEYS,
    MISSING,
    TEXT,
    Difference,
    Node,
    Outcome,
    difference_at,
    path_of,
)
from tapd.image.likeness.matching import Matcher, Sketcher
from tapd.image.loss import Placeholder, type_name_of
from tapd.model.durable.persistent import Tracked

ALL = 1 << 62
_CLOCK_EACH = 1024
_NONE = type(None)


class Likeness:
    """Compares two graphs, once.

    The parameters allow intended differences; most callers need none.

    Attributes:
        anatomies: what instances of each class consist of, by the class's id.
        classes: those classes: an id is only good while its class lives.
    """

    def __init__(
        self,
        *,
        differences_max: int = 1,
        objects_max: int = ALL,
        deadline_s: float = math.inf,
        numbers: bool = True,
        class_defaults: bool = False,
        is_ignored: Callable[[str], bool] | None = None,
        by_place: frozenset[str] = frozenset(),
        descends: Callable[[Any], bool] | None = None,
        before: Likeness | None = None,
    ) -> None:
        """Begin.

        Args:
            differences_max: stop after so many.
            objects_max: stop after so many pairs of objects.
            deadline_s: when to stop, on the monotonic clock.
            numbers: numbers of durable objects must be equal.
            class_defaults: a missing attribute counts as having the class's value.
            is_ignored: whether to ignore this path. It costs a path for each object.
            by_place: paths of mappings whose keys may differ; values are paired in order.
            descends: whether to look into this durable object of the first graph, if only a
                part is to be compared.
            before: an earlier one, to reuse its knowledge of classes.
        """
        self._differences_max = differences_max
        self._objects_max = objects_max
        self._deadline_s = deadline_s
        self._numbers = numbers
        self._class_defaults = class_defaults
        self._is_ignored = is_ignored
        self._by_place = by_place
        self._descends = descends
        self.anatomies: dict[int, Anatomy] = {} if before is None else before.anatomies
        self.classes: list[type] = [] if before is None else before.classes
        self._sketcher = Sketcher(self._anatomy, numbers=numbers)
        self._due: collections.deque[Node] = collections.deque()
        self._late: collections.deque[tuple[Node, Any, Any]] = collections.deque()
        self._pairs: dict[int, Node] = {}
        self._reverse: dict[int, Node] = {}
        self._value_pairs: dict[tuple[int, int], Node] = {}
        self._differences: list[Difference] = []
        self._objects = 0
        self._is_whole = True

    def compare(self, one: Any, other: Any, path: str = "") -> Outcome:
        """Return how `other` differs from `one`."""
        return self.compare_pairs([(path, one, other)])

    def compare_pairs(self, pairs: Iterable[tuple[str, Any, Any]]) -> Outcome:
        """Return how the graphs reached from `pairs` differ; each pair has its path."""
        self._due.extend((None, TEXT, path, one, other) for path, one, other in pairs)
        was_enabled = gc.isenabled()
        gc.disable()  # it would traverse the many nodes again and again
        try:
            self._run()
        finally:
            if was_enabled:
                gc.enable()
        return Outcome(tuple(self._differences), self._objects, self._is_whole)

    # --- the walk ---------------------------------------------------------------

    def _run(self) -> None:
        due, late, differences = self._due, self._late, self._differences
        pairs, reverse, anatomies = self._pairs, self._reverse, self.anatomies
        count, objects_max = self._objects, self._objects_max
        looks_at_all = self._is_ignored is None
        while (due or late) and len(differences) < self._differences_max:
            if not due:
                self._match_next()
                continue
            count += 1
            if count > objects_max or (
                not count % _CLOCK_EACH and time.monotonic() > self._deadline_s
            ):
                count -= 1
                self._is_whole = False
                break
            node = due.popleft()
            one, other = node[3], node[4]
            cls = type(one)
            anatomy = anatomies.get(id(cls))
            if (  # the common case, inlined; `_compare` handles the rest
                looks_at_all
                and type(other) is cls
                and anatomy is not None
                and anatomy.is_simple
                and id(one) not in pairs
                and id(other) not in reverse
            ):
                pairs[id(one)] = reverse[id(other)] = node
                if one is other:
                    continue
                if anatomy.sequence is not None:
                    self._look_at_sequence(
                        node, list(anatomy.sequence(one)), list(anatomy.sequence(other))
                    )
                elif anatomy.mapping is not None:
                    entries = list(anatomy.mapping(one)), list(anatomy.mapping(other))
                    self._look_at_entries(node, anatomy, *entries)
                elif anatomy.attributes is not None:
                    self._look_at_attributes(
                        node, anatomy, anatomy.attributes(one), anatomy.attributes(other)
                    )
            else:
                self._look(node)
        self._objects = count

    def _anatomy(self, cls: type) -> Anatomy:
        # By id: an author's metaclass may define `__hash__`.
        found = self.anatomies.get(id(cls))
        if found is None:
            self.classes.append(cls)
            found = self.anatomies[id(cls)] = anatomy_of(cls)
        return found

    def _look(self, node: Node) -> None:
        one, other = node[3], node[4]
        if self._is_ignored is not None and self._is_ignored(path_of(node)):
            return
        cls, other_cls = type(one), type(other)
        anatomy = self.anatomies.get(id(cls)) or self._anatomy(cls)
        there = anatomy
        if cls is not other_cls:
            there = self.anatomies.get(id(other_cls)) or self._anatomy(other_cls)
            if anatomy.kind != there.kind:
                self._look_at_kinds(node)
                return
            if Tracked not in cls.__mro__ and Tracked not in other_cls.__mro__:
                self._due.append((node, TEXT, ".__class__", cls, other_cls))
        if anatomy.has_identity:
            if self._is_known(node):
                return
        elif one is other:
            return
        elif anatomy.value is None:
            known = self._value_pairs.setdefault((id(one), id(other)), node)
            if known is not node:
                return
        if anatomy.is_durable and there.is_durable and not self._is_to_be_looked_into(node):
            return
        if one is not other:
            self._look_inside(node, anatomy, there)

    def _look_at_kinds(self, node: Node) -> None:
        """Compare objects of different kinds: alike only if one is a placeholder of the other."""
        one, other = node[3], node[4]
        for lost, there in ((one, other), (other, one)):
            if type(lost) is Placeholder and type_name_of(type(there)) == lost.loss.type_name:
                return
        self._differ(node)

    def _is_known(self, node: Node) -> bool:
        """Whether this pair was met before; one object here and two there is a difference."""
        one, other = node[3], node[4]
        known = self._pairs.get(id(one))
        if known is not None:
            if known[4] is not other:
                self._differ(node, known, is_one=True)
            return True
        known = self._reverse.get(id(other))
        if known is not None:
            self._differ(node, known, is_one=False)
            return True
        self._pairs[id(one)] = self._reverse[id(other)] = node
        return False

    def _is_to_be_looked_into(self, node: Node) -> bool:
        one, other = node[3], node[4]
        if self._numbers:
            number, there = one._p_oid, other._p_oid
            if number is not None and there is not None and number != there:
                self._differ(
                    (node, TEXT, " (the number in the journal)", number, there),
                )
                return False
        return self._descends is None or node[0] is None or self._descends(one)

    def _look_inside(self, node: Node, anatomy: Anatomy, there: Anatomy) -> None:
        one, other = node[3], node[4]
        try:
            attributes = anatomy.attributes and (anatomy.attributes(one), there.attributes(other))  # type: ignore[misc]
            items = anatomy.sequence and (anatomy.sequence(one), there.sequence(other))  # type: ignore[misc]
            entries = anatomy.mapping and (
                list(anatomy.mapping(one)), list(there.mapping(other)),  # type: ignore[misc]
            )  # fmt: skip
            members = anatomy.members and (
                list(anatomy.members(one)), list(there.members(other)),  # type: ignore[misc]
            )  # fmt: skip
            if anatomy.value is not None and not _are_equal(
                anatomy.value(one),
                there.value(other),  # type: ignore[misc]
            ):
                self._differ(node)
                return
        except MemoryError:
            raise
        except BaseException:
            return  # its class can't give its state: it is not saved either
        if items:
            self._look_at_sequence(node, list(items[0]), list(items[1]))
        if entries:
            self._look_at_entries(node, anatomy, entries[0], entries[1])
        if members:
            self._late.append((node, anatomy, members))
        if attributes:
            self._look_at_attributes(node, anatomy, attributes[0], attributes[1])

    # --- containers and attributes ----------------------------------------------

    def _look_at_sequence(self, node: Node, ones: list[Any], others: list[Any]) -> None:
        due = self._due
        for index, (one, other) in enumerate(zip(ones, others, strict=False)):
            cls = type(one)
            if (cls is str or cls is int or cls is _NONE or cls is bool or cls is bytes) and (
                type(other) is cls and one == other
            ):
                continue
            due.append((node, INDEX, index, one, other))
        if len(ones) != len(others):
            index = min(len(ones), len(others))
            # After the items: a differing item says more than the length.
            one = ones[index] if index < len(ones) else MISSING
            due.append((node, INDEX, index, one, others[index] if one is MISSING else MISSING))

    def _look_at_entries(
        self,
        node: Node,
        anatomy: Anatomy,
        ones: list[tuple[Any, Any]],
        others: list[tuple[Any, Any]],
    ) -> None:
        found: list[Node] = []
        if self._by_place and path_of(node) in self._by_place:
            self._pair_by_place(node, ones, others)
            return
        are_keys_alike = len(ones) == len(others) and not anatomy.is_weak
        for (key, one), (other_key, other) in zip(ones, others, strict=False):
            if not are_keys_alike:
                break
            if key is not other_key:
                cls = type(key)
                if cls is str or cls is int or cls is bytes:
                    are_keys_alike = type(other_key) is cls and key == other_key
                elif self._sketcher.token(key) == self._sketcher.token(other_key):
                    found.append((node, KEYS, key, key, other_key))
                else:
                    are_keys_alike = False
            cls = type(one)
            if (cls is str or cls is int or cls is _NONE or cls is bool or cls is bytes) and (
                type(other) is cls and one == other
            ):
                continue
            found.append((node, KEY, key, one, other))
        if are_keys_alike:
            self._due.extend(found)
        else:
            self._late.append((node, anatomy, (ones, others)))

    def _pair_by_place(
        self, node: Node, ones: list[tuple[Any, Any]], others: list[tuple[Any, Any]]
    ) -> None:
        for (key, one), (_other_key, other) in zip(ones, others, strict=False):
            self._due.append((node, KEY, key, one, other))
        for key, one in ones[len(others) :]:
            self._due.append((node, KEY, key, one, MISSING))
        for key, other in others[len(ones) :]:
            self._due.append((node, KEY, key, MISSING, other))

    def _look_at_attributes(
        self, node: Node, anatomy: Anatomy, ones: dict[Any, Any], others: dict[Any, Any]
    ) -> None:
        due = self._due
        met = len(ones)
        for name, one in ones.items():
            other = others.get(name, MISSING)
            if other is MISSING:
                met -= 1
            cls = type(one)
            if (cls is str or cls is int or cls is _NONE or cls is bool or cls is bytes) and (
                type(other) is cls and one == other
            ):
                continue
            if anatomy.is_weak and other is MISSING:
                continue
            if other is MISSING and self._class_defaults:
                other = _default(node[4], name)
            due.append((node, ATTRIBUTE, name, one, other))
        if len(others) > met:
            for name, other in others.items():
                if name not in ones and not anatomy.is_weak:
                    one = _default(node[3], name) if self._class_defaults else MISSING
                    due.append((node, ATTRIBUTE, name, one, other))

    # --- what has no order ---------------------------------------------------------

    def _match_next(self) -> None:
        """Pair the members of a set, or the keys of a mapping, after everything else."""
        node, anatomy, (ones, others) = self._late.popleft()
        is_mapping = anatomy.mapping is not None and type(ones) is list and anatomy.members is None
        matcher = Matcher(self, self._sketcher)
        keys = [key for key, _value in ones] if is_mapping else ones
        other_keys = [key for key, _value in others] if is_mapping else others
        pairs, left, right = matcher.match(keys, other_keys)
        if not is_mapping:
            for here, there in pairs:
                self._due.append((node, KEYS, keys[here], keys[here], other_keys[there]))
            self._due.extend((node, KEYS, keys[at], keys[at], MISSING) for at in left)
            self._due.extend((node, KEYS, other_keys[at], MISSING, other_keys[at]) for at in right)
            self._drop_weak(node, anatomy, len(left) + len(right))
            return
        for here, there in pairs:
            self._due.append((node, KEYS, keys[here], keys[here], other_keys[there]))
            self._due.append((node, KEY, keys[here], ones[here][1], others[there][1]))
        self._due.extend((node, KEY, keys[at], ones[at][1], MISSING) for at in left)
        self._due.extend((node, KEY, other_keys[at], MISSING, others[at][1]) for at in right)
        self._drop_weak(node, anatomy, len(left) + len(right))
        moved = [there for _here, there in sorted(pairs)]
        if moved != sorted(moved) and not anatomy.is_weak:
            self._due.append((node, TEXT, " (order of keys)", tuple(keys), tuple(other_keys)))

    def _drop_weak(self, _node: Node, anatomy: Anatomy, count: int) -> None:
        """Withdraw differences in a weak container: its referents may be gone."""
        if anatomy.is_weak:
            for _ in range(count):
                self._due.pop()

    def known_partner(self, one: Any) -> Any:
        """Return the partner of `one`; `MISSING` if it has none yet."""
        known = self._pairs.get(id(one))
        return MISSING if known is None else known[4]

    def is_taken(self, other: Any) -> bool:
        """Whether `other` of the second graph has a partner."""
        return id(other) in self._reverse

    def would_be_alike(self, one: Any, other: Any, objects_max: int) -> bool:
        """Whether the two could be a pair, judged by at most `objects_max` objects.

        Nothing of this attempt is remembered.
        """
        marks = [len(each) for each in (self._pairs, self._reverse, self._value_pairs)]
        kept = (self._due, self._late, self._differences, self._objects)
        limits = (self._differences_max, self._objects_max, self._is_whole)
        self._due, self._late = collections.deque(), collections.deque()
        self._differences, self._objects = [], 0
        self._differences_max, self._objects_max = 1, objects_max
        self._due.append((None, TEXT, "", one, other))
        try:
            self._run()
            return not self._differences
        finally:
            self._due, self._late, self._differences, self._objects = kept
            self._differences_max, self._objects_max, self._is_whole = limits
            tables: tuple[dict[Any, Node], ...] = (self._pairs, self._reverse, self._value_pairs)
            for table, mark in zip(tables, marks, strict=True):
                while len(table) > mark:
                    table.popitem()

    # --- differences -----------------------------------------------------------------

    def _differ(self, node: Node, known: Node | None = None, *, is_one: bool = True) -> None:
        if self._is_ignored is None or not self._is_ignored(path_of(node)):
            self._differences.append(difference_at(node, known, is_one=is_one))


def _are_equal(one: Any, other: Any) -> bool:
    """Compare two numbers, texts or bytes of one exact type."""
    if type(one) is float and type(other) is float:
        if one != one:  # noqa: PLR0124 - NaN
            return other != other  # noqa: PLR0124 - NaN
        return one == other and math.copysign(1.0, one) == math.copysign(1.0, other)
    return type(one) is type(other) and bool(one == other)


def _default(value: Any, name: Any) -> Any:
    """Return the class's value of an attribute that the object lacks."""
    for base in type.__dict__["__mro__"].__get__(type(value)):
        names = type.__dict__["__dict__"].__get__(base)
        if name in names:
            return MISSING if hasattr(type(names[name]), "__get__") else names[name]
    return MISSING
