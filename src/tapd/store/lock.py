"""The lock on a state directory: one daemon on one TAP.

It is an flock: it belongs to the open file, a saving child inherits it, and it ends with
the last process that holds it, so a killed daemon leaves nothing to clean up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Self

from tapd.errors import StateLocked
from tapd.store.files import Files, give_to_owner_of

LOCK_NAME = "lock"
_RETRY_S = 0.01


class StateLock:
    """A held lock; owns its fd until `release`.

    Attributes:
        fd: the lock's descriptor; a saving child must leave it open.
        path: of the lock file.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self.path = path

    @property
    def is_held(self) -> bool:
        """Whether this process still holds it."""
        return self.fd >= 0

    def release(self) -> None:
        """Close the fd; the lock is free once every child that inherited it has ended."""
        if self.is_held:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()


def acquire_lock(files: Files, directory: Path, *, timeout_s: float) -> StateLock:
    """Lock `directory`, which exists.

    The wait is for the saving child of a daemon that was just killed: it dies with its
    parent, but a moment later. A living holder is not waited for.

    Raises:
        StateLocked: another process holds it; the message names its pid.
        OSError: the lock file can't be made.
    """
    path = directory / LOCK_NAME
    deadline_s = time.monotonic() + timeout_s
    while True:
        fd = files.open(path, os.O_RDWR | os.O_CREAT)
        try:
            if _try_lock(fd) and _is_still(path, fd):
                _write_holder(files, directory, fd)
                return StateLock(fd, path)
            holder = _read_holder(fd)
        except BaseException:
            os.close(fd)
            raise
        files.close(fd)
        if time.monotonic() >= deadline_s or _is_alive(holder):
            whom = f"process {holder}" if holder else "another process"
            raise StateLocked(
                f"{directory}: {whom} runs this TAP or changes it; stop that one first"
                " (systemctl stop, or Ctrl-C where it runs), or wait for it to end"
            )
        time.sleep(_RETRY_S)  # flock has no time limit of its own


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, fd: int) -> bool:
    """Whether `path` still names the file of `fd`: its directory may have been set aside."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(fd))
    return False


def _write_holder(files: Files, directory: Path, fd: int) -> None:
    """Write our pid, for messages only: on a full disk the lock is taken all the same."""
    with contextlib.suppress(OSError):
        give_to_owner_of(files, directory, fd)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def _read_holder(fd: int) -> int:
    try:
        return int(os.pread(fd, 32, 0))
    except (OSError, ValueError):
        return 0


def _is_alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")  # proc(5)


def holder_of(directory: Path) -> int | None:
    """Return the holder of the lock on `directory`, without touching the lock.

    Returns:
        A pid; 0 where the holder is in another pid name space; None where it is free.
    """
    try:
        status = (directory / LOCK_NAME).stat()
        locks = Path("/proc/locks").read_text()
    except OSError:
        return None
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in locks.splitlines():
        fields = line.split()  # proc(5): number, FLOCK, ADVISORY, WRITE, pid, device:inode
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == place:
            return max(0, int(fields[4]))
    return None
