"""The manager's end of the notify protocol, and the fd store behind it.

Follows sd_notify(3), as far as tapd's own daemon uses it.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import logging
import os
import select
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tapd.linux.sockets import MSG_CMSG_CLOEXEC, SCM_MAX_FD, UCRED, unpack_credentials

_log = logging.getLogger("tapd.manager")

_MESSAGE_BYTES_MAX = 65536


@dataclasses.dataclass
class Message:
    """One datagram; its handler owns `fds` and calls `close_fds` for those left over."""

    pid: int
    fields: dict[str, str]
    fds: list[int]

    def close_fds(self) -> None:
        """Close every descriptor still in `fds`."""
        while self.fds:
            os.close(self.fds.pop())


class NotifySocket:
    """A datagram socket that only this user can reach and that knows its senders."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="tapd-"))  # mode 0700
        self.path = str(self._directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.setblocking(False)
            self._socket.bind(self.path)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._socket.fileno()

    def read(self) -> Iterator[Message]:
        """Yield every queued message, in order."""
        space = socket.CMSG_SPACE(UCRED.size) + socket.CMSG_SPACE(4 * SCM_MAX_FD)
        while True:
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(
                    _MESSAGE_BYTES_MAX, space, MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            message = Message(0, {}, [])
            for _, kind, content in ancillary:
                if kind == socket.SCM_CREDENTIALS:
                    message.pid = unpack_credentials(content).pid
                else:
                    rights = array.array("i")
                    rights.frombytes(content[: len(content) // 4 * 4])
                    message.fds.extend(rights)
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                _log.error("a notify message was cut short (too few files may be open?)")
                message.close_fds()
                continue
            for line in data.decode("utf-8", "replace").split("\n"):
                name, equals, value = line.partition("=")
                if equals:
                    message.fields[name] = value
            yield message

    def close(self) -> None:
        """Close it and remove its directory."""
        self._socket.close()
        shutil.rmtree(self._directory, ignore_errors=True)


class Store:
    """Descriptors stored for the child, in order of arrival; owned by this object."""

    def __init__(self, descriptors_max: int, epoll: select.epoll) -> None:
        self._entries: list[tuple[str, int]] = []
        self._max = descriptors_max
        self._epoll = epoll

    def __len__(self) -> int:
        """Return how many descriptors are stored."""
        return len(self._entries)

    @property
    def entries(self) -> list[tuple[str, int]]:
        """The stored descriptors with their names."""
        return list(self._entries)

    def add(self, message: Message) -> None:
        """Store the descriptors of an FDSTORE=1 message, as far as there is room."""
        name = message.fields.get("FDNAME", "")
        if not _is_fd_name(name):
            name = "stored"
        while message.fds:
            if len(self._entries) >= self._max:
                _log.warning("the fd store holds its %d descriptors; refused: %s", self._max, name)
                return
            fd = message.fds.pop(0)
            if self._has(fd):
                os.close(fd)
                continue
            self._entries.append((name, fd))
            if message.fields.get("FDPOLL") != "0":
                with contextlib.suppress(PermissionError):  # a kind that can't hang up
                    self._epoll.register(fd, 0)

    def _has(self, fd: int) -> bool:
        # systemd uses kcmp(2). For sockets, and all of ours are, the inode is enough.
        status = os.fstat(fd)
        if not stat.S_ISSOCK(status.st_mode):
            return False
        return any(os.path.samestat(os.fstat(other), status) for _, other in self._entries)

    def remove(self, name: str) -> None:
        """Close every descriptor stored under `name`."""
        for entry in [entry for entry in self._entries if entry[0] == name]:
            self._close(entry)

    def hung_up(self, fd: int) -> bool:
        """Close the stored descriptor `fd`, which hung up; return whether it was one."""
        for entry in self._entries:
            if entry[1] == fd:
                self._close(entry)
                return True
        return False

    def _close(self, entry: tuple[str, int]) -> None:
        self._entries.remove(entry)
        with contextlib.suppress(OSError):  # perhaps it was not registered
            # A duplicate keeps the open file description, and with it the registration.
            self._epoll.unregister(entry[1])
        os.close(entry[1])

    def close(self) -> None:
        """Close everything."""
        for entry in self.entries:
            self._close(entry)


def _is_fd_name(name: str) -> bool:
    """Whether `name` may be an FDNAME (sd_notify(3))."""
    return 0 < len(name) < 256 and name.isascii() and name.isprintable() and ":" not in name
