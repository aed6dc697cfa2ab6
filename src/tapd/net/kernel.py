"""What the kernel knows of a connection: how far both of its streams got.

After a kill the kernel alone remembers which bytes the dead process had taken
and which it had sent. Measured on Linux 6.1 to 6.18, IPv4 and IPv6.
"""

from __future__ import annotations

import array
import errno
import fcntl
import select
import socket
import struct
import termios

from tapd.values import Value

SO_COOKIE = 57  # asm-generic/socket.h; not in Python's socket module
SO_PEEK_OFF = 42  # likewise
_TCP_INFO_BYTES = 136
_COUNTERS = struct.Struct("<QQ")
_COUNTERS_AT = 120  # tcpi_bytes_acked and tcpi_bytes_received, linux/tcp.h

ESTABLISHED = 1
_FIN_ARRIVED = frozenset({7, 8, 9, 11})  # CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING
_FIN_SENT = frozenset({4, 5, 6, 9, 11})  # FIN_WAIT1, FIN_WAIT2, TIME_WAIT, LAST_ACK, CLOSING
_CLOSED = 7

RESET_ERRNOS = frozenset(
    {errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH,
     errno.ENOTCONN, errno.ESHUTDOWN, errno.ECONNABORTED}
)  # fmt: skip
"""What recv and send fail with when the peer or the path is gone."""


class Positions(Value):
    """How far a TCP connection's streams got, by the kernel's account.

    Attributes:
        taken: bytes of input that were taken out of the kernel, ever.
        sent: bytes of output that were given to the kernel, ever.
        is_closed: the connection is over (reset, or closed by both sides).
        fin_sent: our FIN was queued.
    """

    taken: int
    sent: int
    is_closed: bool
    fin_sent: bool


def read_cookie(sock: socket.socket) -> int:
    """Return the kernel's name of this connection, unique within one boot."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")


def input_waiting(sock: socket.socket) -> int:
    """Return how many bytes of input wait in the kernel (SIOCINQ, tcp(7))."""
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, count)
    return count[0]


def input_ended(sock: socket.socket) -> bool:
    """Whether the peer has said that it sends no more, or is gone (poll(2))."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


def output_waiting(sock: socket.socket) -> int:
    """Return how many bytes of output the peer has not acknowledged (SIOCOUTQ, tcp(7))."""
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]


def read_positions(sock: socket.socket) -> Positions:
    """Ask the kernel how far the streams of a TCP connection got.

    ``tcpi_bytes_received`` counts the peer's FIN, ``tcpi_bytes_acked`` ours.
    The two queries are not atomic: acknowledgements that arrive between them
    move bytes from one count to the other, so they are made until they agree.
    """
    while True:
        before = _read_counters(sock)
        waiting_in = input_waiting(sock)
        waiting_out = output_waiting(sock)
        if _read_counters(sock) == before:
            break
    state, acked, received = before
    return Positions(
        taken=received - waiting_in - (state in _FIN_ARRIVED),
        sent=acked + waiting_out - (state in _FIN_SENT),
        is_closed=state == _CLOSED,
        fin_sent=state in _FIN_SENT,
    )


def _read_counters(sock: socket.socket) -> tuple[int, int, int]:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    return info[0], *_COUNTERS.unpack_from(info, _COUNTERS_AT)


_SCRATCH_BYTES = 1 << 16
_scratch = bytearray(_SCRATCH_BYTES)
_MSG_TRUNC = int(socket.MSG_TRUNC)  # looked up once: each message passes here


def discard_input(sock: socket.socket, count: int) -> None:
    """Take `count` bytes of input out of the kernel without copying them.

    They were peeked before, so they are there. MSG_TRUNC discards on TCP
    (tcp(7)); on UNIX sockets the bytes are copied to nowhere.
    """
    while count > 0:
        size = min(count, _SCRATCH_BYTES)
        taken = sock.recv_into(_scratch, size, _MSG_TRUNC)
        if taken <= 0:
            return
        count -= taken


def drain_input(sock: socket.socket) -> None:
    """Throw away the input that is there, so that closing sends FIN and not RST.

    Never waits, and gives up on a peer that floods: that one gets its RST.
    """
    flags = socket.MSG_TRUNC | socket.MSG_DONTWAIT
    try:
        for _ in range(_DRAIN_READS_MAX):
            if sock.recv_into(_scratch, len(_scratch), flags) <= 0:
                return
    except OSError:
        return


_DRAIN_READS_MAX = 256
"""16 MiB, more than receive buffers usually hold (tcp(7), tcp_rmem)."""
