"""Saves and loads an application's TAPs, so that there is always a good one.

Four rules:

- A generation is written once, under its own number, and never changed. The newest one
  that verifies is loaded; the one before is the fallback.
- Files of another lineage are ignored with a line in the log, or set aside. Nothing is
  overwritten but copies of files that are kept.
- A process that changes anything holds the lock, or is the saving child of one that does.
- The number of the last save is recorded, to detect the replay of an old TAP, which its
  signature can't show.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tapd import events
from tapd.errors import (
    BugError,
    TapDamaged,
    TapdError,
    TapExists,
    TapForeign,
    TapMissing,
    TapTooNew,
    UpgradeRefused,
    UsageError,
)
from tapd.image.evolution.versions import Restoration
from tapd.model.application import Application
from tapd.store.files import (
    TEMPORARY_MARK,
    Files,
    free_name,
    give_to_owner_of,
    replace_by_link,
    replace_file,
    sync_directory,
    write_temporary,
    writing,
)
from tapd.store.key import Key
from tapd.store.layout import MEMORY_NAME, Entry, Layout, memory_text
from tapd.store.lock import StateLock, acquire_lock
from tapd.store.names import shutdown_name, tap_name
from tapd.store.retention import archive_generations, prune_generations
from tapd.store.snapshot import (
    Loaded,
    SaveReport,
    Snapshot,
    load_application,
    now_iso,
    take_snapshot,
)
from tapd.store.tapfile import Manifest, read_manifest, render_tail

_log = logging.getLogger("tapd.store")


class Store(Layout):
    """The files of one application, and all changes of them."""

    def __init__(self, path: Path, key: Key, *, files: Files | None = None) -> None:
        """Find the files from a TAP or a shutdown TAP; nothing is read or made yet.

        Raises:
            UsageError: `path` names a directory or a single generation.
        """
        super().__init__(path, key)
        self._files = files or Files()
        # Called when authors' code has run, before any file is written.
        self.before_writing: Callable[[], None] = lambda: None
        self._lock: StateLock | None = None

    # --- the lock ----------------------------------------------------------------

    def lock(self, *, timeout_s: float = 2.0) -> StateLock:
        """Lock the application for this process; make ``NAME.d`` where it is missing.

        Also removes the leftovers of an interrupted save, and sets a ``NAME.d`` of
        another lineage aside. The caller releases the lock.

        Raises:
            StateLocked: another process has it.
            StateUnwritable: the directory can't be written.
        """
        with writing(self.journal_directory):
            self._make_journal_directory()
            lock = acquire_lock(self._files, self.journal_directory, timeout_s=timeout_s)
            try:
                lineage = self.lineage()
                if lineage and self.directory_lineage() not in ("", lineage):
                    lock = self._set_directory_aside(lock)
                self._remove_temporaries()
            except BaseException:
                lock.release()
                raise
        self._lock = lock
        return lock

    def _make_journal_directory(self) -> None:
        if not self.journal_directory.is_dir():
            if not self.directory.is_dir():
                raise TapMissing(f"{self.directory}: there is no such directory; make it first")
            with contextlib.suppress(FileExistsError):
                self._files.mkdir(self.journal_directory)
            fd = self._files.open(self.journal_directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                give_to_owner_of(self._files, self.directory, fd)
            finally:
                self._files.close(fd)
            sync_directory(self._files, self.directory)

    def _set_directory_aside(self, lock: StateLock) -> StateLock:
        """Rename ``NAME.d``, which is another application's, and start an empty one.

        Takes over `lock` and returns the new one. Another process that waits for the old
        lock notices, once it has it, that its directory was renamed.
        """
        aside = free_name(self.journal_directory)
        self._files.rename(self.journal_directory, aside)
        sync_directory(self._files, self.directory)
        _log.warning(
            "%s is of another application than %s; set aside as %s",
            self.journal_directory, self.tap_path.name, aside.name,
        )  # fmt: skip
        self._make_journal_directory()
        lock.release()
        return acquire_lock(self._files, self.journal_directory, timeout_s=0)

    def _remove_temporaries(self) -> None:
        for directory in (self.journal_directory, self.directory):
            for path in directory.glob(f".*{TEMPORARY_MARK}*"):
                if directory == self.journal_directory or path.name.startswith(
                    (f".{tap_name(self.name)}.", f".{shutdown_name(self.name)}.")
                ):
                    with contextlib.suppress(FileNotFoundError):
                        self._files.unlink(path)

    # --- loading -----------------------------------------------------------------

    def load(self, *, journals_follow: bool = False) -> Loaded:
        """Load the newest generation that verifies; fall back to the one before.

        Each one that is skipped is logged as a warning, with the reason.

        Args:
            journals_follow: journals will be applied: upgrades wait for the restoration.

        Raises:
            TapMissing: there is none.
            TapDamaged, TapForeign: there are some, and none is good.
            TapTooNew, UpgradeRefused: the newest needs other code; older ones lack its state.
            UsageError: the shutdown TAP was named, and the TAP beside it is of another
                application.
        """
        lineage = self._checked_lineage()
        skipped: list[tuple[Path, Exception]] = []
        for entry in self.entries():
            if entry.manifest is not None and entry.manifest.lineage != lineage:
                _log.warning(
                    "%s is of another application than %s; ignored", entry.path, self.tap_path.name
                )
                continue
            try:
                if entry.error is not None:
                    raise entry.error
                loaded = self.load_entry(entry, skipped)
                if not journals_follow:
                    loaded.restoration.finish()
            except (TapTooNew, UpgradeRefused):
                raise
            except TapdError as error:
                _log.warning("skipped %s", error, extra=events.FELL_BACK(TAPD_TAP=entry.path))
                skipped.append((entry.path, error))
                continue
            self._log_choice(entry.path, loaded.manifest)
            return loaded
        raise self._nothing_to_load(skipped)

    def load_entry(self, entry: Entry, skipped: Sequence[tuple[Path, Exception]] = ()) -> Loaded:
        """Load one given generation; upgrades of state wait for its restoration.

        Args:
            entry: the generation; no other one is tried.
            skipped: the newer ones that could not be loaded, and the reasons.

        Raises:
            TapdError: it can't be loaded.
        """
        pickle, manifest = self.read(entry)
        restoration = Restoration()
        return Loaded(
            application=load_application(pickle, entry.path, restoration, manifest.python_path),
            manifest=manifest,
            generation=manifest.generation,
            path=entry.path,
            pickle_bytes=len(pickle),
            saved_at=manifest.saved_at,
            skipped=(*skipped, *self._missing(manifest.generation, skipped)),
            restoration=restoration,
        )

    def _checked_lineage(self) -> str:
        if self.named_path == self.shutdown_path:
            beside, named = self._lineage_of(self.tap_path), self._lineage_of(self.shutdown_path)
            if beside and named and beside != named:
                raise UsageError(
                    f"{self.shutdown_path}: saved by another application than"
                    f" {self.tap_path.name} beside it; copy it to another directory to run it"
                )
        return self.lineage()

    def _missing(
        self, generation: int, skipped: Sequence[tuple[Path, Exception]]
    ) -> Iterator[tuple[Path, Exception]]:
        """Yield the last save, where it is newer than `generation` and its file is gone."""
        last = self.remembered()[1]
        path = self.generation_path(last)
        if last > generation and all(path != other for other, _error in skipped):
            error = TapMissing(
                f"{path}: generation {last} was saved last and is gone, so this is older state"
                " (put back by somebody?); restore the file if you can"
            )
            _log.warning("%s", error)
            yield path, error

    def _log_choice(self, path: Path, manifest: Manifest) -> None:
        _log.debug(
            "loaded generation %d of %s, saved %s, from %s",
            manifest.generation, manifest.name, manifest.saved_at, path,
        )  # fmt: skip
        if self.named_path == self.shutdown_path:
            with contextlib.suppress(TapdError):
                named = read_manifest(self.shutdown_path, self.key)
                if named.generation < manifest.generation:
                    _log.warning(
                        "%s holds generation %d, and %s has a later one, which was loaded; to go"
                        " back use tapctl rollback",
                        self.shutdown_path, named.generation, self.journal_directory,
                    )  # fmt: skip

    def _nothing_to_load(self, skipped: list[tuple[Path, Exception]]) -> TapdError:
        if not skipped:
            return TapMissing(
                f"{self.named_path}: there is no such TAP; make one with tapd-mktap, or check"
                " the name"
            )
        newest = skipped[0][1]
        if len(skipped) == 1 and isinstance(newest, TapdError):
            return newest
        kind = TapForeign if isinstance(newest, TapForeign) else TapDamaged
        return kind(f"{newest} (no other of the {len(skipped)} TAPs of {self.name} is good either)")

    def _lineage_of(self, path: Path) -> str:
        with contextlib.suppress(TapdError):
            return read_manifest(path, self.key).lineage
        return ""

    # --- saving ------------------------------------------------------------------

    def create(self, application: Application, *, force: bool = False) -> SaveReport:
        """Write ``NAME.tap`` for a new application, as `tapd-mktap` does.

        With `force` it replaces an earlier application, whose files are all set aside, and
        continues the numbers of its generations.

        Raises:
            TapExists: there are files of that name, and `force` was not given.
            StateLocked: a daemon runs on them.
            StateUnwritable: the directory can't be written.
        """
        started_s = time.monotonic()
        if not self.directory.is_dir():
            raise TapMissing(f"{self.directory}: there is no such directory; make it first")
        taken = [path for path in (self.tap_path, self.shutdown_path) if os.path.lexists(path)]
        taken.extend(path for _number, path in self.generation_files()[:1])
        if taken and not force:
            raise TapExists(
                f"{taken[0]}: is already there; give another --name, or --force to set it aside"
            )
        with writing(self.tap_path):
            if not self.journal_directory.is_dir() and not taken:
                number = 1
                snapshot = take_snapshot(application, number, self.key)
                self._place_new(snapshot)
            else:
                with self.lock():
                    number = self.next_generation() if taken else 1
                    snapshot = take_snapshot(application, number, self.key)
                    self._keep_aside_before_create()
                    replace_file(self._files, self.tap_path, snapshot.chunks)
                    self._set_rest_aside(application.lineage)
        return _report(self.tap_path, snapshot, started_s)

    def _place_new(self, snapshot: Snapshot) -> None:
        """Give a new TAP its name, unless another process was faster."""
        temporary = write_temporary(self._files, self.tap_path, snapshot.chunks)
        try:
            self._files.link(temporary, self.tap_path)
        except FileExistsError:
            raise TapExists(f"{self.tap_path}: was made just now by somebody else") from None
        finally:
            with contextlib.suppress(OSError):
                self._files.unlink(temporary)
        sync_directory(self._files, self.directory)

    def _keep_aside_before_create(self) -> None:
        """Link the TAPs that are about to be replaced into ``NAME.d``, which is set aside next."""
        for path in (self.tap_path, self.shutdown_path):
            if os.path.lexists(path):
                self._files.link(path, free_name(self.journal_directory / path.name))
        sync_directory(self._files, self.journal_directory)

    def _set_rest_aside(self, lineage: str) -> None:
        """Finish the steps that a crash may interrupt: `lock` and `load` cope with that."""
        if os.path.lexists(self.shutdown_path):
            self._files.unlink(self.shutdown_path)
        aside = free_name(self.journal_directory)
        self._files.rename(self.journal_directory, aside)
        sync_directory(self._files, self.directory)
        _log.info("lineage %s begins; the one before is in %s", lineage, aside)

    def save(
        self,
        application: Application,
        generation: int,
        *,
        clean: bool,
        journal: Mapping[str, Any] | None = None,
    ) -> SaveReport:
        """Save `application` as `generation`, durably, under the lock.

        Unless the stop is clean, generations that grew old are then compressed.

        Args:
            application: what to save; it must not change meanwhile.
            generation: from `next_generation`.
            clean: it is a clean stop: ``NAME-shutdown.tap`` names it too.
            journal: kept in the manifest.

        Raises:
            StateUnwritable: a full disk, or no permission. All earlier generations stay.
            TapExists: there is a later or equal generation: this is a late child's save.
            BugError: the lock is not held.
        """
        self._check_locked()
        started_s = time.monotonic()
        path = self.generation_path(generation)
        with writing(path):
            self._remove_temporaries()  # left by a saving child that was killed
            snapshot = take_snapshot(
                application, generation, self.key, clean=clean, journal=journal
            )
            self.before_writing()
            self._place_generation(snapshot)
            if clean:
                self._link_shutdown(path, snapshot)
                path = self.shutdown_path
        report = _report(path, snapshot, started_s)
        if not clean:  # takes a while; people wait for a stop, not for a checkpoint
            self._archive()
        return report

    def _place_generation(self, snapshot: Snapshot) -> None:
        generation = snapshot.manifest.generation
        path = self.generation_path(generation)
        temporary = write_temporary(self._files, path, snapshot.chunks)
        try:
            self._check_is_newest(generation)
            self._files.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.unlink(temporary)
            raise
        sync_directory(self._files, self.journal_directory)
        self._remember(snapshot.manifest.lineage, generation)

    def _check_is_newest(self, generation: int) -> None:
        newest = self.newest_number()
        if generation <= newest:
            raise TapExists(
                f"{self.generation_path(generation)}: not saved: generation {newest} was saved"
                " already; the next save takes a higher number"
            )

    def _remember(self, lineage: str, generation: int) -> None:
        """Record the last save. A failure only logs a warning: the save is done."""
        fields = {
            "lineage": lineage,
            "generation": generation,
            "key": self.key.key_id,
            "signature": self.key.sign(memory_text(lineage, generation)).hex(),
        }
        path = self.journal_directory / MEMORY_NAME
        try:
            replace_file(self._files, path, [json.dumps(fields).encode()])
        except OSError as error:
            _log.warning(
                "generation %d is saved, but not written down as the last (%s)", generation, error
            )

    def _link_shutdown(self, path: Path, snapshot: Snapshot) -> None:
        """Make ``NAME-shutdown.tap`` a hard link to `path`; a copy where links don't work."""
        shutdown = self.shutdown_path
        lineage = snapshot.manifest.lineage
        if os.path.lexists(shutdown) and self._lineage_of(shutdown) != lineage:
            aside = free_name(shutdown)
            self._files.link(shutdown, aside)
            _log.warning("%s is not of this application; kept as %s", shutdown, aside.name)
        try:
            replace_by_link(self._files, path, shutdown)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            replace_file(self._files, shutdown, snapshot.chunks)

    # --- the past ----------------------------------------------------------------

    def rollback(self, generation: int) -> SaveReport:
        """Make an earlier generation the newest: a copy of it under a new number.

        The newest one stays. The lock must be held, and no daemon run.

        Raises:
            TapMissing: there is no such generation; the message names those there are.
            TapDamaged, TapForeign, TapTooNew: it can't be verified.
            StateUnwritable: the directory can't be written.
        """
        self._check_locked()
        started_s = time.monotonic()
        entries = self.generations()
        entry = next((entry for entry in entries if entry.generation == generation), None)
        if entry is None:
            there = ", ".join(str(entry.generation) for entry in entries)
            raise TapMissing(
                f"{self.named_path}: there is no generation {generation}; there are: {there}"
            )
        if entry.error is not None:
            raise entry.error
        pickle, manifest = self.read(entry)
        manifest = manifest.replace(
            generation=self.next_generation(), saved_at=now_iso(), clean=False, journal={}
        )
        tail = render_tail(pickle, manifest, self.key)
        snapshot = Snapshot((pickle, tail), manifest, ())
        with writing(self.generation_path(manifest.generation)):
            self._place_generation(snapshot)
        return _report(self.generation_path(manifest.generation), snapshot, started_s)

    def prune(
        self, keep_count: int, keep_age_s: float | None = None, *, known_good: int | None = None
    ) -> list[Path]:
        """Remove old generations, under the lock; see `retention.prune_generations`.

        Returns:
            The paths of the removed files.

        Raises:
            StateUnwritable: the directory can't be written.
        """
        self._check_locked()
        with writing(self.journal_directory):
            return prune_generations(self, self._files, keep_count, keep_age_s, known_good)

    def _archive(self) -> None:
        """Compress old generations. A failure only logs a warning: the save is done."""
        try:
            archive_generations(self, self._files)
        except OSError as error:
            _log.warning("old generations of %s were not compressed (%s)", self.name, error)

    @property
    def lock_fds(self) -> tuple[int, ...]:
        """The lock's descriptor: a saving child leaves it open, so that it holds the lock too."""
        return (self._lock.fd,) if self._lock is not None and self._lock.is_held else ()

    def _check_locked(self) -> None:
        if self._lock is None or not self._lock.is_held:
            raise BugError(f"changing {self.name} without its lock")


def _report(path: Path, snapshot: Snapshot, started_s: float) -> SaveReport:
    return SaveReport(
        path=path,
        generation=snapshot.manifest.generation,
        size_bytes=snapshot.size_bytes,
        losses=snapshot.losses,
        duration_s=time.monotonic() - started_s,
    )
