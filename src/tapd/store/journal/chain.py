"""Reads the chain of an application's journals, and diagnoses the fault of each.

A torn tail, damage in the middle, lost records and a missing journal are different faults,
each with its own message. Records after lost ones can't be applied: objects that the lost
ones made would be missing.

Changes no file and runs no code of a TAP: `store.state` acts on the faults, and
``tapctl verify`` and ``rollback`` show them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from pathlib import Path

from tapd.errors import JournalDamaged, StateUnwritable, TapMissing
from tapd.store.journal.file import JournalContents, read_journal
from tapd.store.journal.records import parse_before
from tapd.store.layout import Entry, Layout
from tapd.values import Value


class Fault(enum.Enum):
    """The faults of a journal."""

    TORN = "torn"  # its last record is incomplete: nothing whole follows
    DAMAGED = "damaged"  # whole records follow a broken one
    SHORT = "short"  # it was cut at the end of a record
    MISSING = "missing"  # there is no such file
    FOREIGN = "foreign"  # it is no journal
    UNUSED = "unused"  # records before it are lost

    @property
    def is_hole(self) -> bool:
        """Whether committed records are lost, and not only a torn last one."""
        return self is not Fault.TORN


class Segment(Value):
    """One journal as it was found.

    Attributes:
        generation: the one that it follows.
        path: of the file.
        contents: the records that can be applied; None where there are none.
        fault: its fault, if it has one.
        problem: the same in words: the file, the fault, the loss.
    """

    generation: int
    path: Path
    contents: JournalContents | None
    fault: Fault | None = None
    problem: str = ""


class JournalGone(TapMissing):
    """A journal disappeared while it was to be read: a save removed it."""


class Source(Value):
    """The application whose journals are read, and what verifies them.

    Attributes:
        layout: of the files.
        key: of the journals.
        lineage: of the application.
        mark: generation and size in bytes of the last sync; None where that is unknown.
    """

    layout: Layout
    key: bytes
    lineage: str
    mark: tuple[int, int] | None

    def read(self, since: int, end: int | None = None, *, is_begun: bool) -> Iterator[Segment]:
        """Yield the journals from generation `since` on, in order; a missing one has no contents.

        Args:
            since: the generation that they are applied to.
            end: the journals of this generation and later ones are left out.
            is_begun: generation `since` was saved with a journal of its own.

        Raises:
            JournalGone: one was removed meanwhile.
            StateUnwritable: one can't be read from the disk.
        """
        found = [
            (generation, path)
            for generation, path in self.layout.journal_files()
            if generation >= since and (end is None or generation < end)
        ]
        is_lost = is_begun and (not found or found[0][0] != since)
        if is_lost:
            yield self._missing(since, f"generation {since} was saved with one")
        last = since - 1
        for segment, before, told_by in _with_next(map(self._read, found), since):
            if not is_lost and before is not None and last < before[0] < segment.generation:
                is_lost = True
                yield self._missing(before[0], f"{segment.path.name} says that it follows it")
            if not is_lost and before is not None and before[0] == segment.generation:
                is_lost = True  # after a rollback: it does not continue the journal before it
            if is_lost:
                yield _unused(segment)
            else:
                yield (judged := self._judge(segment, told_by))
                is_lost = judged.fault is not None and judged.fault.is_hole
            last = segment.generation
        if not is_lost and self.mark is not None and end is None and self.mark[0] > last:
            yield self._missing(self.mark[0], "the disk had confirmed records in it")

    def _read(self, found: tuple[int, Path]) -> Segment:
        generation, path = found
        try:
            contents = read_journal(path, self.key, self.lineage, generation)
        except JournalDamaged as error:
            problem = f"{error}: what happened in it is lost"
            return Segment(generation, path, None, Fault.FOREIGN, problem)
        except FileNotFoundError as error:
            raise JournalGone(f"{path}: it is gone; somebody removed it meanwhile") from error
        except OSError as error:
            raise StateUnwritable(
                f"can't read the journal {path}: {error.strerror or error}; check the disk"
            ) from error
        return Segment(generation, path, contents)

    def _missing(self, generation: int, why: str) -> Segment:
        path = self.layout.journal_path(generation)
        problem = f"{path} is gone, and {why}: what happened in it is lost"
        return Segment(generation, path, None, Fault.MISSING, problem)

    def _judge(self, segment: Segment, told_by: Segment | None) -> Segment:
        """Return `segment` with its fault.

        Args:
            segment: as it was read.
            told_by: the next one, where that says where this one ended.
        """
        contents = segment.contents
        if contents is None:
            return segment
        if contents.damage is not None:
            return segment.replace(fault=Fault.DAMAGED, problem=contents.damage)
        size, who = 0, ""
        if told_by is not None and told_by.contents is not None:
            size = _place_before(told_by)[1]
            who = f"{told_by.path.name} says"
        if self.mark is not None and self.mark[0] == segment.generation and self.mark[1] > size:
            size, who = self.mark[1], "the disk had confirmed"
        if contents.size < size:
            problem = (
                f"{segment.path} has whole records up to byte {contents.size}, and {who} that it "
                f"went on to byte {size}: records of {size - contents.size} bytes are lost"
            )
            return segment.replace(fault=Fault.SHORT, problem=problem)
        if contents.torn_bytes:
            problem = (
                f"{segment.path}: a torn last record ({contents.torn_bytes} bytes), as after a "
                "power cut: what it said is lost"
            )
            return segment.replace(fault=Fault.TORN, problem=problem)
        if not contents.payloads:
            problem = f"{segment.path} holds no record, as after a power cut: what it said is lost"
            return segment.replace(fault=Fault.TORN, problem=problem)
        return segment


def is_begun(entry_path: Path, manifest_journal: object, layout: Layout) -> bool:
    """Whether a TAP was saved together with a journal that follows it, and lies beside it.

    An exported or moved TAP has no journal beside it.
    """
    return entry_path.parent == layout.journal_directory and bool(manifest_journal)


def read_beside(source: Source, entries: Iterable[Entry]) -> list[Segment]:
    """Read all journals: those that a start would apply, and older ones.

    Args:
        source: whose they are.
        entries: the application's TAPs, newest first, checked.

    Raises:
        TapdError: one can't be read.
    """
    good = next((entry for entry in entries if entry.manifest is not None), None)
    if good is None or good.manifest is None:
        return []  # nothing to apply them to
    begun = is_begun(good.path, good.manifest.journal, source.layout)
    older = (
        # Each follows a generation of its own; the next one may tell where it ended.
        next(iter(source.read(generation, generation + 2, is_begun=False)), None)
        for generation, _path in source.layout.journal_files()
        if generation < good.generation
    )
    there = [segment for segment in older if segment is not None]  # a save removes old ones
    return [*there, *source.read(good.generation, is_begun=begun)]


def _place_before(segment: Segment) -> tuple[int, int]:
    """Return generation and size of the journal before, as `segment` says; else zeros."""
    contents = segment.contents
    told = parse_before(contents.payloads[0]) if contents and contents.payloads else None
    return told or (0, 0)


def _with_next(
    segments: Iterator[Segment], since: int
) -> Iterator[tuple[Segment, tuple[int, int] | None, Segment | None]]:
    """Yield each segment, its entry on the one before, and the next one if it has one on this.

    The entry of `since` itself is left out: all that was before it is in the TAP.
    """
    current = next(segments, None)
    before = _place_before(current) if current and current.generation != since else None
    while current is not None:
        following = next(segments, None)
        after = _place_before(following) if following else None
        tells = after is not None and after[0] == current.generation
        yield current, before, following if tells else None
        current, before = following, after


def _unused(segment: Segment) -> Segment:
    problem = f"{segment.path} follows what could not be loaded, and can't be applied without it"
    return Segment(segment.generation, segment.path, None, Fault.UNUSED, problem)
