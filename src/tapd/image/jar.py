"""The jar: knows every durable object of a running application by number.

`commit` turns what changed since the last one into bytes for the journal
(`image.replay` turns such bytes back into changes of a graph). Built on
`image.pickler`, which knows how one state becomes bytes.

Nothing that changes is missed, by construction. A durable object is one of two:

* *calm*: its state holds data and other durable objects, nothing else (`census`).
  It reports to `Jar.register` when it is about to change. Plain containers that
  nobody else holds are replaced by tracked ones, which report as well
  (`conversion`);
* *watched*: it holds something else. What that is, the pickler's memo tells, so
  whatever is pickled counts (`parts`). It is looked at in every commit
  (`watching`), and always written whole. Watched objects that share a plain one
  are written together.

A container of which little changed is written as a delta while it is calm.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import Any

from tapd.image.census import Census
from tapd.image.changes import Changes
from tapd.image.conversion import convert
from tapd.image.evolution import versioned
from tapd.image.loss import Loss
from tapd.image.names import name_of
from tapd.image.paths import find_path
from tapd.image.pickler import StatePickler
from tapd.image.watching import Watch, Watched, digest_of
from tapd.model.heaps import teach_heapq
from tapd.model.namespace import Namespace
from tapd.model.persistent import Tracked, has_usual_setattr, is_durable_type, own_dict, set_mark
from tapd.model.places import warn_of_thread

teach_heapq()  # before the modules of authors are imported, which may take its functions

_HEAP_TYPE = 1 << 9
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
        self._watch = Watch(self._locate)
        self._root: Any = None
        self._census = Census()
        self._unguarded: set[type] = set()  # whose assignments run no code of their author
        self._last_tag = 0
        # They go when nobody has them any more: those of a prompt come and go for years.
        self._typed_classes: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
        self._classes: dict[type, bytes] = {}
        self._tags: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
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
            objects.update((obj._p_oid, obj) for obj in fresh)
            self._take_in(fresh)
        self._changed.clear()
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
            set_mark(obj, "_p_oid", self.last_oid)
            objects[self.last_oid] = obj
        if all(map(has_usual_setattr, kinds)):
            for obj in objects.values():
                obj._p_jar = self
        else:
            for obj in objects.values():
                set_mark(obj, "_p_jar", self)
        return objects

    def settle(self, objects: Iterable[Any]) -> None:
        """Count `objects`, whose states were just loaded, as unchanged."""
        rest = []
        is_calm = self._census.is_calm_at_sight
        for obj in objects:
            if is_calm(obj):
                self._settle(obj)
            else:
                rest.append(obj)
        self._take_in(rest)

    def join(self, objects: dict[int, Any]) -> None:
        """Take in `objects`, by number, whose states a journal's records gave."""
        for oid, obj in objects.items():
            set_mark(obj, "_p_jar", self)
            self.last_oid = max(self.last_oid, oid)
        self.settle(objects.values())
        self._changed.clear()

    def mark_changed(self, obj: Any) -> None:
        """Have the next commit write all of `obj`."""
        if isinstance(obj, Tracked):
            obj._p_delta = None
        if not obj._p_changed:
            if isinstance(obj, Tracked):
                self.register(obj)
            set_mark(obj, "_p_changed", True)  # a `Persistent` registers itself

    def _take_in(self, objects: Iterable[Any]) -> None:
        """Count `objects` as unchanged; watch those that have to be, number what is in them."""
        rest = list(objects)
        convert(rest)
        entries = {}
        for obj in rest:
            dump = self._pickler.dump_object(obj)
            self._settle(obj)
            if self._has_parts(obj, dump.parts):
                entries[obj._p_oid] = obj, Watched(digest_of(dump.data), dump.parts or ())
        self._watch.put(entries)

    def _settle(self, obj: Any) -> None:
        """Count `obj` as unchanged."""
        cls = type(obj)
        if cls in self._unguarded:
            obj._p_changed = False
            return
        set_mark(obj, "_p_changed", False)
        if has_usual_setattr(cls) and name_of(cls) is not None:
            self._unguarded.add(cls)

    def _oid_of(self, obj: Any) -> int:
        if obj._p_jar is self:
            return obj._p_oid  # type: ignore[no-any-return]  # an int, set below
        if obj._p_oid is None:
            self.last_oid += 1
            set_mark(obj, "_p_oid", self.last_oid)
        elif obj._p_oid > self.last_oid:
            self.last_oid = obj._p_oid
        set_mark(obj, "_p_jar", self)
        self._fresh.append(obj)
        return obj._p_oid  # type: ignore[no-any-return]  # an int, set above

    def attach(self, obj: Any) -> int:
        """Return the number of `obj`, giving it one (and a first state) where it is new."""
        return self._oid_of(obj)

    def commit(self) -> Changes:
        """Return what changed since the last commit, and count it as unchanged."""
        commit = _Commit()
        changed, self._changed = self._changed, []
        if changed and self._unsaved:
            changed += self._unsaved.values()  # perhaps it can be saved now
        self._dump_all(changed, commit)
        if self._watch:
            seen = commit.seen
            suspects = [obj for obj in self._watch.suspects() if obj._p_oid not in seen]
            self._dump_all(suspects, commit)
        if commit.entries:
            self._write_groups(commit)
        # What was reported meanwhile is part of what was just dumped.
        self._changed.clear()
        self.losses = commit.losses
        return commit.changes

    def _dump_all(self, objects: Iterable[Any], commit: _Commit) -> None:
        """Dump `objects`, and those that are met in them for the first time."""
        self._dump_each(objects, commit)
        while self._fresh:
            fresh, self._fresh = self._fresh, []
            for obj in fresh:
                cls = type(obj)
                commit.changes.new.append((obj._p_oid, self._class_reference(cls)))
                if issubclass(cls, Tracked):
                    obj._p_delta = None
                else:
                    set_mark(obj, "_p_serial", self._tag_of(cls))
            self._dump_each(fresh, commit)

    def _dump_each(self, objects: Iterable[Any], commit: _Commit) -> None:
        rest = [obj for obj in objects if not self._dump_calm(obj, commit)]
        if not rest:
            return
        for obj in rest:
            known = self._watch.get(obj)
            if known is None:
                commit.before[obj._p_oid] = None, None
            else:
                commit.before[obj._p_oid] = known.digest, known.part_ids
                known.let_go()
        converted = convert(rest)
        for obj in rest:
            try:
                self._dump_other(obj, commit, was_converted=obj._p_oid in converted)
            except Exception as error:  # nested too deeply, changed by a thread meanwhile, ...
                self._note_unsaved(obj, error, commit.losses)
            else:
                self._unsaved.pop(obj._p_oid, None)

    def _dump_calm(self, obj: Any, commit: _Commit) -> bool:
        """Dump `obj` where it holds but data and durable objects; return whether it did."""
        oid: int = obj._p_oid
        if oid in self._watch.oids or self._unsaved:
            commit.seen.add(oid)
            return False
        try:
            if issubclass(type(obj), Tracked):
                delta = obj.take_delta()
                if delta is not None:
                    if not self._census.is_calm_delta(obj, delta):
                        return False
                    dump = self._pickler.dump_state(delta)
                    commit.changes.deltas.append((oid, dump.data))
                    self._settle(obj)
                    return True
            elif obj._p_serial != self._tag_of(type(obj)):
                self._note_class(obj, commit)
            state = obj.__getstate__()
            if not self._census.is_calm_state(obj, state):
                return False
            dump = self._pickler.dump_state(versioned(obj, state))
        except Exception:  # told when it is tried once more
            return False
        if dump.losses:  # of what is durable, but not to be kept
            commit.losses += self._named(obj, dump.losses)
        commit.changes.states.append((oid, dump.data))
        self._settle(obj)
        return True

    def _dump_other(self, obj: Any, commit: _Commit, *, was_converted: bool) -> None:
        """Dump `obj`, which holds something else, or did so before it was converted."""
        oid: int = obj._p_oid
        commit.seen.add(oid)
        is_tracked = issubclass(type(obj), Tracked)
        if is_tracked and oid not in self._watch.oids:
            delta = obj.take_delta()
            if delta is not None and self._census.is_calm_delta(obj, delta):
                commit.changes.deltas.append((oid, self._pickler.dump_state(delta).data))
                self._settle(obj)
                return
        if not is_tracked and obj._p_changed and obj._p_serial != self._tag_of(type(obj)):
            self._note_class(obj, commit)
        dump = self._pickler.dump_object(obj)
        self._settle(obj)
        if is_tracked:
            obj._p_delta = None
        digest = digest_of(dump.data)
        digest_before, part_ids = commit.before[oid]
        if issubclass(
            type(obj), Namespace
        ):  # touched by each line that is typed, and mostly as it was
            digest_before = digest_before or own_dict(obj).get("_v_digest")
            own_dict(obj)["_v_digest"] = digest
        has_changed = was_converted or digest != digest_before
        if dump.losses and has_changed:
            commit.losses += self._named(obj, dump.losses)
        if self._has_parts(obj, dump.parts):
            watched = Watched(digest, dump.parts or ())
            commit.entries[oid] = obj, watched
            if has_changed or (part_ids != watched.part_ids and self._watch.is_shared(oid)):
                commit.due[oid] = dump.data
            else:
                commit.unchanged.append((obj, watched))
            return
        if has_changed or self._watch.is_shared(oid):
            commit.changes.states.append((oid, dump.data))
        self._watch.forget(obj)

    def _has_parts(self, obj: Any, parts: tuple[Any, ...] | None) -> bool:
        """Whether `obj` has to be watched, given what plain objects it holds."""
        return bool(parts) or self._census.may_change_untold(obj)

    def _write_groups(self, commit: _Commit) -> None:
        """Write the watched objects that changed, together with those that they share with."""
        watch = self._watch
        watch.put(commit.entries)
        written: set[int] = set()
        for oid in commit.entries:
            if oid in written:
                continue
            group = watch.group_of(oid)
            written.update(group)
            due = [each for each in group if each in commit.due]
            if len(group) == 1:
                if due:
                    commit.changes.states.append((oid, commit.due[oid]))
            elif due or any(self._has_other_parts(each, commit) for each in group):
                self._write_group(group, commit)
        for obj, watched in commit.unchanged:
            if watched is watch.get(obj):
                watch.rest(obj, self._census.roots_of(obj))

    def _has_other_parts(self, oid: int, commit: _Commit) -> bool:
        entry = commit.entries.get(oid)
        return entry is not None and entry[1].part_ids != commit.before[oid][1]

    def _write_group(self, group: list[int], commit: _Commit) -> None:
        members = [(each, self._watch.object_of(each)) for each in group]
        members = [(oid, obj) for oid, obj in members if obj is not None]
        try:
            dump = self._pickler.dump_joint([obj for _oid, obj in members])
        except Exception as error:
            for _oid, obj in members:
                self._note_unsaved(obj, error, commit.losses)
            return
        commit.changes.joint.append((tuple(oid for oid, _obj in members), dump.data))

    def _class_reference(self, cls: type) -> bytes:
        known = self._classes.get(cls)
        if known is None:
            known = self._typed_classes.get(cls)
        if known is None:
            known = self._pickler.dump_class(cls)
            (self._classes if name_of(cls) else self._typed_classes)[cls] = known
        return known

    def _tag_of(self, cls: type) -> bytes:
        """Return eight bytes that stand for `cls` in ``_p_serial``, by which a change is seen.

        What an object has of its own there, zeros, is that of each class written in C, none of
        which can be changed.
        """
        tag = self._tags.get(cls)
        if tag is None:
            if cls.__flags__ & _HEAP_TYPE:
                self._last_tag += 1
                tag = self._tags[cls] = self._last_tag.to_bytes(8, "big")
            else:
                tag = self._tags[cls] = bytes(8)
        return tag

    def _note_class(self, obj: Any, commit: _Commit) -> None:
        commit.changes.classes.append((obj._p_oid, self._class_reference(type(obj))))
        set_mark(obj, "_p_serial", self._tag_of(type(obj)))

    def _note_unsaved(self, obj: Any, error: Exception, losses: list[Loss]) -> None:
        """Name `obj`, which could not be dumped, and have the next commit try all of it again."""
        oid: int = obj._p_oid
        if oid not in self._unsaved:
            reason = f"{type(error).__name__}: {error}; its last saved state is kept"
            losses.append(Loss(f"(object {oid})", type(obj).__qualname__, reason))
        self._unsaved[oid] = obj
        if isinstance(obj, Tracked):
            obj._p_delta = None

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


class _Commit:
    """What one commit gathers.

    Attributes:
        changes: what it will return.
        losses: what can't be kept.
        seen: numbers of the watched objects that were dumped.
        before: digest and ids of parts of each of them, as they were.
        entries: each that is watched from now on, with what is known of it.
        due: the states of those that have to be written.
        unchanged: those of which the state is as it was.
    """

    __slots__ = ("before", "changes", "due", "entries", "losses", "seen", "unchanged")

    def __init__(self) -> None:
        self.changes = Changes()
        self.losses: list[Loss] = []
        self.seen: set[int] = set()
        self.before: dict[int, tuple[bytes | None, list[int] | None]] = {}
        self.entries: dict[int, tuple[Any, Watched]] = {}
        self.due: dict[int, bytes] = {}
        self.unchanged: list[tuple[Any, Watched]] = []
