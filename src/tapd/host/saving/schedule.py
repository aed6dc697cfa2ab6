"""Decides when a generation is saved, and answers those who asked for it.

A generation is saved on request, after a while if something changed, and when the journal is
long. A request is answered with a generation that contains everything committed before it. The
child that saved it may then audit it (`audit`). A reload (SIGHUP, or over the control socket)
also looks for new code, and ends the process if that code loads what was saved (`upgrade`). The
journal is synced here as well. Modules that fork and rehearse are imported after the first
client has been served.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from tapd.errors import StateUnwritable, TapdError, UpgradeRefused
from tapd.host import story
from tapd.host.options import DaemonOptions
from tapd.host.status import Saved, Vitals
from tapd.net.turn.turn import Turn
from tapd.store.snapshot import SaveReport
from tapd.store.state import State
from tapd.systemd.notify import Notifier

if TYPE_CHECKING:
    from tapd.host.audited import Audited
    from tapd.host.saving.audit import Audit
    from tapd.host.saving.checkpoint import Checkpointer
    from tapd.host.upgrade import LoadedCode

_log = logging.getLogger("tapd.host")

_T = TypeVar("_T")

SAVE_TIMEOUT_S = 600.0
_BARRIER_S = 5.0
_STALLED = "the journal can't be written; see the log, and make room on the disk"


class Saving:
    """Saves the generations of one running application.

    Attributes:
        renews: the process must end, so that the next one runs new code.
    """

    def __init__(
        self,
        state: State,
        notifier: Notifier,
        options: DaemonOptions,
        boot_id: str,
        fault: Callable[[str], None],
    ) -> None:
        """Prepare. Requests made before `run` are queued.

        Args:
            state: the files.
            notifier: connection to the service manager.
            options: how often to save.
            boot_id: the kernel's ID of this boot.
            fault: called by name at each point where a test may kill the process.
        """
        self.renews = False
        self._state = state
        self._notifier = notifier
        self._options = options
        self._boot_id = boot_id
        self._fault = fault
        self._began_ns = time.time_ns()
        self._asked = asyncio.Event()
        self._looks_for_code = False
        self._saved_records = 0
        self._waiting: list[asyncio.Future[SaveReport]] = []
        self._reloading: list[asyncio.Future[tuple[SaveReport, list[str]]]] = []
        self._wanting_audit: list[asyncio.Future[Audited]] = []

    # --- requests ---------------------------------------------------------------

    def ask(self) -> None:
        """Request a save; returns at once."""
        self._asked.set()

    def ask_reload(self) -> None:
        """Request a save and a look for new code; returns at once."""
        self._looks_for_code = True
        self._asked.set()

    async def checkpoint(self) -> SaveReport:
        """Save a generation that contains the current state; return its report.

        Raises:
            TapdError: this generation could not be saved.
        """
        waiting: asyncio.Future[SaveReport] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._asked.set()
        return await waiting

    async def audit(self) -> Audited:
        """Save a generation and audit all of it, however much memory that takes.

        Raises:
            TapdError: it could not be saved, or the audit was ended.
        """
        waiting: asyncio.Future[Audited] = asyncio.get_running_loop().create_future()
        self._wanting_audit.append(waiting)
        self._asked.set()
        return await waiting

    async def reload(self) -> tuple[SaveReport, list[str]]:
        """Save, and continue in a new process if there is new code.

        Returns:
            The report of the save, and the changed modules; if there are any, this
            process is about to end.

        Raises:
            UpgradeRefused: the new code can't load what was saved.
            TapdError: it could not be saved.
        """
        waiting: asyncio.Future[tuple[SaveReport, list[str]]]
        waiting = asyncio.get_running_loop().create_future()
        self._reloading.append(waiting)
        self.ask_reload()
        return await waiting

    # --- saving ------------------------------------------------------------

    async def run(self, turn: Turn, vitals: Vitals, environ: Mapping[str, str]) -> None:
        """Save whenever it is due; return when the process must end for new code."""
        from tapd.host.saving.checkpoint import Checkpointer  # noqa: PLC0415 - clients come first
        from tapd.host.upgrade import LoadedCode  # noqa: PLC0415 - the same

        self._saved_records = vitals.replayed
        checkpointer = Checkpointer(keep_fds=self._state.store.lock_fds)
        code = LoadedCode(self._began_ns)
        try:
            await self._save_when_due(turn, vitals, environ, checkpointer, code)
        finally:
            await checkpointer.end_audit()  # its result is useless now, and it uses memory

    async def _save_when_due(
        self,
        turn: Turn,
        vitals: Vitals,
        environ: Mapping[str, str],
        checkpointer: Checkpointer,
        code: LoadedCode,
    ) -> None:
        notifier = self._notifier
        due_s = time.monotonic() + self._options.checkpoint_s
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), timeout=1.0)
            # The timeout makes this a poll of the other two reasons.
            asked = self._asked.is_set()
            journal_size = turn.commits.journal.size if turn.commits.journal is not None else 0
            long = journal_size > self._options.journal_bytes_max
            timely = time.monotonic() >= due_s and vitals.records != self._saved_records
            if turn.commits.is_stalled:
                stalled = StateUnwritable(f"not saved: {_STALLED}")
                _answer(_take(self._waiting), stalled)
                _answer(_take(self._reloading), stalled)
                _answer(_take(self._wanting_audit), stalled)
            if turn.commits.is_stalled or not (asked or long or timely):
                continue
            # Take all requests before the fork: a later one may not be contained in this
            # generation.
            self._asked.clear()
            waiting, reloading = _take(self._waiting), _take(self._reloading)
            auditing = _take(self._wanting_audit)
            looks_for_code, self._looks_for_code = self._looks_for_code, False
            if asked:
                # `ready` below ends the reload, also after a failure: the manager waits for it.
                notifier.reloading()
            try:
                report = await self._checkpoint(turn, vitals, checkpointer, auditing)
                _answer(waiting, report)
                self.note_saved(report, vitals)
                if looks_for_code:
                    renewed = await self._renew(turn, code, environ)
                    if isinstance(renewed, UpgradeRefused):
                        _answer(reloading, renewed)
                    else:
                        _answer(reloading, (report, renewed))
            except (TapdError, OSError) as error:  # such as too many open files
                failure = error if isinstance(error, TapdError) else _unsaved(error)
                story.tell_save_failed(failure)
                _answer(waiting, failure)
                _answer(reloading, failure)
                _answer(auditing, failure)
            due_s = time.monotonic() + self._options.checkpoint_s
            notifier.ready(vitals.line())
            if self.renews:
                # The manager must see READY=1 before this process ends.
                await asyncio.to_thread(notifier.barrier, _BARRIER_S)
                return  # a later RELOADING=1 would never be followed by READY=1

    async def _checkpoint(
        self,
        turn: Turn,
        vitals: Vitals,
        checkpointer: Checkpointer,
        auditing: list[asyncio.Future[Audited]],
    ) -> SaveReport:
        """Begin a generation; a forked child saves it, and audits it.

        Must not suspend between beginning it and the fork: no turn may run in between.
        """
        with contextlib.suppress(OSError):  # most of the sync, while turns go on
            await asyncio.to_thread(self._state.sync_journal)
        if auditing:
            await checkpointer.end_audit()
        application, state = turn.application, self._state
        # Journal N+1 first, then generation N+1: a kill in between loses nothing.
        base = state.base
        journal = state.begin_generation()
        self._fault("checkpoint: journal begun")
        try:
            turn.change_journal(journal, self._boot_id, clean=False)
        except StateUnwritable:
            state.abandon_journal(journal)
            raise
        self._saved_records = vitals.records
        generation = state.generation
        self._fault("checkpoint: journal changed")
        audit = None
        if not checkpointer.is_auditing:
            audit = self._audit(base, generation, is_wanted=bool(auditing))
        report = await checkpointer.checkpoint(
            functools.partial(state.save, application, generation, clean=False),
            None if audit is None else functools.partial(audit.run, application),
            functools.partial(_note_audited, generation, vitals, auditing),
        )
        self._fault("checkpoint: saved")
        return report

    def _audit(self, base: int, generation: int, *, is_wanted: bool) -> Audit | None:
        """Return the audit for the saving child; None if there is to be none."""
        from tapd.host.saving.audit import Audit  # noqa: PLC0415 - as in `run`

        store, allowed = self._state.store, self._options.audit_bytes
        if is_wanted:
            return Audit(store.named_path, store.key, base, generation)
        return Audit(store.named_path, store.key, base, generation, allowed) if allowed else None

    async def _renew(
        self, turn: Turn, code: LoadedCode, environ: Mapping[str, str]
    ) -> list[str] | UpgradeRefused:
        """Mark this process to end for new code, if there is some and it works.

        Returns:
            The changed modules, or why their code is refused.
        """
        from tapd.host import upgrade  # noqa: PLC0415 - as in `run`

        changed = code.find_changed()
        if not changed:
            return []
        self._notifier.status(f"trying the new code of {upgrade.name_modules(changed)}")
        self._notifier.extend_timeout(upgrade.REHEARSAL_S)
        try:
            known = upgrade.missing_names(turn.application)
            await upgrade.rehearse(self._state.store.named_path, environ, known)
        except UpgradeRefused as error:
            refused = UpgradeRefused(
                f"new code of {upgrade.name_modules(changed)} is not taken: {error}; "
                "the old code serves on"
            )
            story.tell_code_refused(changed, refused)
            return refused
        story.tell_code_renewed(changed)
        self.renews = True
        return changed

    def note_saved(self, report: SaveReport, vitals: Vitals) -> None:
        """Handle a saved generation: delete older files and log it."""
        state = self._state
        state.note_saved(report.generation)
        self._fault("checkpoint: old journals removed")
        state.store.prune(
            self._options.keep_generations,
            self._options.keep_days * 86400,
            known_good=report.generation,
        )
        vitals.saved = Saved(
            report.generation, time.time(), len(report.losses), self._saved_records
        )
        story.tell_saved(report)

    async def keep_synced(self, turn: Turn, period_s: float) -> None:
        """Sync the journal each `period_s` seconds if something was appended."""
        synced = turn.commits.turns
        while True:
            await asyncio.sleep(period_s)
            if turn.commits.turns != synced:
                synced = turn.commits.turns
                try:
                    await asyncio.to_thread(self._state.sync_journal)
                except OSError as error:
                    _log.error("the journal can't be synced: %s; saving a generation", error)
                    self._asked.set()


def _note_audited(
    generation: int,
    vitals: Vitals,
    waiting: list[asyncio.Future[Audited]],
    audited: Audited | str,
) -> None:
    """Handle the result of an audit, or the early end of its process."""
    if not isinstance(audited, str):
        vitals.note_audited(audited)
        story.tell_audited(audited)
        _answer(waiting, audited)
        return
    from tapd.host.saving.checkpoint import GIVEN_UP  # noqa: PLC0415 - clients come first

    text = f"the audit of generation {generation} {audited} before it was done"
    level = logging.DEBUG if audited == GIVEN_UP else logging.WARNING
    _log.log(level, "%s; the generation is saved", text)
    _answer(waiting, StateUnwritable(f"{text}; try again"))


def _take(waiting: list[asyncio.Future[_T]]) -> list[asyncio.Future[_T]]:
    """Return the waiting requests, and empty the list."""
    taken = waiting[:]
    waiting.clear()
    return taken


def _answer(waiting: list[asyncio.Future[_T]], answer: _T | TapdError) -> None:
    """Answer requests that have no answer yet."""
    for future in waiting:
        if future.done():
            continue
        if isinstance(answer, TapdError):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _unsaved(error: OSError) -> StateUnwritable:
    return StateUnwritable(f"saving: {error}; what was saved before is still there")
