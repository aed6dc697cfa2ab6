"""The functions that a TAP's pickle calls, by name, while it loads.

Their names are part of the format of TAPs: a renamed one needs an entry in the rename map for
ever.
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
from tapd.image.evolution.dataclass_states import set_slotted
from tapd.image.evolution.salvage import Faults, unhashable_in
from tapd.image.evolution.stand_ins import STAND_INS, reason_of
from tapd.image.evolution.versions import Late, OwnState, Restoration, version_of
from tapd.image.loss import Placeholder, type_name_of
from tapd.model.durable.persistent import Tracked, is_durable_type
from tapd.model.durable.tracked import TrackedDict, TrackedList, TrackedSet

_log = logging.getLogger(__name__)


def set_plain(obj: Any, state: dict[str, Any]) -> None:
    """Set the attributes of a plain instance."""
    if issubclass(type(obj), names.Broken):
        obj.broken_set(set_plain, state)
    else:
        object.__getattribute__(obj, "__dict__").update(state)


def set_reduced(obj: Any, state: Any) -> None:
    """Set the state that the default reduction of the class returned."""
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
    """Set the state of a typed class's instance later, once the names that its code uses exist."""
    _set_later(obj, state, (names.new_object, (type(obj),)), set_late, state)


def set_late_made(obj: Any, made_and_state: tuple[Any, Any, Any]) -> None:
    """Like `set_late`, for an instance created from more than its class."""
    make, args, state = made_and_state
    if make is copyreg.__newobj__:  # type: ignore[attr-defined]  # typeshed leaves it out
        make = names.new_object  # it accepts a stand-in class
    _set_later(obj, state, (make, args), set_late_made, made_and_state)


def _set_later(obj: Any, state: Any, made: Any, setter: Any, given: Any) -> None:
    restoration = definitions.current_restoration()
    if restoration is None or issubclass(type(obj), names.Broken):
        set_reduced(obj, state)
    else:
        restoration.late[id(obj)] = Late(obj, state, made, setter, given, has_items=True)


def set_durable(obj: Any, meta_and_state: tuple[Any, Any]) -> None:
    """Set number and state of a durable object with its own hash, at once."""
    meta, state = meta_and_state
    restoration = definitions.current_restoration()
    if restoration is not None:
        restoration.durables.append(obj)
    oid, version = meta
    _number(obj, oid)
    if state is not None:
        give_state(obj, version, state, restoration)


def give_state(obj: Any, version: int, state: Any, restoration: Restoration | None) -> None:
    """Set the state of a durable object; a stand-in keeps it.

    Raises:
        BaseException: raised by the object's own code.
    """
    if issubclass(type(obj), STAND_INS):
        (restoration or Restoration()).keep(obj, version, state, obj.broken_reason)
        return
    setstate = type(obj).__setstate__
    if type(state) is OwnState:
        set_slotted(obj, state.state)
    elif type(state) is dict and restoration is not None and _is_typed(type(obj), setstate):
        # Its code may need names that are not loaded yet, but its hash needs attributes now.
        _SETSTATE(obj, state)
        restoration.late[id(obj)] = Late(obj, state)
    else:
        setstate(obj, state)
    if issubclass(type(obj), Tracked) and setstate.__module__ == TrackedList.__module__:
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
    """Check that a tracked container took the whole state.

    Raises:
        TypeError: it was another kind of container, and a part of the state is lost.
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
    """Whether `cls` instances take their number and a state of version 1 without special care."""
    return (
        is_durable_type(cls)
        and version_of(cls) == 1
        and not issubclass(cls, STAND_INS)
        and has_usual_new(cls)
        and (cls.__setattr__ is _USUAL_SETATTR or cls.__setattr__ is object.__setattr__)
    )


def note_detached(_obj: Any, _state: None) -> None:
    """Mark a durable object that the graph does not refer to. Part of the format."""


class MadeTwice(Exception):
    """An author's ``__new__`` returned an existing object. The `Salvager` does not call it."""


class StateQueue:
    """Sets states while the unpickler reads them, a thousand items at a time.

    The items are object, meta and state, in turn. What was just read is still in the
    processor's cache, so this takes half the time of a loop at the end.
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
        """Take `items` (opcode APPENDS); the last triple may be incomplete."""
        items = self._rest + items
        whole = len(items) // 3 * 3
        self._rest = items[whole:]
        del items[whole:]
        # The fast path skips known failures and tells nobody of new ones: only for the C
        # unpickler's first try.
        is_careful = self._faults.queued or self._faults.sink is not None
        usual = self._usual if not is_careful else ()
        self._restoration.durables += items[::3]
        each = iter(items)
        for place, (obj, meta, state) in enumerate(zip(each, each, each, strict=True), self._count):
            cls = type(obj)
            try:
                if cls in usual and (meta is None or type(meta) is int):
                    # Number before state: if the state fails, the journal still finds the object.
                    obj._p_oid = meta
                    if cls is TrackedDict:
                        dict.update(obj, state)
                    elif cls is TrackedList:
                        list.extend(obj, state)
                    elif state is not None:
                        obj.__setstate__(state)
                else:
                    self._give(place, obj, meta, state)
            except BaseException as error:  # one failure must not cost the other objects
                hooks.check_load(error)
                self._fail(place, obj, meta, state, error)
        self._count += whole // 3

    def _give(self, place: int, obj: Any, meta: Any, state: Any) -> None:
        """Set one object's state, outside of the fast path."""
        cls = type(obj)
        if cls in _STATELESS:
            return
        if meta is not None and type(meta) not in (int, tuple):
            hooks.enter(obj)
            meta(obj, state)
            return
        oid, version = meta if type(meta) is tuple else (meta, 1)
        _number(obj, oid)
        if not self._faults.is_filled(state):  # setting it now would copy an incomplete container
            self._late.append((place, obj, meta, state))
            return
        if not has_usual_new(cls):
            # A singleton's ``__new__`` gave one object twice: its second state would overwrite
            # the first.
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
        """Set the states that waited for complete containers or for hashes.

        Args:
            is_last: failures are final now.

        Returns:
            Whether any could be set.
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
        """Note that a state can't be set, so that the next round does not try it."""
        cls = type(obj)
        if isinstance(error, MadeTwice):
            raise error
        reason = f"its state can't be set: {reason_of(error)}"
        if self._restoration.faults is None:  # plain `pickle.load`: there is no next round
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
        if self._faults.sink is None:  # the C unpickler does not know its step
            raise error
        self._faults.sink(obj, reason)

    def finish(self) -> None:
        """Run pending upgrades, unless a journal follows."""
        if self._rest:
            raise ValueError("the last state is missing")
        if self.current is None:
            self._restoration.finish()


_STATELESS = frozenset({type(None), Placeholder})
"""Padding, and lost objects."""


def finish_graph(root: Any, queue: Any) -> Any:
    """Run upgrades after the end of `queue`, and return `root`.

    Args:
        root: the root of the graph.
        queue: a `StateQueue`; a list in the oldest and in deep TAPs.
    """
    if type(queue) is not StateQueue:
        items, queue = queue, StateQueue()
        queue.extend(items)
    queue.finish()
    return root


CONTAINERS: dict[type, Any] = {list: list, dict: dict, set: set}


def fill_container(container: Any, contents: list[Any]) -> None:
    """Fill a container that was written by its number."""
    if type(container) is list:
        container.extend(contents)
    else:
        container.update(contents)


def set_whole(obj: Any, whole: tuple[Any, ...]) -> None:
    """Set everything on an existing object that pickle would have set at once."""
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
    """Fill the containers among `items`, then `finish_graph`: a state may copy a container.

    Functions get their cells first: the hash of a key may need one. Objects set as a whole come
    last, the innermost first, in pickle's order.
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
    """Like `finish_deep_graph`; `_containers` only created the empty containers in advance."""
    return finish_deep_graph(root, items)
