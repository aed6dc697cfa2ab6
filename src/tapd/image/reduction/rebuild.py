"""A graph from bytes: what a TAP's pickle calls, by name, while it loads.

Imports `errors`, `model` and this room's `names`, `definitions`, `evolution` and
`salvage`. The names here are part of the format of TAPs: one that is renamed
needs an entry in the rename map for ever.
"""

from __future__ import annotations

import collections
import copyreg
import logging
import types
from typing import Any

import persistent

from tapd.image import hooks
from tapd.image.bare import has_usual_new, set_number
from tapd.image.code import definitions
from tapd.image.code.source import source_of
from tapd.image.evolution import names
from tapd.image.evolution.generated import set_slotted
from tapd.image.evolution.salvage import Faults, unhashable_in
from tapd.image.evolution.stand_ins import STAND_INS, reason_of
from tapd.image.evolution.versions import Late, OwnState, Restoration, version_of
from tapd.image.loss import Placeholder, type_name_of
from tapd.model.durable.persistent import Tracked, is_durable_type
from tapd.model.durable.tracked import TrackedDict, TrackedList, TrackedSet

_log = logging.getLogger(__name__)


def set_plain(obj: Any, state: dict[str, Any]) -> None:
    """Give a plain instance its attributes."""
    if issubclass(type(obj), names.Broken):
        obj.broken_set(set_plain, state)
    else:
        object.__getattribute__(obj, "__dict__").update(state)


def set_reduced(obj: Any, state: Any) -> None:
    """Give an instance the state that its class's default reduction made."""
    if issubclass(type(obj), names.Broken):
        obj.broken_set(set_reduced, state)
        return
    setstate = getattr(type(obj), "__setstate__", None)
    if setstate is not None:
        setstate(obj, state)
        return
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if state:
        object.__getattribute__(obj, "__dict__").update(state)
    for name, value in (slots or {}).items():
        object.__setattr__(obj, name, value)


def set_late(obj: Any, state: Any) -> None:
    """Give an instance of a typed class its state once the names that its code uses are there."""
    _set_later(obj, state, (names.new_object, (type(obj),)), set_late, state)


def set_late_made(obj: Any, made_and_state: tuple[Any, Any, Any]) -> None:
    """Do as `set_late`, of an instance that was made of more than its class."""
    make, args, state = made_and_state
    if make is copyreg.__newobj__:  # type: ignore[attr-defined]  # typeshed leaves it out
        make = names.new_object  # which takes a stand-in for what it makes
    _set_later(obj, state, (make, args), set_late_made, made_and_state)


def _set_later(obj: Any, state: Any, made: Any, setter: Any, given: Any) -> None:
    restoration = definitions.current_restoration()
    if restoration is None or issubclass(type(obj), names.Broken):
        set_reduced(obj, state)
    else:
        restoration.late[id(obj)] = Late(obj, state, made, setter, given, has_items=True)


def set_durable(obj: Any, meta_and_state: tuple[Any, Any]) -> None:
    """Give a durable object with a hash of its own its number and state, at once."""
    meta, state = meta_and_state
    restoration = definitions.current_restoration()
    if restoration is not None:
        restoration.durables.append(obj)
    oid, version = meta
    _number(obj, oid)
    if state is not None:
        give_state(obj, version, state, restoration)


def give_state(obj: Any, version: int, state: Any, restoration: Restoration | None) -> None:
    """Give a durable object its state; a stand-in keeps it.

    Raises:
        BaseException: what the object's own code raised.
    """
    if issubclass(type(obj), STAND_INS):
        (restoration or Restoration()).keep(obj, version, state, obj.broken_reason)
        return
    setstate = type(obj).__setstate__
    if type(state) is OwnState:
        set_slotted(obj, state.state)
    elif type(state) is dict and restoration is not None and _is_typed(type(obj), setstate):
        # It may look for names that are not loaded yet, and a hash for attributes now.
        _SETSTATE(obj, state)
        restoration.late[id(obj)] = Late(obj, state)
    else:
        setstate(obj, state)
    if issubclass(type(obj), Tracked) and setstate.__module__ == Tracked.__module__:
        _check_contents(obj, state)
    if restoration is not None:
        restoration.note(obj, version)


_SETSTATE = persistent.Persistent.__setstate__


def _is_typed(cls: Any, setstate: Any) -> bool:
    """Whether the ``__setstate__`` of the durable `cls` was typed at a prompt."""
    return (
        type(setstate) is types.FunctionType
        and issubclass(cls, persistent.Persistent)
        and names.name_of(cls) is None
        and source_of(setstate.__code__) is not None
    )


def _check_contents(obj: Any, state: Any) -> None:
    """Check that a tracked container took a state of its own kind.

    Raises:
        TypeError: it was another kind of container, and what is in it now is less.
    """
    kinds = {list: list, dict: dict, set: list, bytearray: bytes, collections.deque: tuple}
    kind = next(kind for base, kind in kinds.items() if isinstance(obj, base))
    is_pair = kind is tuple and type(state) is tuple and type(state[0]) is not list
    if is_pair or type(state) is not kind or (isinstance(obj, set) and len(obj) != len(state)):
        raise TypeError(f"it was another kind of container: its state is a {type(state).__name__}")


def _number(obj: Any, oid: Any) -> None:
    if not is_durable_type(type(obj)):
        raise TypeError(f"it was durable, and a {type_name_of(type(obj))} is not")
    set_number(obj, oid)


_USUAL_SETATTR = persistent.Persistent.__setattr__


def _is_usual(cls: Any) -> bool:
    """Whether instances of the durable `cls` take number and state of version 1 at once."""
    return (
        is_durable_type(cls)
        and version_of(cls) == 1
        and not issubclass(cls, STAND_INS)
        and has_usual_new(cls)
        and (cls.__setattr__ is _USUAL_SETATTR or cls.__setattr__ is object.__setattr__)
    )


def note_detached(_obj: Any, _state: None) -> None:
    """Stand where a durable object is that nothing of the graph holds. Part of the format."""


class MadeTwice(Exception):
    """A ``__new__`` of an author's gave what was made before; the `Salvager` runs none."""


class StateQueue:
    """Gives objects their states as the unpickler reads them, a thousand items at once.

    Object, meta and state follow each other. What was just read is still in the
    processor's cache, so this takes half of what a loop at the end takes.
    """

    takes_portions = True

    def __init__(self) -> None:
        self.current = definitions.current_restoration()
        self._restoration = self.current or Restoration()
        self._faults = self._restoration.faults or Faults()
        self._faults.queue = self
        self._late: list[tuple[int, Any, Any, Any]] = []
        self._rest: list[Any] = []
        self._count = 0
        self._usual: set[type] = set()
        self._made_by_authors: dict[int, Any] = {}

    def append(self, item: Any) -> None:
        """Take one item (opcode APPEND)."""
        self.extend([item])

    def extend(self, items: list[Any]) -> None:
        """Take `items` (opcode APPENDS), of which the last states may come later."""
        items = self._rest + items
        whole = len(items) // 3 * 3
        self._rest = items[whole:]
        del items[whole:]
        is_careful = self._faults.queued or self._faults.sink is not None
        usual = self._usual if not is_careful else ()
        self._restoration.durables += items[::3]
        each = iter(items)
        for place, (obj, meta, state) in enumerate(zip(each, each, each, strict=True), self._count):
            cls = type(obj)
            try:
                if cls in usual and (meta is None or type(meta) is int):
                    # Before the state: should that fail, the journal still finds the object.
                    obj._p_oid = meta
                    if cls is TrackedDict:
                        dict.update(obj, state)
                    elif cls is TrackedList:
                        list.extend(obj, state)
                    elif state is not None:
                        obj.__setstate__(state)
                else:
                    self._give(place, obj, meta, state)
            except BaseException as error:  # its neighbours are to be kept
                hooks.check_load(error)
                self._fail(place, obj, meta, state, error)
        self._count += whole // 3

    def _give(self, place: int, obj: Any, meta: Any, state: Any) -> None:
        """Give one object its state by the rarer ways."""
        cls = type(obj)
        if cls in _STATELESS:
            return
        if meta is not None and type(meta) not in (int, tuple):
            hooks.enter(obj)
            meta(obj, state)
            return
        oid, version = meta if type(meta) is tuple else (meta, 1)
        _number(obj, oid)
        if not self._faults.is_filled(state):  # it will be copied
            self._late.append((place, obj, meta, state))
            return
        if not has_usual_new(cls):
            if id(obj) in self._made_by_authors:
                raise MadeTwice("its __new__ returned one object for two")
            self._made_by_authors[id(obj)] = obj
        reason = self._faults.queued.get(place)
        if reason is not None:
            self._restoration.keep(obj, version, state, reason)
            return
        if state is not None:
            hooks.enter(obj)
            give_state(obj, version, state, self._restoration)
        elif version != 1:
            self._restoration.note(obj, version)
        if _is_usual(cls):
            self._usual.add(cls)

    def give_late(self, *, is_last: bool) -> bool:
        """Give those states that had to wait for their entries, or for hashes.

        Args:
            is_last: what fails now has failed.

        Returns:
            Whether any could be given.
        """
        late, self._late = self._late, []
        for place, obj, meta, state in late:
            self._made_by_authors.pop(id(obj), None)
            try:
                self._give(place, obj, meta, state)
            except BaseException as error:
                hooks.check_load(error)
                self._fail(place, obj, meta, state, error, may_wait=not is_last)
        return len(self._late) < len(late)

    def _fail(
        self,
        place: int,
        obj: Any,
        meta: Any,
        state: Any,
        error: BaseException,
        *,
        may_wait: bool = True,
    ) -> None:
        """Take note that one can't have its state, to begin again without trying it."""
        cls = type(obj)
        if isinstance(error, MadeTwice):
            raise error
        reason = f"its state can't be set: {reason_of(error)}"
        if self._restoration.faults is None:  # plain `pickle.load`: there is no second time
            _log.warning("the state of a %s can't be set: %s", type_name_of(cls), error)
        elif (
            issubclass(cls, TrackedSet)
            and type(state) is list
            and (culprits := unhashable_in(tuple(state)))
        ):
            if may_wait and self._faults.sink is not None:
                self._late.append((place, obj, meta, state))
                return
            for each in culprits:
                self._tell_sink(each, f"it can't be a key: {reason_of(error)}", error)
        elif (meta is None or type(meta) in (int, tuple)) and is_durable_type(cls):
            self._faults.note_queued(place, reason)
        else:
            self._tell_sink(obj, reason, error)

    def _tell_sink(self, obj: Any, reason: str, error: BaseException) -> None:
        if self._faults.sink is None:  # C can't tell where it was made
            raise error
        self._faults.sink(obj, reason)

    def finish(self) -> None:
        """Run the upgrades that are due, unless who loads goes on to a journal."""
        if self._rest:
            raise ValueError("the last state is missing")
        if self.current is None:
            self._restoration.finish()


_STATELESS = frozenset({type(None), Placeholder})
"""Padding, and what could not be made."""


def finish_graph(root: Any, queue: Any) -> Any:
    """Run upgrades, now that `queue` is at its end, and return `root`.

    Args:
        root: of the graph.
        queue: a `StateQueue`; TAPs of the first kind, and deep ones, have a list.
    """
    if type(queue) is not StateQueue:
        items, queue = queue, StateQueue()
        queue.extend(items)
    queue.finish()
    return root


CONTAINERS: dict[type, Any] = {list: list, dict: dict, set: set}


def fill_container(container: Any, contents: list[Any]) -> None:
    """Give a container that was written by its number its contents."""
    if type(container) is list:
        container.extend(contents)
    else:
        container.update(contents)


def set_whole(obj: Any, whole: tuple[Any, ...]) -> None:
    """Give an object, made already, all else that pickle would have given it at once."""
    state, items, entries, setter = whole
    if items:
        if hasattr(type(obj), "extend"):
            obj.extend(items)
        else:
            for item in items:
                obj.append(item)
    for key, value in entries:
        obj[key] = value
    if state is not None:
        (setter or set_reduced)(obj, state)


def finish_deep_graph(root: Any, items: list[Any]) -> Any:
    """Fill the containers among `items`, then do as `finish_graph`: states may copy them.

    Before all else functions get their cells: the hash of a key may ask for one. What
    is due as a whole comes last, the innermost first, as it would in a pickle.
    """
    rest: list[Any] = []
    whole = []
    containers = []
    each = iter(items)
    for obj, meta, state in zip(each, each, each, strict=True):
        if meta is fill_container:
            containers.append((obj, state))
        elif meta is definitions.set_function:
            definitions.set_function(obj, state)
        elif meta is set_whole:
            whole.append((obj, meta, state))
        else:
            rest += (obj, meta, state)
    for obj, state in containers:
        fill_container(obj, state)
    for entry in reversed(whole):
        rest += entry
    return finish_graph(root, rest)


def finish_nested_graph(_containers: list[Any], root: Any, items: list[Any]) -> Any:
    """Do as `finish_deep_graph`; `_containers`, empty, were made first, for all to refer to."""
    return finish_deep_graph(root, items)
