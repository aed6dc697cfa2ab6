"""The moving part of an audit, where restoring all there is would take too much memory.

Imports `image` alone. The child that saves a generation also keeps the states
of some of the durable objects, each by itself, in a file beside the journals. The child
of the next generation brings these up to date by the journal, compares them with what
memory holds, and keeps those of the next part. An object that is referred to is taken from
memory, so that nothing else is restored.
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
from tapd.image.pickling.shared import Shared
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.model.durable.persistent import is_durable_type
from tapd.store.journal.file import JournalWriter, read_journal
from tapd.store.key import Key
from tapd.values import Value

_LINEAGE = "audit"
_END = b"end"
"""The last record: what is without it is not whole."""


class Part(Value):
    """The states of some durable objects, as a generation was saved.

    Attributes:
        parts: of so many parts of all there are.
        number: this one: of the objects whose number has this remainder.
        states: number, class and state of each.
    """

    parts: int
    number: int
    states: tuple[tuple[int, bytes, bytes], ...]

    def has(self, oid: int) -> bool:
        """Whether the object of this number is one of them."""
        return oid % self.parts == self.number


class LiveObjects:
    """The durable objects in memory, by number; no graph is walked for that.

    A place in a list takes a tenth of what one in a dict does.
    """

    def __init__(self, jar: Jar) -> None:
        """Find those of `jar`."""
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
        gc.freeze()  # so that what is made from here on can be collected at little cost
        gc.enable()

    def get(self, oid: int) -> Any:
        """Return the object of a number; None where there is none."""
        return self._dense[oid] if 0 <= oid < len(self._dense) else self._sparse.get(oid)

    def of_part(self, parts: int, number: int) -> Iterator[tuple[int, Any]]:
        """Yield those whose numbers have this remainder, in the order of their numbers."""
        numbers = range(len(self._dense)) if self._dense else sorted(self._sparse)
        for oid in numbers:
            if oid % parts == number:
                obj = self.get(oid)
                if obj is not None:
                    yield oid, obj


_SPARSE = 4
"""So many numbers for each object that the collector knows: most that ever were are gone."""


class PartFile:
    """The file that a part is in."""

    def __init__(self, path: Path, key: Key) -> None:
        """Begin.

        Args:
            path: of the file.
            key: the application's; the file's own is derived from it.
        """
        self._path = path
        self._key = key.derive(b"audit")

    def read(self, generation: int) -> Part | None:
        """Return the part that was kept with `generation`; None where there is none."""
        try:
            contents = read_journal(self._path, self._key, _LINEAGE, generation)
        except (OSError, JournalDamaged):
            return None
        if not contents.payloads or contents.payloads[-1] != _END:
            return None  # whoever wrote it was killed meanwhile
        # What is unpacked has our own key's signature.
        (parts, number), *states = map(marshal.loads, contents.payloads[:-1])
        return Part(parts=parts, number=number, states=tuple(states))

    def write(self, live: LiveObjects, jar: Jar, generation: int, parts: int) -> None:
        """Keep that part whose turn it is.

        Args:
            live: the objects of `jar`.
            jar: of the application.
            generation: that was saved.
            parts: of so many.

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
                except NotStorable:  # the save has named it
                    continue
                journal.append(marshal.dumps((oid, *state)))
            journal.append(_END)
        finally:
            journal.close()

    def remove(self) -> None:
        """Let go of what was kept."""
        self._path.unlink(missing_ok=True)


class _PartReplay(Replay):
    """Brings the objects of one part up to date; all others are those in memory."""

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
    """Compare what a kill would restore of a part with what memory holds.

    Args:
        part: as it was kept with the generation before.
        live: the objects of `jar`.
        jar: of the application.
        since: what the journal has since then.
        name: returns the path of a difference, given that in its object, and the object.
        differences_max: after how many to stop.
        deadline_s: when to stop, on the monotonic clock.

    Returns:
        What was found, and the paths at which what is saved now will differ again.
    """
    restored = _restored(live, part.states, (_only(each, part.has) for each in since))
    before: Likeness | None = None

    def compared(one: Any, other: Any) -> Outcome:
        # One for each: objects that two hold are two, where the states were kept one by one.
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
