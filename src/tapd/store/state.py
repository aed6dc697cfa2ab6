"""The saved state of one application: its TAP and the journals since.

Joins `store.generations` with the journals (`store.journal`): loads the newest generation,
replays every later journal, and switches to a new generation at each save.

The journals of the last two generations are kept: should the newest TAP not load, the one
before and its journals give exactly the same state.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tapd import events
from tapd.errors import StateUnwritable, TapMissing
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.image.unfit import Kept, note_kept
from tapd.model.application import Application
from tapd.store import names
from tapd.store.files import Files, give_to_owner_of, writing
from tapd.store.generations import Store
from tapd.store.journal.chain import Fault, Segment, Source, is_begun
from tapd.store.journal.file import JournalContents, JournalWriter, journal_key
from tapd.store.journal.history import History
from tapd.store.journal.records import render_base
from tapd.store.journal.sync_mark import SyncMark
from tapd.store.key import Key
from tapd.store.layout import Entry
from tapd.store.poison import avoiding
from tapd.store.snapshot import Loaded, SaveReport
from tapd.store.tapfile import Manifest
from tapd.values import Value

_log = logging.getLogger(__name__)

GENERATIONS_WITH_JOURNAL = 2

_SHORT_BYTES = 256 << 10
"""The replay of a journal up to this size takes negligible time."""


class Restored(Value):
    """An application as it was when its last process ended.

    Attributes:
        application: with the changes of all journals applied.
        jar: tracks its objects.
        history: its connections, and how the last process ended.
        loaded: the TAP that it came from.
        records: how many journal records were replayed on top of that.
        wants_save: a save is due at once: records were lost, state was upgraded, or
            the replay took longer than the load. The next start may follow soon.
        kept: objects that the installed code can't load, kept as they were saved.
    """

    application: Application
    jar: Jar
    history: History
    loaded: Loaded
    records: int
    wants_save: bool
    kept: Kept


class State:
    """The files behind a running application.

    Attributes:
        store: the generations.
        make_jar: makes the jar of the restored objects.
        generation: the newest one begun (its TAP may not be saved yet).
        journal: the one being written, after `open_journal`.
    """

    def __init__(self, path: Path, key: Key) -> None:
        self.store = Store(path, key)
        self.make_jar: Callable[[], Jar] = Jar
        self._journal_key = journal_key(key)
        self.generation = 0
        self._before = 0
        self._saved: list[int] = []
        self._lineage = ""
        self._continue_from: tuple[int, tuple[int, bytes]] | None = None
        self._has_hole = False
        self._mark: SyncMark
        self._writers: list[JournalWriter] = []  # the one in use, then one that was begun

    def restore(self) -> Restored:
        """Load the newest TAP and replay the journals.

        Raises:
            TapdError: no TAP could be loaded; the message says what to do.
        """
        with avoiding(self.store.journal_directory):
            return self._restore_from(self.store.load(journals_follow=True), on_trial=False)

    def try_to_restore(self, entry: Entry) -> Restored:
        """Do as `restore` would with this generation; needs no lock and changes no file.

        Its server may be running: the journals are read up to their present ends.

        Raises:
            TapdError: it could not be loaded; no earlier one is tried instead.
        """
        with avoiding(self.store.journal_directory):
            return self._restore_from(self.store.load_entry(entry), on_trial=True)

    def restore_until(self, base: int, end: int) -> Restored:
        """Do as a start would have done right before generation `end` was begun.

        Needs no lock and changes no file. Nothing but generation `base` is tried.

        Raises:
            TapdError: it can't be loaded, or is gone.
        """
        loaded = self.store.load_entry(self._entry(base)[0])
        return self._restore_from(loaded, on_trial=True, end=end)

    def changes_until(self, base: int, end: int) -> Iterator[Changes]:
        """Yield what changed from generation `base` on, up to when `end` was begun.

        Needs no lock and changes no file.

        Raises:
            TapdError: the journals can't be read, or are gone.
        """
        self._lineage = self._entry(base)[1].lineage
        history = History()
        for _generation, contents in self._read_journals(None, base, end, on_trial=True):
            for payload in contents.payloads:
                changes = history.apply(payload)
                if changes is not None:
                    yield changes

    def _entry(self, generation: int) -> tuple[Entry, Manifest]:
        for each in self.store.entries():
            if each.generation == generation and each.manifest is not None:
                return each, each.manifest
        raise TapMissing(f"generation {generation} of {self.store.name} is gone")

    def _restore_from(self, loaded: Loaded, *, on_trial: bool, end: int | None = None) -> Restored:
        application = loaded.application
        self._lineage = loaded.manifest.lineage
        self.generation = loaded.generation
        self._saved = [loaded.generation]
        history = History()
        journal_bytes = 0
        jar = self.make_jar()
        objects = jar.adopt(application, loaded.restoration.durables)
        loaded.restoration.durables.clear()
        replay = Replay(objects, loaded.restoration, jar)
        journals = self._read_journals(loaded, loaded.generation, end, on_trial=on_trial)
        for generation, contents in journals:
            self.generation = generation
            self._continue_from = (generation, (contents.size, contents.mac))
            journal_bytes += contents.size
            for payload in contents.payloads:
                changes = history.apply(payload)
                if changes is not None:
                    replay.apply(changes)
        upgraded = replay.finish()
        if upgraded:
            _log.info("objects brought to the versions of the installed code: %d", upgraded)
        if loaded.restoration.stand_ins:
            gc.collect()  # those that the journals removed again
        kept = Kept(application, loaded.restoration.stand_ins, look_everywhere=on_trial)
        note_kept(application, kept)
        return Restored(
            application,
            jar,
            history,
            loaded,
            history.records,
            self._has_hole
            or bool(upgraded or replay.promoted)
            or journal_bytes > max(_SHORT_BYTES, loaded.pickle_bytes),
            kept,
        )

    def _read_journals(
        self, loaded: Loaded | None, since: int, end: int | None, *, on_trial: bool
    ) -> Iterable[tuple[int, JournalContents]]:
        """Yield the journals that apply to generation `since`; report and set aside the others."""
        self._mark = SyncMark(self.store.journal_directory, self._journal_key, self._lineage)
        source = Source(self.store, self._journal_key, self._lineage, self._mark.read())
        begun = loaded is not None and is_begun(loaded.path, loaded.manifest.journal, self.store)
        for segment in source.read(since, end, is_begun=begun):
            fault = segment.fault
            if fault is not None:
                self._has_hole = self._has_hole or fault.is_hole
                if not on_trial:
                    self._set_aside(segment, fault)
                elif fault.is_hole:
                    _log.error("%s; a start would go on without it", segment.problem)
            if segment.contents is not None:
                yield segment.generation, segment.contents

    def _set_aside(self, segment: Segment, fault: Fault) -> None:
        """Keep a copy of what a start can't use or is about to cut, and log it.

        Raises:
            StateUnwritable: it can't be kept, so it is not cut either.
        """
        from tapd.store.journal import aside  # noqa: PLC0415 - seldom, and a waking client waits for imports

        path, contents, name = segment.path, segment.contents, self.store.name
        cut, kept = path, ""
        if contents is not None and contents.torn_bytes and fault is not Fault.DAMAGED:
            try:
                cut = aside.keep_copy(path, names.CUT, start=contents.size)
                kept = f"; what was cut is kept as {cut.name}"
            except StateUnwritable as error:
                if fault.is_hole:
                    raise
                # Half a record, as of a process killed on a full disk. Clients wait, and no
                # output of it has left the process: go on without a copy.
                kept = f"; what was cut is not kept: {error}"
        look = f"tapctl verify {name} says how each file is, tapctl rollback {name} what can be had"
        if fault is Fault.TORN:
            _log.warning("%s%s", segment.problem, kept, extra=events.TORN(TAPD_JOURNAL=cut))
        elif fault in (Fault.SHORT, Fault.MISSING):
            _log.error(
                "%s%s; %s", segment.problem, kept, look,
                extra=events.RECORDS_GONE(TAPD_JOURNAL=path),
            )  # fmt: skip
        else:
            if fault is Fault.DAMAGED:
                place = aside.keep_copy(path, names.DAMAGED)
            else:
                kind = names.UNUSED if fault is Fault.UNUSED else names.DAMAGED
                place = aside.set_aside(path, kind)
            _log.error(
                "%s; the whole file is kept as %s; %s", segment.problem, place.name, look,
                extra=events.SET_ASIDE(TAPD_JOURNAL=place),
            )  # fmt: skip
        if fault.is_hole:
            with writing(path):
                self._mark.remove()  # the loss is logged; new appends differ from what was synced

    def open_journal(self, boot_id: str) -> JournalWriter:
        """Open the journal to go on in: that of the last process, or a new one."""
        if self._continue_from is not None:
            generation, place = self._continue_from
            return self._make_journal(generation, place)
        journal = self._make_journal(self.generation)
        before = (self.generation, 0)  # it follows the TAP, and no other journal
        journal.append(render_base(boot_id, 0, [], clean=True, before=before))
        return journal

    def begin_generation(self) -> JournalWriter:
        """Return the journal of the next generation, empty.

        Raises:
            StateUnwritable: it can't be made.
        """
        number = self.store.next_generation()
        journal = self._make_journal(number)
        self._before, self.generation = self.generation, number
        return journal

    def _make_journal(
        self, generation: int, continue_from: tuple[int, bytes] | None = None
    ) -> JournalWriter:
        journal = JournalWriter(
            self.store.journal_path(generation), self._journal_key, self._lineage, generation,
            continue_from=continue_from, mark=self._mark,
        )  # fmt: skip
        self._writers = [*self._writers[-1:], journal]
        return journal

    def sync_journal(self) -> None:
        """Flush the journal to the disk; may be called from another thread.

        Raises:
            OSError: the disk reported an error.
        """
        named = [journal for journal in self._writers if journal.is_named]
        if named:
            named[-1].sync_apart()

    def save(self, application: Application, generation: int, *, clean: bool) -> SaveReport:
        """Save `application` as the TAP of `generation`, with a note that its journal was begun."""
        begun = {"begun": True} if self.store.journal_path(generation).exists() else {}
        return self.store.save(application, generation, clean=clean, journal=begun)

    def resave(self, restored: Restored) -> SaveReport:
        """Save an application that was changed while it sleeps, under the lock.

        The new journal begins with the streams as the last process left them, so that a
        restart under way loses no connection.
        """
        history = restored.history
        before = self._continue_from
        journal = self.begin_generation()
        journal.append(
            render_base(
                history.boot_id,
                history.level,
                list(history.streams.values()),
                clean=history.clean,
                ports=history.ports,
                before=(before[0], before[1][0]) if before is not None else None,
            )
        )
        # Root may do this for the server's user, who could put another file at its path.
        give_to_owner_of(Files(), journal.path.parent, journal.fd)
        journal.close()
        clean = restored.loaded.manifest.clean
        return self.save(restored.application, self.generation, clean=clean)

    @property
    def base(self) -> int:
        """The generation that a start would load now."""
        return self._saved[-1]

    def note_saved(self, generation: int) -> None:
        """Remove the journals that no kept generation needs."""
        self._saved = [*self._saved, generation][-GENERATIONS_WITH_JOURNAL:]
        for number, path in self.store.journal_files():
            if number < self._saved[0]:
                try:
                    path.unlink()
                except OSError as error:
                    _log.warning("can't remove the old journal %s: %s", path, error)

    def abandon_journal(self, journal: JournalWriter) -> None:
        """Drop a generation that was begun and can't be used."""
        journal.close()
        self._writers = [each for each in self._writers if each is not journal]
        self.generation = self._before
        try:
            journal.path.unlink(missing_ok=True)
        except OSError as error:
            raise StateUnwritable(f"can't remove {journal.path}: {error.strerror}") from error
