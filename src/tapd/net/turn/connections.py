"""The connections that a turn serves: how each begins, is read, sends and ends."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

from tapd.errnos import GONE, insist
from tapd.errors import DescriptorLost
from tapd.linux.sockets import read_cookie
from tapd.model.application import Application
from tapd.model.connector import Connector
from tapd.model.durable.persistent import set_mark
from tapd.model.hosted import Hosted
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.net import authors
from tapd.net.rate_limit import Tellings
from tapd.net.streams import kernel
from tapd.net.streams.backlog import Backlog
from tapd.net.streams.building import build_protocol, tell_of_no_protocol
from tapd.net.streams.crowd import Crowd
from tapd.net.streams.guard import Guard
from tapd.net.streams.hosted import HostedTransport, Hosting
from tapd.net.streams.stream import Stream
from tapd.net.turn import sockets as epoll
from tapd.net.turn.pending import Pending
from tapd.net.turn.schedule import Schedule
from tapd.net.turn.sockets import Sockets
from tapd.store.journal import records
from tapd.systemd.guardian import Guardian
from tapd.systemd.vault import Vault

_log = logging.getLogger(__name__)

_IN = epoll.IN
_OUT = epoll.OUT
_ERROR = epoll.ERROR
_GONE = epoll.GONE


class Connections:
    """The live connections of an application.

    Owns the streams, and keeps a duplicate of each of their sockets outside of this process,
    in the vault, of which it tells the guardian.

    Attributes:
        application: whose they are.
        vault: keeps their sockets for the next process.
        guardian: knows which sockets are in it.
        streams: by key.
        backlog: their unsent output.
        hosting: the hosted ones among them.
        crowd: counts them by address.
    """

    def __init__(
        self,
        application: Application,
        *,
        vault: Vault,
        guardian: Guardian,
        schedule: Schedule,
        sockets: Sockets,
        pending: Pending,
        guard: Guard,
        tellings: Tellings,
    ) -> None:
        self.application = application
        self.vault = vault
        self.guardian = guardian
        self.streams: dict[int, Stream] = {}
        self.backlog = Backlog()
        self.hosting = Hosting(schedule.loop, schedule.wake)
        self.crowd = Crowd()
        self._schedule = schedule
        self._sockets = sockets
        self._pending = pending
        self._guard = guard
        self._tellings = tellings
        vault.on_sender = guardian.note_sender

    def keep(self, key: int, sock: socket.socket) -> bool:
        """Put a new connection into the vault; return whether that worked."""
        is_kept = self.vault.put(key, sock.fileno())
        self.guardian.note_safe(sock.fileno())
        return is_kept

    def protect_again(self, *, at_once: bool = False) -> None:
        """Retry to put those into the vault that are not in it; call it now and then.

        Args:
            at_once: do not wait for the next retry, as the process is about to end.
        """
        if at_once:
            self.vault.try_at_once()
        for key, stream in self.streams.items():
            if self.vault.is_safe(key):
                stream.is_protected = True
            else:
                stream.is_protected = self.keep(key, stream.sock)
                if not stream.is_protected:
                    return  # the others would fail, too

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
            begun = self._build(service, peer) if protocol is None else protocol
            begun.service = service
        except BaseException as error:
            tell_of_no_protocol(self._tellings, service, peer, error)
            self._refuse(sock, key)
            return
        state = records.StreamState(key, read_cookie(sock), is_unix, sent_base)
        stream = self.attach(sock, begun, state, protected=protected)
        self.crowd.add(stream, service, peer)
        self.application.connections[key] = begun
        self._pending.opens.append((key, state.cookie, is_unix, sent_base))
        self._guard.call(stream, "connection_made", begun.transport)

    def _build(self, service: Service, peer: Any) -> Protocol:
        why_full = self.crowd.why_full(service, peer, self._living())
        return build_protocol(self._tellings, service, peer, why_full)

    def _living(self) -> Iterator[Stream]:
        """Yield the streams that have not ended; ended ones are removed in the next turn."""
        by_fd = self._sockets.by_fd
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
        stream = Stream(self._pending, sock, protocol, state)
        stream.is_protected = protected
        by_fd = self._sockets.by_fd
        if stream.fd in by_fd:
            raise DescriptorLost(
                f"the descriptor of {by_fd[stream.fd]} was closed by code in this process, "
                "and a new connection has its number; the next process goes on with both"
            )
        is_hosted = stream.is_hosted
        transport = HostedTransport(stream, protocol, self.hosting) if is_hosted else stream
        set_mark(protocol, "_v_transport", transport)
        self.streams[state.key] = stream
        by_fd[stream.fd] = stream
        stream.touched = True
        self._pending.touched.append(stream)
        return stream

    # --- reading ------------------------------------------------------------------

    def run_stream(self, stream: Stream, event: int) -> None:
        """Handle an epoll event of `stream`."""
        if event & _OUT and not stream.touched:
            stream.touched = True
            self._pending.touched.append(stream)
        if stream.wants_input:
            if event & (_IN | _GONE):
                self.receive(stream)
        elif stream.flags & records.Flag.FROZEN:
            pass  # the input before its end is run first: soon, or by the next process
        elif event & _GONE and (
            # Closed by both sides, or by a UNIX peer: input before that is read after the pause.
            not stream.flags & records.Flag.PAUSED or (event & _ERROR and not stream.is_unix)
        ):
            self.end(stream, None if stream.is_closing() else ConnectionResetError())

    def receive(self, stream: Stream, limit: int | None = None) -> bool:
        """Give the protocol of `stream` its input; return whether there was any."""
        try:
            data = stream.peek(limit)
        except OSError as error:
            self.give_up(stream, error, "read")
            return False
        if data is None:
            return False
        if not stream.touched:
            stream.touched = True
            self._pending.touched.append(stream)
        if not data:
            self._receive_eof(stream)
            return False
        stream.peeked = len(data)
        # `Guard.call`, written out: this is the path of every message.
        try:
            stream.protocol.data_received(data)
        except BaseException as error:
            self._guard.fail(stream, error)
        return True

    def _receive_eof(self, stream: Stream) -> None:
        stream.flags |= records.Flag.EOF_RECEIVED
        if not self._guard.call(stream, "eof_received"):
            stream.close()

    # --- the end ------------------------------------------------------------------

    def end(self, stream: Stream, exc: Exception | None) -> None:
        """End `stream`: its protocol is told in the next turn, then it is closed."""
        if not self._sockets.remove(stream):
            return
        self.crowd.remove(stream)
        self.backlog.forget(stream)
        self._schedule.call(lambda: self._lose(stream, exc))

    def give_up(self, stream: Stream, error: OSError, doing: str) -> None:
        """End `stream` because a call on its socket failed.

        Raises:
            DescriptorLost: its descriptor is at fault, and not the peer.
        """
        kernel.check_socket(stream.sock, stream.cookie, error, stream)
        if error.errno not in GONE:
            self._tellings.tell(
                _log, doing, f"{stream!r}: can't {doing}: {error}", level=logging.WARNING
            )
        self.end(stream, error)

    def _lose(self, stream: Stream, exc: Exception | None) -> None:
        self._pending.closes.append(stream)
        self.lose(stream.protocol, stream.key, exc)
        stream.flags |= records.Flag.CLOSING  # code that kept the transport writes to no peer

    def lose(self, protocol: Protocol, key: int, exc: Exception | None) -> None:
        """Call `connection_lost` of `protocol`, and remove it. In a turn only."""
        where = f"connection {key}: "
        authors.attempt(protocol, "connection_lost", exc, where=where)
        set_mark(protocol, "_v_transport", None)  # bypasses an author's ``__setattr__``
        authors.attempt(protocol, "connection_ended", where=where)
        self.application.connections.pop(key, None)
        if self.application.connectors:
            connector = find_connector(self.application, key)
            if connector is not None:
                connector.lost()

    # --- what a commit lets happen ------------------------------------------------

    def externalise(self, touched: list[Stream]) -> list[tuple[int, int]]:
        """Discard the input that was run, send the output.

        Returns:
            Key and position of the output sent to UNIX sockets, which have no counters.
        """
        sent: list[tuple[int, int]] = []
        by_fd = self._sockets.by_fd
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
            self._sockets.update(stream)
            self.backlog.note(stream)
            if stream.backlog_changed:
                self._schedule.call(lambda stream=stream: self._tell_about_backlog(stream))  # type: ignore[misc]
        if self.backlog.is_exceeded:
            self._schedule.call(self._give_up_largest)
        return sent

    def close_ended(self, closes: list[Stream]) -> None:
        """Close the connections that ended, now that this is committed."""
        for stream in closes:
            self.streams.pop(stream.key, None)
            stream.shutdown()
            self.release(stream.key, stream.sock)

    def _tell_about_backlog(self, stream: Stream) -> None:
        if stream.backlog_exceeded:
            unsent_bytes = len(stream.pending)
            self._tellings.tell(
                _log, "unread", f"{stream!r}: {unsent_bytes} bytes unsent, its peer does not read: "
                "closed", level=logging.WARNING,
            )  # fmt: skip
            stream.abort()
        elif stream.backlog_changed:
            self._guard.call(stream, stream.note_backlog())

    def _give_up_largest(self) -> None:
        """Abort streams, those with the most unsent first, until the rest is within the limit."""
        while self.backlog.is_exceeded:
            unsent = self.backlog.total
            stream = self.backlog.take_largest()
            _log.warning(
                "%r: closed, with %d bytes unsent, the most of all: %d bytes unsent of all "
                "connections are too many (%d are allowed)",
                stream, len(stream.pending), unsent, self.backlog.bytes_max,
                extra={"TAPD_CONNECTION": stream.key},
            )  # fmt: skip
            stream.abort()

    async def drain(self) -> int:
        """Give hosted connections time to become idle; return how many stayed busy."""
        streams = [each for each in self.streams.values() if isinstance(each.protocol, Hosted)]
        return await self.hosting.drain(streams) if streams else 0


def find_connector(application: Application, key: int) -> Connector | None:
    """Return the connector whose connection has `key`."""
    connectors: list[Connector] = list(application.connectors.values())
    return next((entry for entry in connectors if entry.connection_key == key), None)
