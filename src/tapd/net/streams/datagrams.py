"""Datagram ports: each input is run exactly once, each answer is sent at least once.

The turn (see `net.turn.turn`) treats datagrams as it treats streams: a datagram is
peeked and stays in the kernel's queue, its protocol runs, the record is committed,
and then the answers are sent and the datagram is discarded. After a kill, the next
process finds out as follows how far that got:

* A datagram's *identity* is the nanosecond at which the kernel received it
  (SO_TIMESTAMPNS, socket(7)), with its sender and a digest. It is the same at
  every peek, in every process, and a retransmission has another one. A record
  lists the identities of the datagrams that were run, so those that are still at the
  head of the queue are recognised, and discarded without being run.
* Datagrams are discarded one by one, each after its answers were sent. So those
  that are gone from the queue were answered, and only the answers of the first that
  remains can have been sent at the instant of the kill: they are sent again. The
  kernel does not count sent datagrams, so nothing better can be promised.

Several datagrams are peeked in one turn, one behind the other (SO_PEEK_OFF). Such
a peek skips an empty datagram that was peeked before, so an empty datagram ends a
batch, and the first datagrams after a start are peeked at the head only.

**Ownership.** The socket belongs to the service manager; it is never closed here.
"""

from __future__ import annotations

import collections
import errno
import hashlib
import logging
import socket
from collections.abc import Callable
from typing import Any
from typing import Protocol as TypingProtocol

from tapd import events
from tapd.errnos import AGAIN, insist
from tapd.errors import AuthorError
from tapd.linux.sockets import SO_PEEK_OFF, SO_TIMESTAMPNS, TIMESPEC, read_cookie
from tapd.model.application import Port
from tapd.model.datagram import DatagramProtocol
from tapd.model.durable.persistent import set_mark
from tapd.net import authors
from tapd.net.rate_limit import FAILURES_AT_ONCE
from tapd.net.streams import kernel
from tapd.store.journal.records import Batch, Datagram, Identity, PortMove, PortState
from tapd.systemd.inherited import describe_listener

_log = logging.getLogger(__name__)

DATAGRAMS_PER_TURN = 64
BATCH_BYTES = 1 << 20
DATAGRAM_BYTES_MAX = 1 << 18
"""More than UDP can carry. A larger UNIX datagram is dropped."""

_ANCILLARY_BYTES = socket.CMSG_SPACE(TIMESPEC.size)
_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
_buffer = bytearray(DATAGRAM_BYTES_MAX)
_view = memoryview(_buffer)


class PortTurn(TypingProtocol):
    """The turn's interface for datagram ports; `net.turn.ports.Ports` implements it."""

    @property
    def call(self) -> Callable[[Callable[[], object]], None]:
        """Run a function in the next turn."""

    @property
    def tell(self) -> Callable[..., None]:
        """Log a line, rate limited: `net.rate_limit.Tellings.tell`."""

    @property
    def may_receive(self) -> Callable[[DatagramPort, Identity], bool]:
        """Whether a port may run that datagram: not if it is poison input."""

    def touch_port(self, port: DatagramPort) -> None:
        """Have this turn (or the next) look at `port`."""


class DatagramPort:
    """One datagram socket and its protocol; also the protocol's transport.

    Attributes:
        name: its bound address, by which the journal knows it.
        interest: its epoll event mask; -1: it is not registered.
        was_empty: the queue was empty once, so nothing waits that the process before peeked.
    """

    def __init__(self, turn: PortTurn, sock: socket.socket, port: Port) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock = sock
        self._cookie = read_cookie(sock)
        self.fd = sock.fileno()
        self.port = port
        self.name = describe_listener(sock)
        self.interest = -1
        self.was_empty = False
        self.touched = False
        self._new: DatagramProtocol | None = None  # built, before `connection_made`
        self._turn = turn
        self._is_unix = sock.family == socket.AF_UNIX
        self._queued: list[Datagram] = []  # written in this turn
        self._peeked: Batch = []  # run in this turn
        self._batch: collections.deque[tuple[Identity, int]] = collections.deque()
        self._pending: collections.deque[Datagram] = collections.deque()
        self._sent = 0
        self._single = DATAGRAMS_PER_TURN  # how many are still peeked one by one

    def __str__(self) -> str:
        return self.name

    @property
    def protocol(self) -> DatagramProtocol:
        """The protocol; it exists once the port is served."""
        assert self.port.protocol is not None, "a port that is not served yet"
        return self.port.protocol

    # --- what the protocol may do (asyncio.DatagramTransport) -----------------

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any) -> None:
        """Queue one datagram to `addr`; it is sent when the turn is committed."""
        self._queued.append((bytes(data), addr))
        self._turn.touch_port(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``sockname`` or ``socket``; else `default`."""
        match name:
            case "sockname":
                return self.sock.getsockname()
            case "socket":
                return self.sock
        return default

    # --- a start ------------------------------------------------------------------

    def adopt(self, state: PortState, *, is_same_socket: bool) -> int:
        """Find out how much of what the process before committed was sent and discarded.

        Args:
            state: the journal's state of a socket of this name.
            is_same_socket: it may be the same socket; after a reboot it is not, and unsent
                output is dropped.

        Returns:
            How many datagrams were sent or dropped so far, for the journal.
        """
        batch = state.batch if is_same_socket else []
        head = self._peek(is_first=True, is_single=True)
        identities = [identity for identity, _end in batch]
        done = len(identities)
        if head is not None and head[1] in identities:
            done = identities.index(head[1])
        answered = max(batch[done - 1][1] if done else 0, state.sent)
        self._pending.extend(state.pending[answered - state.sent :])
        self._sent = answered
        if not is_same_socket:
            self._sent += len(self._pending)
            self._pending.clear()
        self._batch.extend(batch[done:])
        if self._batch or self._pending:
            self._turn.touch_port(self)
        return self._sent

    def build(self) -> None:
        """Have the service build the protocol, once in the port's life.

        Raises:
            AuthorError: it builds no datagram protocol, or one of another port.
        """
        service = self.port.service
        if self.port.protocol is not None:
            return
        built: Any = service.build_datagram_protocol(self.port.address)
        name = f"{type(service).__qualname__}.build_datagram_protocol"
        if not isinstance(built, DatagramProtocol):
            raise AuthorError(
                f"{name} returned {built!r}; return an object of a class derived from "
                "tapd.DatagramProtocol"
            )
        if built.is_connected:
            raise AuthorError(
                f"{name} returned the protocol of another port; make a new one for each"
            )
        built.service = service
        built.transport = self
        self._new = built

    def resume(self) -> None:
        """Begin to serve, or go on, in the first turn; `build` comes before."""
        if self._new is not None:
            self.port.protocol, self._new = self._new, None
            authors.attempt(self.protocol, "connection_made", self, where=f"{self}: ")
        else:
            set_mark(self.protocol, "_v_transport", self)
            authors.attempt(self.protocol, "connection_resumed", where=f"{self}: ")

    # --- what the turn does ---------------------------------------------------

    @property
    def wants_input(self) -> bool:
        """Whether the turn should read now: all that was run has been answered."""
        return not self._batch and not self._pending

    def look_whether_empty(self) -> None:
        """Note whether the queue is empty; between batches only."""
        if not self.was_empty and self.wants_input:
            self.was_empty = self._peek(is_first=True, is_single=True) is None

    def receive(self, limit: int = DATAGRAMS_PER_TURN) -> None:
        """Give the protocol at most `limit` of the datagrams that wait."""
        size = 0
        for number in range(limit):
            is_single = self._single > 0
            got = self._peek(is_first=number == 0, is_single=is_single)
            if got is None:
                return
            data, identity, sender, is_truncated = got
            if is_truncated:
                self._turn.tell(
                    _log, "too long",
                    f"{self}: a datagram of more than {DATAGRAM_BYTES_MAX} bytes is dropped",
                    level=logging.WARNING,
                )  # fmt: skip
            elif self._turn.may_receive(self, identity):
                self._give(data, sender)
            else:
                self._skip(data, sender)
            self._peeked.append((identity, self._end))
            self._turn.touch_port(self)
            size += len(data)
            if is_single:
                self._single -= 1
                return
            # The next peek would skip an empty datagram, so that one ends the batch.
            if not data or size > BATCH_BYTES:
                return

    @property
    def _end(self) -> int:
        return self._sent + len(self._pending) + len(self._queued)

    def _give(self, data: bytes, sender: Any) -> None:
        # `authors.attempt`, written out: this is the path of every datagram.
        try:
            self.protocol.datagram_received(data, sender)
        except BaseException as error:
            self._turn.tell(
                _log, f"failed {type(error).__name__}",
                f"{self}: {authors.name_of(self.protocol)} failed",
                level=logging.ERROR, at_once=FAILURES_AT_ONCE, error=error,
            )  # fmt: skip

    def _skip(self, data: bytes, sender: Any) -> None:
        _log.error(
            "%s: a datagram of %d bytes killed the server each time it was received; skipped",
            self, len(data), extra=events.SKIPPED(TAPD_POISON="datagram"),
        )  # fmt: skip
        authors.attempt(self.protocol, "datagram_skipped", data, sender, where=f"{self}: ")

    def _peek(self, *, is_first: bool, is_single: bool) -> tuple[bytes, Identity, Any, bool] | None:
        """Return the next datagram, its identity and sender, and whether it was cut short."""
        offset = -1 if is_single else 0
        try:
            if is_first:
                insist(lambda: self.sock.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, offset))
            size, ancillary, flags, sender = self.sock.recvmsg_into(
                (_buffer,), _ANCILLARY_BYTES, _PEEK
            )
        except OSError as error:  # an error of the network, told once (ip(7))
            if error.errno in AGAIN:
                return None
            kernel.check_socket(self.sock, self._cookie, error, self)
            self._turn.tell(_log, "network", f"{self}: {error}")
            return None
        data = bytes(_view[:size])
        seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
        digest = hashlib.blake2b(data, digest_size=8).digest()
        identity = (seconds * 1_000_000_000 + nanoseconds, sender or None, digest)
        return data, identity, sender or None, bool(flags & socket.MSG_TRUNC)

    def move(self) -> PortMove | None:
        """Return this turn's entry for the journal, and count it as committed."""
        self.touched = False
        batch, self._peeked = self._peeked, []
        queued, self._queued = self._queued, []
        self._batch.extend(batch)
        self._pending.extend(queued)
        return (self.name, batch, queued) if batch or queued else None

    def externalise(self) -> int | None:
        """Send committed output, and discard each datagram that was run once it is answered.

        Returns:
            How many datagrams were sent so far, where the kernel's queue does not tell it.
        """
        is_untold = False
        while self._batch or self._pending:
            end = self._batch[0][1] if self._batch else self._sent + len(self._pending)
            while self._sent < end:
                if not self._send(*self._pending[0]):
                    return self._sent if is_untold else None
                self._pending.popleft()
                self._sent += 1
                is_untold = is_untold or not self._batch
            if self._batch:
                self._discard()
                self._batch.popleft()
        return self._sent if is_untold else None

    def _discard(self) -> None:
        """Remove the datagram at the head of the queue."""
        for _ in range(3):
            try:
                insist(lambda: self.sock.recv_into(_buffer, 1, socket.MSG_DONTWAIT))
            except BlockingIOError:
                _log.error("%s: somebody else reads from this socket", self)
            except OSError as error:
                kernel.check_socket(self.sock, self._cookie, error, self)
                continue  # an error of the network, told once (ip(7))
            return

    def _send(self, data: bytes, addr: Any) -> bool:
        """Send one datagram; return False where it must wait for room in the kernel."""
        try:
            self.sock.sendto(data, addr)
        except (BlockingIOError, InterruptedError) as error:
            if not self._is_unix:
                return False
            self._tell(error)  # this peer's queue is full: others must not wait for it
        except (OSError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, OSError):
                kernel.check_socket(self.sock, self._cookie, error, self)
            self._tell(error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error)))
        return True

    def _tell(self, error: OSError) -> None:
        where = f"{self}: "
        self._turn.call(
            lambda: authors.attempt(self.protocol, "error_received", error, where=where)
        )

    def state(self) -> PortState:
        """Return its state for a journal's first record. Only between turns."""
        return PortState(list(self._batch), self._sent, list(self._pending))
