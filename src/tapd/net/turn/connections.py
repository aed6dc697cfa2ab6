"""The connections that a turn serves: how one begins, is joined to its protocol, and ends.

`Connections` is the part of `net.turn.turn.Turn` that knows streams one by one: their
sockets, their place in the vault and in the epoll set, their protocols. What
happened to them since the last commit is noted here and taken by `net.turn.commit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import select
import socket
from collections.abc import Callable, Iterable, Iterator
from threading import current_thread, get_ident
from typing import Any

from tapd import events
from tapd.errnos import GONE, NO_MEMORY, insist, lost
from tapd.errors import AuthorError, DescriptorLost, PeerError
from tapd.linux.sockets import read_cookie
from tapd.model.access.seal import Sealer
from tapd.model.application import Application
from tapd.model.durable.persistent import set_mark
from tapd.model.hosted import Hosted
from tapd.model.protocol import Protocol, Transport
from tapd.model.service import Service
from tapd.net import authors
from tapd.net.rate_limit import FAILURES_AT_ONCE
from tapd.net.streams import kernel
from tapd.net.streams.backlog import Backlog
from tapd.net.streams.building import build_protocol, tell_of_no_protocol
from tapd.net.streams.burst import Burst, close_last
from tapd.net.streams.crowd import Crowd
from tapd.net.streams.datagrams import DatagramPort
from tapd.net.streams.hosted import HostedTransport, Hosting
from tapd.net.streams.stream import NOT_WRITING, Stream
from tapd.net.turn.listener import Listener
from tapd.net.turn.outbound import find_connector
from tapd.net.turn.runtime import LiveRuntime
from tapd.store.journal import records
from tapd.systemd.guardian import Guardian
from tapd.systemd.vault import Vault

log = logging.getLogger(__name__)

_IN = select.EPOLLIN
_OUT = select.EPOLLOUT
_ONLY_GONE = select.EPOLLET
_WATCH_AGAIN_S = 1.0
_NO_ROOM = NO_MEMORY | {errno.ENOSPC}  # fs.epoll.max_user_watches, epoll(7)


class Connections(LiveRuntime):
    """The live connections, and what happened to them since the last commit.

    Attributes:
        application: whose they are.
        streams: by key.
        ports: the datagram ports.
        backlog: their unsent output.
        hosting: the hosted ones among them.
        crowd: how many of them come from one address.
        is_running: a turn is under way.
    """

    def __init__(
        self,
        application: Application,
        vault: Vault,
        sealer: Sealer,
        loop: asyncio.AbstractEventLoop,
        fault: Callable[[str], None],
        guardian: Guardian,
    ) -> None:
        super().__init__(loop, sealer)
        self.application = application
        self.vault = vault
        self.guardian = guardian
        self._fault = fault
        self.streams: dict[int, Stream] = {}
        self.ports: list[DatagramPort] = []
        self.backlog = Backlog()
        self.hosting = Hosting(loop, self.schedule)
        self.crowd = Crowd()
        self.is_running = False
        self._thread = get_ident()
        self._epoll = select.epoll()
        self._by_fd: dict[int, Stream | Listener | DatagramPort] = {}
        self._touched: list[Stream] = []
        self._bursts: dict[int, Burst] = {}  # of this turn, by the id of their tuple
        self._touched_ports: list[DatagramPort] = []
        self._opens: list[records.Open] = []
        self._closes: list[Stream] = []
        self._lost_keys: list[int] = []
        vault.on_sender = self.guardian.note_sender

    def schedule(self) -> None:
        """Have a turn in the next pass of the loop, if none is due; `net.turn.turn.Turn` does."""
        raise NotImplementedError

    def touch(self, stream: Stream) -> None:
        """Have this turn (or the next) look at `stream`.

        Raises:
            AuthorError: a thread that runs no turns wrote to it (or closed it, or paused it).
        """
        if get_ident() != self._thread:
            raise AuthorError(
                f"the transport of {stream.protocol!r} was used in the thread "
                f"{current_thread().name!r}: output belongs to a turn; use application."
                "run_blocking and write in what it calls, or application.call_soon_threadsafe"
            )
        if stream.touched or self._by_fd.get(stream.fd) is not stream:
            return  # known; or it ended: the journal knows it no more, its fd may be another's
        stream.touched = True
        self._touched.append(stream)
        if not self.is_running:
            self.schedule()

    def write_many(
        self, transports: Iterable[Transport], data: bytes, skip: Transport | None = None
    ) -> None:
        """Queue `data` on each of `transports` but `skip`, as `Stream.write` does.

        The same tuple as before, and nothing else written to them since: then it is one
        step, however many they are (see `net.streams.burst`).
        """
        if data.__class__ is not bytes or not data or get_ident() != self._thread:
            for transport in transports:
                if transport is not skip:
                    transport.write(data)  # which refuses what is to be refused
            return
        burst = self._bursts.get(id(transports))
        if burst is not None and burst.is_open and burst.skip is skip:
            burst.add(data)
        else:
            self._begin_burst(tuple(transports), data, skip)

    def _begin_burst(
        self, transports: tuple[Transport, ...], data: bytes, skip: Transport | None
    ) -> None:
        burst = Burst(transports, data, skip)
        by_fd, touched = self._by_fd, self._touched
        for stream in transports:
            if stream is skip:
                continue
            if stream.__class__ is not Stream:
                stream.write(data)
                burst.is_open = False  # such a transport has to see each piece
                continue
            if stream.flags and stream.flags & NOT_WRITING:
                stream.write(data)  # which tells who should know
                continue
            queued = stream.queued
            if queued:
                close_last(queued)
            queued.append(burst)
            if not stream.touched and by_fd.get(stream.fd) is stream:
                stream.touched = True
                touched.append(stream)
        # Known only now: one that broke off has not come to all of them. It keeps the
        # tuple, so that the id is no other's.
        self._bursts[id(transports)] = burst
        if touched and not self.is_running:
            self.schedule()

    def touch_port(self, port: DatagramPort) -> None:
        """Have this turn (or the next) look at the datagram port `port`."""
        if not port.touched:
            port.touched = True
            self._touched_ports.append(port)
            if not self.is_running:
                self.schedule()

    def may_receive(self, port: DatagramPort, identity: records.Identity) -> bool:
        """Whether `port` may run that datagram; `net.turn.turn.Turn` knows."""
        raise NotImplementedError

    def keep(self, key: int, sock: socket.socket) -> bool:
        """Put a new connection into the vault; return whether it outlives the process."""
        is_kept = self.vault.put(key, sock.fileno())
        self.guardian.note_safe(sock.fileno())
        return is_kept

    def protect_again(self, *, at_once: bool = False) -> None:
        """Try to protect those that could not be, or are no more; call it now and then.

        Args:
            at_once: it is the last chance: the next process is to go on with them.
        """
        if at_once:
            self.vault.try_at_once()
        for key, stream in self.streams.items():
            if self.vault.is_safe(key):
                stream.is_protected = True
            else:
                stream.is_protected = self.keep(key, stream.sock)
                if not stream.is_protected:
                    return  # nor will others be

    def release(self, key: int, sock: socket.socket) -> None:
        """Close `sock`, which was shut down, and have the vault forget it."""
        fd = sock.fileno()
        self.vault.forget(key)
        sock.close()
        self.guardian.note_closed(fd)

    def begin(
        self,
        sock: socket.socket,
        service: Service,
        key: int,
        *,
        protected: bool,
        protocol: Protocol | None = None,
    ) -> None:
        """Begin a new connection, of `protocol` or a new one. Takes over `sock`. In a turn only."""
        is_unix = sock.family == socket.AF_UNIX
        try:
            peer = insist(sock.getpeername)
            sent_base = 0 if is_unix else kernel.read_positions(sock).sent
        except OSError:
            self._refuse(sock, key)  # it was gone before we looked
            return
        try:
            begun = build_protocol(self, service, peer) if protocol is None else protocol
            begun.service = service
        except BaseException as error:
            tell_of_no_protocol(self, service, peer, error)
            self._refuse(sock, key)
            return
        state = records.StreamState(key, read_cookie(sock), is_unix, sent_base)
        stream = self.attach(sock, begun, state, protected=protected)
        self.crowd.add(stream, service, peer)
        self.application.connections[key] = begun
        self._opens.append((key, state.cookie, is_unix, sent_base))
        self.guard(stream, "connection_made", begun.transport)

    def living(self) -> Iterator[Stream]:
        """Yield the streams that have not ended; those that have are forgotten in the next turn."""
        by_fd = self._by_fd
        return (stream for stream in self.streams.values() if by_fd.get(stream.fd) is stream)

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
        if stream.fd in self._by_fd:
            raise DescriptorLost(
                f"the descriptor of {self._by_fd[stream.fd]} was closed by code in this process, "
                "and a new connection has its number; the next process goes on with both"
            )
        is_hosted = stream.is_hosted
        transport = HostedTransport(stream, protocol, self.hosting) if is_hosted else stream
        set_mark(protocol, "_v_transport", transport)
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
        self.crowd.remove(stream)
        self.backlog.forget(stream)
        if stream.interest >= 0:
            try:
                insist(lambda: self._epoll.unregister(stream.fd))
            except OSError as error:
                raise lost(stream, error.strerror) from error
            stream.interest = -1
        self.call(lambda: self._lose(stream, exc))

    def give_up(self, stream: Stream, error: OSError, doing: str) -> None:
        """End `stream` for what a call on its socket failed with.

        Raises:
            DescriptorLost: that says nothing of its peer.
        """
        kernel.check_socket(stream.sock, stream.cookie, error, stream)
        if error.errno not in GONE:
            self.tell(log, doing, f"{stream!r}: can't {doing}: {error}", level=logging.WARNING)
        self.end(stream, error)

    def _lose(self, stream: Stream, exc: Exception | None) -> None:
        self._closes.append(stream)
        self.lose(stream.protocol, stream.key, exc)
        stream.flags |= records.Flag.CLOSING  # who kept it writes to nobody

    def lose(self, protocol: Protocol, key: int, exc: Exception | None) -> None:
        """Tell `protocol` that its connection is gone, and forget it. In a turn only."""
        where = f"connection {key}: "
        authors.attempt(protocol, "connection_lost", exc, where=where)
        set_mark(protocol, "_v_transport", None)  # past a ``__setattr__`` of its author's
        authors.attempt(protocol, "connection_ended", where=where)
        self.application.connections.pop(key, None)
        if self.application.connectors:
            connector = find_connector(self.application, key)
            if connector is not None:
                connector.lost()

    def note_lost(self, key: int) -> None:
        """Have the journal forget the stream `key`, of which there is no socket any more."""
        self._lost_keys.append(key)

    def guard(self, stream: Stream, name: str, *args: Any) -> Any:
        """Call the method `name` of a protocol; what it raises closes that connection alone.

        It is looked up here as well: it may be a property.
        """
        try:
            return getattr(stream.protocol, name)(*args)
        except BaseException as error:
            self._fail(stream, error)
            return None

    def count(self, stream: Stream, name: str, *args: Any) -> int:
        """Return the number that a method of a protocol returns; 0 where it returns none."""
        number = self.guard(stream, name, *args)
        return number if type(number) is int and number > 0 else 0

    def go_on_reading(self, stream: Stream) -> None:
        """Have `stream`, at the end of a pause, run what its protocol kept back meanwhile."""
        self.guard(stream, "reading_resumed")

    def _fail(self, stream: Stream, error: BaseException) -> None:
        """Close `stream`, whose protocol raised `error` (SystemExit counts, too)."""
        kind = type(error).__name__
        if issubclass(type(error), PeerError):
            self.tell(log, "closed", f"connection {stream.key}: closed: {authors.text_of(error)}")
        else:
            name = type(stream.protocol).__qualname__
            self.tell(
                log, f"failed {name} {kind}",
                f"connection {stream.key}: {name} failed and is closed",
                level=logging.ERROR, at_once=FAILURES_AT_ONCE, error=error,
                extra=events.FAILED(TAPD_CONNECTION=stream.key, TAPD_PROTOCOL=name),
            )  # fmt: skip
        stream.close()

    # --- what a commit lets happen ------------------------------------------------

    def externalise(self, touched: list[Stream]) -> list[tuple[int, int]]:
        """Discard the input that was run, send the output.

        Returns:
            Key and position of the output sent to UNIX sockets, which don't tell.
        """
        sent: list[tuple[int, int]] = []
        by_fd = self._by_fd
        for stream in touched:
            if by_fd.get(stream.fd) is not stream:
                continue
            before = stream.sent
            try:
                ended = stream.externalise()
            except OSError as error:
                self.give_up(stream, error, "send")
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
            self.backlog.note(stream)
            if stream.backlog_changed:
                self.call(lambda stream=stream: self._tell_about_backlog(stream))  # type: ignore[misc]
        if self.backlog.is_exceeded:
            self.call(self._give_up_largest)
        return sent

    def externalise_ports(self, ports: list[DatagramPort]) -> list[tuple[str, int]]:
        """Send the datagrams, discard those that were run.

        Returns:
            Name and number sent of the ports of which nothing else tells it.
        """
        sent: list[tuple[str, int]] = []
        for port in ports:
            count = port.externalise()
            if count is not None:
                sent.append((port.name, count))
            interest = _IN if port.wants_input else _OUT
            if port.interest not in (interest, -1):
                self._epoll.modify(port.fd, interest)
                port.interest = interest
        return sent

    def close_ended(self, closes: list[Stream]) -> None:
        """Close the connections that ended, now that the journal knows them no more."""
        for stream in closes:
            self.streams.pop(stream.key, None)
            stream.shutdown()
            self.release(stream.key, stream.sock)

    def _tell_about_backlog(self, stream: Stream) -> None:
        if stream.backlog_exceeded:
            unsent_bytes = len(stream.pending)
            self.tell(
                log, "unread", f"{stream!r}: {unsent_bytes} bytes unsent, its peer does not read: "
                "closed", level=logging.WARNING,
            )  # fmt: skip
            stream.abort()
        elif stream.backlog_changed:
            self.guard(stream, stream.note_backlog())

    def _give_up_largest(self) -> None:
        """Abort streams, those with the most unsent first, until the rest is within the limit."""
        while self.backlog.is_exceeded:
            unsent = self.backlog.total
            stream = self.backlog.take_largest()
            log.warning(
                "%r: closed, with %d bytes unsent, the most of all: %d bytes unsent of all "
                "connections are too many (%d are allowed)",
                stream, len(stream.pending), unsent, self.backlog.bytes_max,
                extra={"TAPD_CONNECTION": stream.key},
            )  # fmt: skip
            stream.abort()

    async def drain(self) -> int:
        """Give hosted connections time to become idle; return how many stay busy."""
        streams = [each for each in self.streams.values() if isinstance(each.protocol, Hosted)]
        return await self.hosting.drain(streams) if streams else 0

    def _update_interest(self, stream: Stream) -> None:
        interest = _IN if stream.wants_input else 0
        if stream.pending:
            interest |= _OUT
        interest = interest or _ONLY_GONE
        if interest != stream.interest:
            try:
                if stream.interest < 0:
                    self._epoll.register(stream.fd, interest)
                else:
                    self._epoll.modify(stream.fd, interest)
            except OSError as error:
                self._watch_later(stream, error)
                return
            stream.interest = interest

    def _watch_later(self, stream: Stream, error: OSError) -> None:
        """Tell epoll of `stream` once there is room for it.

        Raises:
            DescriptorLost: `error` is of another kind.
        """
        if error.errno not in _NO_ROOM:
            raise lost(stream, error.strerror) from error
        text = f"{stream!r}: can't be looked at, and waits: {error.strerror}"
        self.tell(log, "unwatchable", text)
        self._loop.call_later(_WATCH_AGAIN_S, stream.touch)
