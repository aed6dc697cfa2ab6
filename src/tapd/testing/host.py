"""`Host`: serves an application in the test's own process, with fake peers.

A host owns its process, its peers and a directory of files, and releases all of them at the end
of its `with` block. It runs the only event loop: everything happens inside of its methods and
those of its peers and its clock, and when they return, nothing is left to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from tapd.errors import UsageError
from tapd.model.application import Application
from tapd.model.service import Service
from tapd.store.generations import Store
from tapd.testing.checking import ALL, check_losses, explain_untracked
from tapd.testing.clock import Clock
from tapd.testing.comparison import Comparison, walk
from tapd.testing.datagrams import DatagramPeer
from tapd.testing.failures import AuthorMistake, Killed, LostState
from tapd.testing.module_globals import Leftovers, volatile_state
from tapd.testing.network import Network
from tapd.testing.peers import Peer
from tapd.testing.plan import Passing, Plan, Sent
from tapd.testing.process import (
    KEY,
    POINTS,
    Complaints,
    Home,
    KeptSockets,
    Process,
    QuickFiles,
)
from tapd.testing.remote import Remote

_PROOFS_AFTER_KILL = 3
_PASSES_MAX = 100_000
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it, mode 0700


class Host:
    """Serves an application for a test.

    Attributes:
        clock: the application's time; ``clock.advance(seconds)`` moves it.
        steps: how many turns were begun, over all lives of the server.
        kills: how often it was killed.
        passed: how often a fault point was passed.
        passings: the relevant ones of these.
        sent: what the peers sent, in order.
        evidence: what the last kill destroyed, in words.
    """

    def __init__(
        self,
        application: Application | Service | Callable[[], Application | Service],
        *,
        allow_losses: Sequence[str] = (),
        raise_errors: bool = True,
        strict: bool = True,
        clock_start_s: float | None = None,
        plan: Plan | None = None,
    ) -> None:
        """Begin to serve a copy of `application`; every life of the server loads it from its TAP.

        Args:
            application: what to serve, or a function that creates it; a service gets an
                application around it.
            allow_losses: patterns of paths whose objects may be lost (``*`` is any text).
            raise_errors: an exception in a handler, which the server would log and survive,
                fails the test.
            strict: verify after each turn that the journal restores what memory holds.
            clock_start_s: the clock's first time, in seconds since the epoch; by default the
                present.
            plan: what `kill_everywhere` wants to happen.
        """
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - get_running_loop raises where there is none
            raise UsageError(
                "a Host runs an event loop of its own, and there is one running already: write "
                "the test as a plain function, not as a coroutine"
            )
        made = as_application(application)
        self.clock = Clock(time.time() if clock_start_s is None else clock_start_s)
        self.steps = 0
        self.kills = 0
        self.passed = 0
        self.evidence: list[str] = []
        self.passings: list[Passing] = []
        self.sent: list[Sent] = []
        self._plan = plan or Plan()
        self._armed: str | None = None
        self._raises_errors = raise_errors
        self._is_pumping = False
        self._is_strict = strict
        self._complaints = Complaints()
        self._graveyard: list[Process] = []
        self._process: Process | None = None
        self._last_application = made
        self._cleanup = contextlib.ExitStack()
        try:
            self._set_up(made, allow_losses, strict=strict)
        except BaseException:
            self.close()
            raise

    def _set_up(self, made: Application, allow_losses: Sequence[str], *, strict: bool) -> None:
        directory = Path(tempfile.mkdtemp(prefix="tapd-testing-", dir=_fast_directory()))
        self._cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        self._leftovers = Leftovers(_classes_of(made))
        self._network = Network(directory, self)
        self._cleanup.callback(self._network.close)
        self._home = Home(
            directory / f"{made.name}.tap", self.clock, KeptSockets(), self._network.places,
            self._network.listening, self._pass_point,
            proofs=ALL if strict and self._plan == Plan() else 0, allow_losses=allow_losses,
        )  # fmt: skip
        self._cleanup.callback(self._home.vault.lose)
        log = logging.getLogger("tapd")
        log.addHandler(self._complaints)
        self._cleanup.callback(log.removeHandler, self._complaints)
        report = Store(self._home.path, KEY, files=QuickFiles()).create(made)
        check_losses(report.losses, made, allow_losses)
        self._network.bind_all(made)
        self.clock.drive(self.pump, self._next_moment_s)
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the server and release everything; may be called twice."""
        if self._process is not None:
            self._bury(self._process)
        self._cleanup.close()

    # --- the application -----------------------------------------------------------------

    @property
    def process(self) -> Process:
        """The server's current life.

        Raises:
            UsageError: it is stopped.
        """
        if self._process is None:
            raise UsageError("the server is stopped; host.start() starts it")
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether it is neither stopped nor closed."""
        return self._process is not None

    @property
    def application(self) -> Application:
        """The application of the current process.

        It is another object after each kill and restart: always ask for it again.
        """
        return self.process.application

    @property
    def last_application(self) -> Application:
        """The application of the current process, or of the last one."""
        return self._process.application if self._process else self._last_application

    def service(self, name: str = "") -> Any:
        """Return a service of the application by name; by default the first one."""
        services = self.application.services
        if name and name not in services:
            raise UsageError(f"there is no service {name!r}; there are: {', '.join(services)}")
        return services[name] if name else next(iter(services.values()))

    @property
    def peers(self) -> list[Peer]:
        """Every peer so far, including ended ones."""
        return list(self._network.peers)

    # --- connections -------------------------------------------------------------------

    def connect(
        self,
        where: str | int | Service | None = None,
        *,
        name: str = "",
        line_end: str | bytes = b"\n",
    ) -> Peer:
        """Connect as a client; return when the server has handled it.

        Args:
            where: a port's number or address, or a service's name; by default the first
                port. Real numbers are never bound, so ports below 1024 work, too.
            name: of the peer, for messages.
            line_end: appended by the peer's `send_line`.
        """
        listening = self._network.find(self.last_application, where)
        peer = self._network.connect(listening, name, line_end)
        self.pump()
        return peer

    def connect_datagram(
        self, where: str | int | Service | None = None, *, name: str = ""
    ) -> DatagramPeer:
        """Return a peer that sends datagrams to a port; `where` and `name` as for `connect`."""
        port = self._network.find(self.last_application, where, socket.SOCK_DGRAM)
        return self._network.connect_datagram(port, name)

    def remote(self, where: str) -> Remote:
        """Return the remote end of a connection by the application, created at first use.

        Args:
            where: as the application gives it: ``HOST:PORT`` or ``unix:PATH``.
        """
        remote = self._network.remote(where)
        self.pump()
        return remote

    @property
    def transcripts(self) -> list[tuple[str, bytes, bool]]:
        """What each peer received: its name, the bytes, and whether it was closed.

        Clients come first, since the order of the application's own connections is its own
        affair.
        """
        streams = [
            (peer.name, bytes(peer.transcript), peer.has_ended)
            for peer in sorted(self._network.peers, key=lambda peer: peer.is_remote)
            if not peer.is_stillborn
        ]
        return streams + [
            (peer.name, b"\n".join(peer.transcript), False) for peer in self._network.datagram_peers
        ]

    # --- time and turns -----------------------------------------------------------------

    def pump(self) -> None:
        """Run turns until nothing is left to do. The other methods do this themselves."""
        __tracebackhide__ = True
        if self._is_pumping:
            raise UsageError("the application uses its own test host from one of its handlers")
        self._is_pumping = True
        try:
            for _ in range(_PASSES_MAX):
                if not self._pass():
                    break
            else:
                raise AuthorMistake(
                    "the server does not come to rest: something is called again and again "
                    f"with no delay (pending timers: {list(self.application.delayeds.values())})"
                )
        finally:
            self._is_pumping = False
        self._raise_complaints()

    def _pass(self) -> bool:
        """Do everything that is due once; return whether there may be more."""
        __tracebackhide__ = True
        self._network.take_remote()
        moved = self._network.exchange()
        process = self._process
        if process is None:
            return moved
        try:
            process.loop.run_pass()
            if process.serving.is_wanted:
                self._step(process)
                return True
        except Killed:
            self._go_on_after_kill()
            return True
        if not process.loop.is_idle:
            return True
        return moved or self._network.settle(process)

    def _step(self, process: Process) -> None:
        __tracebackhide__ = True
        turn = process.serving
        self.steps += 1
        before, turns = len(self.passings), turn.commits.turns
        turn.step()
        if turn.commits.turns == turns:
            # Nothing was committed, so a kill here equals a kill before the turn.
            del self.passings[before:]

    def _pass_point(self, name: str) -> None:
        """Pass a fault point; called by the production code."""
        self.passed += 1
        self.passings.append(Passing(self.passed, name, self.steps, len(self.sent)))
        if self.passed == self._plan.kill_at:
            raise Killed(name)
        if name == self._armed:
            self._armed = None
            raise Killed(name)

    def _next_moment_s(self) -> float | None:
        return None if self._process is None else self._process.loop.next_moment_s()

    def sending(self, peer: Peer, data: bytes) -> Iterator[bytes]:
        """Yield the pieces of `data` to send, and do what the plan has between them."""
        number = len(self.sent)
        self.sent.append(Sent(peer.name, data))
        plan = self._plan
        if plan.every_byte:
            for at in range(len(data)):
                yield data[at : at + 1]
        elif plan.split == number and 0 < plan.split_at < len(data):
            yield data[: plan.split_at]
            if plan.kill_between and self.is_running:
                self.kill()
            yield data[plan.split_at :]
        else:
            yield data

    def sending_whole(self, name: str, data: bytes) -> None:
        """Record that `name` is about to send a datagram."""
        self.sent.append(Sent(name, data, is_stream=False))

    def _raise_complaints(self) -> None:
        __tracebackhide__ = True
        found, self._complaints.found = self._complaints.found, []
        if found and self._raises_errors:
            message, error = found[0]
            error.add_note(
                f"tapd.testing: {message}. (In production this is logged and the server goes on; "
                "Host(..., raise_errors=False) does so, too.)"
            )
            raise error

    # --- kills, stops and starts ------------------------------------------------------------

    def kill(self, at: str | None = None) -> None:
        """Kill the server without warning; a new process resumes from the files.

        Args:
            at: a fault point (one of `POINTS`): kill when it is next passed. By default now,
                between two turns.

        Raises:
            UsageError: there is no such point.
        """
        if at is not None:
            if at not in POINTS:
                raise UsageError(f"kill(at={at!r}): there are: {', '.join(map(repr, POINTS))}")
            self._armed = at
            return
        self._go_on_after_kill()
        self.pump()

    def _go_on_after_kill(self) -> None:
        process = self.process
        self.kills += 1
        self._note_evidence(process)
        self._bury(process)
        self._begin()

    def _note_evidence(self, process: Process) -> None:
        """Record what a new process will not find, for messages."""
        self.evidence = volatile_state(walk(process.application))
        self.evidence += [
            f"{text}, and a new process finds it as the module makes it"
            for text in self.put_back_globals()
        ]

    def put_back_globals(self) -> list[str]:
        """Restore the globals of the author's modules; return what had changed."""
        return self._leftovers.restore()

    def _bury(self, process: Process) -> None:
        """End `process`, and keep its objects, so that no id() is reused."""
        self._last_application = process.application
        process.die()
        self._graveyard.append(process)
        self._process = None

    def _begin(self) -> None:
        if self._plan != Plan() and self._is_strict and self.kills:
            # Commits before the kill were verified in the undisturbed run.
            self._home.proofs = _PROOFS_AFTER_KILL
        while self._process is None:
            try:
                self._process = Process(self._home)
            except Killed:
                self.kills += 1

    def stop(self) -> None:
        """Stop cleanly, like `systemctl stop`: a shutdown TAP is saved, connections end."""
        self._stop()
        self._home.vault.lose()
        self.pump()

    def _stop(self) -> None:
        self.pump()
        process = self.process
        try:
            process.stop()
        except Killed:
            self.kills += 1
        self._raise_complaints()
        self.put_back_globals()
        self._bury(process)

    def start(self) -> None:
        """Start a server that is stopped or has never run."""
        if self._process is None:
            self._begin()
        self.pump()

    def restart(self) -> None:
        """Stop cleanly and start, like `systemctl restart`: connections stay."""
        self._stop()
        self.start()

    def reboot(self) -> None:
        """Kill the server and the machine: all connections end, and a new boot begins."""
        process = self.process
        self.kills += 1
        self._note_evidence(process)
        self._bury(process)
        self._home.vault.lose()
        self._home.boot_id += "'"
        self.start()

    # --- saving -------------------------------------------------------------------------

    def save(self) -> None:
        """Save a TAP and continue, like a checkpoint.

        Raises:
            LostState: something can't be saved.
        """
        try:
            self.process.save()
        except Killed:
            self._go_on_after_kill()
        self.pump()

    def save_and_load(self) -> None:
        """Save a TAP, load it, and compare it with memory.

        Raises:
            LostState: something can't be saved, or has changed.
        """
        self.save()
        loaded = self._home.state().store.load()
        difference = Comparison().compare(loaded.application, self.application)
        if difference is not None:
            raise LostState(
                "a TAP does not bring back what was saved: "
                + explain_untracked(difference, self.application)
            )


def as_application(made: Any) -> Application:
    """Return the application that a test means.

    Raises:
        UsageError: it is not an application or a service, and does not create one.
    """
    if callable(made) and not isinstance(made, (Application, Service)):
        made = made()
    if isinstance(made, Service):
        service, made = made, Application("test")
        made.add_service(service)
    if not isinstance(made, Application):
        raise UsageError(
            f"a host serves an Application or a Service, or what a function returns of these; "
            f"not {made!r:.80}"
        )
    return made


def _classes_of(application: Application) -> set[type]:
    classes = {type(value) for _path, value in walk(application)}
    protocols: list[Any] = [service.protocol for service in application.services.values()]
    return classes | {each for each in protocols if isinstance(each, type)}


def _fast_directory() -> str | None:
    """Return a directory in memory, if there is one: a host writes much and keeps nothing."""
    return str(_SHARED_MEMORY) if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else None
