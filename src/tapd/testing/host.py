"""`Host`: an application, served in the test's own process, with fake peers.

Imports the rest of this room. A host owns its process, its peers and a directory
of files, and gives all of them back at the end of its `with` block. It is the
only loop: everything happens inside of its methods and those of its peers and
its clock, and when they return nothing is left to do.
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
from tapd.testing.ends import Peer
from tapd.testing.failures import AuthorMistake, Killed, LostState
from tapd.testing.leftovers import Leftovers, volatile_state
from tapd.testing.network import Network
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
        clock: the application's time, which passes by ``clock.advance(seconds)``.
        steps: how many turns were begun, in all lives of the server.
        kills: how often it was killed.
        passed: how often a fault point was passed.
        passings: those that mattered.
        sent: what the peers sent, in order.
        evidence: what the last kill took with it, in words.
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
        """Begin to serve `application`: a copy of it, which every life loads from its TAP.

        Args:
            application: what to serve, or a function that makes it; a service alone
                gets an application around it.
            allow_losses: patterns of paths whose objects may be lost (``*`` is any text).
            raise_errors: an exception in a handler, which the server logs and
                survives, fails the test.
            strict: prove after each turn that the journal says what memory holds.
            clock_start_s: where its clock stands at first, in seconds since the
                epoch; the present where None.
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
        """End, without a last word, and give everything back; may be called twice."""
        if self._process is not None:
            self._bury(self._process)
        self._cleanup.close()

    # --- what there is -----------------------------------------------------------------

    @property
    def process(self) -> Process:
        """The server's present life.

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
        """The application as the present process knows it.

        Another object after each kill and restart: ask for it again, keep nothing of it.
        """
        return self.process.application

    @property
    def last_application(self) -> Application:
        """The application as the present process knows it, or as the last one left it."""
        return self._process.application if self._process else self._last_application

    def service(self, name: str = "") -> Any:
        """Return a service of the application, by name; the first one without."""
        services = self.application.services
        if name and name not in services:
            raise UsageError(f"there is no service {name!r}; there are: {', '.join(services)}")
        return services[name] if name else next(iter(services.values()))

    @property
    def peers(self) -> list[Peer]:
        """Every peer that there was so far, those that ended too."""
        return list(self._network.peers)

    # --- connections -------------------------------------------------------------------

    def connect(
        self,
        where: str | int | Service | None = None,
        *,
        name: str = "",
        line_end: str | bytes = b"\n",
    ) -> Peer:
        """Connect as a client; return when the server has dealt with it.

        Args:
            where: a port's number or address, or a service's name; the first port
                where None. Real numbers are never bound: ports below 1024 do, too.
            name: of the peer, for messages.
            line_end: what the peer's `send_line` ends a line with.
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
        """Return the far end of what the application connects to, made when first asked for.

        Args:
            where: as the application says it: ``HOST:PORT`` or ``unix:PATH``.
        """
        remote = self._network.remote(where)
        self.pump()
        return remote

    @property
    def transcripts(self) -> list[tuple[str, bytes, bool]]:
        """What each peer got: its name, the bytes, and whether it was closed.

        Clients come first: when an application connects to others is its own affair.
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
        """Run turns until nothing is left to do. The other methods do this by themselves."""
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
        """Do what is due once; return whether there may be more."""
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
            # Nothing was committed, so to be killed there is as if it had been before.
            del self.passings[before:]

    def _pass_point(self, name: str) -> None:
        """Pass a fault point: the production code calls this."""
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
        """Yield the pieces in which `data` is to be sent, and do what comes between them."""
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
        """Take note that `name` is about to send a datagram."""
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

    # --- ends and beginnings ------------------------------------------------------------

    def kill(self, at: str | None = None) -> None:
        """Kill the server without a last word; a new process resumes from the files.

        Args:
            at: a fault point (one of `POINTS`): the kill comes when it is next
                passed. Now, between two turns, where None.

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
        """Take note of what a new process does not find, for messages."""
        self.evidence = volatile_state(walk(process.application))
        self.evidence += [
            f"{text}, and a new process finds it as the module makes it"
            for text in self.put_back_globals()
        ]

    def put_back_globals(self) -> list[str]:
        """Have the author's modules hold what they did at first; return what had changed."""
        return self._leftovers.restore()

    def _bury(self, process: Process) -> None:
        """End `process`, and keep its objects, so that no id() is given twice."""
        self._last_application = process.application
        process.die()
        self._graveyard.append(process)
        self._process = None

    def _begin(self) -> None:
        if self._plan != Plan() and self._is_strict and self.kills:
            # What came before the kill was proven in the undisturbed run.
            self._home.proofs = _PROOFS_AFTER_KILL
        while self._process is None:
            try:
                self._process = Process(self._home)
            except Killed:
                self.kills += 1

    def stop(self) -> None:
        """Stop cleanly, as `systemctl stop`: a shutdown TAP is saved, connections end."""
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
        """Start what was stopped, or never ran."""
        if self._process is None:
            self._begin()
        self.pump()

    def restart(self) -> None:
        """Stop cleanly and start, as `systemctl restart`: connections stay."""
        self._stop()
        self.start()

    def reboot(self) -> None:
        """Kill the server and the machine: all connections end, and another boot begins."""
        process = self.process
        self.kills += 1
        self._note_evidence(process)
        self._bury(process)
        self._home.vault.lose()
        self._home.boot_id += "'"
        self.start()

    # --- saving -------------------------------------------------------------------------

    def save(self) -> None:
        """Save a TAP and go on, as a checkpoint does.

        Raises:
            LostState: something can't be saved.
        """
        try:
            self.process.save()
        except Killed:
            self._go_on_after_kill()
        self.pump()

    def save_and_load(self) -> None:
        """Save a TAP, load it, and compare that with what is in memory.

        Raises:
            LostState: something can't be saved, or is not what it was.
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
        UsageError: it is neither an application nor a service, nor does it make one.
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
    """Return a directory in memory, where there is one: a host writes much and keeps nothing."""
    return str(_SHARED_MEMORY) if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else None
