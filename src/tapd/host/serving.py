"""Serves a loaded application until it is told to stop, then saves it.

`Serving.run` has the steps in order; the teardown mirrors the set-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import logging
import math
import signal
import socket
import sys
from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from tapd.errors import StateUnwritable
from tapd.host import forks, story
from tapd.host.crash import end_unclean
from tapd.host.options import ASLEEP_STATUS, DaemonOptions
from tapd.host.prompt.interrupts import typed_code
from tapd.host.saving.schedule import SAVE_TIMEOUT_S, Saving
from tapd.host.sleep.file import save_sleep, take_sleep
from tapd.host.sleep.idle import Idleness, next_due_s
from tapd.host.status import Saved, Vitals, keep_status
from tapd.model.access.seal import Sealer
from tapd.model.application import Application, Port
from tapd.net.slow import TurnWatch
from tapd.net.turn.recovery import Resumed, adopt_held, begin_turns, ended_before
from tapd.net.turn.turn import Turn
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

_log = logging.getLogger(__name__)

_PASSES_OF_A_SIGNAL = 3
"""Passes of the loop from a signal to the call of its handler."""


class Surroundings(Value):
    """What the service manager provides: sockets, notifications, limits."""

    inherited: Inherited
    notifier: Notifier
    descriptors_max: int | None
    problems: list[str]

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Surroundings:
        """Take them from the environment, before anything else is opened."""
        inherited = take_inherited(environ)
        problems = check_limits(environ, connections=1)
        descriptors_max = store_descriptors_max(environ)
        return cls(inherited, Notifier.from_environ(environ), descriptors_max, problems)


class Serving:
    """One process's service of one application, once its state is loaded.

    Owns the turn, the background work, and the way in which serving ends.

    Attributes:
        is_open: it serves: an exception of typed code is no failure of the start.
    """

    def __init__(
        self,
        options: DaemonOptions,
        environ: MutableMapping[str, str],
        boot_id: str,
        surroundings: Surroundings,
        *,
        state: State,
        restored: Restored,
        sealer: Sealer,
        copied: forks.Server,
        guardian: Guardian,
        fault: Callable[[str], None],
    ) -> None:
        self.is_open = False
        self._options = options
        self._environ = environ
        self._boot_id = boot_id
        self._surroundings = surroundings
        self._notifier = surroundings.notifier
        self._state = state
        self._restored = restored
        self._application = restored.application
        self._sealer = sealer
        self._copied = copied
        self._guardian = guardian
        self._fault = fault
        self._stop = asyncio.Event()
        self._is_told_to_stop = False
        self._falls_asleep = False
        self._control: Control | None = None

    async def run(self) -> int:
        """Serve until told to stop; return the exit status.

        Raises:
            TapdError: it can't start or can't save; the message says what to do.
        """
        # Set up. The sockets were inherited, the state is loaded.
        pairs = self._match_ports()
        self._make_turn()
        self._serve_ports(pairs)
        resumed = self._adopt_connections()
        self._start_services(resumed)
        self._take_signals()
        self._open(resumed)
        background = self._start_background()
        # Run.
        with self._watched():
            await self._wait(background)
            # Tear down, in the reverse order.
            await self._stop_background(background)
            await self._close()
            self._stop_services()
            self._save()
        # The connections stay open: the service manager closes them, or hands them on.
        return await self._end()

    # --- set-up -----------------------------------------------------------------

    def _match_ports(self) -> list[tuple[Port, socket.socket]]:
        """Pair the application's ports with the sockets that were inherited."""
        ports = {port.address: port for port in self._application.ports}
        pairs = match_ports(
            [port.address for port in self._application.ports],
            self._surroundings.inherited.listeners,
            self._application.name,
        )
        return [(ports[address], sock) for address, sock in pairs]

    def _make_turn(self) -> None:
        """Make the turn, with the vault and the journal."""
        loop = asyncio.get_running_loop()
        notifier, options, state = self._notifier, self._options, self._state
        self._vault = vault = Vault(
            notifier if notifier.is_connected else None,
            segments_max=self._surroundings.descriptors_max,
            fault=self._fault,
        )
        for problem in self._surroundings.problems:
            _log.warning("%s", problem)
        self._turn = turn = Turn(
            self._application, self._restored.jar, vault, self._sealer, loop,
            self._fault, self._guardian,
        )  # fmt: skip
        self._copied.serves_with(turn, loop)
        self._saving = saving = Saving(state, notifier, options, self._boot_id, self._fault)
        turn.schedule.on_broken = end_unclean
        turn.commits.sync_always = options.sync == "always"
        turn.commits.on_stall = self._say_stalled
        turn.commits.on_unsynced = saving.ask
        turn.commits.journal = state.open_journal(self._boot_id)
        self._application.bind_runtime(turn.runtime)
        sys.modules["__main__"].application = self._application  # type: ignore[attr-defined]

    def _serve_ports(self, pairs: list[tuple[Port, socket.socket]]) -> None:
        for port, sock in pairs:
            self._turn.serve(sock, port)

    def _adopt_connections(self) -> Resumed:
        """Match the connections in the vault with their state in the journal."""
        self._fault("recovery: begin")
        history, stored = self._restored.history, self._surroundings.inherited.stored
        held = self._vault.recover(stored, ended_before(self._application, history))
        stored.clear()  # the vault's now
        resumed = adopt_held(self._turn, history, held)
        self._fault("recovery: adopted")
        self._vault.prepare()
        return resumed

    def _start_services(self, resumed: Resumed) -> None:
        """Run the first turn."""
        restored = self._restored
        begin_turns(self._turn, resumed, restored.history, self._boot_id)
        self._fault("recovery: first turn")
        self._vitals = Vitals(self._turn, _saved_before(restored), restored.records)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._take_stop)
        loop.add_signal_handler(signal.SIGHUP, self._saving.ask_reload)

    def _open(self, resumed: Resumed) -> None:
        """Report READY; the first turn serves waiting clients, before anything else begins."""
        restored = self._restored
        sleep = take_sleep(self._state.store.journal_directory)
        tell_start = functools.partial(story.tell_start, restored, resumed, self._turn, sleep)
        if not restored.history.clean:  # logged first: the work that is run now may kill
            tell_start()
        self._turn.open()
        self.is_open = True
        self._notifier.ready(self._vitals.line())
        if restored.history.clean:
            # After that turn: the first line of a log costs an import.
            asyncio.get_running_loop().call_soon(tell_start)

    def _start_background(self) -> list[asyncio.Task[None]]:
        """Begin the work that no waiting client needs, after the first turn."""
        loop = asyncio.get_running_loop()
        saving, turn, vitals = self._saving, self._turn, self._vitals
        background = [
            loop.create_task(keep_status(vitals, self._notifier)),
            loop.create_task(self._keep_control()),
            loop.create_task(saving.run(turn, vitals, self._environ)),
        ]
        if isinstance(self._options.sync, float):
            background.append(loop.create_task(saving.keep_synced(turn, self._options.sync)))
        if self._options.idle_exit_s:
            background.append(loop.create_task(self._keep_awake()))
        if self._restored.wants_save:
            saving.ask()
        return background

    # --- serving ----------------------------------------------------------------------

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Start the watchdogs of a turn that does not return: the service manager and a thread."""
        loop = asyncio.get_running_loop()
        typed_code.allow_interrupts()
        watch = TurnWatch(self._turn, on_look=typed_code.interrupt_if_asked)
        with Watchdog.from_environ(self._environ, self._notifier, loop), watch:
            yield

    async def _wait(self, background: list[asyncio.Task[None]]) -> None:
        """Serve until told to stop, or until something in the background ends."""
        stopping = asyncio.get_running_loop().create_task(self._stop.wait())
        await asyncio.wait([stopping, *background], return_when=asyncio.FIRST_COMPLETED)

    async def _keep_control(self) -> None:
        """Answer `tapctl`."""
        from tapd.host.control import Control, control_path  # noqa: PLC0415 - clients come first

        self._control = Control(
            control_path(self._environ, self._state.store.journal_directory), self._turn, self
        )
        await self._control.serve()

    async def _keep_awake(self) -> None:
        """End the server once it is idle."""
        await Idleness(self._turn, self._is_looked_at, self._options.idle_exit_s).wait()
        self._turn.stop_listening()  # at once: who connects from here on wakes the next process
        self._falls_asleep = True
        self._stop.set()

    def _is_looked_at(self) -> bool:
        """Whether a client has the control socket open."""
        return self._control is not None and self._control.is_in_use

    def _take_stop(self) -> None:
        """End, by a signal."""
        self._is_told_to_stop = True
        self._stop.set()

    def _say_stalled(self, error: StateUnwritable | None) -> None:
        if error is None:
            story.tell_unstalled()
        else:
            self._notifier.status(f"STALLED: {error}")

    # --- what `tapctl` asks for -------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what `tapctl status` shows."""
        return self._vitals.describe()

    async def checkpoint(self) -> SaveReport:
        """Save a generation of now; see `Saving.checkpoint`."""
        return await self._saving.checkpoint()

    async def audit(self) -> Audited:
        """Save, and compare with what a kill would have restored; see `Saving.audit`."""
        return await self._saving.audit()

    async def reload(self) -> tuple[SaveReport, list[str]]:
        """Save, and go on with new code if there is any; see `Saving.reload`."""
        return await self._saving.reload()

    # --- teardown ---------------------------------------------------------------------

    async def _stop_background(self, background: list[asyncio.Task[None]]) -> None:
        for task in background:
            if task.done():
                task.result()  # a bug in the background ends the process, loudly
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)

    async def _close(self) -> None:
        """Report STOPPING, stop accepting, and let busy connections finish."""
        turn, notifier = self._turn, self._notifier
        story.tell_stopping(self._application.name, len(turn.streams))
        if not self._saving.renews:  # it would mean: do not start the next one
            notifier.stopping("saving the TAP")
        notifier.extend_timeout(SAVE_TIMEOUT_S)
        turn.stop_listening()
        turn.connections.protect_again(at_once=True)
        if busy := await turn.connections.drain():
            _log.warning("hosted connections that are still busy, and will be closed: %d", busy)

    def _stop_services(self) -> None:
        """Run the last turn.

        Raises:
            StateUnwritable: the journal can't be written. It still holds everything that
                was committed.
        """
        self._turn.finish()
        if self._turn.commits.is_stalled:
            raise StateUnwritable(
                "the last turn could not be committed: make room on the disk and start again; "
                "the state of the last good commit will be restored"
            )

    def _save(self) -> None:
        """Save the shutdown TAP.

        Raises:
            StateUnwritable: it can't be written; the journal holds everything.
        """
        journal = self._state.begin_generation()
        self._turn.change_journal(journal, self._boot_id, clean=True)
        self._turn.close()
        report = save_reporting(self._application, self._state, self._notifier)
        self._saving.note_saved(report, self._vitals)

    async def _end(self) -> int:
        """Return the exit status; arrange for a server that falls asleep to be woken."""
        if self._falls_asleep and not await self._is_stopped_as_well():
            self._leave_word()
            return ASLEEP_STATUS
        return 0

    async def _is_stopped_as_well(self) -> bool:
        """Whether a stop was requested while it fell asleep: then no timer may wake it."""
        for _pass in range(_PASSES_OF_A_SIGNAL):  # it may have come during the save
            await asyncio.sleep(0)
        return self._is_told_to_stop

    def _leave_word(self) -> None:
        """Report that it sleeps, and arrange for it to be woken for its next timer."""
        due_s = next_due_s(self._application)
        try:
            save_sleep(self._state.store.journal_directory, due_s)
        except OSError as error:
            _log.error("can't say when to be woken (%s): timers wait for a client", error)
        if due_s < math.inf:
            self._notifier.wake_at(due_s)
        self._notifier.status(f"asleep; {story.tell_asleep(self._options.idle_exit_s, due_s)}")


def _saved_before(restored: Restored) -> Saved:
    loaded = restored.loaded
    at_s = dt.datetime.fromisoformat(loaded.saved_at).timestamp()
    return Saved(loaded.generation, at_s, loaded.manifest.loss_count, 0)


def save_reporting(application: Application, state: State, notifier: Notifier) -> SaveReport:
    """Save the shutdown TAP; on failure, log where the state is now."""
    try:
        return state.save(application, state.generation, clean=True)
    except StateUnwritable as error:
        notifier.status(f"could not save: {error}")
        raise StateUnwritable(
            f"{error}. Nothing is lost: the last generation and its journals hold the state"
        ) from error
