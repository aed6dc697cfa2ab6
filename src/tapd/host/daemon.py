"""A daemon's life, from its inherited sockets to its shutdown TAP.

Set-up: take what was inherited; lock and load the state; pair ports and
sockets; join connections and protocols; run the first turn; say READY. Then
serve. Teardown mirrors it: accept no more, run the last turn, save, exit; the
connections stay open in the vault, and it is the service manager that closes
them (a stop) or hands them to the next process (a restart).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import gc
import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapd.errors import StateUnwritable
from tapd.host import forks, story
from tapd.host.asleep import save_sleep, take_sleep
from tapd.host.broken import end_unclean
from tapd.host.idle import Idleness, next_due_s
from tapd.host.load_trial import LoadTrial
from tapd.host.options import ASLEEP_STATUS, DaemonOptions
from tapd.host.prompt.interrupts import typed_code
from tapd.host.saving.saving import SAVE_TIMEOUT_S, Saving
from tapd.host.status import Saved, Vitals, keep_status
from tapd.linux.processes import raise_open_files
from tapd.model.access.seal import Sealer
from tapd.model.application import Application
from tapd.net.slow import TurnWatch
from tapd.net.turn.recovery import Resumed, adopt_held, begin_turns, ended_before
from tapd.net.turn.turn import Turn
from tapd.store.key import load_key
from tapd.store.snapshot import SaveReport
from tapd.store.state import Restored, State
from tapd.systemd.guardian import Guardian
from tapd.systemd.inherited import Inherited, match_ports, take_inherited
from tapd.systemd.limits import check_limits, store_descriptors_max
from tapd.systemd.notify import Notifier
from tapd.systemd.vault import Vault
from tapd.systemd.watchdog import Watchdog
from tapd.values import Value

if TYPE_CHECKING:
    from tapd.host.audited import Audited
    from tapd.host.control import Control

log = logging.getLogger(__name__)

CRASHES_WITHOUT_PAUSE = 6
CRASH_PAUSE_S_MAX = 10.0
_PASSES_OF_A_SIGNAL = 3
"""Passes of the loop from a signal to the call of its handler."""
_OPEN_FILES_MAX = 1 << 20
"""As far as the guardian's table of them goes, and the kernel's own fs.nr_open by default."""

_BOOT_ID_PARTS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))


def read_boot_id(environ: Mapping[str, str]) -> str:
    """Return the kernel's name of this boot (random(4)).

    The unit hides /proc/sys and names the boot in TAPD_BOOT_ID instead, without
    the hyphens (the specifier %b of systemd.unit(5)).
    """
    if named := environ.get("TAPD_BOOT_ID"):
        return "-".join(named[start:end] for start, end in _BOOT_ID_PARTS)
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class Surroundings(Value):
    """What the service manager gave: sockets, notifications, limits."""

    inherited: Inherited
    notifier: Notifier
    descriptors_max: int | None
    problems: list[str]

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Surroundings:
        """Take it from the environment, before anything else is opened."""
        inherited = take_inherited(environ)
        problems = check_limits(environ, connections=1)
        descriptors_max = store_descriptors_max(environ)
        return cls(inherited, Notifier.from_environ(environ), descriptors_max, problems)


class Daemon:
    """One process's service of one application."""

    def __init__(
        self,
        options: DaemonOptions,
        environ: MutableMapping[str, str],
        fault: Callable[[str], None] | None = None,
    ) -> None:
        self._options = options
        self._environ = environ
        self._fault = fault or (lambda _name: None)
        self._boot_id = read_boot_id(environ)
        self._stop = asyncio.Event()
        self._is_serving = False
        self._falls_asleep = False
        self._is_told_to_stop = False
        self._control: Control | None = None

    def run(self) -> int:
        """Serve until told to stop; return the exit status.

        Raises:
            TapdError: it can't start or can't save; the message says what to do.
        """
        # A recovery opens what the vault still holds of ended connections as well, so it
        # may need more files than the process before had open.
        raise_open_files(_OPEN_FILES_MAX)
        surroundings = Surroundings.take(self._environ)
        surroundings.notifier.status("loading the TAP")
        guardian = Guardian()
        if surroundings.notifier.is_connected:
            guardian.start()
        self._copied = forks.Server(guardian)
        self._copied.has(surroundings.notifier.descriptors)
        self._copied.has(surroundings.inherited.descriptors)
        forks.protect(self._copied)
        try:
            return self._run(surroundings, guardian)
        finally:
            forks.end_copies()
            forks.protect_no_more()
            guardian.close()

    def _run(self, surroundings: Surroundings, guardian: Guardian) -> int:
        key = load_key(environment=self._environ)
        state = State(self._options.path, key)
        state.store.before_writing = forks.end_copies
        with state.store.lock(), asyncio.Runner() as runner:
            self._copied.has(lambda: state.store.lock_fds)
            surroundings.notifier.extend_timeout(SAVE_TIMEOUT_S)
            restored = self._restore(state, surroundings.notifier)
            history = restored.history
            if not history.clean and history.fell:
                self._slow_down(
                    history.falls + 1, _changed_s(state), "its start, or what ran",
                    surroundings.notifier,
                )  # fmt: skip
            sealer = Sealer(key.derive(b"seal"))
            serving = self._serve(surroundings, state, restored, sealer, guardian)
            return self._run_to_its_end(runner.get_loop(), serving)

    def _run_to_its_end(
        self, loop: asyncio.AbstractEventLoop, serving: Coroutine[Any, Any, int]
    ) -> int:
        """Run `serving`, whatever tasks and callbacks of typed code raise meanwhile.

        asyncio lets a SystemExit or KeyboardInterrupt out of the loop, where it would
        end the server of all for one person's `exit()`. The loop itself is unharmed.
        """
        task = loop.create_task(serving)
        while True:
            try:
                return loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                if task.done() or not self._is_serving:
                    raise
                log.error("a task or callback raised %r; serving goes on", error, exc_info=error)

    def _restore(self, state: State, notifier: Notifier) -> Restored:
        """Restore; what kills each process that loads it is found out and left as it was."""
        keep_alive = functools.partial(notifier.extend_timeout, SAVE_TIMEOUT_S)
        trial = LoadTrial(state.store.journal_directory, keep_alive)
        # Before the trial begins: who is killed while it waits did not die of a load.
        self._slow_down(trial.deaths, trial.before_s, "the loading of its state", notifier)
        with trial:
            self._copied.has(trial.descriptors)
            try:
                return _restore_quickly(state)
            finally:
                forks.end_copies()  # before the trial ends, which the server goes on with

    def _slow_down(self, deaths: int, before_s: float, of_what: str, notifier: Notifier) -> None:
        """Pause before going on where the same thing kills again and again.

        Who kills the server from outside does not slow it down. The pause is from try to try:
        a service manager's own is a part of it, and who is killed in a pause leaves
        less of it to the next.

        Args:
            deaths: how many there were in a row.
            before_s: when the process before tried, by the clock.
            of_what: they died.
            notifier: is told.
        """
        pause_s = _pause_s(deaths, time.time() - before_s)
        if pause_s is None:
            return
        text = (
            f"killed {deaths} times in a row by {of_what}; going on in {pause_s:.1f} s "
            "(clients wait; nothing is lost). The log above says what that was"
        )
        story.tell_crash_loop(text, deaths)
        notifier.status(text)
        time.sleep(pause_s)

    # --- set-up -----------------------------------------------------------------

    async def _serve(
        self,
        surroundings: Surroundings,
        state: State,
        restored: Restored,
        sealer: Sealer,
        guardian: Guardian,
    ) -> int:
        loop = asyncio.get_running_loop()
        application = restored.application
        notifier = surroundings.notifier
        pairs = match_ports(
            [port.address for port in application.ports],
            surroundings.inherited.listeners,
            application.name,
        )
        vault = Vault(
            notifier if notifier.is_connected else None,
            segments_max=surroundings.descriptors_max,
            fault=self._fault,
        )
        for problem in surroundings.problems:
            log.warning("%s", problem)
        turn = Turn(application, restored.jar, vault, sealer, loop, self._fault, guardian)
        self._copied.serves_with(turn, loop)
        turn.commits.sync_always = self._options.sync == "always"
        turn.schedule.on_broken = end_unclean
        turn.commits.on_stall = functools.partial(self._say_stalled, notifier)
        self._saving = saving = Saving(state, notifier, self._options, self._boot_id, self._fault)
        turn.commits.on_unsynced = saving.ask
        turn.commits.journal = state.open_journal(self._boot_id)
        application.bind_runtime(turn.runtime)
        sys.modules["__main__"].application = application  # type: ignore[attr-defined]
        ports = {port.address: port for port in application.ports}
        for address, sock in pairs:
            turn.serve(sock, ports[address])
        self._fault("recovery: begin")
        is_over = ended_before(application, restored.history)
        held = vault.recover(surroundings.inherited.stored, is_over)
        surroundings.inherited.stored.clear()  # the vault's now
        resumed = adopt_held(turn, restored.history, held)
        self._fault("recovery: adopted")
        vault.prepare()
        begin_turns(turn, resumed, restored.history, self._boot_id)
        self._fault("recovery: first turn")
        self._vitals = vitals = Vitals(turn, _saved_before(restored), restored.records)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._take_stop)
        loop.add_signal_handler(signal.SIGHUP, saving.ask_reload)
        self._open(turn, restored, resumed, state, notifier)
        # What is begun here is begun after the first turn.
        background = [
            loop.create_task(keep_status(vitals, notifier)),
            loop.create_task(self._keep_control(turn, state)),
            loop.create_task(saving.run(turn, vitals, self._environ)),
        ]
        if isinstance(self._options.sync, float):
            background.append(loop.create_task(saving.keep_synced(turn, self._options.sync)))
        if self._options.idle_exit_s:
            background.append(loop.create_task(self._keep_awake(turn)))
        if restored.wants_save:
            saving.ask()
        typed_code.allow_interrupts()
        watch = TurnWatch(turn, on_look=typed_code.interrupt_if_asked)
        with Watchdog.from_environ(self._environ, notifier, loop), watch:
            stopping = loop.create_task(self._stop.wait())
            await asyncio.wait([stopping, *background], return_when=asyncio.FIRST_COMPLETED)
            for task in background:
                if task.done():
                    task.result()  # a bug in the background ends the process, loudly
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await self._finish(turn, state, notifier)
        if self._falls_asleep and not await self._is_stopped_as_well():
            self._leave_word(application, state, notifier)
            return ASLEEP_STATUS
        return 0

    def _open(
        self, turn: Turn, restored: Restored, resumed: Resumed, state: State, notifier: Notifier
    ) -> None:
        """Say READY; the first turn serves who waits, before anything else is begun."""
        sleep = take_sleep(state.store.journal_directory)
        tell_start = functools.partial(story.tell_start, restored, resumed, turn, sleep)
        if not restored.history.clean:  # told first: what is run now may be what kills
            tell_start()
        turn.open()
        self._is_serving = True
        notifier.ready(self._vitals.line())
        if restored.history.clean:
            # After that turn: the first line of a log costs an import.
            asyncio.get_running_loop().call_soon(tell_start)

    async def _keep_control(self, turn: Turn, state: State) -> None:
        """Answer `tapctl`."""
        from tapd.host.control import Control, control_path  # noqa: PLC0415 - clients come first

        self._control = Control(
            control_path(self._environ, state.store.journal_directory), turn, self
        )
        await self._control.serve()

    async def _keep_awake(self, turn: Turn) -> None:
        """Have the server end once there is nothing to do for it."""
        await Idleness(turn, self._is_looked_at, self._options.idle_exit_s).wait()
        turn.stop_listening()  # at once: who connects from here on wakes the next process
        self._falls_asleep = True
        self._stop.set()

    def _is_looked_at(self) -> bool:
        """Whether somebody has the control socket open."""
        return self._control is not None and self._control.is_in_use

    def _leave_word(self, application: Application, state: State, notifier: Notifier) -> None:
        """Say that it sleeps, and have it woken for its next timer."""
        due_s = next_due_s(application)
        try:
            save_sleep(state.store.journal_directory, due_s)
        except OSError as error:
            log.error("can't say when to be woken (%s): timers wait for a client", error)
        if due_s < math.inf:
            notifier.wake_at(due_s)
        notifier.status(f"asleep; {story.tell_asleep(self._options.idle_exit_s, due_s)}")

    # --- while serving ----------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what `tapctl status` shows."""
        return self._vitals.describe()

    def _take_stop(self) -> None:
        """End: told by a signal."""
        self._is_told_to_stop = True
        self._stop.set()

    async def _is_stopped_as_well(self) -> bool:
        """Whether a stop was asked for while it fell asleep: then no timer may wake it."""
        for _pass in range(_PASSES_OF_A_SIGNAL):  # it may have come during the save
            await asyncio.sleep(0)
        return self._is_told_to_stop

    async def checkpoint(self) -> SaveReport:
        """Save a generation of now; see `Saving.checkpoint`."""
        return await self._saving.checkpoint()

    async def audit(self) -> Audited:
        """Save, and compare what a kill would have restored; see `Saving.audit`."""
        return await self._saving.audit()

    async def reload(self) -> tuple[SaveReport, list[str]]:
        """Save, and go on with new code if there is any; see `Saving.reload`."""
        return await self._saving.reload()

    def _say_stalled(self, notifier: Notifier, error: StateUnwritable | None) -> None:
        if error is None:
            story.tell_unstalled()
        else:
            notifier.status(f"STALLED: {error}")

    # --- teardown ---------------------------------------------------------------------

    async def _finish(self, turn: Turn, state: State, notifier: Notifier) -> None:
        """Run the last turn and save.

        Raises:
            StateUnwritable: the disk does not take it. The journal still holds
                everything that was committed.
        """
        application = turn.application
        story.tell_stopping(application.name, len(turn.streams))
        if not self._saving.renews:  # it would mean: do not start the next one
            notifier.stopping("saving the TAP")
        notifier.extend_timeout(SAVE_TIMEOUT_S)
        turn.stop_listening()
        turn.connections.protect_again(at_once=True)
        if busy := await turn.connections.drain():
            log.warning("hosted connections that are still busy, and will be closed: %d", busy)
        turn.finish()
        if turn.commits.is_stalled:
            raise StateUnwritable(
                "the last turn could not be committed: make room on the disk and start again; "
                "the state of the last good commit will be restored"
            )
        journal = state.begin_generation()
        turn.change_journal(journal, self._boot_id, clean=True)
        turn.close()
        report = save_reporting(application, state, notifier)
        self._saving.note_saved(report, self._vitals)


def _pause_s(deaths: int, since_s: float) -> float | None:
    """Return how long to wait after so many deaths, and so long after the last try.

    None where there is no reason to.
    """
    if deaths <= CRASHES_WITHOUT_PAUSE:
        return None
    pause_s = min(0.1 * 2.0 ** (deaths - CRASHES_WITHOUT_PAUSE), CRASH_PAUSE_S_MAX)
    return max(0.0, pause_s - max(0.0, since_s))  # a clock may be set back


def _changed_s(state: State) -> float:
    """Return when a journal was last written to, by the clock; 0 where there is none."""
    return max((path.stat().st_mtime for _, path in state.store.journal_files()), default=0.0)


def _saved_before(restored: Restored) -> Saved:
    loaded = restored.loaded
    at_s = dt.datetime.fromisoformat(loaded.saved_at).timestamp()
    return Saved(loaded.generation, at_s, loaded.manifest.loss_count, 0)


def _restore_quickly(state: State) -> Restored:
    """Restore with the collector off, and have it never look at what is there then."""
    gc.disable()
    try:
        return state.restore()
    finally:
        gc.freeze()
        gc.enable()


def save_reporting(application: Application, state: State, notifier: Notifier) -> SaveReport:
    """Save the shutdown TAP; on failure say what holds the state now."""
    try:
        return state.save(application, state.generation, clean=True)
    except StateUnwritable as error:
        notifier.status(f"could not save: {error}")
        raise StateUnwritable(
            f"{error}. Nothing is lost: the last generation and its journals hold the state"
        ) from error
