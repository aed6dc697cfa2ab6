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

All durable sockets are in one epoll set of the turn's own, which is in the
asyncio loop as a single reader: a pass costs asyncio one callback, however many
connections are ready.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable

from tapd.errors import DescriptorLost, InterpreterBroken
from tapd.image.tracking.jar import Jar
from tapd.model.access.seal import Sealer
from tapd.model.application import Application, Port
from tapd.model.connector import Connector
from tapd.model.order import stop_order
from tapd.model.timer import Timer
from tapd.net import authors
from tapd.net.streams.datagrams import DatagramPort
from tapd.net.streams.stream import Stream
from tapd.net.turn.commit import Commits
from tapd.net.turn.listener import Listener
from tapd.net.turn.outbound import begin_connecting
from tapd.net.turn.runtime import Asker
from tapd.net.turn.timers import Timers
from tapd.store.journal.records import Flag, Identity
from tapd.systemd.guardian import Guardian
from tapd.systemd.limits import most_connections
from tapd.systemd.vault import Vault, no_fault

log = logging.getLogger(__name__)

EVENTS_PER_TURN = 1024

_IN = select.EPOLLIN
_OUT = select.EPOLLOUT
_ERROR = select.EPOLLERR
_GONE = select.EPOLLHUP | _ERROR


class Turn(Commits):
    """Runs an application's turns; also its `model.application.Runtime`.

    What it is made of, each part knowing only those before it: `net.turn.runtime`
    (time, threads, tasks), `net.turn.connections` (streams one by one), `net.turn.commit`
    (the journal), and here the loop of turns.

    Attributes:
        began_s: when the turn that is under way began (`time.monotonic`); 0 for none.
        connections_max: no more are accepted; a save, a journal and a child process
            need files as well.
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
        super().__init__(application, jar, vault, sealer, loop, fault, guardian or Guardian())
        self.listeners: list[Listener] = []
        self.timers = Timers(application, self.schedule, loop)
        self._calls: collections.deque[Callable[[], object]] = collections.deque()
        self._is_scheduled = False
        self._thread = threading.get_ident()
        self.began_s = 0.0
        self.connections_max = most_connections()
        jar.on_change = self.schedule

    # --- what the application asks of it (the rest is in `net.turn.runtime`) ---------

    def timer_added(self, timer: Timer) -> None:
        """Take note of a new timer."""
        self.timers.add(timer)

    def connector_added(self, connector: Connector) -> None:
        """Make the connection of `connector`."""
        begin_connecting(self, connector)

    # --- what others ask of the turn ----------------------------------------

    def call(self, function: Callable[[], object]) -> None:
        """Run `function` in the next turn."""
        self._calls.append(function)
        self.schedule()

    def schedule(self) -> None:
        """Have a turn in the next pass of the loop, if none is due.

        A thread may call it (by changing what it should leave to the loop, say):
        the loop is woken then.
        """
        if threading.get_ident() != self._thread:
            with contextlib.suppress(RuntimeError):  # the loop is closed: too late for both
                self._loop.call_soon_threadsafe(self.schedule)
            return
        if not self._is_scheduled and not self.is_running and self.is_open:
            self._is_scheduled = True
            self._loop.call_soon(self.run)

    def open(self) -> None:
        """Begin to read the sockets."""
        self.is_open = True
        if not self.is_stalled:  # the first commit may have found the disk full
            self.go_on()

    def pause(self) -> None:
        """Run no turn for events of sockets until `go_on`."""
        self._loop.remove_reader(self._epoll.fileno())

    def go_on(self) -> None:
        """Run turns for events of sockets."""
        self._loop.add_reader(self._epoll.fileno(), self.run)
        self.schedule()

    def close(self) -> None:
        """Stop for good: no turn runs any more. Connections are left as they are."""
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._epoll.fileno())
        self.timers.close()
        self.hosting.close()
        self._tellings.close()
        self._epoll.close()
        self.cancel_tasks()

    def listen(self, listener: Listener) -> None:
        """Accept connections at `listener` from now on."""
        self.listeners.append(listener)
        self._by_fd[listener.fd] = listener
        self._epoll.register(listener.fd, _IN)

    def serve(self, sock: socket.socket, port: Port) -> None:
        """Serve `port` at `sock`, which is of its type and stays the service manager's."""
        if sock.type == socket.SOCK_DGRAM:
            datagram_port = DatagramPort(self, sock, port)
            self.ports.append(datagram_port)
            self._by_fd[datagram_port.fd] = datagram_port
            self._epoll.register(datagram_port.fd, _IN)
            datagram_port.interest = _IN
        else:
            self.listen(Listener(sock, port.service))

    def pause_listening(self, listener: Listener, pause_s: float) -> None:
        """Accept nothing for `pause_s` seconds; clients wait in the backlog."""
        self._epoll.unregister(listener.fd)

        def again() -> None:
            if self._by_fd.get(listener.fd) is listener and not self._epoll.closed:
                self._epoll.register(listener.fd, _IN)

        self._loop.call_later(pause_s, again)

    def finish(self) -> None:
        """Run the last turn: services stop. Between turns only."""
        self.is_running = True
        try:
            for service in stop_order(self.application):
                authors.attempt(service, "stop")
            if not self.is_stalled:
                self.commit()
        except BaseException as error:
            self.break_off(error)
            raise
        finally:
            self.is_running = False

    def stop_listening(self) -> None:
        """Accept no more; who connects now waits in the backlog for the next process."""
        for listener in self.listeners:
            self._by_fd.pop(listener.fd, None)
            with contextlib.suppress(FileNotFoundError):  # it pauses
                self._epoll.unregister(listener.fd)
        self.listeners.clear()
        for port in self.ports:  # they can still send
            if self._by_fd.pop(port.fd, None) is not None:
                self._epoll.unregister(port.fd)
                port.interest = -1

    @property
    def is_busy(self) -> bool:
        """Whether the next turn has something to do, apart from what sockets bring."""
        return bool(self._calls or self._touched or self._touched_ports or self.jar.has_changes)

    # --- connections ------------------------------------------------------------

    def go_on_reading(self, stream: Stream) -> None:
        """Have `stream` run what its protocol kept back, unit by unit where that is due."""
        careful = self.careful
        if careful is None or not careful.is_single or not self.count(stream, "kept_bytes"):
            super().go_on_reading(stream)
        else:
            careful.hold(self, stream)

    # --- one turn -----------------------------------------------------------------

    def run(self) -> None:
        """Run one turn."""
        self._is_scheduled = False
        if self.is_stalled or not self.is_open:
            return
        self.is_running = True
        self.began_s = time.monotonic()
        try:
            events = self._epoll.poll(0, EVENTS_PER_TURN)
            self._fault("turn: collected")
            self._run_calls()
            if self.careful is not None:
                events = self.careful.run(self, events)
            if self.is_stalled:
                return  # a commit above failed; what waits is read again after it
            by_fd = self._by_fd
            for fd, event in events:
                ready = by_fd.get(fd)
                if ready is None:
                    continue
                if ready.__class__ is Stream:
                    self._run_stream(ready, event)
                elif isinstance(ready, DatagramPort):
                    self._receive_datagrams(ready, event)
                else:
                    self._accept(ready)  # type: ignore[arg-type]  # a Listener
            self._fault("turn: run")
            self.commit()
        except BaseException as error:
            self.break_off(error)
            raise
        finally:
            self.is_running = False
            self.began_s = 0.0
        if self.is_busy:
            self.schedule()

    def alone(
        self,
        kind: str,
        key: int,
        run: Callable[[], object],
        what: Callable[[], str],
        skip: Callable[[], object] = lambda: None,
        *,
        may_wait: bool = False,
    ) -> None:
        """Run what the next process would do again: as `Careful.alone` where that is due."""
        if self.careful is None:
            run()
        else:
            self.careful.alone(self, kind, key, run, what, skip, may_wait=may_wait)

    def note_asked(self, asker: Asker) -> None:
        """Take note that a start asked for a result, which belongs to it."""
        if self.careful is not None:
            self.careful.awaited += 1

    def hand_in(self, asker: Asker | None, function: Callable[[], object]) -> None:
        """Run `function`, which takes a result, in the next turn, and by itself after deaths."""
        if asker is None or self.careful is None:
            self.call(function)
        else:
            self.call(lambda: self._hand_in_alone(asker, function))

    def _hand_in_alone(self, asker: Asker, function: Callable[[], object]) -> None:
        if self.careful is not None:
            self.careful.awaited -= 1

        def run() -> None:
            try:
                with self.asking(asker.kind, asker.key, asker.skip):
                    function()
            except DescriptorLost:
                raise
            except BaseException as error:
                authors.failed(f"taking a result that {asker.kind} {asker.key} asked for", error)

        try:
            self.alone(
                f"result for {asker.kind}", asker.key, run,
                lambda: f"a result that {asker.kind} {asker.key} had asked for", asker.skip,
            )  # fmt: skip
        except BaseException as error:  # of the commit: no fault of a call's
            self.break_off(error)
            raise

    def may_receive(self, port: DatagramPort, identity: Identity) -> bool:
        """Whether `port` may run that datagram: not if it has killed too often."""
        careful = self.careful
        return careful is None or careful.may_run(self, f"datagram {port}", identity[0])

    def _receive_datagrams(self, port: DatagramPort, event: int) -> None:
        if event & _OUT:
            self.touch_port(port)
        if port.wants_input:
            port.receive()

    def _accept(self, listener: Listener) -> None:
        """Accept at `listener`; what goes wrong there stops no turn in its midst."""
        try:
            listener.accept(self)
        except (DescriptorLost, InterpreterBroken):
            raise
        except Exception:
            log.exception("can't accept at %s", listener)

    def _run_calls(self) -> None:
        for timer in self.timers.take_due(self.now_s()):
            self._run_timer(timer)
        for _ in range(len(self._calls)):
            call = self._calls.popleft()
            try:
                call()
            except DescriptorLost:  # a connection that was made: no fault of the call's
                raise
            except BaseException as error:
                if not self.is_open:  # it broke the turn
                    raise
                authors.failed(f"{authors.name_of(call)} failed", error)

    def _run_timer(self, timer: Timer) -> None:
        def run() -> None:
            try:
                timer.function(*timer.args)
            except BaseException as error:
                authors.failed(f"{authors.name_of(timer)} failed", error)
            self.timers.touch_namespaces()

        self.alone("timer", timer.key, run, lambda: authors.name_of(timer))

    def _run_stream(self, stream: Stream, event: int) -> None:
        if event & _OUT and not stream.touched:
            stream.touched = True
            self._touched.append(stream)
        if stream.wants_input:
            if event & (_IN | _GONE):
                self.receive(stream)
        elif stream.flags & Flag.FROZEN:
            pass  # what comes before its end is run first: soon, or by the next process
        elif event & _GONE and (
            # Closed by both sides, or by a UNIX peer: what it sent before is read after the pause.
            not stream.flags & Flag.PAUSED or (event & _ERROR and not stream.is_unix)
        ):
            self.end(stream, None if stream.is_closing() else ConnectionResetError())

    def receive(self, stream: Stream, limit: int | None = None) -> bool:
        """Give `stream` its input; return whether there was any."""
        try:
            data = stream.peek(limit)
        except OSError as error:
            self.give_up(stream, error, "read")
            return False
        if data is None:
            return False
        if not stream.touched:
            stream.touched = True
            self._touched.append(stream)
        if not data:
            self._receive_eof(stream)
            return False
        stream.peeked = len(data)
        # `guard`, written out: this is the path of every message.
        try:
            stream.protocol.data_received(data)
        except BaseException as error:
            self._fail(stream, error)
        return True

    def _receive_eof(self, stream: Stream) -> None:
        stream.flags |= Flag.EOF_RECEIVED
        if not self.guard(stream, "eof_received"):
            stream.close()
