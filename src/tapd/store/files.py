"""Atomic, durable file replacement, on system calls that tests can replace.

TAPs and keys are changed on disk through a `Files` object, so that tests can fail the Nth
call, for every N, and record the calls to work out the possible states after a power cut.

The order is that of any database: write a temporary file in the same directory, fsync it,
rename it over the name, fsync the directory. At every step there is either the old file or
the new one, whole.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tapd.errors import StateUnwritable

TEMPORARY_MARK = ".tmp-"
"""Part of the name of every temporary file; the owner of the lock removes leftovers."""

_WRITE_BYTES_MAX = 1 << 30  # Linux writes at most 0x7ffff000 bytes at once (write(2))


class Files:
    """The system calls that change a disk; tests replace them."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Open `path`; the caller owns the fd."""
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)

    def write(self, fd: int, data: memoryview) -> int:
        """Write some of `data` and return how many bytes it was."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Flush what was written to `fd` to the disk."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close `fd`."""
        os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Rename `source` to `target`, replacing a file of that name."""
        os.rename(source, target)  # noqa: PTH104 - beside its siblings, by their names

    def link(self, source: Path, target: Path) -> None:
        """Give `source` the second name `target`, which must be free."""
        os.link(source, target, follow_symlinks=False)

    def unlink(self, path: Path) -> None:
        """Remove the name `path`."""
        os.unlink(path)  # noqa: PTH108 - beside its siblings, by their names

    def mkdir(self, path: Path) -> None:
        """Make a directory that only its owner can enter."""
        os.mkdir(path, 0o700)  # noqa: PTH102 - beside its siblings, by their names

    def chown(self, fd: int, uid: int, gid: int) -> None:
        """Change the owner and group of the file of `fd`."""
        os.fchown(fd, uid, gid)


def open_regular(path: Path) -> BinaryIO:
    """Open an untrusted user's file for reading; the caller closes it.

    Never blocks: to open a pipe would wait for its writer, for ever.

    Raises:
        OSError: it can't be opened, or is a directory, a pipe or a device.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(fd, "rb")


def temporary_name(path: Path) -> Path:
    """Return the temporary name of `path` for this process, in the same directory."""
    return path.with_name(f".{path.name}{TEMPORARY_MARK}{os.getpid()}")


def sync_directory(files: Files, directory: Path) -> None:
    """Flush a directory's entries (names made, renamed and removed) to the disk."""
    fd = files.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files.fsync(fd)
    finally:
        files.close(fd)


def give_to_owner_of(files: Files, directory: Path, fd: int) -> None:
    """Where root works in another user's directory, make that user the owner of the file of `fd`.

    Otherwise the daemon, which runs as the directory's owner, could not read a TAP that an
    administrator made or rolled back.
    """
    if os.geteuid() == 0:
        status = directory.stat()
        if (status.st_uid, status.st_gid) != (0, 0):
            files.chown(fd, status.st_uid, status.st_gid)


def write_temporary(files: Files, path: Path, chunks: Iterable[bytes | memoryview]) -> Path:
    """Write `chunks` durably to the temporary name of `path`, mode 0600, and return it.

    Raises:
        OSError: it failed; the temporary file is gone again.
    """
    temporary = temporary_name(path)
    with contextlib.suppress(FileNotFoundError):
        files.unlink(temporary)  # left by an earlier process of the same pid
    fd = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            give_to_owner_of(files, path.parent, fd)
            for chunk in chunks:
                _write_all(files, fd, chunk)
            files.fsync(fd)
        finally:
            files.close(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            files.unlink(temporary)
        raise
    return temporary


def _write_all(files: Files, fd: int, chunk: bytes | memoryview) -> None:
    left = memoryview(chunk).cast("B")
    while left:
        left = left[files.write(fd, left[:_WRITE_BYTES_MAX]) :]


def replace_file(files: Files, path: Path, chunks: Sequence[bytes | memoryview]) -> None:
    """Put a new file at `path`, durably: after a crash there is the old one or the new.

    Raises:
        OSError: it failed; what was at `path` is still there.
    """
    _rename_into(files, write_temporary(files, path, chunks), path)


def replace_by_link(files: Files, source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, replacing a file of that name, durably.

    Raises:
        OSError: it failed, or links don't work there; what was at `target` still is.
    """
    temporary = temporary_name(target)
    with contextlib.suppress(FileNotFoundError):
        files.unlink(temporary)
    files.link(source, temporary)
    _rename_into(files, temporary, target)


def _rename_into(files: Files, temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`, durably; where that fails, `temporary` is removed."""
    try:
        files.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            files.unlink(temporary)
        raise
    sync_directory(files, path.parent)


def free_name(path: Path) -> Path:
    """Return a free name beside `path`, with the time in it."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.old-{stamp}")
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.old-{stamp}-{number}")
    return aside


_NEXT_STEPS = {
    errno.ENOSPC: "the disk is full: free some space, then save again",
    errno.EDQUOT: "the quota is used up: free some space, then save again",
    errno.EROFS: "the file system is read-only: mount it writable",
    errno.ENOENT: "make the directory first, then save again",
    errno.EACCES: "let the user who runs tapd write there",
    errno.EPERM: "let the user who runs tapd write there",
    errno.EIO: "the disk is failing: check it, and keep a copy of the TAPs elsewhere",
}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into an error that says what was being written and what to do."""
    try:
        yield
    except OSError as error:
        step = _NEXT_STEPS.get(error.errno or 0, "put that right, then save again")
        raise StateUnwritable(
            f"{path}: can't be written ({error.strerror or error}); {step}; what was saved before"
            " is still there"
        ) from error
