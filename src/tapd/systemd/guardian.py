"""The guardian: closes the microseconds between accept(2) and the vault.

A connection that was accepted and is not yet in the vault lies in one place
only, the process's table of open files; a SIGKILL at that instant would end it.
So that table is shared with a second process, made with clone(2) and
CLONE_FILES, which sleeps on the server's pidfd. When the server dies, its table
lives on in the guardian, which puts what was accepted and not noted as safe
into the vault's current segment, and exits.

It holds no state, and nothing depends on it that the vault already has: where
both are killed in one stroke (a whole control group at once), a connection that
was being accepted in those microseconds is closed, before the server had sent
or taken a byte of it.

What both must know is in a page of shared memory: the vault's sending end, and
a byte for each descriptor. The byte is set when a connection is safe and
cleared when its descriptor has been closed, so that at every instant the bytes
err on the side of keeping a connection twice: its SO_COOKIE tells.
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
"""Keys from here on are of connections that the guardian saved: this plus the descriptor."""

_DESCRIPTORS_MAX = 1 << 20
_HEADER_BYTES = 8


class Guardian:
    """The server's side: says which descriptors are safe.

    **Ownership.** Owns the guardian process until `close`.
    """

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._pid = 0
        self._pidfd = -1

    def start(self) -> bool:
        """Start the guardian; False where this machine can't (the log says so).

        Call it while the process has one thread and little memory: the guardian
        keeps a copy of what it is then.
        """
        if not can_share_files():
            _log.info("no guardian on this machine: a kill may close what is just being accepted")
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
        """Return the number of the pidfd that the guardian sleeps on, if there is one."""
        return () if self._pidfd < 0 else (self._pidfd,)

    def leave(self) -> None:
        """Forget the guardian, which goes on; for a copy of the process, whose it is not."""
        self._memory = None
        self._pid = 0
        self._pidfd = -1

    def note_sender(self, sender_fd: int) -> None:
        """Say where connections go: the current segment's sending end; -1 for nowhere."""
        if self._memory is not None:
            self._memory[:4] = sender_fd.to_bytes(4, "little", signed=True)

    def note_safe(self, fd: int) -> None:
        """Say that `fd` is in the vault, or can't be."""
        if self._memory is not None and fd < _DESCRIPTORS_MAX:
            self._memory[_HEADER_BYTES + fd] = 1

    def note_closed(self, fd: int) -> None:
        """Say that `fd` has been closed: its number may come again."""
        if self._memory is not None and fd < _DESCRIPTORS_MAX:
            self._memory[_HEADER_BYTES + fd] = 0

    def close(self) -> None:
        """End the guardian; nothing is being accepted any more."""
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
    """Be the guardian. Every descriptor here is the server's as well: open none before it died."""
    try:
        os.setpgid(0, 0)  # what typed code left in the server's group is killed after it
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
    """Whether `fd` is a stream socket that somebody connected to from outside."""
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return False
        with socket.socket(fileno=os.dup(fd)) as sock:
            sock.getpeername()
            # A socket pair of our own has no name; what was accepted has its listener's.
            return sock.type == socket.SOCK_STREAM and bool(sock.getsockname())
    except OSError:
        return False
