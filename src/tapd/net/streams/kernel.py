"""Reads from the kernel how far a connection's input and output got.

After a kill only the kernel knows which bytes the dead process had read and which it had
sent. Measured on Linux 6.1 to 6.18, IPv4 and IPv6.

Theory of operation
===================

`tcpi_bytes_received` minus SIOCINQ is the input that was read, and `tcpi_bytes_acked` plus
SIOCOUTQ the output that was sent, but each `tcpi` counter counts a FIN as a byte. The TCP
state tells which of the two include one:

| state | peer's FIN counted | our FIN counted |
|---|---|---|
| ESTABLISHED | no | no |
| FIN_WAIT1, FIN_WAIT2 | no | yes |
| CLOSE_WAIT | yes | no |
| LAST_ACK, CLOSING | yes | yes |
| CLOSE | if it came | if it was sent |

TIME_WAIT is not among them: the descriptor of a connection that both have closed is in CLOSE.

A connection gets to CLOSE by both FINs, by a reset in any state, or by a time-out. Input that
came before can still be read then (tcp_recvmsg reads the queue first), and only after it
comes the end or the error. Whether a FIN is counted there:

* the peer's, with input waiting: TCP_INQ counts a FIN that is in the queue, SIOCINQ does not;
* the peer's, with none waiting: if the count exceeds the committed input, that one byte is
  the FIN;
* ours: it is sent after all output, so if the count exceeds the committed output, that one
  byte is the FIN.

A pending error (POLLERR) is reported once, to the next call. So CLOSE without the peer's FIN
and without an error is a connection whose process got the error, and was killed before it
journaled it.
"""

from __future__ import annotations

import array
import fcntl
import select
import socket
import struct
import sys
import termios
from functools import partial

from tapd.errnos import AGAIN, NO_MEMORY, check_same, insist
from tapd.linux.sockets import SO_PEEK_OFF, TCP_INQ, read_cookie
from tapd.values import Value

_TCP_INFO_BYTES = 136
_COUNTERS = struct.Struct("=QQ")
_COUNTERS_AT = 120  # tcpi_bytes_acked and tcpi_bytes_received, linux/tcp.h

_FIN_ARRIVED = frozenset({8, 9, 11})  # CLOSE_WAIT, LAST_ACK, CLOSING
_FIN_SENT = frozenset({4, 5, 9, 11})  # FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING
_CLOSE = 7
_INQ_BYTES = socket.CMSG_SPACE(4)


class Positions(Value):
    """How far a TCP connection's streams got, by the kernel's counters.

    Attributes:
        taken: bytes of input that were read out of the kernel so far.
        sent: bytes of output that were given to the kernel so far.
        is_closed: the connection is over: reset, timed out, or closed by both sides.
        fin_received: the peer's FIN came; None where only `settle` can tell.
        fin_sent: our FIN was queued; None where only `settle` can tell.
    """

    taken: int
    sent: int
    is_closed: bool
    fin_received: bool | None
    fin_sent: bool | None

    def settle(self, taken: int, sent: int) -> Positions:
        """Return positions in which both FINs are known, with the help of the journal.

        Args:
            taken: bytes of input that were committed as run so far.
            sent: bytes of output that were committed so far, counted as `sent` is.
        """
        # Asked for only where no input waits: then all that was committed is taken.
        fin_received, fin_sent = self.fin_received, self.fin_sent
        own_taken, own_sent = self.taken, self.sent
        if fin_received is None:
            fin_received = own_taken > taken
            own_taken -= fin_received
        if fin_sent is None:
            # FIN leaves behind all output, so its number is beyond that of the last byte.
            fin_sent = own_sent > sent
            own_sent -= fin_sent
        return Positions(own_taken, own_sent, self.is_closed, fin_received, fin_sent)


def check_socket(sock: socket.socket, cookie: int, error: OSError, what: object) -> None:
    """Return if `sock` is still the socket of `cookie`, so that `error` is about its peer.

    Raises:
        DescriptorLost: the descriptor is closed, or another socket's or file's.
    """
    check_same(lambda: read_cookie(sock) == cookie, error, what)


def input_waiting(sock: socket.socket) -> int:
    """Return how many bytes of input wait in the kernel (SIOCINQ, tcp(7))."""
    return _read_count(sock, termios.FIONREAD)


def input_ended(sock: socket.socket) -> bool:
    """Whether the peer has sent its end of input, or is gone (poll(2))."""
    return bool(_poll(sock, select.POLLRDHUP))


def has_error(sock: socket.socket) -> bool:
    """Whether an error is pending, which the next call on `sock` fails with. It stays pending."""
    return bool(_poll(sock, 0) & select.POLLERR)


def _poll(sock: socket.socket, events: int) -> int:
    poll = select.poll()
    poll.register(sock, events)
    ready = insist(lambda: poll.poll(0))
    return ready[0][1] if ready else 0


def output_waiting(sock: socket.socket) -> int:
    """Return how many bytes of output the peer has not acknowledged (SIOCOUTQ, tcp(7))."""
    return _read_count(sock, termios.TIOCOUTQ)


def _read_count(sock: socket.socket, request: int) -> int:
    count = array.array("i", [0])
    insist(lambda: fcntl.ioctl(sock.fileno(), request, count))
    return count[0]


def read_positions(sock: socket.socket) -> Positions:
    """Ask the kernel how far the streams of a TCP connection got.

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
    is_closed = state == _CLOSE
    fin_received: bool | None = state in _FIN_ARRIVED
    fin_sent: bool | None = state in _FIN_SENT
    if is_closed:
        fin_received = _fin_behind(sock, waiting_in) if waiting_in else None
        fin_sent = None
    return Positions(
        taken=received - waiting_in - bool(fin_received),
        sent=acked + waiting_out - bool(fin_sent),
        is_closed=is_closed,
        fin_received=fin_received,
        fin_sent=fin_sent,
    )


def _read_counters(sock: socket.socket) -> tuple[int, int, int]:
    info = insist(lambda: sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES))
    return info[0], *_COUNTERS.unpack_from(info, _COUNTERS_AT)


def _fin_behind(sock: socket.socket, waiting: int) -> bool:
    """Whether a FIN is in the queue behind the `waiting` bytes of input (at least one).

    Where the kernel has no TCP_INQ (before 4.18) a FIN is assumed: most peers send one.
    """
    flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
    try:
        insist(lambda: sock.setsockopt(socket.IPPROTO_TCP, TCP_INQ, 1))
        _data, ancillary, _flags, _peer = insist(lambda: sock.recvmsg(1, _INQ_BYTES, flags))
        insist(lambda: sock.setsockopt(socket.IPPROTO_TCP, TCP_INQ, 0))
    except OSError:
        return True
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_TCP, TCP_INQ):
            return int.from_bytes(value, sys.byteorder) > waiting
    return True


_SCRATCH_BYTES = 1 << 16
_scratch = bytearray(_SCRATCH_BYTES)
_MSG_TRUNC = int(socket.MSG_TRUNC)  # looked up once: each message passes here


_SOL_SOCKET = int(socket.SOL_SOCKET)  # looked up once: messages pass here
PHASE_BIT = 1 << 30
"""Of SO_PEEK_OFF on a UNIX socket; see `mark_discard`."""


def mark_discard(sock: socket.socket, reads: int, count: int) -> None:
    """Mark in SO_PEEK_OFF of a UNIX socket that the read `reads`, of `count` bytes, is due.

    The kernel counts nothing on UNIX sockets, but SO_PEEK_OFF (socket(7)) outlives the
    process. A peek that starts from 0 or more advances it, and a discard moves it back,
    atomically in both cases. Odd and even reads use different values, so that it says at
    every instant whether the last committed read was discarded:

    | last committed read | discard is due | it is discarded |
    |---|---|---|
    | odd | -1; `PHASE_BIT` + count | `PHASE_BIT`; then 0, or more after a peek |
    | even | count | 0; then -1, which a peek leaves there |

    An odd read is peeked at -1 and marked once it is committed; an even read is peeked at 0,
    which marks it. A peek that was not committed leaves a value of the right column.
    """
    if reads & 1:
        try:
            sock.setsockopt(_SOL_SOCKET, SO_PEEK_OFF, PHASE_BIT | count)
        except OSError as error:
            if error.errno not in NO_MEMORY:
                raise
            insist(partial(sock.setsockopt, _SOL_SOCKET, SO_PEEK_OFF, PHASE_BIT | count))


def discard_due(sock: socket.socket, reads: int, count: int) -> int:
    """Return how much of the last committed read of a UNIX socket is still to be discarded.

    Args:
        sock: the socket.
        reads: how many reads were committed.
        count: bytes of the last of them.
    """
    offset = insist(lambda: sock.getsockopt(socket.SOL_SOCKET, SO_PEEK_OFF))
    if not reads & 1:
        return offset if 0 < offset < PHASE_BIT else 0
    if offset < 0:
        return count
    return max(0, offset - PHASE_BIT)


def discard_input(sock: socket.socket, count: int) -> None:
    """Take `count` bytes of input out of the kernel without copying them.

    They were peeked before, so the call does not block. MSG_TRUNC discards on TCP
    (tcp(7)); on UNIX sockets the bytes are read into a buffer that is dropped.
    """
    while count > 0:
        size = min(count, _SCRATCH_BYTES)
        try:
            taken = sock.recv_into(_scratch, size, _MSG_TRUNC)
        except OSError as error:
            if error.errno not in AGAIN:
                raise
            taken = insist(partial(sock.recv_into, _scratch, size, _MSG_TRUNC), AGAIN)
        if taken <= 0:
            return
        count -= taken


def drain_input(sock: socket.socket) -> None:
    """Throw away the input that is there, so that closing sends FIN and not RST.

    Never blocks, and gives up on a peer that floods: that peer gets an RST.
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
