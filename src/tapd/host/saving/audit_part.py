"""Audits one part of the state at a time, if restoring everything would take too much memory.

The child that saves a generation also stores the states of some of the durable objects, one by
one, in a file beside the journals. The child of the next generation brings these up to date by
the journal, compares them with memory, and stores the states of the next part. References lead
to the live objects, so nothing else is restored.
"""

from __future__ import annotations

import gc
import marshal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tapd.errors import JournalDamaged, NotStorable
from tapd.image.evolution.versions import Restoration
from tapd.image.likeness.differences import Difference, Outcome
from tapd.image.likeness.graphs import Likeness
from tapd.image.loss import Placeholder
from tapd.image.pickling.shared_objects import Shared
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.model.durable.persistent import is_durable_type
from tapd.store.journal.file import JournalWriter, read_journal
from tapd.store.key import Key
from tapd.values import Value

_LINEAGE = "audit"
_END = b"end"
"""The last record; a file without it is incomplete."""


class Part(Value):
    """The states of some durable objects, as a generation was saved.

    Attributes:
        parts: the number of parts.
        number: of this part: it holds objects whose number has this remainder.
        states: number, class and state of each.
    """

    parts: int
    number: int
    states: tuple[tuple[int, bytes, bytes], ...]

    def has(self, oid: int) -> bool:
        """Whether the object of this number belongs to the part."""
        return oid % self.parts == self.number


class LiveObjects:
    """The durable objects in memory, by number, found without walking the graph.

    A list takes a tenth of the memory of a dict.
    """

    def __init__(self, jar: Jar) -> None:
        """Find the objects of `jar`."""
        gc.unfreeze()
        everything = gc.get_objects()
        self._dense: list[Any] = []
        self._sparse: dict[int, Any] = {}
        places: Any = self._sparse
        if jar.last_oid <= len(everything) * _SPARSE:
            places = self._dense = [None] * (jar.last_oid + 1)
        kinds: dict[type, bool] = {}  # whether instances are durable
        for obj in everything:
            cls = type(obj)
            is_durable = kinds.get(cls)
            if is_durable is None:
                is_durable = kinds[cls] = is_durable_type(cls)
            if is_durable and obj._p_jar is jar and obj._p_oid is not None:
                places[obj._p_oid] = obj
        del everything
        gc.freeze()  # makes collecting later objects cheap
        gc.enable()

    def get(self, oid: int) -> Any:
        """Return the object of a number; None if there is none."""
        return self._dense[oid] if 0 <= oid < len(self._dense) else self._sparse.get(oid)

    def of_part(self, parts: int, number: int) -> Iterator[tuple[int, Any]]:
        """Yield the objects whose number has this remainder, in order."""
        numbers = range(len(self._dense)) if self._dense else sorted(self._sparse)
        for oid in numbers:
            if oid % parts == number:
                obj = self.get(oid)
                if obj is not None:
                    yield oid, obj


_SPARSE = 4
"""Numbers per existing object from which a list would waste memory: most objects are gone."""


class PartFile:
    """The file that holds a part."""

    def __init__(self, path: Path, key: Key) -> None:
        """Begin.

        Args:
            path: of the file.
            key: the application's; the file's own is derived from it.
        """
        self._path = path
        self._key = key.derive(b"audit")

    def read(self, generation: int) -> Part | None:
        """Return the part stored with `generation`; None if there is none."""
        try:
            contents = read_journal(self._path, self._key, _LINEAGE, generation)
        except (OSError, JournalDamaged):
            return None
        if not contents.payloads or contents.payloads[-1] != _END:
            return None  # its writer was killed
        # Only data signed with our own key is unpickled.
        (parts, number), *states = map(marshal.loads, contents.payloads[:-1])
        return Part(parts=parts, number=number, states=tuple(states))

    def write(self, live: LiveObjects, jar: Jar, generation: int, parts: int) -> None:
        """Store the next part.

        Args:
            live: the objects of `jar`.
            jar: of the application.
            generation: the one just saved.
            parts: the number of parts.

        Raises:
            StateUnwritable: the file can't be written.
        """
        number = generation % parts
        journal = JournalWriter(self._path, self._key, _LINEAGE, generation)
        try:
            journal.append(marshal.dumps((parts, number)))
            for oid, obj in live.of_part(parts, number):
                try:
                    state = jar.pickled(obj)
                except NotStorable:  # the save has reported it
                    continue
                journal.append(marshal.dumps((oid, *state)))
            journal.append(_END)
        finally:
            journal.close()

    def remove(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)


class _PartReplay(Replay):
    """Replays changes to the objects of one part; all others are the live ones."""

    def __init__(self, live: LiveObjects) -> None:
        super().__init__({}, Restoration())
        self._live = live

    def _resolve(self, oid: int) -> Any:
        obj = self._live.get(oid)
        if obj is None:
            obj = self._objects.get(oid)
        if obj is None:
            return Placeholder(f"(object {oid})", "durable object", "memory has it no more")
        return obj.it if type(obj) is Shared else obj

    def _find(self, oid: int) -> Any:
        return self._objects.get(oid)

    def objects(self) -> Iterator[tuple[int, Any]]:
        """Yield the objects of the part, by number."""
        yield from sorted(self._objects.items())


def _restored(
    live: LiveObjects, states: Iterable[tuple[int, bytes, bytes]], since: Iterable[Changes]
) -> _PartReplay:
    replay = _PartReplay(live)
    for oid, class_data, state in states:
        replay.apply(Changes(new=[(oid, class_data)], states=[(oid, state)]))
    for changes in since:
        replay.apply(changes)
    replay.finish()
    return replay


def compare(
    part: Part,
    live: LiveObjects,
    jar: Jar,
    since: Iterable[Changes],
    name: Callable[[str, Any], str],
    *,
    differences_max: int,
    deadline_s: float,
) -> tuple[Outcome, frozenset[str]]:
    """Compare what a kill would restore of a part with memory.

    Args:
        part: as it was stored with the generation before.
        live: the objects of `jar`.
        jar: of the application.
        since: the journal's records since then.
        name: returns the full path, given the path in an object, and the object.
        differences_max: stop after so many.
        deadline_s: when to stop, on the monotonic clock.

    Returns:
        What was found, and the paths of differences that the new generation has as well.
    """
    restored = _restored(live, part.states, (_only(each, part.has) for each in since))
    before: Likeness | None = None

    def compared(one: Any, other: Any) -> Outcome:
        # A new comparison for each object: the states were stored one by one, so a shared
        # plain object is two here.
        nonlocal before
        before = Likeness(
            differences_max=differences_max,
            deadline_s=deadline_s,
            descends=lambda _obj: False,
            before=before,
        )
        return before.compare(one, other, _ROOT)

    found: dict[int, tuple[Difference, ...]] = {}
    objects = 0
    is_whole = True
    for oid, obj in restored.objects():
        there = live.get(oid)
        if there is None:
            continue
        outcome = compared(obj, there)
        objects += outcome.objects
        if outcome.differences:
            found[oid] = outcome.differences
        is_whole = is_whole and outcome.is_whole and time.monotonic() < deadline_s
        if not is_whole or sum(map(len, found.values())) >= differences_max:
            break
    # Which of the differences does a fresh pickle of the same memory show too? Those are no
    # missed changes.
    again = _restored(live, ((oid, *jar.pickled(live.get(oid))) for oid in found), ())
    lasting = set()
    for oid, obj in again.objects():
        known = compared(obj, live.get(oid)).differences
        lasting |= {name(each.path[len(_ROOT) :], live.get(oid)) for each in known}
    named = [
        each.replace(path=name(each.path[len(_ROOT) :], live.get(oid)))
        for oid, differences in found.items()
        for each in differences
    ]
    return Outcome(tuple(named[:differences_max]), objects, is_whole), frozenset(lasting)


_ROOT = "(object)"


def _only(changes: Changes, has: Callable[[int], bool]) -> Changes:
    return Changes(
        new=[each for each in changes.new if has(each[0])],
        states=[each for each in changes.states if has(each[0])],
        deltas=[each for each in changes.deltas if has(each[0])],
        classes=[each for each in changes.classes if has(each[0])],
        joint=[each for each in changes.joint if any(map(has, each[0]))],
    )
