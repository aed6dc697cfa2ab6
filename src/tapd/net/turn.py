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
everything in the record, and the next one completes it (`net.recovery`).

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
from collections.abc import Callable
from typing import Any
from typing import Protocol as Protocol_

from tapd.errors import PeerError, StateUnwritable
from tapd.image.jar import Jar
from tapd.image.loss import Loss
from tapd.model.application import Application
from tapd.model.connector import Connector
from tapd.model.protocol import Protocol
from tapd.model.seal import Sealer
from tapd.model.service import Service
from tapd.model.timer import Timer
from tapd.net import kernel, records
from tapd.net.careful import Careful
from tapd.net.listener import Listener
from tapd.net.outbound import begin_connecting, find_connector
from tapd.net.runtime import LiveRuntime
from tapd.net.stream import Stream
from tapd.net.timers import Timers
from tapd.systemd.guardian import Guardian
from tapd.systemd.vault import Vault

log = logging.getLogger(__name__)

EVENTS_PER_TURN = 1024
RETRY_S = 1.0

_IN = select.EPOLLIN
_OUT = select.EPOLLOUT
_GONE = select.EPOLLHUP | select.EPOLLERR
_ONLY_GONE = select.EPOLLET


class Journal(Protocol_):
    """What a turn needs of a journal; `image.journal.JournalWriter` has it."""

    size: int

    def append(self, payload: bytes) -> None:
        """Append one record, or raise `StateUnwritable`."""

    def sync(self) -> None:
        """Have all records reach the disk, or raise `StateUnwritable`."""

    def close(self) -> None:
        """Close it."""


def _no_fault(_name: str) -> None:
    """Fault points do nothing outside of tests."""


class Turn(LiveRuntime):
    """Runs an application's turns; also its `model.application.Runtime`.

    Attributes:
        streams: the live connections, by key.
        turns: how many turns committed something.
        is_stalled: the journal can't be written; nothing is run or sent.
        on_stall: called with the error when that begins, and with None when it ends.
        on_broken: called with what no turn should raise. Input was run and not
            committed, so this process can't go on: the next one can.
        sync_always: have the disk confirm each record before anything leaves.
    """

    def __init__(
        self,
        application: Application,
        jar: Jar,
        vault: Vault,
        sealer: Sealer,
        loop: asyncio.AbstractEventLoop,
        fault: Callable[[str], None] = _no_fault,
        guardian: Guardian | None = None,
    ) -> None:
        super().__init__(loop, sealer)
        self.application = application
        self.jar = jar
        self.vault = vault
        self.guardian = guardian or Guardian()
        self._fault = fault
        self.journal: Journal | None = None
        self.streams: dict[int, Stream] = {}
        self.listeners: list[Listener] = []
        self.timers = Timers(application, self.schedule, loop)
        self.careful: Careful | None = None
        self.turns = 0
        self.is_stalled = False
        self.on_stall: Callable[[StateUnwritable | None], None] = lambda _error: None
        self.on_broken: Callable[[Exception], None] = lambda _error: None
        self.sync_always = False
        self._epoll = select.epoll()
        self._by_fd: dict[int, Stream | Listener] = {}
        self._touched: list[Stream] = []
        self._calls: collections.deque[Callable[[], None]] = collections.deque()
        self._opens: list[records.Open] = []
        self._closes: list[Stream] = []
        self._lost_keys: list[int] = []
        self._told_losses: set[Loss] = set()
        self._is_running = False
        self._is_scheduled = False
        self._thread = threading.get_ident()
        self._is_open = False
        jar.on_change = self.schedule
        vault.on_sender = self.guardian.note_sender

    # --- what the application asks of it (the rest is in `net.runtime`) ---------

    def timer_added(self, timer: Timer) -> None:
        """Take note of a new timer."""
        self.timers.add(timer)

    def connector_added(self, connector: Connector) -> None:
        """Make the connection of `connector`."""
        begin_connecting(self, connector)

    # --- what others ask of the turn ----------------------------------------

    def call(self, function: Callable[[], None]) -> None:
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
        if not self._is_scheduled and not self._is_running and self._is_open:
            self._is_scheduled = True
            self._loop.call_soon(self.run)

    def touch(self, stream: Stream) -> None:
        """Have this turn (or the next) look at `stream`."""
        if self._by_fd.get(stream.fd) is not stream:
            return  # it ended: the journal knows it no more, and its fd may be another's
        stream.touched = True
        self._touched.append(stream)
        self.schedule()

    def open(self) -> None:
        """Begin to read the sockets."""
        self._is_open = True
        if not self.is_stalled:  # the first commit may have found the disk full
            self._loop.add_reader(self._epoll.fileno(), self.run)
        self.schedule()

    def close(self) -> None:
        """Stop for good: no turn runs any more. Connections are left as they are."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._epoll.fileno())
        self.timers.close()
        self._epoll.close()
        self.cancel_tasks()

    def listen(self, listener: Listener) -> None:
        """Accept connections at `listener` from now on."""
        self.listeners.append(listener)
        self._by_fd[listener.fd] = listener
        self._epoll.register(listener.fd, _IN)

    def pause_listening(self, listener: Listener, pause_s: float) -> None:
        """Accept nothing for `pause_s` seconds; clients wait in the backlog."""
        self._epoll.unregister(listener.fd)

        def again() -> None:
            if self._by_fd.get(listener.fd) is listener and not self._epoll.closed:
                self._epoll.register(listener.fd, _IN)

        self._loop.call_later(pause_s, again)

    def finish(self) -> None:
        """Run the last turn: services stop. Between turns only."""
        self._is_running = True
        try:
            for service in reversed(list(self.application.services.values())):
                try:
                    service.stop()
                except Exception:
                    log.exception("%r failed in stop", service)
            if not self.is_stalled:
                self.commit()
        finally:
            self._is_running = False

    def stop_listening(self) -> None:
        """Accept no more; who connects now waits in the backlog for the next process."""
        for listener in self.listeners:
            self._by_fd.pop(listener.fd, None)
            with contextlib.suppress(FileNotFoundError):  # it pauses
                self._epoll.unregister(listener.fd)
        self.listeners.clear()

    @property
    def is_busy(self) -> bool:
        """Whether the next turn has something to do, apart from what sockets bring."""
        return bool(self._calls or self._touched or self.jar.has_changes)

    # --- connections ------------------------------------------------------------

    def keep(self, key: int, sock: socket.socket) -> bool:
        """Put a new connection into the vault; return whether it outlives the process."""
        is_kept = self.vault.put(key, sock.fileno())
        self.guardian.note_safe(sock.fileno())
        return is_kept

    def release(self, key: int, sock: socket.socket) -> None:
        """Close `sock`, which was shut down, and have the vault forget it."""
        fd = sock.fileno()
        self.vault.forget(key)
        sock.close()
        self.guardian.note_closed(fd)

    def begin(self, sock: socket.socket, service: Service, key: int, *, protected: bool) -> None:
        """Begin a new connection. Takes over `sock`. In a turn only."""
        is_unix = sock.family == socket.AF_UNIX
        try:
            peer = sock.getpeername()
            sent_base = 0 if is_unix else kernel.read_positions(sock).sent
            protocol = service.build_protocol(peer)
            protocol.service = service
        except PeerError as refusal:
            log.info("refused a connection to %r: %s", service, refusal)
            self._refuse(sock, key)
            return
        except OSError:
            self._refuse(sock, key)  # it was gone before we looked
            return
        except Exception:
            log.exception("%r could not build a protocol for a new connection", service)
            self._refuse(sock, key)
            return
        state = records.StreamState(key, kernel.read_cookie(sock), is_unix, sent_base)
        stream = self.attach(sock, protocol, state, protected=protected)
        self.application.connections[key] = protocol
        self._opens.append((key, state.cookie, is_unix, sent_base))
        self.guard(stream, lambda: protocol.connection_made(stream))

    def _refuse(self, sock: socket.socket, key: int) -> None:
        kernel.drain_input(sock)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        self.release(key, sock)

    def attach(
        self,
        sock: socket.socket,
        protocol: Protocol,
        state: records.StreamState,
        *,
        protected: bool,
    ) -> Stream:
        """Join a socket and a protocol. Takes over `sock`."""
        sock.setblocking(False)
        self.guardian.note_safe(sock.fileno())
        stream = Stream(self, sock, protocol, state)
        stream.is_protected = protected
        protocol._v_transport = stream
        self.streams[state.key] = stream
        self._by_fd[stream.fd] = stream
        stream.touched = True
        self._touched.append(stream)
        return stream

    def end(self, stream: Stream, exc: Exception | None) -> None:
        """End `stream`: its protocol is told in the next turn, then it is closed."""
        if self._by_fd.get(stream.fd) is not stream:
            return
        del self._by_fd[stream.fd]
        if stream.interest >= 0:
            self._epoll.unregister(stream.fd)
            stream.interest = -1
        self.call(lambda: self._lose(stream, exc))

    def _lose(self, stream: Stream, exc: Exception | None) -> None:
        self._closes.append(stream)
        self.lose(stream.protocol, stream.key, exc)
        stream.flags |= records.Flag.CLOSING  # who kept it writes to nobody

    def lose(self, protocol: Protocol, key: int, exc: Exception | None) -> None:
        """Tell `protocol` that its connection is gone, and forget it. In a turn only."""
        try:
            protocol.connection_lost(exc)
        except Exception:
            log.exception("connection %d: %r failed in connection_lost", key, protocol)
        protocol._v_transport = None
        self.application.connections.pop(key, None)
        if self.application.connectors:
            connector = find_connector(self, key)
            if connector is not None:
                connector.lost()

    def note_lost(self, key: int) -> None:
        """Have the journal forget the stream `key`, of which there is no socket any more."""
        self._lost_keys.append(key)

    def guard(self, stream: Stream, handler: Callable[[], object]) -> Any:
        """Run a protocol's handler; an exception closes that connection and no other."""
        try:
            return handler()
        except BaseException as error:
            self._fail(stream, error)
            return None

    def _fail(self, stream: Stream, error: BaseException) -> None:
        """Close `stream`, whose protocol raised `error` (SystemExit counts, too)."""
        log.error(
            "connection %d: %s failed and is closed",
            stream.key,
            type(stream.protocol).__qualname__,
            exc_info=error,
            extra={"TAPD_CONNECTION": stream.key},
        )
        stream.close()

    # --- one turn -----------------------------------------------------------------

    def run(self) -> None:
        """Run one turn."""
        self._is_scheduled = False
        if self.is_stalled or not self._is_open:
            return
        self._is_running = True
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
                else:
                    self._accept(ready)  # type: ignore[arg-type]  # a Listener
            self._fault("turn: run")
            self.commit()
        except Exception as error:
            self.on_broken(error)
            raise
        finally:
            self._is_running = False
        if self.is_busy:
            self.schedule()

    def _accept(self, listener: Listener) -> None:
        """Accept at `listener`; what goes wrong there stops no turn in its midst."""
        try:
            listener.accept(self)
        except Exception:
            log.exception("can't accept at %s", listener)

    def _run_calls(self) -> None:
        for timer in self.timers.take_due(self.now_s()):
            self._run_timer(timer)
        for _ in range(len(self._calls)):
            call = self._calls.popleft()
            try:
                call()
            except BaseException as error:  # a SystemExit would leave the turn half done
                log.error("%r failed", call, exc_info=error)

    def _run_timer(self, timer: Timer) -> None:
        if self.careful is not None and not self.careful.may_run_timer(self, timer):
            return
        try:
            timer.function(*timer.args)
        except BaseException as error:
            log.error("%r failed", timer, exc_info=error)
        self.timers.touch_namespaces()
        if self.careful is not None:
            self.commit()  # so that what runs next is not blamed on it, nor it on that

    def _run_stream(self, stream: Stream, event: int) -> None:
        if event & _OUT and not stream.touched:
            stream.touched = True
            self._touched.append(stream)
        if stream.wants_input:
            if event & (_IN | _GONE):
                self.receive(stream)
        elif event & _GONE and not (stream.is_unix and stream.flags & records.Flag.PAUSED):
            self.end(stream, None if stream.is_closing() else ConnectionResetError())

    def receive(self, stream: Stream, limit: int | None = None) -> bool:
        """Give `stream` its input; return whether there was any."""
        try:
            data = stream.peek() if limit is None else stream.peek(limit)
        except OSError as error:
            if error.errno not in kernel.RESET_ERRNOS:
                log.warning("%r: can't read: %s", stream, error)
            self.end(stream, error)
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
        stream.flags |= records.Flag.EOF_RECEIVED
        if not self.guard(stream, stream.protocol.eof_received):
            stream.close()

    def commit(self) -> None:
        """Append the record of what was run, then let it leave the process.

        While an earlier record can't be written this does nothing: what changes
        then waits for a turn after it, so that records stay in order.
        """
        if self.is_stalled:
            return
        touched, self._touched = self._touched, []
        moves = [
            stream.move()
            for stream in touched
            if stream.queued or stream.peeked or stream.flags != stream.committed_flags
        ]
        changes = self.jar.commit()
        if self.jar.losses:
            self._tell_losses()
        opens, self._opens = self._opens, []
        closes, self._closes = self._closes, []
        lost_keys, self._lost_keys = self._lost_keys, []
        payload = None
        if moves or opens or closes or lost_keys or changes:
            lost_keys += [stream.key for stream in closes]
            payload = records.render_turn(opens, moves, lost_keys, changes)
        self._append(payload, touched, closes)

    def _tell_losses(self) -> None:
        """Log what can't be saved: each thing once, not at every turn that meets it."""
        losses = set(self.jar.losses)
        for loss in losses - self._told_losses:
            log.warning("not saved: %s (%s): %s", loss.path, loss.type_name, loss.reason)
        self._told_losses = (self._told_losses | losses) if len(losses) < 1000 else losses

    def _append(self, payload: bytes | None, touched: list[Stream], closes: list[Stream]) -> None:
        if payload is not None:
            assert self.journal is not None, "a turn before there is a journal"
            try:
                self.journal.append(payload)
                if self.sync_always:
                    self.journal.sync()
            except StateUnwritable as error:
                self._stall(error, touched, lambda: self._append(payload, touched, closes))
                return
            self.turns += 1
        if self.is_stalled:
            self.is_stalled = False
            self.on_stall(None)
        self._fault("turn: committed")
        self._externalise(touched, closes)

    def _stall(
        self, error: StateUnwritable, touched: list[Stream], retry: Callable[[], None]
    ) -> None:
        """Run and send nothing until the journal can be written; clients see a pause."""
        if not self.is_stalled:
            self.is_stalled = True
            for stream in touched:
                stream.touched = False  # what is written meanwhile is for a later turn
            log.error("%s", error)
            self.on_stall(error)
            self._loop.remove_reader(self._epoll.fileno())

        def again() -> None:
            if self._is_open:
                retry()
                if not self.is_stalled:
                    self._loop.add_reader(self._epoll.fileno(), self.run)
                    self.schedule()

        self._loop.call_later(RETRY_S, again)

    def _externalise(self, touched: list[Stream], closes: list[Stream]) -> None:
        sent: list[tuple[int, int]] = []
        for stream in touched:
            stream.touched = False
            if self._by_fd.get(stream.fd) is not stream:
                continue
            before = stream.sent
            try:
                ended = stream.externalise()
            except OSError as error:
                if error.errno not in kernel.RESET_ERRNOS:
                    log.warning("%r: can't send: %s", stream, error)
                self.end(stream, error)
                continue
            if stream.is_unix and stream.sent != before:
                sent.append((stream.key, stream.sent))
            if ended:
                self.end(stream, None)
                continue
            if stream.interest == _IN and not (
                stream.pending or stream.flags or stream.wants_pause
            ):
                continue  # as mostly: all was sent, and more may come
            self._update_interest(stream)
            if stream.backlog_changed:
                self.call(lambda stream=stream: self._tell_about_backlog(stream))  # type: ignore[misc]
        self._fault("turn: externalised")
        for stream in closes:
            self.streams.pop(stream.key, None)
            stream.shutdown()
            self.release(stream.key, stream.sock)
        if sent and self.journal is not None:
            try:
                self.journal.append(records.render_sent(sent))
            except StateUnwritable as error:
                log.warning("%s (UNIX clients may see output twice after a kill)", error)

    def _tell_about_backlog(self, stream: Stream) -> None:
        if stream.backlog_exceeded:
            log.warning(
                "%r: %d bytes unsent, its peer does not read: closed", stream, len(stream.pending)
            )
            stream.abort()
        elif stream.backlog_changed:
            self.guard(stream, stream.tell_about_backlog)

    def _update_interest(self, stream: Stream) -> None:
        interest = _IN if stream.wants_input else 0
        if stream.pending:
            interest |= _OUT
        interest = interest or _ONLY_GONE
        if interest != stream.interest:
            if stream.interest < 0:
                self._epoll.register(stream.fd, interest)
            else:
                self._epoll.modify(stream.fd, interest)
            stream.interest = interest

    # --- generations ----------------------------------------------------------------

    def change_journal(self, journal: Journal, boot_id: str, *, clean: bool) -> None:
        """Commit what is due, then go on in `journal`, which begins with the streams.

        Between turns only. The old journal is closed.

        Raises:
            StateUnwritable: the old or the new one can't be written; the old one stays.
        """
        self.commit()
        if self.is_stalled:
            # Its record is written later, and to say here what it says would say it twice.
            raise StateUnwritable("the last turn could not be committed; the journal stays")
        states = [stream.state() for stream in self.streams.values()]
        level = self.careful.level if self.careful is not None else 0
        journal.append(records.render_base(boot_id, level, states, clean=clean))
        old, self.journal = self.journal, journal
        if old is not None:
            old.close()
