"""The sockets between an application under test and its peers.

Loopback delivers at once, but on a busy machine a packet may come a moment later, and a test
that does not wait would fail once in a thousand runs. So both ends are asked what they have
sent and received. While these differ, poll(2) on the socket waits for the kernel.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tapd.errors import UsageError
from tapd.model.address import Address
from tapd.model.application import Application
from tapd.model.service import Service
from tapd.net.streams import kernel
from tapd.net.streams.stream import Stream
from tapd.store.journal.records import Flag
from tapd.testing.datagrams import DatagramPeer
from tapd.testing.peers import Peer, Surroundings, socket_names
from tapd.testing.process import Process
from tapd.testing.remote import Remote

_PATIENCE_S = 2.0
"""How long the kernel may take on a busy machine; normally it takes microseconds."""
_FULL_BYTES = 1 << 14
_PEER_PORT = 20_000
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Network:
    """Listening sockets, peers and remote ends of one host.

    Attributes:
        listening: the sockets of ports (by index) and of services without one (by name).
        places: the local addresses of remote ends.
        peers: all so far.
        datagram_peers: those of datagram ports.
    """

    def __init__(self, directory: Path, surroundings: Surroundings) -> None:
        self.listening: dict[int | str, socket.socket] = {}
        self.places: dict[str, Any] = {}
        self.peers: list[Peer] = []
        self.datagram_peers: list[DatagramPeer] = []
        self._directory = directory
        self._surroundings = surroundings
        self._remotes: dict[str, Remote] = {}
        self._count = 0

    # --- listening -----------------------------------------------------------------------

    def bind_all(self, application: Application) -> None:
        """Bind a socket for each port that has none, and each service without a port."""
        for index, port in enumerate(application.ports):
            if index not in self.listening:
                self.listening[index] = self._bind(port.address)
        served = {port.service.name for port in application.ports}
        for name in application.services:
            if name not in served and name not in self.listening:
                self.listening[name] = self._bind(Address("127.0.0.1"))

    def _bind(self, address: Address) -> socket.socket:
        self._count += 1
        kind = socket.SOCK_DGRAM if address.is_datagram else socket.SOCK_STREAM
        if address.is_unix:
            sock = socket.socket(socket.AF_UNIX, kind)
            sock.bind(str(self._directory / f"socket-{self._count}"))
        elif address.is_ipv6 and _has_ipv6():
            sock = socket.socket(socket.AF_INET6, kind)
            sock.bind(("::1", 0))
        else:
            sock = socket.socket(socket.AF_INET, kind)
            sock.bind(("127.0.0.1", 0))
        if not address.is_datagram:
            sock.listen(128)
        return sock

    def find(
        self,
        application: Application,
        where: str | int | Service | None,
        kind: int = socket.SOCK_STREAM,
    ) -> socket.socket:
        """Return the listening socket that a test means, for streams or datagrams.

        Raises:
            UsageError: there is no such socket; the message names those that exist.
        """
        self.bind_all(application)
        if isinstance(where, Service):
            where = where.name  # it may belong to an earlier process
        keys = [key for key, sock in self.listening.items() if sock.type == kind]
        for key in keys:
            if where is None or where in _names_of(application, key):
                return self.listening[key]
        there = [str(_names_of(application, key)[0]) for key in keys]
        known = ", ".join(there) or "none"
        raise UsageError(f"host.connect({where!r}): nobody answers there; there are: {known}")

    # --- connections ---------------------------------------------------------------------

    def connect(self, listening: socket.socket, name: str, line_end: str | bytes) -> Peer:
        """Open a connection, which the server has not seen yet."""
        sock = socket.socket(listening.family)
        if listening.family == socket.AF_INET:
            # The same address in every run of a test, since transcripts may contain it.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", _PEER_PORT + 1 + len(self.peers)))
        try:
            sock.connect(listening.getsockname())
        except OSError:
            sock.close()
            sock = socket.socket(listening.family)
            sock.connect(listening.getsockname())
        select.select([listening], [], [], _PATIENCE_S)
        number = 1 + sum(not peer.is_remote for peer in self.peers)
        return self.adopt(sock, name or f"peer {number}", line_end)

    def connect_datagram(self, port: socket.socket, name: str) -> DatagramPeer:
        """Create a peer of a datagram port."""
        sock = socket.socket(port.family, socket.SOCK_DGRAM)
        number = len(self.datagram_peers) + 1
        if port.family == socket.AF_UNIX:
            sock.bind(str(self._directory / f"datagrams-{number}"))
        elif port.family == socket.AF_INET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", _PEER_PORT + number))
        sock.connect(port.getsockname())
        peer = DatagramPeer(sock, name or f"datagram peer {number}", self._surroundings, port)
        self.datagram_peers.append(peer)
        return peer

    def adopt(self, sock: socket.socket, name: str, line_end: str | bytes = b"\n") -> Peer:
        """Create a peer of a connected socket. Takes over `sock`."""
        peer = Peer(sock, name, self._surroundings, line_end)
        self.peers.append(peer)
        return peer

    def remote(self, where: str) -> Remote:
        """Return the remote end `where`, created at first use."""
        if where not in self._remotes:
            listening = self._bind(
                Address(path="/") if where.startswith("unix:") else Address("127.0.0.1")
            )
            self._remotes[where] = Remote(where, listening, self.adopt)
        return self._remotes[where]

    def take_remote(self) -> None:
        """Accept the application's connections."""
        self.places.clear()
        for where, remote in self._remotes.items():
            remote.take()
            if not remote.is_refusing:
                self.places[where] = remote.place

    # --- at rest -------------------------------------------------------------------------

    def _all_peers(self) -> list[Peer | DatagramPeer]:
        return [*self.peers, *self.datagram_peers]

    def exchange(self) -> bool:
        """Send and receive at the peers' ends; return whether anything moved."""
        moved = False
        for peer in self._all_peers():
            moved = peer.exchange() or moved
        return moved

    def settle(self, process: Process) -> bool:
        """Wait for data in transit; return whether there was any."""
        moved = False
        for peer in self.peers:
            moved = self._settle(peer, process) or moved
        return moved

    def _settle(self, peer: Peer, process: Process) -> bool:
        if peer.is_unix or (peer.is_closed and peer.key is None):
            return False  # UNIX sockets always deliver at once
        if peer.key is None:
            peer.key = self._key_of(peer, process)
        stream = process.serving.streams.get(peer.key) if peer.key is not None else None
        if stream is None:
            return peer.is_reading and self._wait(peer, lambda: False, peer.sock, select.POLLIN)
        if _coming(peer, stream) > 0:
            return self._wait(peer, lambda: _coming(peer, stream) <= 0, stream.sock, 0)
        if peer.has_sent_eof and not stream.flags & (Flag.EOF_RECEIVED | Flag.CLOSING):
            gone = select.poll()
            gone.register(stream.sock, select.POLLRDHUP)
            if not gone.poll(0):
                return bool(gone.poll(_PATIENCE_S * 1000))
        if peer.is_reading and _going(peer, stream) > 0:
            return self._wait(peer, lambda: False, peer.sock, select.POLLIN)
        return False

    def _key_of(self, peer: Peer, process: Process) -> int | None:
        names = peer.names[::-1]
        for key, stream in process.serving.streams.items():
            if not stream.is_unix and socket_names(stream.sock) == names:
                return key
        return None

    def _wait(
        self, peer: Peer, is_there: Callable[[], bool], sock: socket.socket, events: int
    ) -> bool:
        """Wait for `is_there` or an event of `sock`; return whether one came."""
        poll = select.poll()
        poll.register(sock, events)
        deadline = time.monotonic() + (_PATIENCE_S if peer.key is not None else 0.02)
        while time.monotonic() < deadline:
            if is_there():
                return True
            if poll.poll(1):
                return True
        peer.key = -1 if peer.key is None else peer.key
        return False

    # --- the end -------------------------------------------------------------------------

    def close(self) -> None:
        """Close every socket."""
        for peer in self._all_peers():
            peer.end()
        for remote in self._remotes.values():
            remote.close()
        for sock in self.listening.values():
            sock.close()


def _coming(peer: Peer, stream: Stream) -> int:
    """Return how many bytes are in transit to the server; 0 if it has enough to do."""
    waiting = kernel.input_waiting(stream.sock)
    if waiting >= _FULL_BYTES:
        return 0
    return peer.sent_bytes - stream.taken - waiting


def _going(peer: Peer, stream: Stream) -> int:
    """Return how many bytes are in transit to the peer."""
    if stream.flags & Flag.ABORTED:
        return 0
    return stream.sent - len(peer.transcript) - peer.unread_in_kernel()


def _names_of(application: Application, key: int | str) -> list[Any]:
    """Return the names a test may use for a listening socket, the best first."""
    if isinstance(key, str):
        return [key]
    port = application.ports[key]
    address = port.address
    names: list[Any] = [str(address), port.service.name]
    if not address.is_unix:
        names += [address.port, str(address.port)]
    return names


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True
