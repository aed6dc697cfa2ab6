"""Adoption: re-signs all files of an application that another key signed.

An administrator who moves a state directory to another host, or has lost the key, wants all
of it: if only one file were signed, the next start would load that one, which may be the
oldest, and skip the rest.

Nothing is run here. The names of everything that loading would run are read from every file
first, for the administrator to judge. Journals can't be verified without the key that wrote
them, so the well-formed records of each are accepted, up to the first broken one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tapd.errors import JournalDamaged, TapDamaged, TapdError
from tapd.image.pickling.states import PRELUDE
from tapd.inspection.graph import read_graph
from tapd.inspection.stubs import read_stubs
from tapd.store.files import (
    Files,
    give_to_owner_of,
    replace_by_link,
    replace_file,
    sync_directory,
    temporary_name,
)
from tapd.store.journal.file import JournalWriter, journal_key, read_journal, split_records
from tapd.store.key import Key
from tapd.store.layout import Layout, read_bytes
from tapd.store.tapfile import Manifest, Tail, read_tail, render_tail, split_tap

_NESTED_MAX = 3


@dataclasses.dataclass(frozen=True, slots=True)
class StrangeTap:
    """One TAP that this host's key did not sign.

    Attributes:
        path: of the file.
        manifest: its manifest, not authenticated.
        checksum: of the bytes that were shown, so that no others are signed.
    """

    path: Path
    manifest: Manifest
    checksum: bytes

    def read(self) -> tuple[memoryview, Tail]:
        """Read it whole.

        Raises:
            TapDamaged: it has changed since it was shown.
        """
        stored, tail = split_tap(read_bytes(self.path), str(self.path))
        if tail.checksum != self.checksum:
            raise TapDamaged(f"{self.path}: changed while you looked at it; look again")
        return stored, tail


@dataclasses.dataclass(frozen=True, slots=True)
class StrangeJournal:
    """One journal that this host's key did not sign.

    Attributes:
        path: of the file.
        generation: that it follows.
        payloads: of its records.
    """

    path: Path
    generation: int
    payloads: tuple[bytes, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Strangers:
    """The files of one application that another key signed.

    Attributes:
        taps: the newest first.
        journals: the oldest first.
        newest: the tail of the newest TAP.
        passed_over: files that are damaged or another application's, and stay as they are.
    """

    taps: tuple[StrangeTap, ...]
    journals: tuple[StrangeJournal, ...]
    newest: Tail | None
    passed_over: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.taps or self.journals)


def find_strangers(layout: Layout) -> Strangers:
    """Find all files that `layout.key` did not sign; nothing is run and nothing changed."""
    tails: list[tuple[Path, Tail]] = []
    passed: list[str] = []
    for path in _tap_paths(layout):
        try:
            tail = read_tail(path)
            tails.append((path, tail))
            _ = tail.manifest
        except TapdError as error:
            passed.append(str(error))
    if not tails:
        return Strangers((), (), None, tuple(passed))
    lineage = _lineage(layout, tails)
    ours = [(path, tail) for path, tail in tails if tail.manifest.lineage == lineage]
    passed += [
        f"{path}: of another application" for path, tail in tails if (path, tail) not in ours
    ]
    ours.sort(key=lambda found: -found[1].manifest.generation)
    strange = [(path, tail) for path, tail in ours if not is_signed(tail, layout.key)]
    journals = tuple(_strange_journals(layout, lineage))
    return Strangers(
        tuple(StrangeTap(path, tail.manifest, tail.checksum) for path, tail in strange),
        journals,
        ours[0][1],
        tuple(passed),
    )


def _tap_paths(layout: Layout) -> list[Path]:
    paths = [layout.tap_path, layout.shutdown_path]
    paths += [path for _number, path in layout.generation_files()]
    return [path for path in paths if path.is_file()]


def _lineage(layout: Layout, tails: list[tuple[Path, Tail]]) -> str:
    """Return the lineage that is meant: that of the named file, else of the newest."""
    named = [tail for path, tail in tails if path == layout.named_path]
    newest = max((tail for _path, tail in tails), key=lambda tail: tail.manifest.generation)
    return (named or [newest])[0].manifest.lineage


def is_signed(tail: Tail, key: Key) -> bool:
    """Whether this host's key, or one that it replaced, signed the TAP of `tail`."""
    try:
        tail.authenticate(key)
    except TapdError:
        return False
    return True


def _strange_journals(layout: Layout, lineage: str) -> Iterator[StrangeJournal]:
    key = journal_key(layout.key)
    for generation, path in layout.journal_files():
        data = read_bytes(path)
        with contextlib.suppress(JournalDamaged):
            contents = read_journal(path, key, lineage, generation)
            if contents.payloads or contents.size == len(data):
                continue  # signed by this host
        yield StrangeJournal(path, generation, tuple(_readable(split_records(data))))


def _readable(payloads: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the records up to the first broken one: a power cut tore it, or worse."""
    for payload in payloads:
        try:
            read_stubs(payload, "record")
        except TapdError:
            return
        yield payload


# --- what loading would run ---------------------------------------------------------------


def names_of_all(strangers: Strangers) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return every name that the files refer to, and those that loading would call.

    Raises:
        TapDamaged: a TAP is damaged, can't be read, or has changed since.
    """
    names: set[str] = set()
    called: set[str] = set()
    for tap in strangers.taps:
        stored, tail = tap.read()
        graph = read_graph(tail.decode_pickle(stored), str(tap.path))
        names.update(graph.names)
        called.update(graph.called)
    for journal in strangers.journals:
        for payload in journal.payloads:
            _collect(payload, names, called, _NESTED_MAX)
    return tuple(sorted(names)), frozenset(called)


def _collect(data: bytes, names: set[str], called: set[str], depth: int) -> None:
    """Add the names in a record, and in the states that it holds as nested pickles."""
    try:
        root, stubs = read_stubs(data, "record")
    except TapdError:
        return  # as one of the two ways in which a state is read may be
    names.update(stubs)
    called.update(name for name, stub in stubs.items() if stub.called)
    queue: list[Any] = [root]
    for part in queue:  # grows meanwhile
        if isinstance(part, (list, tuple)):
            queue.extend(part)
        elif depth and isinstance(part, bytes) and part.startswith(pickle.PROTO):
            for way in (part, PRELUDE + part[2:]):
                _collect(way, names, called, depth - 1)


# --- signed anew --------------------------------------------------------------------------


def sign_all(layout: Layout, strangers: Strangers) -> None:
    """Sign all of `strangers` with this host's key, under the lock.

    Journals first: else a start in between would find a good TAP and set the journals
    aside. After an interruption, the next run finds the rest.

    Raises:
        TapDamaged: a TAP is damaged, or has changed since it was shown.
        OSError: a file can't be written.
    """
    files = Files()
    assert strangers.newest is not None
    lineage = strangers.newest.manifest.lineage
    for journal in strangers.journals:
        _sign_journal(layout, journal, lineage)
    signed: dict[int, Path] = {}
    for tap in sorted(strangers.taps, key=lambda tap: tap.path.parent != layout.journal_directory):
        status = tap.path.stat()
        if status.st_ino in signed:  # NAME-shutdown.tap is another name of a generation
            replace_by_link(files, signed[status.st_ino], tap.path)
            continue
        stored, tail = tap.read()
        end = render_tail(
            stored, tail.manifest, layout.key,
            encoding=tail.encoding, pickle_bytes=tail.pickle_bytes,
        )  # fmt: skip
        replace_file(files, tap.path.resolve(), [stored, end])
        signed[status.st_ino] = tap.path


def _sign_journal(layout: Layout, journal: StrangeJournal, lineage: str) -> None:
    if not journal.payloads:
        return  # nothing in it has a signature
    files = Files()
    aside = temporary_name(journal.path)
    writer = JournalWriter(aside, journal_key(layout.key), lineage, journal.generation)
    try:
        for payload in journal.payloads:
            writer.append(payload)
        writer.sync()
        give_to_owner_of(files, journal.path.parent, writer.fd)
    finally:
        writer.close()
    files.rename(aside, journal.path)
    sync_directory(files, journal.path.parent)
