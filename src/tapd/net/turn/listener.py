"""Accepts connections, stores them in the vault and begins to serve them."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import socket
import time
from collections.abc import Iterator
from os import _exit

from tapd.errors import DescriptorLost, InterpreterBroken
from tapd.linux.sockets import read_cookie
from tapd.model.service import Service
from tapd.net.streams import kernel
from tapd.net.turn.connections import Connections
from tapd.net.turn.schedule import Schedule
from tapd.net.turn.sockets import IN, Sockets
from tapd.systemd.limits import most_connections
from tapd.systemd.own_memory import OwnMemory

_log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 128
FULL_PAUSE_S = 1.0
FULL_TOLD_EACH_S = 60.0
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# Keep-alive (tcp(7)) notices a peer that vanished: after 2 minutes of silence come 4 probes,
# 30 s apart.
_KEEPALIVE = (
    (socket.TCP_KEEPIDLE, 120),
    (socket.TCP_KEEPINTVL, 30),
    (socket.TCP_KEEPCNT, 4),
)


class Listener:
    """One listening socket and the service that answers there.

    **Ownership.** The socket belongs to the service manager; it is never closed
    or shut down here.
    """

    def __init__(self, sock: socket.socket, service: Service) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        self.service = service
        self.is_unix = sock.family == socket.AF_UNIX
        self._cookie = read_cookie(sock)
        self._told_full_s = -math.inf

    def __str__(self) -> str:
        name = self.sock.getsockname()
        if self.is_unix:
            return f"unix:{name if isinstance(name, str) else '@' + name[1:].decode()}"
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    def accept(self) -> socket.socket:
        """Accept one connection. The caller owns the socket.

        Raises:
            OSError: none waits, or none can be accepted now (accept(2)).
            DescriptorLost: the descriptor is not this listener's any more.
        """
        try:
            sock, _peer = self.sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            raise
        except OSError as error:
            if error.errno not in _FULL:
                kernel.check_socket(self.sock, self._cookie, error, "a listener")
            raise
        return sock

    def tell_full(self, why: str) -> None:
        """Log that clients must wait, rate limited."""
        now_s = time.monotonic()
        if now_s >= self._told_full_s + FULL_TOLD_EACH_S:
            self._told_full_s = now_s
            _log.error(
                "%s: can't accept more connections: %s. Further clients wait. Raise LimitNOFILE=",
                self, why,
            )  # fmt: skip


class Listeners:
    """All listeners, and the limit of connections.

    Owns the listeners.

    Attributes:
        connections_max: no more are accepted, as a save, a journal and a child process
            need descriptors as well.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        schedule: Schedule,
        sockets: Sockets,
        own_memory: OwnMemory,
    ) -> None:
        self.connections_max = most_connections()
        self._connections = connections
        self._schedule = schedule
        self._sockets = sockets
        self._own_memory = own_memory
        self._listeners: list[Listener] = []

    def __iter__(self) -> Iterator[Listener]:
        return iter(self._listeners)

    def add(self, listener: Listener) -> None:
        """Accept connections at `listener` from now on."""
        self._listeners.append(listener)
        self._sockets.add(listener)

    def accept(self, listener: Listener) -> None:
        """Accept at `listener`; an error there does not break the turn."""
        try:
            self._accept(listener)
        except (DescriptorLost, InterpreterBroken):
            raise
        except Exception:
            _log.exception("can't accept at %s", listener)

    def _accept(self, listener: Listener) -> None:
        """Accept waiting connections, up to a limit: the rest waits for the next turn."""
        if not self._own_memory[0]:
            _exit(0)  # a copy, forked by C code: the waiting clients are the server's
        connections = self._connections
        for _ in range(ACCEPTS_PER_TURN):
            count = len(connections.streams)
            if count >= self.connections_max:
                listener.tell_full(f"{count} connections are as many as it may have")
                self.pause(listener, FULL_PAUSE_S)
                return
            try:
                sock = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _FULL:
                    listener.tell_full(str(error.strerror))
                else:  # an error of the network, which Linux tells here (accept(2))
                    _log.warning("%s: can't accept: %s (waiting)", listener, error.strerror)
                self.pause(listener, FULL_PAUSE_S)
                return
            key = connections.application.next_key()
            protected = connections.keep(key, sock)
            if not listener.is_unix:
                prepare(sock)
            connections.begin(sock, listener.service, key, protected=protected)

    def pause(self, listener: Listener, pause_s: float) -> None:
        """Accept nothing for `pause_s` seconds; clients wait in the backlog."""
        sockets = self._sockets
        sockets.epoll.unregister(listener.fd)

        def again() -> None:
            if sockets.by_fd.get(listener.fd) is listener and not sockets.epoll.closed:
                sockets.epoll.register(listener.fd, IN)

        self._schedule.loop.call_later(pause_s, again)

    def stop(self) -> None:
        """Stop accepting; new connections wait in the backlog for the next process."""
        for listener in self._listeners:
            self._sockets.by_fd.pop(listener.fd, None)
            with contextlib.suppress(FileNotFoundError):  # it pauses
                self._sockets.epoll.unregister(listener.fd)
        self._listeners.clear()


def prepare(sock: socket.socket) -> None:
    """Set the options of every TCP connection: no delay, keep-alive, urgent data in line.

    Urgent data (tcp(7)) out of line is counted as received and never read, so after
    a kill the kernel and the journal would differ by it.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        return  # the peer is gone already; reading will tell
