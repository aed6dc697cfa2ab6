"""The guardian: saves connections in the microseconds between accept(2) and the vault.

A connection that is accepted but not yet in the vault is only in the process's table of open
files, and a SIGKILL at that instant would end it. So that table is shared with a second process
(clone(2) with CLONE_FILES), which waits on the server's pidfd. When the server dies, its table
lives on in the guardian. The guardian puts accepted connections that are not marked as safe
into the vault's current segment, and exits.

It holds no state, and nothing in the vault depends on it. If both are killed at once (a whole
control group), a connection accepted in those microseconds is closed before the server has sent
or read a byte of it.

A page of shared memory holds what both must know: the vault's sending end, and a byte for each
descriptor. The byte is set when a connection is safe, and cleared when its descriptor has been
closed. So at every instant the bytes err on the side of storing a connection twice, which its
SO_COOKIE reveals.

The C library is called through ctypes, as Python has no clone(2).
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import select
import signal
import socket
import stat
from typing import NoReturn

from tapd.linux.processes import (
    can_share_files,
    fork_sharing_files,
    open_files,
    set_process_name,
)
from tapd.linux.sockets import socket_cookie
from tapd.systemd.segment import Held, Segment

_log = logging.getLogger("tapd.guardian")

ORPHAN_KEY = 1 << 62
"""Connections saved by the guardian have this plus the descriptor as their key."""

_DESCRIPTORS_MAX = 1 << 20
_HEADER_BYTES = 8


class Guardian:
    """The server's side: marks which descriptors are safe.

    **Ownership.** Owns the guardian process until `close`.
    """

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._pid = 0
        self._pidfd = -1

    def start(self) -> bool:
        """Start the guardian; False if this machine can't (the log says so).

        Call it while the process has one thread and little memory: the guardian keeps a copy of
        that memory.
        """
        if not can_share_files():
            _log.info(
                "no guardian on this machine: a kill may close connections just being accepted"
            )
            return False
        memory = mmap.mmap(-1, _HEADER_BYTES + _DESCRIPTORS_MAX)
        memory[:4] = (-1).to_bytes(4, "little", signed=True)
        pidfd = os.pidfd_open(os.getpid())
        try:
            pid = fork_sharing_files()
        except OSError as error:
            os.close(pidfd)
            memory.close()
            _log.warning("no guardian: %s", error.strerror)
            return False
        if pid == 0:
            _guard(memory, pidfd)
        self._memory = memory
        self._pid = pid
        self._pidfd = pidfd
        return True

    def descriptors(self) -> tuple[int, ...]:
        """Return the pidfd that the guardian waits on, if there is one."""
        return () if self._pidfd < 0 else (self._pidfd,)

    def leave(self) -> None:
        """Forget the guardian without ending it: for a copy of the process."""
        self._memory = None
        self._pid = 0
        self._pidfd = -1

    def note_sender(self, sender_fd: int) -> None:
        """Set where to send connections: the sending end of the current segment; -1 for none."""
        if self._memory is not None:
            self._memory[:4] = sender_fd.to_bytes(4, "little", signed=True)

    def note_safe(self, fd: int) -> None:
        """Mark `fd` as in the vault, or as impossible to store."""
        if self._memory is not None and fd < _DESCRIPTORS_MAX:
            self._memory[_HEADER_BYTES + fd] = 1

    def note_closed(self, fd: int) -> None:
        """Mark `fd` as closed: its number may be used again."""
        if self._memory is not None and fd < _DESCRIPTORS_MAX:
            self._memory[_HEADER_BYTES + fd] = 0

    def close(self) -> None:
        """End the guardian; nothing is accepted any more."""
        if self._pid:
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            self._pid = 0
            os.close(self._pidfd)
            self._pidfd = -1
        if self._memory is not None:
            self._memory.close()
            self._memory = None


def _guard(memory: mmap.mmap, pidfd: int) -> NoReturn:
    """Run the guardian. The table of descriptors is the server's: open none while it lives."""
    try:
        os.setpgid(0, 0)  # the server's own group is killed after its death
        set_process_name(b"tapd-guardian")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        while not poll.poll():
            pass
        _save_orphans(memory)
    finally:
        os._exit(0)


def _save_orphans(memory: mmap.mmap) -> None:
    sender_fd = int.from_bytes(memory[:4], "little", signed=True)
    if sender_fd < 0:
        return
    with socket.socket(fileno=os.dup(sender_fd)) as sender:
        segment = Segment(0, sender=sender)
        for fd in open_files():
            if fd < _DESCRIPTORS_MAX and not memory[_HEADER_BYTES + fd] and _is_connection(fd):
                with contextlib.suppress(OSError):
                    segment.send(Held(ORPHAN_KEY + fd, socket_cookie(fd), fd))


def _is_connection(fd: int) -> bool:
    """Whether `fd` is a connected stream socket from outside."""
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return False
        with socket.socket(fileno=os.dup(fd)) as sock:
            sock.getpeername()
            # A socket pair has no name; an accepted socket has its listener's.
            return sock.type == socket.SOCK_STREAM and bool(sock.getsockname())
    except OSError:
        return False
