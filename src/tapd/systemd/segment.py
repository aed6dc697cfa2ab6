"""A segment of the vault: a socket pair, and the connections stored in it.

The wire format is one message for each connection: 16 bytes (key and cookie in the machine's
byte order: they never leave this boot) and one descriptor (SCM_RIGHTS, unix(7)). See `vault`
for the purpose of segments.
"""

from __future__ import annotations

import array
import contextlib
import logging
import os
import re
import select
import socket
import struct
from collections.abc import Generator, Iterator

from tapd.errnos import insist
from tapd.errors import ConnectionsUnreadable
from tapd.linux.processes import open_files_max
from tapd.linux.sockets import MSG_CMSG_CLOEXEC, SO_PEEK_OFF
from tapd.systemd.notify import Barrier
from tapd.values import Value

_log = logging.getLogger("tapd.vault")

SEGMENT_NAME = re.compile(r"tapd-vault-([0-9]{1,18})\Z")
_MESSAGE = struct.Struct("=QQ")  # key, cookie
_FD = struct.Struct("=i")


class Held(Value):
    """A connection in the vault.

    Attributes:
        key: the key under which it was stored.
        cookie: its socket's SO_COOKIE.
        fd: a descriptor of it, the application's.
    """

    key: int
    cookie: int
    fd: int


class Segment:
    """One stored socket pair.

    Attributes:
        number: its name in the fd store is derived from it.
        sender: connections are sent into it; None once full, and in a segment that an
            earlier process filled.
        receiver: the stored end; also ours until the manager has its own.
        barrier: pending until the manager has read that it was stored.
        messages: the number of messages in it, live or dead.
        live: the live connections, by key.
    """

    def __init__(
        self,
        number: int,
        sender: socket.socket | None = None,
        receiver: socket.socket | None = None,
        barrier: Barrier | None = None,
    ) -> None:
        self.number = number
        self.sender = sender
        self.receiver = receiver
        self.barrier = barrier
        self.messages = 0
        self.live: dict[int, Held] = {}

    @property
    def name(self) -> str:
        """Its FDNAME."""
        return f"tapd-vault-{self.number}"

    def descriptors(self) -> Iterator[int]:
        """Yield its descriptors, and those of its connections; ownership does not change."""
        for end in (self.sender, self.receiver):
            if end is not None:
                yield end.fileno()
        if self.barrier is not None:
            yield self.barrier.fd
        for held in self.live.values():
            yield held.fd

    def send(self, held: Held) -> None:
        """Send `held` into it without blocking.

        Raises:
            BlockingIOError: it is full.
            OSError: EPIPE if nobody has the receiving end any more;
                ETOOMANYREFS if RLIMIT_NOFILE allows no more in flight.
        """
        assert self.sender is not None
        fds = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _FD.pack(held.fd))]
        self.sender.sendmsg([_MESSAGE.pack(held.key, held.cookie)], fds)

    def seal(self) -> None:
        """Close the sending end; its contents stay."""
        if self.sender is not None:
            self.sender.close()
            self.sender = None

    def is_hung_up(self) -> bool:
        """Whether the sending end is open and nobody has the receiving end."""
        if self.sender is None:
            return False
        poll = select.poll()
        poll.register(self.sender, 0)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def close(self) -> None:
        """Close this process's ends and the barrier."""
        for end in (self.sender, self.receiver, self.barrier):
            if end is not None:
                end.close()
        self.sender = self.receiver = self.barrier = None

    def read(self, fd: int) -> Generator[Held, None, None]:
        """Yield its contents without taking them out; close `fd`, the stored end.

        Each yielded descriptor is new, close-on-exec and the caller's.

        Raises:
            ConnectionsUnreadable: this process may not open as many files.
        """
        try:
            reader = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            _log.error("%s in the fd store is no socket; it is passed over", self.name)
            return
        with reader:
            if (reader.family, reader.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
                _log.error("%s in the fd store is no segment; it is passed over", self.name)
                return
            insist(lambda: reader.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 0))
            while held := self._read_next(reader):
                yield held

    def _read_next(self, reader: socket.socket) -> Held | None:
        flags = socket.MSG_PEEK | socket.MSG_DONTWAIT | MSG_CMSG_CLOEXEC
        space = socket.CMSG_SPACE(_FD.size)
        try:
            data, ancillary, answer, _ = insist(lambda: reader.recvmsg(_MESSAGE.size, space, flags))
        except BlockingIOError:  # a child of the dead process still has the sending end
            return None
        if not data:
            return None
        fds = array.array("i")
        for _level, _type, rights in ancillary:
            fds.frombytes(rights)
        if answer & socket.MSG_CTRUNC or len(fds) != 1 or len(data) != _MESSAGE.size:
            for fd in fds:
                os.close(fd)
            if len(data) != _MESSAGE.size or len(fds) > 1:
                _log.error("%s in the fd store holds what tapd did not put there", self.name)
                return None
            raise ConnectionsUnreadable(
                "the connections of the process before can't all be taken over: this one may open "
                f"{open_files_max()} files and needs more. Raise "
                "LimitNOFILE= (then: systemctl daemon-reload); it is tried again, and meanwhile "
                "no connection is lost"
            )
        key, cookie = _MESSAGE.unpack(data)
        return Held(key, cookie, fds[0])


def end_connection(fd: int) -> None:
    """End the connection `fd` for its peer, if it is still alive, and close `fd`."""
    with socket.socket(fileno=fd) as sock, contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def has_ended(fd: int) -> bool:
    """Whether both sides of the connection `fd` are shut down (poll(2), POLLHUP)."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


def take_newer(older: Held, newer: Held) -> bool:
    """Return whether `newer` replaces `older`, which has the same key; close the other one.

    A key is reused if a kill came before anything was committed with it: then its first
    connection has ended. Otherwise it is one connection, stored twice.
    """
    is_newer = older.cookie == newer.cookie or has_ended(older.fd) or not has_ended(newer.fd)
    if is_newer and older.cookie != newer.cookie and not has_ended(older.fd):
        _log.error("key %d was two connections; the newer stays", newer.key)
    os.close(older.fd if is_newer else newer.fd)
    return is_newer
