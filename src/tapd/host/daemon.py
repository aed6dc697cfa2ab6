"""A daemon's life, from its inherited sockets to its shutdown TAP.

`Daemon` has the steps before the event loop: take the inherited sockets, start the guardian,
lock and load the state. `host.serving` serves and saves it. The connections stay open in the
vault: the service manager closes them (a stop) or passes them to the next process (a restart).
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import time
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

from tapd.host import forks, story
from tapd.host.load_trial import LoadTrial
from tapd.host.options import DaemonOptions
from tapd.host.saving.schedule import SAVE_TIMEOUT_S
from tapd.host.serving import Serving, Surroundings
from tapd.linux.processes import raise_open_files
from tapd.model.access.seal import Sealer
from tapd.store.key import load_key
from tapd.store.state import Restored, State
from tapd.systemd.guardian import Guardian
from tapd.systemd.notify import Notifier

_log = logging.getLogger(__name__)

CRASHES_WITHOUT_PAUSE = 6
CRASH_PAUSE_S_MAX = 10.0
_OPEN_FILES_MAX = 1 << 20
"""The size of the guardian's table of descriptors; also the kernel's default of fs.nr_open."""

_BOOT_ID_PARTS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))


def read_boot_id(environ: Mapping[str, str]) -> str:
    """Return the kernel's id of this boot (random(4)).

    The unit hides /proc/sys and names the boot in TAPD_BOOT_ID instead, without
    the hyphens (the specifier %b of systemd.unit(5)).
    """
    if named := environ.get("TAPD_BOOT_ID"):
        return "-".join(named[start:end] for start, end in _BOOT_ID_PARTS)
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


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

    def run(self) -> int:
        """Serve until told to stop; return the exit status.

        Raises:
            TapdError: it can't start or can't save; the message says what to do.
        """
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
            serving = Serving(
                self._options, self._environ, self._boot_id, surroundings,
                state=state, restored=restored, sealer=Sealer(key.derive(b"seal")),
                copied=self._copied, guardian=guardian, fault=self._fault,
            )  # fmt: skip
            return self._run_to_its_end(runner.get_loop(), serving)

    def _run_to_its_end(self, loop: asyncio.AbstractEventLoop, serving: Serving) -> int:
        """Run `serving`, whatever exceptions tasks and callbacks of typed code raise.

        asyncio lets a SystemExit or KeyboardInterrupt out of the loop, so one user's
        `exit()` would end the server for all. The loop itself can go on.
        """
        task = loop.create_task(serving.run())
        while True:
            try:
                return loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                if task.done() or not serving.is_open:
                    raise
                _log.error("a task or callback raised %r; serving goes on", error, exc_info=error)

    def _restore(self, state: State, notifier: Notifier) -> Restored:
        """Restore the state; objects that kill each process that loads them are left as saved."""
        keep_alive = functools.partial(notifier.extend_timeout, SAVE_TIMEOUT_S)
        trial = LoadTrial(state.store.journal_directory, keep_alive)
        # Before the trial begins: a kill during the pause must not count as one by a load.
        self._slow_down(trial.deaths, trial.before_s, "the loading of its state", notifier)
        with trial:
            self._copied.has(trial.descriptors)
            try:
                return _restore_quickly(state)
            finally:
                forks.end_copies()  # before the trial ends: only the server goes on

    def _slow_down(self, deaths: int, before_s: float, of_what: str, notifier: Notifier) -> None:
        """Pause before the next try, where the same cause kills again and again.

        Kills from outside cause no pause. The pause is counted from try to try: the service
        manager's own delay is part of it, and so is a pause that a kill interrupted.

        Args:
            deaths: how many there were in a row.
            before_s: the time of the last try, by the clock.
            of_what: the cause, for messages.
            notifier: gets the status.
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


def _pause_s(deaths: int, since_s: float) -> float | None:
    """Return the pause after `deaths`, less the time since the last try; None for none."""
    if deaths <= CRASHES_WITHOUT_PAUSE:
        return None
    pause_s = min(0.1 * 2.0 ** (deaths - CRASHES_WITHOUT_PAUSE), CRASH_PAUSE_S_MAX)
    return max(0.0, pause_s - max(0.0, since_s))  # a clock may be set back


def _changed_s(state: State) -> float:
    """Return the time of the last write to a journal, by the clock; 0 where there is none."""
    return max((path.stat().st_mtime for _, path in state.store.journal_files()), default=0.0)


def _restore_quickly(state: State) -> Restored:
    """Restore with the collector off, then freeze the objects: it never scans them."""
    gc.disable()
    try:
        return state.restore()
    finally:
        gc.freeze()
        gc.enable()
