"""Which plain object is in the states of two durable ones: a kill would make it two.

Imports `model` and this room's `paths`, `reducer` and `strangers`. A TAP is one
pickle and keeps what refers to one object referring to one. The journal has the
state of each durable object by itself, and only durable objects have a number
by which several states can refer to them. So what holds a plain object is noted
here by the object's id, and where two hold the same, the author is told.

Ids are hints: they are given again when an object is gone. What they hint at is
looked up in the other holder before anything is said.
"""

from __future__ import annotations

import collections
import functools
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from tapd.image import hooks, names
from tapd.image.loss import type_name_of
from tapd.image.paths import LocalPaths, children, durable_children
from tapd.image.reducer import is_plain_type
from tapd.image.strangers import is_immutable_type
from tapd.model.persistent import is_durable_type

_TOLD_MAX = 100
_HEAP_TYPE = 1 << 9

_Walk = tuple[bool, Callable[[Any], Iterable[Any]]]
"""Whether such an object can change, and what gives the objects that it holds."""


class Sharing:
    """Who holds which plain object, by id."""

    def __init__(self, tell: Callable[[str], None], locate: Callable[[Any], str]) -> None:
        """Begin.

        Args:
            tell: called with what is wrong and what to write instead, once for
                each combination of types.
            locate: returns where a durable object is.
        """
        self._tell = tell
        self._locate = locate
        self._holders: dict[int, int] = {}
        self._held: dict[int, tuple[Callable[[], Any], list[int]]] = {}
        self.oids = self._held.keys()  # live: asked at each object that changes
        self._told: set[tuple[str, str, str]] = set()
        self._walks: dict[type, _Walk | None] = {}

    def note(self, obj: Any) -> None:
        """Take note of what the durable `obj` holds now; tell what another holds too."""
        oid: int = obj._p_oid
        parts = self._parts_of(obj)
        ids = list(parts)
        held = self._held.get(oid)
        if held is not None:
            if held[1] == ids:
                return
            self.forget(oid)
        if not parts:
            return
        hinted = parts.keys() & self._holders.keys()
        if hinted:
            self._look(obj, [parts[each] for each in parts if each in hinted])
        refer: Callable[[], Any]
        try:
            refer = weakref.ref(obj, lambda _refer: self.forget(oid))
        except TypeError:  # part of a BTree
            refer = lambda: obj  # noqa: E731 - as `watching` holds it
        self._holders.update(dict.fromkeys(parts, oid))
        self._held[oid] = refer, ids

    def forget(self, oid: int) -> None:
        """Forget what the durable object of that number held."""
        held = self._held.pop(oid, None)
        if held is not None:
            holders = self._holders
            for each in held[1]:
                if holders.get(each) == oid:
                    del holders[each]

    def _look(self, obj: Any, parts: Iterable[Any]) -> None:
        for part in parts:
            other = self._held[self._holders[id(part)]][0]()
            kinds = (type(part), type(other), type(obj))
            what = type_name_of(kinds[0]), type_name_of(kinds[1]), type_name_of(kinds[2])
            if what in self._told or len(self._told) >= _TOLD_MAX:
                return  # what is below it is shared as well
            if other is None:
                continue
            if id(part) in self._parts_of(other):
                self._told.add(what)
                self._tell(self._explain(part, other, obj))
                return

    def _explain(self, part: Any, other: Any, obj: Any) -> str:
        cls = type(part)
        if cls.__flags__ & _HEAP_TYPE and is_plain_type(cls):
            advice = f"derive {cls.__qualname__} from tapd.Persistent"
        else:
            advice = "keep it in an attribute of a tapd.Persistent object, and share that"
        return (
            f"{self._place(other, part)} and {self._place(obj, part)} are one {cls.__qualname__},"
            f" and would be two after a kill: {advice}, or keep it in one place only"
        )

    def _place(self, holder: Any, part: Any) -> str:
        way = LocalPaths(durable_children(holder, holder.__getstate__())).of(part)
        return f"{self._locate(holder)}{way or ''}"

    def _parts_of(self, obj: Any) -> dict[int, Any]:
        """Return what can change and is held by the durable `obj` alone, nearest first, by id."""
        parts: dict[int, Any] = {}
        passed: dict[int, Any] = {}
        walks = self._walks
        queue = _contents_of(obj)
        for value in queue:  # grows meanwhile
            cls = type(value)
            try:
                walk = walks[cls] if cls in walks else self._new_walk(cls)
                if walk is None or id(value) in parts or id(value) in passed:
                    continue
                changes, contents = walk
                (parts if changes else passed)[id(value)] = value
                queue += contents(value)
            except BaseException as error:  # a stranger's container that can't be walked
                hooks.check(error, nests=False)
        return parts

    def _new_walk(self, cls: type) -> _Walk | None:
        walk = _walk_of(cls)
        if names.name_of(cls):  # one that was typed may go again
            self._walks[cls] = walk
        return walk


def _contents_of(obj: Any) -> list[Any]:
    state = obj.__getstate__()  # made anew: it is not itself held by anybody
    if type(state) is not dict:
        return list(state or ())
    return [*state, *state.values()] if isinstance(obj, dict) else list(state.values())


def _walk_of(cls: type) -> _Walk | None:  # noqa: PLR0911 - one for each kind
    if is_durable_type(cls) or issubclass(cls, type):
        return None
    if issubclass(cls, dict):
        return True, lambda value: [*dict.__iter__(value), *dict.values(value)]
    if issubclass(cls, (list, set, collections.deque)):
        return True, list if cls in (list, set, collections.deque) else _all_in
    if issubclass(cls, bytearray):
        return True, lambda _value: ()
    if cls in (tuple, frozenset):
        return False, iter
    if is_plain_type(cls):
        return not is_immutable_type(cls), lambda value: value.__dict__.values()
    if cls in (types.MethodType, functools.partial):
        return False, _all_in
    own: Any = cls
    if own.__flags__ & _HEAP_TYPE and own.__reduce_ex__ is object.__reduce_ex__:
        changes = not is_immutable_type(cls) and own.__reduce__ is object.__reduce__
        return changes, _all_in
    return None


def _all_in(value: Any) -> list[Any]:
    return [part for _label, part in children(value)]
