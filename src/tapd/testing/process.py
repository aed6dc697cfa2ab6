"""One life of a server: from loading its files to a kill, a stop or the test's end.

It runs the production code, except for the daemon's signals and its service manager. The files
are real (a TAP and its journals, in a directory in memory if possible). The connections are
real sockets on loopback, since the promises rest on the kernel's behaviour.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tapd.linux.sockets import socket_cookie
from tapd.model.access.seal import Sealer
from tapd.net.turn.listener import Listener
from tapd.net.turn.recovery import adopt_held, begin_turns
from tapd.net.turn.turn import Turn
from tapd.store.files import Files
from tapd.store.generations import Store
from tapd.store.key import Key
from tapd.store.snapshot import SaveReport
from tapd.store.state import State
from tapd.systemd.segment import Held
from tapd.systemd.vault import Vault
from tapd.testing.checking import ALL, CheckingJar, check_losses
from tapd.testing.clock import Clock, Loop

KEY = Key(b"k" * 32)
_SEAL = b"s" * 32

TURN_POINTS = ("turn: collected", "turn: run", "turn: committed", "turn: externalised")
RECOVERY_POINTS = ("recovery: begin", "recovery: adopted", "recovery: first turn")
SAVE_POINTS = (
    "checkpoint: journal begun", "checkpoint: journal changed",
    "checkpoint: saved", "checkpoint: old journals removed",
)  # fmt: skip
POINTS = TURN_POINTS + RECOVERY_POINTS + SAVE_POINTS
"""Fault points of the production code, by name."""


class QuickFiles(Files):
    """Files without fsync: a test's need not survive a power cut."""

    def fsync(self, fd: int) -> None:
        """Do nothing."""


class KeptSockets(Vault):
    """Keeps duplicates of connections: replaces systemd's fd store in a test."""

    def __init__(self) -> None:
        super().__init__(None)
        self.held: dict[int, int] = {}

    def put(self, key: int, fd: int, cookie: int | None = None) -> bool:
        """Keep a duplicate of `fd`."""
        self.held[key] = os.dup(fd)
        return True

    def forget(self, key: int) -> None:
        """Close the duplicate."""
        fd = self.held.pop(key, None)
        if fd is not None:
            os.close(fd)

    def is_safe(self, key: int) -> bool:
        """Whether there is a duplicate."""
        return key in self.held

    def give(self) -> list[Held]:
        """Return duplicates of all, as a recovery finds them."""
        return [Held(key, socket_cookie(fd), os.dup(fd)) for key, fd in sorted(self.held.items())]

    def lose(self) -> None:
        """Close all, as the service manager does at a stop; their peers are notified."""
        for key, fd in list(self.held.items()):
            sock = socket.socket(fileno=os.dup(fd))
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # already closed
            finally:
                sock.close()
            self.forget(key)


@dataclasses.dataclass(slots=True)
class Home:
    """What survives a process: the files, the sockets, the clock.

    Attributes:
        path: of the TAP.
        clock: shared by all lives.
        places: addresses of the remote ends, for the loop.
        listening: a socket for each port, by its index in the application, and for each
            service without one, by its name.
        boot_id: of the current boot.
        proofs: how many commits of the next process to verify (see `CheckingJar`).
        allow_losses: paths that may be lost.
        fault: called at each fault point.
    """

    path: Path
    clock: Clock
    vault: KeptSockets
    places: Mapping[str, Any]
    listening: dict[int | str, socket.socket]
    fault: Callable[[str], None]
    boot_id: str = "boot 1"
    proofs: int = ALL
    allow_losses: Sequence[str] = ()

    def state(self) -> State:
        """Return the files of the application."""
        state = State(self.path, KEY)
        state.store = Store(self.path, KEY, files=QuickFiles())
        state.make_jar = lambda: CheckingJar(self.allow_losses, self.proofs)
        return state


class SteppedTurn(Turn):
    """A turn that runs when it is told to, not when the event loop does.

    A kill is an exception that must leave the turn at once; exceptions of callbacks never leave
    the loop.
    """

    is_wanted = False

    def run(self) -> None:
        """Note that there is work."""
        self.schedule.is_due = False
        self.is_wanted = True

    def step(self) -> None:
        """Run one turn."""
        self.is_wanted = False
        super().run()


class Process:
    """One life of the server.

    Attributes:
        application: as this process has it.
        turn: its turns.
        is_clean: it was stopped, not killed.
    """

    def __init__(self, home: Home) -> None:
        """Restore from the files and start, up to the first turn."""
        self._home = home
        self.loop = Loop(home.clock, home.places)
        self.state = home.state()
        self._lock = self.state.store.lock()
        self._is_over = False
        self.turn: SteppedTurn | None = None
        try:
            self._begin()
        except BaseException:
            self.die()
            raise

    def _begin(self) -> None:
        home = self._home
        restored = self.state.restore()
        self.application = application = restored.application
        # The jar of the restore, as in production: it knows the objects by number.
        self.jar = jar = restored.jar
        assert isinstance(jar, CheckingJar)
        jar.begin_proofs()
        turn = self.turn = SteppedTurn(
            application, jar, home.vault, Sealer(_SEAL), self.loop, home.fault
        )
        turn.runtime.now_s = lambda: home.clock.now_s
        turn.commits.journal = self.state.open_journal(home.boot_id)
        application.bind_runtime(turn.runtime)
        for key, sock in home.listening.items():
            if isinstance(key, str):
                turn.listeners.add(Listener(sock, application.services[key]))
            else:
                turn.serve(sock, application.ports[key])
        home.fault("recovery: begin")
        resumed = adopt_held(turn, restored.history, home.vault.give())
        home.fault("recovery: adopted")
        begin_turns(turn, resumed, restored.history, home.boot_id)
        home.fault("recovery: first turn")
        turn.open()
        if restored.wants_save:
            self.save()

    @property
    def serving(self) -> SteppedTurn:
        """The turn, while the process lives."""
        assert self.turn is not None, "the process has ended"
        return self.turn

    def save(self) -> SaveReport:
        """Save a generation, like a checkpoint.

        Raises:
            LostState: something in it can't be saved.
        """
        home = self._home
        journal = self.state.begin_generation()
        home.fault("checkpoint: journal begun")
        self.serving.change_journal(journal, home.boot_id, clean=False)
        home.fault("checkpoint: journal changed")
        report = self.state.save(self.application, self.state.generation, clean=False)
        home.fault("checkpoint: saved")
        self.state.note_saved(report.generation)
        home.fault("checkpoint: old journals removed")
        check_losses(report.losses, self.application, home.allow_losses)
        return report

    def stop(self) -> None:
        """Stop cleanly: services stop, a shutdown TAP is saved; connections stay open."""
        turn = self.serving
        turn.stop_listening()
        turn.finish()
        turn.change_journal(self.state.begin_generation(), self._home.boot_id, clean=True)
        report = self.state.save(self.application, self.state.generation, clean=True)
        self.state.note_saved(report.generation)
        self.die()
        check_losses(report.losses, self.application, self._home.allow_losses)

    def die(self) -> None:
        """End without cleanup. Objects in memory stay as they were, unused."""
        if self._is_over:
            return
        self._is_over = True
        turn = self.turn
        if turn is not None:
            turn.stop_listening()
            for task in asyncio.all_tasks(self.loop):
                # A killed process logs nothing about its pending tasks.
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other switch
                _close_coroutine(task)
            turn.close()
            for stream in turn.streams.values():
                stream.sock.close()  # a duplicate is in the vault
            for sock in self.loop.connecting:
                sock.close()  # connected, but not in the vault yet
            if turn.commits.journal is not None:
                turn.commits.journal.close()
        self._lock.release()
        self.loop.close()


def _close_coroutine(task: asyncio.Task[Any]) -> None:
    """End a task's coroutine now, not when it is garbage-collected during another test."""
    coroutine = task.get_coro()
    if inspect.iscoroutine(coroutine):
        with contextlib.suppress(Exception):
            coroutine.close()


class Complaints(logging.Handler):
    """Collects exceptions that a server only logs, but a test must not ignore."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[tuple[str, BaseException]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exceptions."""
        if record.exc_info is not None and record.exc_info[1] is not None:
            self.found.append((record.getMessage(), record.exc_info[1]))
