"""The jar: knows every durable object of a running application by number.

`commit` turns what changed since the last one into bytes for the journal
(`image.replay` turns such bytes back into changes of a graph). Built on
`image.pickler`, which knows how one state becomes bytes.

Nothing that changes is missed, by construction:

* attributes of `Persistent` objects and contents of tracked containers report
  to `Jar.register`;
* plain containers found in a changed object are replaced by tracked ones, with
  one memo for each commit, so that two references to one list stay two
  references to one list;
* an object whose state holds something else that can change unseen (an instance
  of a class that is not durable) is *watched*: looked at in every commit and
  compared with what it was (`watching`). Where two durable objects hold the same
  one, it would be two after a kill, and the author is told (`sharing`).
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import Any

from tapd.image.census import Census
from tapd.image.changes import Changes
from tapd.image.conversion import Conversion
from tapd.image.loss import Loss
from tapd.image.names import name_of
from tapd.image.paths import find_path
from tapd.image.pickler import StatePickler
from tapd.image.sharing import Sharing
from tapd.image.watching import Watch, digest_of
from tapd.model.persistent import Tracked, is_durable_type
from tapd.model.places import warn_of_thread

_log = logging.getLogger(__name__)

_LOSSY_MAX = 1000
_LOOKED_AT_MAX = 20_000


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
        self._thread = get_ident()
        self._changed: list[Any] = []
        self._fresh: list[Any] = []
        self._watched = Watch(self._locate)
        self._sharing = Sharing(self.tell_shared, self._place)
        self._root: Any = None
        self._census = Census()
        # Both go with what they are of: a prompt's sessions and classes come and go for years.
        self._last_dump: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()
        self._typed_classes: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
        self._classes: dict[type, bytes] = {}
        self._conversion = Conversion()
        self._unsaved: dict[int, Any] = {}
        self._lossy: dict[int, str] = {}
        self._pickler = StatePickler(self._oid_of)

    def register(self, obj: Any) -> None:
        """Take note that `obj` changes (called by the object itself, once a commit)."""
        if get_ident() != self._thread:
            warn_of_thread(f"a {type(obj).__qualname__} was changed")
        if not self._changed:
            self.on_change()
        self._changed.append(obj)

    def readCurrent(self, obj: Any) -> None:  # noqa: N802 - the name BTrees call
        """Do nothing: there is one writer, so what is read is current."""

    @property
    def has_changes(self) -> bool:
        """Whether a commit is due."""
        return bool(self._changed)

    def adopt(self, root: Any, durables: Iterable[Any] = ()) -> dict[int, Any]:
        """Take in the whole graph of `root`, just loaded or just made, as unchanged.

        Numbers that a TAP gave are kept. Returns the objects by number.

        Args:
            root: of the graph.
            durables: those of its durable objects that are known (from
                `Restoration.durables`), in an order that is always the same, once
                each; what is not durable among them is left out. The
                states of most need not be looked into then: for a million
                objects that is a start in a third of the time.
        """
        self._root = root
        objects = self._number(durables)
        self.settle(objects.values())
        self._oid_of(root)
        while self._fresh:
            fresh, self._fresh = self._fresh, []
            for obj in fresh:
                objects[obj._p_oid] = obj
                self._take_in(obj)
        self._changed.clear()
        self._conversion.clear()
        return objects

    def _number(self, durables: Iterable[Any]) -> dict[int, Any]:
        objects: dict[int, Any] = {}
        free = []
        known = list(durables)
        kinds = {cls for cls in set(map(type, known)) if is_durable_type(cls)}
        for obj in known:
            if type(obj) not in kinds:
                continue
            oid = obj._p_oid
            if oid is None:
                free.append(obj)
            else:
                objects[oid] = obj
        # Only now, so that no number is given twice.
        self.last_oid = max(self.last_oid, max(objects, default=0))
        for self.last_oid, obj in enumerate(free, self.last_oid + 1):  # noqa: B020 - it counts
            obj._p_oid = self.last_oid
            objects[self.last_oid] = obj
        for obj in objects.values():
            obj._p_jar = self
        return objects

    def settle(self, objects: Iterable[Any]) -> None:
        """Count `objects`, whose states were just loaded, as unchanged."""
        needs_look = self._census.needs_look
        for obj in objects:
            if needs_look(obj):
                self._take_in(obj)
            else:
                obj._p_changed = False

    def join(self, objects: dict[int, Any]) -> None:
        """Take in `objects`, by number, whose states a journal's records gave."""
        for oid, obj in objects.items():
            obj._p_jar = self
            self.last_oid = max(self.last_oid, oid)
        self.settle(objects.values())
        self._changed.clear()
        self._conversion.clear()

    def mark_changed(self, obj: Any) -> None:
        """Have the next commit write all of `obj`."""
        if isinstance(obj, Tracked):
            obj._p_delta = None
        if not obj._p_changed:
            if isinstance(obj, Tracked):
                self.register(obj)
            obj._p_changed = True  # a `Persistent` registers itself

    def _take_in(self, obj: Any) -> None:
        self._conversion.convert(obj)
        dump = self._pickler.dump_object(obj)
        self._settle(obj, dump.data, untracked=dump.untracked)

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
        if changed and self._unsaved:
            changed += self._unsaved.values()  # perhaps it can be saved now
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
            known = self._typed_classes.get(cls)
        if known is None:
            known = self._pickler.dump_class(cls)
            (self._classes if name_of(cls) else self._typed_classes)[cls] = known
        return known

    def _dump(self, obj: Any, changes: Changes, losses: list[Loss]) -> None:
        """Dump one object; should that fail, its old state stays and the others are kept."""
        try:
            self._dump_one(obj, changes, losses)
        except Exception as error:  # nested too deeply, changed by a thread meanwhile, ...
            self._note_unsaved(obj, error, losses)
        else:
            if self._unsaved:
                self._unsaved.pop(obj._p_oid, None)

    def _note_unsaved(self, obj: Any, error: Exception, losses: list[Loss]) -> None:
        """Name `obj`, which could not be dumped, and have the next commit try all of it again."""
        oid: int = obj._p_oid
        if oid not in self._unsaved:
            reason = f"{type(error).__name__}: {error}; its last saved state is kept"
            losses.append(Loss(f"(object {oid})", type(obj).__qualname__, reason))
        self._unsaved[oid] = obj
        if isinstance(obj, Tracked):
            obj._p_delta = None

    def _dump_one(self, obj: Any, changes: Changes, losses: list[Loss]) -> None:
        self._conversion.convert(obj)
        oid: int = obj._p_oid
        if isinstance(obj, Tracked):
            delta = obj.take_delta()
            if delta is not None:
                dump = self._pickler.dump_state(delta)
                changes.deltas.append((oid, dump.data))
                if dump.losses:
                    losses += self._named(obj, dump.losses)
                obj._p_changed = False  # type: ignore[misc]  # a slot of each tracked class
                if dump.untracked:
                    self._watched.add(obj, self._pickler.dump_object(obj).data)
                    self._sharing.note(obj)
                return
        dump = self._pickler.dump_object(obj)
        if dump.losses:
            losses += self._named(obj, dump.losses)
        if self._settle(obj, dump.data, untracked=dump.untracked):
            changes.states.append((oid, dump.data))

    def _settle(self, obj: Any, data: bytes, *, untracked: bool) -> bool:
        """Count `obj` as unchanged; return whether its state differs from the last one."""
        obj._p_changed = False
        oid: int = obj._p_oid
        if not getattr(obj, "_p_convert", True):
            digest = digest_of(data)
            if self._last_dump.get(obj) == digest:
                return False
            self._last_dump[obj] = digest
        elif untracked:
            self._watched.add(obj, data)
        elif oid in self._watched.oids:
            self._watched.forget(oid)
        if untracked:
            self._sharing.note(obj)
        elif oid in self._sharing.oids:
            self._sharing.forget(oid)
        return True

    def tell_shared(self, explanation: str) -> None:
        """Say that two durable objects hold one plain object."""
        _log.warning("%s", explanation)

    def _named(self, obj: Any, losses: Iterable[Loss]) -> list[Loss]:
        """Return `losses`, found in `obj`, with paths that begin at the root.

        Where `obj` is, is looked for once: it may be lossy at every commit.
        """
        named = []
        for loss in losses:
            place = self._lossy.get(obj._p_oid)
            if place is None:
                if len(self._lossy) > _LOSSY_MAX:
                    self._lossy.clear()
                place = self._lossy[obj._p_oid] = self._place(obj)
            named.append(loss.replace(path=f"{place}{loss.path}"))
        return named

    def _place(self, obj: Any) -> str:
        place = find_path(self._root, obj, objects_max=_LOOKED_AT_MAX)
        return place or type(obj).__qualname__

    def _locate(self, obj: Any) -> str:
        name = f"{type(obj).__qualname__} #{obj._p_oid}"
        path = find_path(self._root, obj)
        return f"{path}, {name}" if path else name

    def _compare_watched(self, changes: Changes, losses: list[Loss]) -> None:
        found: list[Loss] = []

        def dump(obj: Any) -> bytes | None:
            found.clear()
            try:
                self._conversion.convert(obj)
                dumped = self._pickler.dump_object(obj)
            except Exception as error:
                self._note_unsaved(obj, error, losses)
                return None
            found.extend(dumped.losses)
            return dumped.data

        for obj, data in self._watched.changed(dump):
            obj._p_changed = False
            self._sharing.note(obj)
            changes.states.append((obj._p_oid, data))
            losses += self._named(obj, found)
