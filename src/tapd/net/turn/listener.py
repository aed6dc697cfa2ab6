"""Listening sockets: accept, put into the vault, begin."""

from __future__ import annotations

import errno
import logging
import math
import socket
import time
from os import _exit
from typing import TYPE_CHECKING

from tapd.linux.sockets import read_cookie
from tapd.model.service import Service
from tapd.net.streams import kernel

if TYPE_CHECKING:
    from tapd.net.turn.turn import Turn

log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 128
FULL_PAUSE_S = 1.0
FULL_TOLD_EACH_S = 60.0
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# A peer that vanished without a word is noticed after these (tcp(7)): 2 minutes
# of silence, then 4 probes 30 s apart.
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

    def accept(self, turn: Turn) -> None:
        """Accept what waits, up to a limit: the rest waits for the next turn."""
        if not turn.own_memory[0]:
            _exit(0)  # C code forked, and who waits is the server's
        for _ in range(ACCEPTS_PER_TURN):
            if len(turn.streams) >= turn.connections_max:
                self._wait(turn, f"{len(turn.streams)} connections are as many as it may have")
                return
            try:
                sock, _peer = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _FULL:
                    self._wait(turn, str(error.strerror))
                else:  # an error of the network, which Linux tells here (accept(2))
                    kernel.check_socket(self.sock, self._cookie, error, "a listener")
                    log.warning("%s: can't accept: %s (waiting)", self, error.strerror)
                    turn.pause_listening(self, FULL_PAUSE_S)
                return
            key = turn.application.next_key()
            protected = turn.keep(key, sock)
            if not self.is_unix:
                prepare(sock)
            turn.begin(sock, self.service, key, protected=protected)

    def _wait(self, turn: Turn, why: str) -> None:
        """Leave clients in the backlog for a moment; say so, but not each time."""
        now_s = time.monotonic()
        if now_s >= self._told_full_s + FULL_TOLD_EACH_S:
            self._told_full_s = now_s
            log.error(
                "%s: can't accept more connections: %s. Further clients wait. Raise LimitNOFILE=",
                self, why,
            )  # fmt: skip
        turn.pause_listening(self, FULL_PAUSE_S)


def prepare(sock: socket.socket) -> None:
    """Set what every TCP connection has: no delay, keep-alive probes, urgent data in line.

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
