"""The jar: knows every durable object of a running application by number.

`commit` turns what changed since the last one into bytes for the journal;
`Replay` turns such bytes back into changes of a graph loaded from a TAP. Built
on `image.pickler`, which knows how one state becomes bytes.

Nothing that changes is missed, by construction:

* attributes of `Persistent` objects and contents of tracked containers report
  to `Jar.register`;
* plain containers found in a changed object are replaced by tracked ones, with
  one memo for each commit, so that two references to one list stay two
  references to one list;
* an object whose state holds something else that can change unseen (an instance
  of a class that is not durable) is *watched*: pickled at every commit and
  compared with what it was.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

from tapd.image.evolution import Restoration
from tapd.image.loss import Loss
from tapd.image.pickler import StateLoader, StatePickler
from tapd.model.persistent import PLAIN_TO_TRACKED, Tracked


@dataclasses.dataclass(slots=True)
class Changes:
    """What one commit found.

    Attributes:
        new: number and class of each durable object met for the first time.
        states: number and pickled state of each object that changed.
        deltas: number and pickled delta of containers of which little changed.
    """

    new: list[tuple[int, bytes]] = dataclasses.field(default_factory=list)
    states: list[tuple[int, bytes]] = dataclasses.field(default_factory=list)
    deltas: list[tuple[int, bytes]] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.states or self.deltas)


class Jar:
    """Numbers durable objects and collects their changes.

    Attributes:
        last_oid: the highest number given.
        on_change: called at the first change after a commit, so that a change
            made outside of a turn gets one.
        losses: objects that can't be kept, of the last commit.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.last_oid = 0
        self.on_change = on_change
        self.losses: list[Loss] = []
        self._changed: list[Any] = []
        self._fresh: list[Any] = []
        self._watched: dict[int, tuple[Any, bytes]] = {}
        self._last_dump: dict[int, bytes] = {}
        self._classes: dict[type, bytes] = {}
        self._conversion = Conversion()
        self._pickler = StatePickler(self._oid_of)

    def register(self, obj: Any) -> None:
        """Take note that `obj` changes (called by the object itself, once a commit)."""
        if not self._changed:
            self.on_change()
        self._changed.append(obj)

    def readCurrent(self, obj: Any) -> None:  # noqa: N802 - the name BTrees call
        """Do nothing: there is one writer, so what is read is current."""

    @property
    def has_changes(self) -> bool:
        """Whether a commit is due."""
        return bool(self._changed)

    def adopt(self, root: Any) -> dict[int, Any]:
        """Take in the whole graph of `root`, just loaded or just made, as unchanged.

        Numbers that a TAP gave are kept. Returns the objects by number.
        """
        objects: dict[int, Any] = {}
        self._oid_of(root)
        while self._fresh:
            fresh, self._fresh = self._fresh, []
            for obj in fresh:
                objects[obj._p_oid] = obj
                self._conversion.convert(obj)
                dump = self._pickler.dump_object(obj)
                self._settle(obj, dump.data, untracked=dump.untracked)
        self._changed.clear()
        self._conversion.clear()
        return objects

    def _oid_of(self, obj: Any) -> int:
        if obj._p_jar is self:
            return obj._p_oid  # type: ignore[no-any-return]  # an int, set below
        if obj._p_oid is None:
            self.last_oid += 1
            obj._p_oid = self.last_oid
        elif obj._p_oid > self.last_oid:
            self.last_oid = obj._p_oid
        obj._p_jar = self
        self._fresh.append(obj)
        return obj._p_oid  # type: ignore[no-any-return]  # an int, set above

    def attach(self, obj: Any) -> int:
        """Return the number of `obj`, giving it one (and a first state) where it is new."""
        return self._oid_of(obj)

    def commit(self) -> Changes:
        """Return what changed since the last commit, and count it as unchanged."""
        changes = Changes()
        losses: list[Loss] = []
        changed, self._changed = self._changed, []
        for obj in changed:
            self._dump(obj, changes, losses)
        self._dump_fresh(changes, losses)
        if self._watched:
            self._compare_watched(changes, losses)
            self._dump_fresh(changes, losses)
        # What the conversions above reported is part of what was just dumped.
        self._changed.clear()
        self._conversion.clear()
        self.losses = losses
        return changes

    def _dump_fresh(self, changes: Changes, losses: list[Loss]) -> None:
        while self._fresh:
            fresh, self._fresh = self._fresh, []
            for obj in fresh:
                changes.new.append((obj._p_oid, self._class_reference(type(obj))))
                if isinstance(obj, Tracked):
                    obj._p_delta = None
                self._dump(obj, changes, losses)

    def _class_reference(self, cls: type) -> bytes:
        known = self._classes.get(cls)
        if known is None:
            known = self._pickler.dump_class(cls)
            self._classes[cls] = known
        return known

    def _dump(self, obj: Any, changes: Changes, losses: list[Loss]) -> None:
        self._conversion.convert(obj)
        oid: int = obj._p_oid
        if isinstance(obj, Tracked):
            delta = obj.take_delta()
            if delta is not None:
                dump = self._pickler.dump_state(delta)
                changes.deltas.append((oid, dump.data))
                losses += dump.losses
                _mark_unchanged(obj)
                if dump.untracked:
                    self._watch(obj)
                return
        dump = self._pickler.dump_object(obj)
        losses += dump.losses
        if self._settle(obj, dump.data, untracked=dump.untracked):
            changes.states.append((oid, dump.data))

    def _settle(self, obj: Any, data: bytes, *, untracked: bool) -> bool:
        """Count `obj` as unchanged; return whether its state differs from the last one."""
        _mark_unchanged(obj)
        oid: int = obj._p_oid
        if not getattr(obj, "_p_convert", True):
            digest = _digest(data)
            if self._last_dump.get(oid) == digest:
                return False
            self._last_dump[oid] = digest
        elif untracked:
            self._watched[oid] = (obj, _digest(data))
        elif self._watched:
            self._watched.pop(oid, None)
        return True

    def _watch(self, obj: Any) -> None:
        dump = self._pickler.dump_object(obj)
        self._watched[obj._p_oid] = (obj, _digest(dump.data))

    def _compare_watched(self, changes: Changes, losses: list[Loss]) -> None:
        for oid, (obj, digest) in list(self._watched.items()):
            self._conversion.convert(obj)
            dump = self._pickler.dump_object(obj)
            now = _digest(dump.data)
            if now != digest:
                self._watched[oid] = (obj, now)
                obj._p_changed = False
                changes.states.append((oid, dump.data))
                losses += dump.losses


class Conversion:
    """Replaces plain containers by tracked ones; remembers which became which.

    The memory lasts for one commit, so that references to one list that were
    stored in several objects of a turn go on to refer to one list.
    """

    def __init__(self) -> None:
        self._memory: dict[int, tuple[Any, Any]] = {}

    def clear(self) -> None:
        """Forget; ids are about to be used again."""
        if self._memory:
            self._memory = {}

    def convert(self, obj: Any) -> None:
        """Replace the plain containers directly in the durable object `obj`."""
        if not getattr(obj, "_p_convert", True):
            return
        if isinstance(obj, Tracked):
            self._convert_container(obj)
            return
        attributes = getattr(obj, "__dict__", None)
        if attributes is not None:
            plain = [
                name
                for name, value in attributes.items()
                if _holds_plain(value) and not name.startswith("_v_")
            ]
            for name in plain:
                attributes[name] = self.tracked(attributes[name])
        elif hasattr(obj, "items") and not _is_inner_node(obj):
            for key, value in list(obj.items()):
                if _holds_plain(value):
                    obj[key] = self.tracked(value)

    def _convert_container(self, obj: Any) -> None:
        if isinstance(obj, dict):
            touched = obj if obj._p_delta is None else obj._p_delta  # type: ignore[attr-defined]
            for key in [key for key in touched if key in obj and _holds_plain(obj[key])]:
                dict.__setitem__(obj, key, self.tracked(obj[key]))
        elif isinstance(obj, list):
            for index in range(obj._p_delta or 0, len(obj)):  # type: ignore[attr-defined]
                if _holds_plain(obj[index]):
                    list.__setitem__(obj, index, self.tracked(obj[index]))
        elif not isinstance(obj, (set, bytearray)):  # a deque
            for index, value in enumerate(list(obj)):
                if _holds_plain(value):
                    collections.deque.__setitem__(obj, index, self.tracked(value))

    def tracked(self, value: Any) -> Any:
        """Return the tracked container for a plain one; tuples are rebuilt around theirs."""
        cls = type(value)
        if cls is tuple:
            return tuple(self.tracked(item) if _holds_plain(item) else item for item in value)
        known = self._memory.get(id(value))
        if known is not None:
            return known[1]
        if cls is collections.deque:
            result = PLAIN_TO_TRACKED[cls]((), value.maxlen)
        else:
            result = PLAIN_TO_TRACKED[cls]()
        self._memory[id(value)] = (value, result)  # before its contents: they may lead back
        if cls is dict:
            for key, item in value.items():
                dict.__setitem__(result, key, self.tracked(item) if _holds_plain(item) else item)
        elif cls is set or cls is bytearray:
            result.__ior__(value) if cls is set else result.extend(value)
        else:
            result.extend(self.tracked(item) if _holds_plain(item) else item for item in value)
        return result


def _is_inner_node(obj: Any) -> bool:
    """Whether `obj` is a BTree whose items are in buckets of their own."""
    return hasattr(obj, "_firstbucket") and len(obj.__getstate__() or ()) > 1


def _holds_plain(value: Any) -> bool:
    cls = type(value)
    return cls in PLAIN_TO_TRACKED or (cls is tuple and any(map(_holds_plain, value)))


class Replay:
    """Applies the changes of journal records to a graph that a TAP gave.

    States are kept as bytes until `finish`, so that of a hundred states of one
    object only the last is unpickled.
    """

    def __init__(self, objects: dict[int, Any], restoration: Restoration) -> None:
        """Begin.

        Args:
            objects: those of the TAP, by number (from `Jar.adopt`).
            restoration: the TAP's; it is finished here.
        """
        self._objects = objects
        self._states: dict[int, bytes] = {}
        self._deltas: dict[int, list[bytes]] = {}
        self._loader = StateLoader(objects.__getitem__, restoration)

    def apply(self, changes: Changes) -> None:
        """Take in one record's changes."""
        for oid, class_data in changes.new:
            cls = self._loader.load_class(class_data)
            obj = cls.__new__(cls)
            obj._p_oid = oid
            self._objects[oid] = obj
        for oid, data in changes.states:
            self._states[oid] = data
            self._deltas.pop(oid, None)
        for oid, data in changes.deltas:
            self._deltas.setdefault(oid, []).append(data)

    def finish(self) -> int:
        """Set all states and run the upgrades of classes that have changed since.

        Objects that nothing refers to any more vanish with this.

        Returns:
            How many objects were upgraded.

        Raises:
            UpgradeRefused: state can't be brought to the installed code's version.
        """
        loader = self._loader
        for oid, data in self._states.items():
            loader.restore(self._objects[oid], data)
        for oid, deltas in self._deltas.items():
            obj = self._objects[oid]
            for data in deltas:
                obj.apply_delta(loader.load_state(data))
        return loader.finish()


def _mark_unchanged(obj: Any) -> None:
    obj._p_changed = False


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
