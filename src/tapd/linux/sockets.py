"""Socket options, flags and structures that Python's `socket` module lacks."""

from __future__ import annotations

import socket
import struct
import sys
from typing import NamedTuple

from tapd.errnos import insist

# Options of SOL_SOCKET: socket(7), the numbers from asm-generic/socket.h.
SO_TIMESTAMPNS = 35
SO_DOMAIN = 39
SO_PEEK_OFF = 42
SO_COOKIE = 57

MSG_CMSG_CLOEXEC = 0x40000000
"""recvmsg(2): received descriptors close at exec. Python's own receiver omits it."""
SCM_MAX_FD = 253
"""unix(7): the most descriptors in one message."""
TCP_INQ = 36
"""linux/tcp.h: option, and type of the control message that has the bytes in the queue."""
TIMESPEC = struct.Struct("=qq")
"""struct timespec of 64-bit machines (clock_gettime(2)), as SO_TIMESTAMPNS gives it."""
UCRED = struct.Struct("=iII")
"""struct ucred (unix(7)): process, user, group."""


class Credentials(NamedTuple):
    """A process as the kernel names it (unix(7)).

    One outside of this process's name spaces is process 0, or has the overflow user 65534.
    """

    pid: int
    uid: int
    gid: int


def unpack_credentials(data: bytes) -> Credentials:
    """Return what a ``struct ucred`` says (SO_PEERCRED, SCM_CREDENTIALS)."""
    return Credentials._make(UCRED.unpack(data))


def peer_credentials(sock: socket.socket) -> Credentials:
    """Return the process that connected the UNIX socket `sock` (SO_PEERCRED).

    Raises:
        OSError: the kernel does not say.
    """
    return unpack_credentials(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))


def read_cookie(sock: socket.socket) -> int:
    """Return the kernel's number of the socket `sock` (SO_COOKIE), unique within one boot.

    Raises:
        OSError: it is closed or no socket.
    """
    cookie = insist(lambda: sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))
    return int.from_bytes(cookie, sys.byteorder)


def socket_cookie(fd: int) -> int:
    """Return the SO_COOKIE of the socket `fd`, without closing it.

    Raises:
        OSError: `fd` is closed or no socket.
    """
    # This option does not use family and type, and naming them saves
    # the three system calls that would ask for them.
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        return read_cookie(probe)
    finally:
        probe.detach()
