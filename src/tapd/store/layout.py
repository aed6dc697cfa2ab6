"""The layout of one application's files: their paths, and listings of what is there.

Reads only; `store.generations` writes. The layout is that of ARCHITECTURE.md, "Files of
one application". Every TAP carries its application's *lineage*, a random id that
distinguishes the files of two applications that had the same name.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tapd.errors import TapDamaged, TapdError, TapMissing, UsageError
from tapd.store.files import open_regular
from tapd.store.key import Key
from tapd.store.names import (
    directory_name,
    generation_name,
    journal_name,
    parse_journal_name,
    parse_tap_name,
    shutdown_name,
    tap_name,
)
from tapd.store.tapfile import Manifest, parse_tap, read_manifest
from tapd.values import Value

MEMORY_NAME = "last-generation"
_MEMORY_BYTES_MAX = 4096


class Entry(Value):
    """One TAP of an application, as a listing shows it.

    Attributes:
        generation: its number; 0 where it can't be read.
        path: of the file.
        size_bytes: of the file.
        saved_at_s: when the file was written, in seconds since the epoch.
        manifest: its manifest, authenticated; None where `error` is set.
        error: the error in it, if any. Without a full check, the pickle was not read.
    """

    generation: int
    path: Path
    size_bytes: int
    saved_at_s: float
    manifest: Manifest | None
    error: TapdError | None

    @property
    def is_archived(self) -> bool:
        """Whether its pickle is compressed."""
        return parse_tap_name(self.path.name).is_archived


class Layout:
    """The paths of one application's files, found from the TAP or the shutdown TAP.

    Attributes:
        name: the base name of the files, as in ``NAME.tap``.
        directory: of the files.
        journal_directory: ``NAME.d``, with the generations and journals.
        tap_path: ``NAME.tap``.
        shutdown_path: ``NAME-shutdown.tap``.
        named_path: the file that the store was opened by.
        key: verifies and signs them.
    """

    def __init__(self, path: Path, key: Key) -> None:
        """Find the application's files from its TAP or its shutdown TAP.

        Nothing is read or made yet. A symbolic link is followed, so that two
        names of one TAP share one lock.

        Raises:
            UsageError: `path` names a directory or a single generation.
        """
        path = path.resolve()
        if path.is_dir():
            raise UsageError(f"{path}: is a directory; name a TAP in it, such as NAME.tap")
        named = parse_tap_name(path.name)
        if named.generation:
            raise UsageError(
                f"{path}: is one generation among others; name the application's TAP, and to"
                " go back to this one use tapctl rollback"
            )
        self.named_path = path
        self.directory = path.parent
        self.name = named.application
        self.tap_path = self.directory / tap_name(self.name) if named.is_shutdown else path
        self.shutdown_path = self.directory / shutdown_name(self.name)
        self.journal_directory = self.directory / directory_name(self.name)
        self.key = key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.directory / self.name}>"

    def generation_path(self, generation: int) -> Path:
        """Return the path of `generation`."""
        return self.journal_directory / generation_name(generation)

    def journal_path(self, generation: int) -> Path:
        """Return the path of the journal that follows `generation`."""
        return self.journal_directory / journal_name(generation)

    # --- what is there -----------------------------------------------------------

    def lineage(self) -> str:
        """Return the lineage of this application; "" where it is unknown.

        ``NAME.tap`` decides; without it the shutdown TAP, if that was named, then the
        record of the last save.
        """
        sources = [self.tap_path]
        if self.named_path == self.shutdown_path:
            sources.append(self.shutdown_path)
        for path in sources:
            with contextlib.suppress(TapdError):
                return read_manifest(path, self.key).lineage
        if directory_lineage := self.directory_lineage():
            return directory_lineage
        with contextlib.suppress(TapdError):
            return read_manifest(self.shutdown_path, self.key).lineage
        return ""

    def directory_lineage(self) -> str:
        """Return the lineage of the generations in ``NAME.d``; "" where it is unknown."""
        if lineage := self.remembered()[0]:
            return lineage
        for _number, path in self.generation_files():
            with contextlib.suppress(TapdError):
                return read_manifest(path, self.key).lineage
        return ""

    def _files_within(self) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for entry in os.scandir(self.journal_directory):
                yield Path(entry.path)

    def generation_files(self) -> list[tuple[int, Path]]:
        """Return number and path of each generation in ``NAME.d``, newest first."""
        found = ((parse_tap_name(path.name).generation, path) for path in self._files_within())
        return sorted(
            ((number, path) for number, path in found if number),
            key=lambda each: (-each[0], each[1].name),
        )

    def journal_files(self) -> list[tuple[int, Path]]:
        """Return number and path of each journal in ``NAME.d``, oldest first."""
        found = ((parse_journal_name(path.name), path) for path in self._files_within())
        return sorted(
            (name.generation, path) for name, path in found if name is not None and not name.copy
        )

    def newest_number(self) -> int:
        """Return the number of the newest generation that there is or was, good or not."""
        numbers = [number for number, _path in self.generation_files()]
        numbers.append(self.remembered()[1])
        for path in (self.tap_path, self.shutdown_path):
            with contextlib.suppress(TapdError):
                numbers.append(read_manifest(path, self.key).generation)
        return max(numbers)

    def next_generation(self) -> int:
        """Return a number for the next save: above every generation and every journal."""
        journals = [number for number, _path in self.journal_files()]
        return max([self.newest_number(), *journals]) + 1

    def generations(self, *, verify: bool = False) -> list[Entry]:
        """List the application's TAPs, newest first; needs no lock.

        Those of other lineages are left out; those with an error are not.

        Args:
            verify: also check each pickle's digest, which reads all of it.
        """
        lineage = self.lineage()
        entries = [
            entry
            for entry in self.entries()
            if entry.manifest is None or entry.manifest.lineage == lineage
        ]
        return [self.verified(entry) for entry in entries] if verify else entries

    def entries(self) -> list[Entry]:
        """Read the end of every TAP, newest first; one with several names counts once.

        A damaged one whose number is unknown comes first, as if it were the newest: it is
        never skipped silently.
        """
        paths = [*self.generation_files(), (0, self.shutdown_path), (0, self.tap_path)]
        seen: set[tuple[int, int]] = set()
        entries = []
        for number, path in paths:
            try:
                status = path.stat()
            except OSError:
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            manifest, error = self._manifest_or_error(path, number)
            generation = manifest.generation if manifest else number
            entries.append(
                Entry(generation, path, status.st_size, status.st_mtime, manifest, error)
            )
        return sorted(entries, key=lambda entry: -(entry.generation or sys.maxsize))

    def _manifest_or_error(
        self, path: Path, number: int
    ) -> tuple[Manifest, None] | tuple[None, TapdError]:
        try:
            manifest = read_manifest(path, self.key)
        except TapdError as error:
            return None, error
        if number and manifest.generation != number:
            return None, TapDamaged(
                f"{path}: holds generation {manifest.generation}, not the one of its name;"
                " somebody renamed it: give it its own name back"
            )
        return manifest, None

    def verified(self, entry: Entry) -> Entry:
        """Check every byte of the TAP of `entry`; return `entry` with the error, if any."""
        try:
            if entry.error is None:
                self.read(entry)
        except TapdError as error:
            return entry.replace(manifest=None, error=error)
        return entry

    def read(self, entry: Entry) -> tuple[memoryview, Manifest]:
        """Read a TAP once and verify those very bytes."""
        pickle, manifest = parse_tap(read_bytes(entry.path), self.key, str(entry.path))
        if entry.manifest and manifest.generation != entry.manifest.generation:
            raise TapDamaged(f"{entry.path}: changed while it was read; try again")
        return pickle, manifest

    def remembered(self) -> tuple[str, int]:
        """Return lineage and generation of the last save; "" and 0 where they are unknown.

        The record is signed, so that a process that can write only the state directory
        can't raise the number, which would make good TAPs look old.
        """
        try:
            with open_regular(self.journal_directory / MEMORY_NAME) as file:
                fields = json.loads(file.read(_MEMORY_BYTES_MAX))
            lineage, generation = str(fields["lineage"]), int(fields["generation"])
            signature = bytes.fromhex(fields["signature"])
            if self.key.verify(memory_text(lineage, generation), signature, fields["key"]):
                return lineage, generation
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # missing or damaged: it only serves to detect replays; the next save renews it
        return "", 0


def memory_text(lineage: str, generation: int) -> bytes:
    """Return the bytes of the last save's record that are signed."""
    return f"tapd last generation 1 {lineage} {generation}".encode()


def read_bytes(path: Path) -> bytes:
    """Read a TAP whole.

    Raises:
        TapMissing: it is gone.
        TapDamaged: it can't be read.
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except FileNotFoundError:
        raise TapMissing(f"{path}: it is gone; somebody removed it meanwhile") from None
    except OSError as error:
        raise TapDamaged(f"{path}: can't be read ({error.strerror}); check the disk") from error
