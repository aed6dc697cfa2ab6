"""The jar: numbers every durable object of a running application and collects their changes.

`commit` turns the changes since the last commit into bytes for the journal
(`image.tracking.replay` applies such bytes to a graph).

No change is missed, by construction. A durable object is one of two kinds:

* *calm*: its state holds only data and other durable objects (`classification`). It calls
  `Jar.register` before its first change. Plain containers that have no other holder are
  replaced by tracked ones, which do the same (`conversion`).
* *watched*: it holds plain objects. The pickler's memo names them, so whatever is pickled
  counts (`image.pickling.memo`). It is polled in every commit (`polling`) and always written
  whole.
  Watched objects that share a plain one are written together.

A calm container that changed only a little is written as a delta.

An object is marked as unchanged before its state is read (`clean_marks`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from threading import get_ident
from typing import Any

from tapd.errors import NotStorable
from tapd.image import hooks
from tapd.image.evolution.versions import versioned
from tapd.image.loss import Loss, type_name_of
from tapd.image.pickling.pickler import StatePickler
from tapd.image.pickling.shared_objects import Shared, can_be_shared, find_first_shared, make_shared
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.class_records import ClassRecords
from tapd.image.tracking.classification import Census
from tapd.image.tracking.clean_marks import Settling
from tapd.image.tracking.commit import Commit
from tapd.image.tracking.conversion import convert, convert_simple
from tapd.image.tracking.locator import Whereabouts
from tapd.image.tracking.polling import Watch, Watched, digest_of
from tapd.model.durable.heaps import teach_heapq
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.persistent import (
    Tracked,
    has_usual_setattr,
    is_durable_type,
    own_dict,
    set_mark,
)
from tapd.model.source_location import warn_of_thread

teach_heapq()  # before authors' modules are imported: they may do `from heapq import heappush`


class Jar:
    """Numbers durable objects and collects their changes.

    Attributes:
        last_oid: the highest number given.
        on_change: called at the first change after a commit, so that a change outside of
            a turn schedules one.
        losses: objects of the last commit that can't be saved.
        unknown: durable objects of the loaded graph that were plain when it was saved.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.last_oid = 0
        self.on_change = on_change
        self.losses: list[Loss] = []
        self.unknown: list[Any] = []
        self._thread = get_ident()
        self._changed: list[Any] = []
        self._fresh: list[Any] = []
        self._whereabouts = Whereabouts()
        self._watch = Watch(self._whereabouts.describe)
        self._census = Census()
        self._numbered: set[type] = set()  # classes of the loaded objects
        self._settling = Settling()
        self._settle = self._settling.settle
        self._unsaved: dict[int, Any] = {}
        self._pickler = StatePickler(self._oid_of)
        self._class_records = ClassRecords(self._pickler)
        self._tags = self._class_records.tags

    def register(self, obj: Any) -> None:
        """Note that `obj` is about to change (called by the object, once per commit)."""
        if get_ident() != self._thread:
            warn_of_thread(f"a {type(obj).__qualname__} was changed")
        if not self._changed:
            self.on_change()
        self._changed.append(obj)

    def readCurrent(self, obj: Any) -> None:  # noqa: N802 - the name BTrees call
        """Do nothing: there is a single writer, so every read is current."""

    @property
    def has_changes(self) -> bool:
        """Whether a commit is due."""
        return bool(self._changed)

    def adopt(self, root: Any, durables: Iterable[Any] = ()) -> dict[int, Any]:
        """Take in the whole graph of `root`, just loaded or just created, as unchanged.

        Numbers from a TAP are kept. Returns the objects by number.

        Args:
            root: the root of the graph.
            durables: its known durable objects (`Restoration.durables`), once each, in a
                reproducible order; others in it are ignored. The states of most of them need
                not be inspected: with a million objects this cuts the start to a third.
        """
        self._whereabouts.root = root
        objects = self._number(durables)
        last_oid = self.last_oid
        self.settle(objects.values())
        if objects:
            self._set_aside(last_oid)
        self._oid_of(root)
        while self._fresh:
            fresh, self._fresh = self._fresh, []
            objects.update((obj._p_oid, obj) for obj in fresh)
            convert(fresh)
            self._take_in(fresh)
        self._changed.clear()
        return objects

    def _set_aside(self, last_oid: int) -> None:
        """Put objects aside that only `settle` met: they were plain when they were saved.

        They get no number yet: a journal that follows may have given the next numbers to
        others.
        """
        for obj in self._fresh:
            set_mark(obj, "_p_jar", None)
            set_mark(obj, "_p_oid", None)
        self.unknown += self._fresh
        self._fresh.clear()
        self.last_oid = last_oid

    def _number(self, durables: Iterable[Any]) -> dict[int, Any]:
        objects: dict[int, Any] = {}
        free = []
        known = list(durables)
        kinds = {cls for cls in set(map(type, known)) if is_durable_type(cls)}
        self._numbered = kinds
        for obj in known:
            if type(obj) not in kinds:
                continue
            oid = obj._p_oid
            if oid is None:
                free.append(obj)
            else:
                objects[oid] = obj
        # New numbers only after all known ones are seen, so that none is given twice.
        self.last_oid = max(self.last_oid, max(objects, default=0))
        for self.last_oid, obj in enumerate(free, self.last_oid + 1):  # noqa: B020 - it counts
            set_mark(obj, "_p_oid", self.last_oid)
            objects[self.last_oid] = obj
        self._note_shared(objects.values(), kinds)
        if all(map(has_usual_setattr, kinds)):
            for obj in objects.values():
                obj._p_jar = self
        else:
            for obj in objects.values():
                set_mark(obj, "_p_jar", self)
        return objects

    def _note_shared(self, objects: Iterable[Any], kinds: Iterable[type]) -> None:
        if Shared in kinds:
            for obj in objects:
                if type(obj) is Shared:
                    self._pickler.shared.add(obj)

    def settle(self, objects: Iterable[Any]) -> None:
        """Mark `objects`, whose states were just loaded, as unchanged.

        Their plain containers are converted at the first dump: a journal that follows may have
        given the next numbers to others.
        """
        rest = []
        is_calm = Census(self._numbered).is_calm_at_sight
        for obj in objects:
            if is_calm(obj):
                self._settle(obj)
            else:
                rest.append(obj)
        self._take_in(rest)

    def join(self, objects: dict[int, Any]) -> None:
        """Take in `objects`, by number, whose states came from a journal's records."""
        for oid, obj in objects.items():
            set_mark(obj, "_p_jar", self)
            self.last_oid = max(self.last_oid, oid)
        kinds = set(map(type, objects.values()))
        self._numbered |= kinds
        self._note_shared(objects.values(), kinds)
        self.settle(objects.values())
        self.unknown += self._fresh
        self._changed.clear()

    def mark_changed(self, obj: Any) -> None:
        """Have the next commit write all of `obj`."""
        if isinstance(obj, Tracked):
            obj._p_delta = None
        if not obj._p_changed:
            if isinstance(obj, Tracked):
                self.register(obj)
            set_mark(obj, "_p_changed", True)  # a `Persistent` registers itself

    def _take_in(self, rest: Sequence[Any]) -> None:
        """Mark `rest` as unchanged; watch those with plain objects, number what they refer to."""
        entries = {}
        for obj in rest:
            try:
                hooks.enter(obj)
                dump = self._pickler.dump_object(obj)
                has_parts = self._has_parts(obj, dump.parts)
            except BaseException as error:  # it is loaded all the same; the next commit retries
                hooks.check(error)
                self._note_unsaved(obj, error, self.losses)
                self._settle(obj)
                continue
            if has_parts:
                digest = self._digest(obj, dump.data)
                entries[obj._p_oid] = obj, Watched(digest, dump.parts or (), dump.shared)
            else:
                self._watch.hold(obj, dump.shared)
            self._settle(obj)
        self._watch.put(entries)

    def _oid_of(self, obj: Any) -> int:
        if obj._p_jar is self:
            return obj._p_oid  # type: ignore[no-any-return]  # an int, set below
        if obj._p_oid is None or obj._p_jar is not None:  # another jar's number is not ours
            self.last_oid += 1
            set_mark(obj, "_p_oid", self.last_oid)
        elif obj._p_oid > self.last_oid:
            self.last_oid = obj._p_oid
        set_mark(obj, "_p_jar", self)
        self._fresh.append(obj)
        return obj._p_oid  # type: ignore[no-any-return]  # an int, set above

    def pickled(self, obj: Any) -> tuple[bytes, bytes]:
        """Return class and state of a durable object, as a commit would write them.

        The state includes plain objects shared with others. For audits: it leaves change marks
        as they are.
        """
        return self._class_records.reference(obj), self._pickler.dump_object(obj).data

    def attach(self, obj: Any) -> int:
        """Return the number of `obj`; a new object gets one, and is written by the next commit."""
        return self._oid_of(obj)

    def commit(self) -> Changes:
        """Return the changes since the last commit, and mark everything as unchanged."""
        commit = Commit()
        changed, self._changed = self._changed, []
        # Calm objects first, the cheap case. An object may be listed twice, or be dumped by
        # now: its own ``__getstate__`` reported it again.
        rest = [obj for obj in changed if obj._p_changed and not self._dump_calm(obj, commit)]
        if self._unsaved and changed:
            known = set(map(id, rest))  # retry what failed before
            rest += [obj for obj in self._unsaved.values() if id(obj) not in known]
        if rest or self._fresh:
            self._dump_all(rest, commit)
        if self._watch:
            seen = commit.looks.before
            self._dump_all(
                [obj for obj in self._watch.suspects() if obj._p_oid not in seen], commit
            )
        if commit.has_looks:
            self._write_groups(commit)
        pending = self._changed
        for at in range(len(pending) - 1, -1, -1):  # in place: a handler may append
            if not pending[at]._p_changed:
                del pending[at]
        self.losses = commit.losses
        return commit.changes

    def _dump_all(self, objects: Sequence[Any], commit: Commit) -> None:
        """Dump `objects`, which are not calm, and all objects met for the first time."""
        self._dump_others(objects, commit)
        while self._fresh:
            fresh, self._fresh = self._fresh, []
            for obj in fresh:
                # A new object may be calm; either way its class is recorded before its state.
                commit.changes.new.append((obj._p_oid, self._class_records.reference(obj)))
                if issubclass(type(obj), Tracked):
                    obj._p_delta = None
                else:
                    self._class_records.mark(obj)
                    convert_simple(obj)
            # Dumping may meet further new objects, hence the loop.
            self._dump_others([obj for obj in fresh if not self._dump_calm(obj, commit)], commit)

    def _dump_others(self, objects: Sequence[Any], commit: Commit) -> None:
        if not objects:
            return
        looks = commit.looks
        for obj in objects:
            known = self._watch.get(obj)
            if known is None:
                looks.before[obj._p_oid] = None, None
            else:
                looks.before[obj._p_oid] = known.digest, known.part_ids
                known.let_go()
        # Only after `let_go` above: conversion relies on reference counts.
        converted = convert(objects)
        for obj in objects:
            oid = obj._p_oid
            if oid in converted and self._dump_calm(obj, commit):
                continue
            try:
                self._dump_other(obj, commit, was_converted=oid in converted)
            except BaseException as error:  # too deep, changed by a thread meanwhile, ...
                hooks.check(error)
                self._note_unsaved(obj, error, commit.losses)
            else:
                self._unsaved.pop(oid, None)

    def _dump_calm(self, obj: Any, commit: Commit) -> bool:
        """Dump `obj` if it holds only data and durable objects; return whether it was dumped."""
        oid: int = obj._p_oid
        if oid in self._watch.oids or oid in self._unsaved:
            return False
        cls = type(obj)
        changes = commit.changes
        try:
            if issubclass(cls, Tracked):
                begun = commit.begun
                # Second try in this commit, after a conversion: begin where the first began.
                begin = begun.pop(oid) if oid in begun else obj.begin_delta()
                delta = None if begin is None else obj.delta_since(begin)
                if delta is not None:
                    if not self._census.is_calm_delta(cls, delta):
                        commit.begun[oid] = begin
                        return False
                    changes.deltas.append((oid, self._pickler.dump_state(delta).data))
                    return True
                state = obj.__getstate__()
            else:
                if obj._p_serial != self._tags.get(cls):
                    self._class_records.note(obj, commit.changes)
                state = self._settling.take_state(obj)
            if not self._census.is_calm_state(obj, state):
                self._settling.unsettle(obj)
                return False
            dump = self._pickler.dump_state(versioned(obj, state))
        except BaseException as error:  # `_dump_other` tries again and reports it
            hooks.check(error)
            self._settling.unsettle(obj)
            return False
        if dump.losses:  # durable objects that can't be saved
            commit.losses += self._whereabouts.named(obj, dump.losses)
        changes.states.append((oid, dump.data))
        return True

    def _dump_other(self, obj: Any, commit: Commit, *, was_converted: bool) -> None:
        """Dump `obj`, which is not calm, or was not before its conversion."""
        oid: int = obj._p_oid
        looks = commit.looks
        is_tracked = issubclass(type(obj), Tracked)
        if is_tracked and oid not in self._watch.oids:
            begin = commit.begun.pop(oid, None)
            delta = None if begin is None else obj.delta_since(begin)
            if delta is not None and self._census.is_calm_delta(type(obj), delta):
                commit.changes.deltas.append((oid, self._pickler.dump_state(delta).data))
                return
        if not is_tracked and obj._p_changed:
            self._class_records.note(obj, commit.changes)
        if is_tracked:
            obj._p_delta = None
        dump = self._settling.dump([obj], functools.partial(self._pickler.dump_object, obj))
        digest = self._digest(obj, dump.data)
        digest_before, part_ids = looks.before[oid]
        if issubclass(
            type(obj), Namespace
        ):  # marked as changed by every typed line, though mostly unchanged
            digest_before = digest_before or own_dict(obj).get("_v_digest")
            own_dict(obj)["_v_digest"] = digest
        has_changed = was_converted or digest != digest_before or oid in looks.forced
        if type(obj) is Shared and has_changed:
            self._class_records.note(obj, commit.changes)
        if dump.losses and has_changed:
            commit.losses += self._whereabouts.named(obj, dump.losses)
        if self._has_parts(obj, dump.parts):
            self._settling.settle_again(obj)
            watched = Watched(digest, dump.parts or (), dump.shared)
            looks.entries[oid] = obj, watched
            if has_changed or (part_ids != watched.part_ids and self._watch.is_shared(oid)):
                looks.due[oid] = dump.data
            else:
                looks.unchanged.append((obj, watched))
            return
        if has_changed or self._watch.is_shared(oid):
            commit.changes.states.append((oid, dump.data))
        looks.entries.pop(oid, None)
        self._watch.forget(obj)
        self._watch.hold(obj, dump.shared)
        self._settling.settle_again(obj)

    def _digest(self, obj: Any, data: bytes) -> bytes:
        """Return the digest of this state of `obj`; for a plain object it covers the class."""
        return digest_of(data + self._class_records.tag_of(obj) if type(obj) is Shared else data)

    def _has_parts(self, obj: Any, parts: tuple[Any, ...] | None) -> bool:
        """Whether `obj` must be watched, given the plain objects it holds."""
        return bool(parts) or self._census.may_change_untold(obj)

    def _write_groups(self, commit: Commit) -> None:
        """Write the changed watched objects, each with those it shares plain objects with."""
        watch, looks = self._watch, commit.looks
        watch.put(looks.entries)
        groups = self._groups(looks.entries)
        while (numbered := self._number_shared(groups)) is not None:
            # Every holder refers to the new number from now on, so all are dumped again.
            looks.forced.update(numbered)
            for oid in numbered:
                looks.due.pop(oid, None)
            members = [obj for oid in numbered if (obj := watch.object_of(oid)) is not None]
            looks.unchanged = [each for each in looks.unchanged if each[0]._p_oid not in numbered]
            self._dump_all(members, commit)
            watch.put(looks.entries)
            groups = self._groups(looks.entries)
        for group in groups:
            is_due = any(each in looks.due for each in group)
            if len(group) == 1:
                if is_due:
                    commit.changes.states.append((group[0], looks.due[group[0]]))
            # If one member changed, or shares other objects than before, all are written: only a
            # joint record keeps the shared object one.
            elif is_due or any(map(looks.has_other_parts, group)):
                self._write_group(group, commit)
        # Fingerprints last: only now is it known which parts are polled by themselves.
        for obj, watched in looks.unchanged:
            if watched is watch.get(obj):
                watch.rest(obj, self._census.roots_of(obj), self._pickler.shared.ids)
                self._settling.settle_again(obj)

    def _groups(self, oids: Iterable[int]) -> list[list[int]]:
        groups = []
        seen: set[int] = set()
        for oid in oids:
            if oid not in seen:
                groups.append(self._watch.group_of(oid))
                seen.update(groups[-1])
        return groups

    def _number_shared(self, groups: Iterable[list[int]]) -> list[int] | None:
        """Give plain objects that several durable ones hold numbers of their own.

        Returns the numbers of all durable objects that held one; None if there was none.
        """
        members: list[int] = []
        for group in groups:
            if len(group) == 1:
                continue
            ids = self._watch.shared_ids_of(group)
            firsts: dict[int, Any] = {}
            for oid in group:
                obj = self._watch.object_of(oid)
                is_shared = type(obj) is Shared
                roots = (obj.it.__dict__,) if is_shared else self._census.roots_of(obj)
                for part in find_first_shared(roots or (), ids, self._pickler.shared.ids):
                    firsts[id(part)] = part
            made = [make_shared(part) for part in firsts.values() if can_be_shared(part)]
            for shared in made:
                self._pickler.shared.add(shared)
                self._oid_of(shared)  # `_fresh` keeps it alive until its holders are written
            if made:
                members += group
        return members or None

    def _write_group(self, group: list[int], commit: Commit) -> None:
        members = [(each, self._watch.object_of(each)) for each in group]
        members = [(oid, obj) for oid, obj in members if obj is not None]
        try:
            objects = [obj for _oid, obj in members]
            dump = self._settling.dump(
                objects, functools.partial(self._pickler.dump_joint, objects)
            )
        except BaseException as error:
            hooks.check(error)
            for _oid, obj in members:
                self._note_unsaved(obj, error, commit.losses)
            return
        commit.changes.joint.append((tuple(oid for oid, _obj in members), dump.data))

    def _note_unsaved(self, obj: Any, error: BaseException, losses: list[Loss]) -> None:
        """Report that `obj` could not be dumped, and have the next commit retry it."""
        oid: int = obj._p_oid
        if oid not in self._unsaved:
            said = str(error) if type(error) is NotStorable else hooks.describe(error)
            reason = f"{said}; its last saved state is kept"
            losses.append(Loss(self._whereabouts.place_of(obj), type_name_of(type(obj)), reason))
        self._unsaved[oid] = obj
        if isinstance(obj, Tracked):
            obj._p_delta = None
