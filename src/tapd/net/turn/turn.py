"""The turn: the only way that durable protocols meet the network.

Work is done in turns, one per pass of the asyncio loop, for all connections
together:

1. *collect*: what is ready: input (peeked: it stays in the kernel), new
   connections, timers, results of tasks and threads;
2. *run*: protocols consume the bytes, change state, queue output; nothing
   leaves the process;
3. *commit*: one record is appended to the journal, with one write();
4. *externalise*: the input that was run is discarded, the output is sent,
   connections that ended are closed.

A process killed before the commit has done nothing that anyone could see, and
the next one runs the same input again. One killed after it has promised
everything in the record, and the next one completes it (`net.turn.recovery`).

Each part of the turn has a module of its own and is passed the parts that it needs;
`Turn` puts them together.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

from tapd.errors import DescriptorLost
from tapd.image.tracking.jar import Jar
from tapd.model.access.seal import Sealer
from tapd.model.application import Application, Port
from tapd.model.order import stop_order
from tapd.model.timer import Timer
from tapd.net import authors
from tapd.net.rate_limit import Tellings
from tapd.net.streams.datagrams import DatagramPort
from tapd.net.streams.guard import Guard
from tapd.net.streams.stream import Stream
from tapd.net.timers import Timers
from tapd.net.turn.commit import Commits, Journal
from tapd.net.turn.connections import Connections
from tapd.net.turn.listener import Listener, Listeners
from tapd.net.turn.pending import Pending
from tapd.net.turn.ports import Ports
from tapd.net.turn.runtime import LiveRuntime
from tapd.net.turn.schedule import Schedule
from tapd.net.turn.sockets import EVENTS_PER_TURN, Sockets
from tapd.net.turn.trials import Trials
from tapd.systemd.guardian import Guardian
from tapd.systemd.own_memory import own_memory
from tapd.systemd.vault import Vault, no_fault

_log = logging.getLogger(__name__)


class Turn:
    """Runs an application's turns.

    Owns its parts, and the order of a turn's steps.

    Attributes:
        application: whose turns they are.
        jar: knows which durable objects changed.
        own_memory: its item 0 is 1 in the process that made the turn, 0 in its forked copies.
        schedule: when the next turn runs, and what it calls first.
        sockets: the epoll set of all sockets.
        pending: the uncommitted work since the last commit.
        guard: calls the methods of protocols.
        trials: what runs alone, after unclean deaths.
        ports: the datagram ports.
        connections: the streams.
        streams: those of `connections`, by key.
        commits: the journal.
        listeners: where connections begin.
        timers: which timer is due next.
        runtime: serves the application's requests (`Application.runtime`).
        began_s: when the turn that is under way began (`time.monotonic`); 0 for none.
    """

    def __init__(
        self,
        application: Application,
        jar: Jar,
        vault: Vault,
        sealer: Sealer,
        loop: asyncio.AbstractEventLoop,
        fault: Callable[[str], None] = no_fault,
        guardian: Guardian | None = None,
    ) -> None:
        self.application = application
        self.jar = jar
        self.own_memory = own_memory()
        self.began_s = 0.0
        self._fault = fault
        self._tellings = tellings = Tellings(loop)
        self.sockets = sockets = Sockets(loop, tellings)
        self.schedule = schedule = Schedule(loop, sockets.epoll.fileno(), self.run)
        self.guard = guard = Guard(tellings)
        self.trials = trials = Trials(schedule, guard)
        self.pending = pending = Pending(schedule, sockets, trials.go_on_reading)
        self.ports = Ports(schedule, sockets, tellings, trials.may_receive)
        self.connections = Connections(
            application,
            vault=vault,
            guardian=guardian or Guardian(),
            schedule=schedule,
            sockets=sockets,
            pending=pending,
            guard=guard,
            tellings=tellings,
        )
        self.streams = self.connections.streams
        self.commits = Commits(
            jar,
            schedule=schedule,
            pending=pending,
            connections=self.connections,
            ports=self.ports,
            own_memory=self.own_memory,
            fault=fault,
        )
        self.listeners = Listeners(
            self.connections, schedule=schedule, sockets=sockets, own_memory=self.own_memory
        )
        self.timers = Timers(application, schedule.wake, loop)
        self.runtime = LiveRuntime(
            sealer,
            schedule=schedule,
            tellings=tellings,
            trials=trials,
            timers=self.timers,
            connections=self.connections,
        )
        jar.on_change = schedule.wake

    def call(self, function: Callable[[], object]) -> None:
        """Run `function` in the next turn; any thread may ask for it."""
        self.schedule.call(function)

    @property
    def is_busy(self) -> bool:
        """Whether the next turn has something to do, apart from what sockets bring."""
        return bool(
            self.schedule.calls
            or self.pending.touched
            or self.ports.touched
            or self.jar.has_changes
        )

    # --- from the beginning to the end ----------------------------------------------

    def serve(self, sock: socket.socket, port: Port) -> None:
        """Serve `port` at `sock`, which is of its type and stays the service manager's."""
        if sock.type == socket.SOCK_DGRAM:
            self.ports.serve(sock, port)
        else:
            self.listeners.add(Listener(sock, port.service))

    def open(self) -> None:
        """Begin to read the sockets."""
        self.schedule.is_open = True
        if not self.commits.is_stalled:  # the first commit may have found the disk full
            self.schedule.go_on()

    def change_journal(self, journal: Journal, boot_id: str, *, clean: bool) -> None:
        """Commit what is due, then go on in `journal`; see `Commits.change_journal`."""
        self.commits.change_journal(journal, boot_id, self.trials.level, clean=clean)

    def stop_listening(self) -> None:
        """Stop accepting; new connections wait in the backlog for the next process."""
        self.listeners.stop()
        self.ports.stop()

    def finish(self) -> None:
        """Run the last turn: services stop. Between turns only."""
        schedule = self.schedule
        schedule.is_running = True
        try:
            for service in stop_order(self.application):
                authors.attempt(service, "stop")
            if not self.commits.is_stalled:
                self.commits.commit()
        except BaseException as error:
            schedule.break_off(error)
            raise
        finally:
            schedule.is_running = False

    def close(self) -> None:
        """Stop for good: no turn runs any more. Connections are left as they are."""
        self.schedule.close()
        self.timers.close()
        self.connections.hosting.close()
        self._tellings.close()
        self.sockets.close()
        self.runtime.cancel_tasks()

    # --- one turn -------------------------------------------------------------------

    def run(self) -> None:
        """Run one turn."""
        schedule, commits = self.schedule, self.commits
        schedule.is_due = False
        if commits.is_stalled or not schedule.is_open:
            return
        schedule.is_running = True
        self.began_s = time.monotonic()
        try:
            sockets = self.sockets
            events = sockets.epoll.poll(0, EVENTS_PER_TURN)
            self._fault("turn: collected")
            self._run_timers()
            self._run_calls()
            if self.trials.careful is not None:
                events = self.trials.run_waiting(events)
            if commits.is_stalled:
                return  # a commit above failed; waiting input is read after its retry
            by_fd, connections = sockets.by_fd, self.connections
            for fd, event in events:
                ready = by_fd.get(fd)
                if ready is None:  # it ended earlier in this turn
                    continue
                if ready.__class__ is Stream:
                    connections.run_stream(ready, event)
                elif isinstance(ready, DatagramPort):
                    self.ports.receive(ready, event)
                else:
                    self.listeners.accept(ready)  # type: ignore[arg-type]  # a Listener
            self._fault("turn: run")
            commits.commit()
        except BaseException as error:
            schedule.break_off(error)
            raise
        finally:
            schedule.is_running = False
            self.began_s = 0.0
        if self.is_busy:
            schedule.wake()

    def _run_timers(self) -> None:
        for timer in self.timers.take_due(self.runtime.now_s()):
            self._run_timer(timer)

    def _run_timer(self, timer: Timer) -> None:
        def run() -> None:
            try:
                timer.function(*timer.args)
            except BaseException as error:
                authors.failed(f"{authors.name_of(timer)} failed", error)
            self.timers.touch_namespaces()

        self.trials.alone("timer", timer.key, run, lambda: authors.name_of(timer))

    def _run_calls(self) -> None:
        schedule = self.schedule
        for _ in range(len(schedule.calls)):
            call = schedule.calls.popleft()
            try:
                call()
            except DescriptorLost:  # a connection that was made: no fault of the call's
                raise
            except BaseException as error:
                if not schedule.is_open:  # it broke the turn
                    raise
                authors.failed(f"{authors.name_of(call)} failed", error)
