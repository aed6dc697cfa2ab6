"""The saved state of one application: its TAP and the journals since.

Joins `image.store` (generations) and `image.journal` (what happened since) with
`net.records` (what journal records say): loads the newest generation, replays
every later journal, and changes to a new generation when one is to be saved.

Journals of the last two generations are kept: should the newest TAP not load,
the one before and its journals give exactly the same state.
"""

from __future__ import annotations

import gc
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tapd import events
from tapd.errors import JournalDamaged, StateUnwritable, TapMissing
from tapd.image.changes import Changes
from tapd.image.files import Files, free_name, give_to_owner_of
from tapd.image.jar import Jar
from tapd.image.journal import JournalContents, JournalWriter, journal_key, read_journal
from tapd.image.key import Key
from tapd.image.layout import Entry
from tapd.image.replay import Replay
from tapd.image.store import Loaded, SaveReport, Store
from tapd.image.tapfile import Manifest
from tapd.image.unfit import Kept
from tapd.model.application import Application
from tapd.net.records import History, render_base
from tapd.values import Value

log = logging.getLogger(__name__)

GENERATIONS_WITH_JOURNAL = 2
_JOURNAL = re.compile(r"journal-(\d{8,})\Z")


class Restored(Value):
    """An application as it was when its last process ended.

    Attributes:
        application: with all that the journals say.
        jar: which it belongs to now.
        history: its connections, and how the last process ended.
        loaded: which TAP it came from.
        records: how many journal records were replayed on top of that.
        wants_save: a generation is due at once: a journal was damaged, or state
            was upgraded.
        kept: what the installed code can't take, and is kept as it was saved.
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
        make_jar: makes what the objects that are restored belong to.
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

    def restore(self) -> Restored:
        """Load the newest TAP and replay the journals.

        Raises:
            TapdError: no TAP could be loaded; the message says what to do.
        """
        return self._restore_from(self.store.load(journals_follow=True), on_trial=False)

    def try_to_restore(self, entry: Entry) -> Restored:
        """Do as `restore` would with this generation; needs no lock and changes no file.

        Its server may be running meanwhile: the journals are read as far as they go now.

        Raises:
            TapdError: it could not be loaded; none before it is tried instead.
        """
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
        for _generation, contents in self._read_journals(base, end, on_trial=True):
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
        jar = self.make_jar()
        objects = jar.adopt(application, loaded.restoration.durables)
        loaded.restoration.durables.clear()
        replay = Replay(objects, loaded.restoration, jar)
        damaged = False
        journals = self._read_journals(loaded.generation, end, on_trial=on_trial)
        for generation, contents in journals:
            self.generation = generation
            self._continue_from = (generation, (contents.size, contents.mac))
            damaged = damaged or contents.damage is not None
            for payload in contents.payloads:
                changes = history.apply(payload)
                if changes is not None:
                    replay.apply(changes)
        upgraded = replay.finish()
        if upgraded:
            log.info("objects brought to the versions of the installed code: %d", upgraded)
        if loaded.restoration.stand_ins:
            gc.collect()  # those that a journal let go of, or that were made in vain
        kept = Kept(application, loaded.restoration.stand_ins, look_everywhere=on_trial)
        application._v_kept = kept  # volatile: for who saves it, and tells of it
        return Restored(
            application,
            jar,
            history,
            loaded,
            history.records,
            damaged or bool(upgraded or replay.promoted),
            kept,
        )

    def _read_journals(
        self, since: int, end: int | None, *, on_trial: bool
    ) -> Iterable[tuple[int, JournalContents]]:
        for generation, path in self._journals():
            if generation < since or (end is not None and generation >= end):
                continue
            try:
                contents = read_journal(path, self._journal_key, self._lineage, generation)
            except JournalDamaged as error:
                if on_trial:
                    log.error("%s; a start sets it aside, and what happened in it is lost", error)
                    continue
                aside = path.with_name(path.name + ".damaged")
                if aside.exists():
                    aside = free_name(aside)
                log.error(
                    "%s; what happened in it is missing; set aside as %s", error, aside,
                    extra=events.SET_ASIDE(TAPD_JOURNAL=aside),
                )  # fmt: skip
                path.replace(aside)
                continue
            if on_trial:
                if contents.damage is not None:
                    log.error("%s; a start goes on with what is before that", contents.damage)
            elif contents.damage is not None:
                aside = path.with_name(path.name + ".damaged")
                import shutil  # noqa: PLC0415 - seldom, and a waking client waits for imports

                shutil.copy2(path, aside)
                log.error(
                    "%s; the damaged journal is kept as %s", contents.damage, aside,
                    extra=events.SET_ASIDE(TAPD_JOURNAL=aside),
                )  # fmt: skip
            elif contents.torn_bytes:
                log.warning(
                    "%s: a torn last record (%d bytes) was cut, as after a power cut",
                    path, contents.torn_bytes,
                )  # fmt: skip
            yield generation, contents

    def _journals(self) -> list[tuple[int, Path]]:
        directory = self.store.journal_directory
        found = [
            (int(match[1]), path)
            for path in directory.glob("journal-*")
            if (match := _JOURNAL.match(path.name))
        ]
        return sorted(found)

    def open_journal(self, boot_id: str) -> JournalWriter:
        """Open the journal to go on in: that of the last process, or a new one."""
        if self._continue_from is not None:
            generation, place = self._continue_from
            return JournalWriter(
                self.store.journal_path(generation), self._journal_key, self._lineage, generation,
                continue_from=place,
            )  # fmt: skip
        journal = self._new_journal(self.generation)
        journal.append(render_base(boot_id, 0, [], clean=True))
        return journal

    def begin_generation(self) -> JournalWriter:
        """Return the journal of the next generation, empty.

        Raises:
            StateUnwritable: it can't be made.
        """
        number = self.store.next_generation()
        journal = self._new_journal(number)
        self._before, self.generation = self.generation, number
        return journal

    def _new_journal(self, generation: int) -> JournalWriter:
        path = self.store.journal_path(generation)
        return JournalWriter(path, self._journal_key, self._lineage, generation)

    def sync_journal(self) -> None:
        """Have the journal reach the disk; may be called from another thread.

        Raises:
            OSError: the disk reported an error.
        """
        fd = os.open(self.store.journal_path(self.generation), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def save(self, application: Application, generation: int, *, clean: bool) -> SaveReport:
        """Save `application` as the TAP of `generation`."""
        return self.store.save(application, generation, clean=clean)

    def resave(self, restored: Restored) -> SaveReport:
        """Save an application that was changed while it sleeps, under the lock.

        Its journal begins with the streams as its last process left them, so a
        restart that is under way loses no connection by this.
        """
        history = restored.history
        journal = self.begin_generation()
        journal.append(
            render_base(
                history.boot_id,
                history.level,
                list(history.streams.values()),
                clean=history.clean,
                ports=history.ports,
            )
        )
        # Root may do this for the server's user, who could put something else at its path.
        give_to_owner_of(Files(), journal.path.parent, journal.fd)
        journal.close()
        clean = restored.loaded.manifest.clean
        return self.save(restored.application, self.generation, clean=clean)

    @property
    def base(self) -> int:
        """The generation that a start would load now."""
        return self._saved[-1]

    def note_saved(self, generation: int) -> None:
        """Let go of the journals that no kept way back needs."""
        self._saved = [*self._saved, generation][-GENERATIONS_WITH_JOURNAL:]
        for number, path in self._journals():
            if number < self._saved[0]:
                try:
                    path.unlink()
                except OSError as error:
                    log.warning("can't remove the old journal %s: %s", path, error)

    def abandon_journal(self, journal: JournalWriter) -> None:
        """Take back a generation that was begun and can't be used."""
        journal.close()
        self.generation = self._before
        try:
            journal.path.unlink(missing_ok=True)
        except OSError as error:
            raise StateUnwritable(f"can't remove {journal.path}: {error.strerror}") from error
