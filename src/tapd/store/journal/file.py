"""The journal file: an append-only log of all changes since a generation, one record a turn.

It begins with a magic line; then come records:

    length   4 bytes, little endian: of the payload
    mac     16 bytes: keyed BLAKE2b (RFC 7693) over the previous mac and the payload
    payload

The first mac is chained to the lineage and the generation that the journal
belongs to, so records can't be cut out, exchanged or carried over from another
journal, and no payload is unpickled before it is authenticated. One `write()`
appends a record: the page cache outlives the process, so a kill loses nothing.
`JournalWriter.sync` protects from power cuts.

A torn write leaves a tail that does not verify: it is cut. Where a record that does
verify follows a broken one (`store.journal.damage`), the file was damaged afterwards,
and that is reported, never ignored. A file that was cut at the end of a record looks
whole: the next journal's first record and `store.journal.sync_mark` say how far it went.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tapd.errnos import check_same
from tapd.errors import DescriptorLost, JournalDamaged, StateUnwritable
from tapd.store.files import Files, open_regular, sync_directory, temporary_name
from tapd.store.journal.damage import (
    HEAD_BYTES,
    MAC_BYTES,
    count_records,
    find_later_record,
    record_at,
)
from tapd.store.journal.sync_mark import SyncMark
from tapd.store.key import Key

MAGIC = b"tapd journal 1\n"


class FileOperations(Protocol):
    """The system calls that the writer makes; tests inject failures here."""

    def write(self, fd: int, data: Any, /) -> int: ...
    def fdatasync(self, fd: int, /) -> None: ...
    def ftruncate(self, fd: int, length: int, /) -> None: ...


def _chain(key: bytes) -> Any:
    return hashlib.blake2b(key=key, digest_size=MAC_BYTES, person=b"tapd journal")


def journal_key(key: Key) -> bytes:
    """Return the key of an application's journals, derived from the one that signs TAPs."""
    return key.derive(b"journal")[:64]


def _first_mac(key: bytes, lineage: str, generation: int) -> bytes:
    chain = _chain(key)
    chain.update(f"{lineage}:{generation}".encode())
    return bytes(chain.digest())


class JournalWriter:
    """Appends records to one journal.

    **Ownership.** Holds the file's descriptor until `close`.
    """

    def __init__(
        self,
        path: Path,
        key: bytes,
        lineage: str,
        generation: int,
        *,
        continue_from: tuple[int, bytes] | None = None,
        operations: FileOperations = os,
        mark: SyncMark | None = None,
    ) -> None:
        """Make a new journal, or go on at the end of one that was read.

        A new one gets its name with its first record, so none is ever empty.

        Args:
            path: the file; an old one of that name is replaced unless continued.
            key: 16 to 64 bytes, derived for journals.
            lineage: of the application.
            generation: the one that it follows.
            continue_from: size and last mac, from `JournalContents`; bytes after that
                (a torn tail) are cut.
            operations: the system calls.
            mark: records each sync.

        Raises:
            StateUnwritable: the file can't be made or written.
        """
        self.path = path
        self.generation = generation
        self._operations = operations
        self._mark = mark
        self._keyed = _chain(key)
        # Root may write this in the directory of a server's user: no symbolic links.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self.fd = -1
        self._nameless: Path | None = None
        try:
            if continue_from is None:
                # The first append renames it: a journal without a record is never seen.
                self._nameless = temporary_name(path)
                self._nameless.unlink(missing_ok=True)
                self.fd = os.open(self._nameless, flags | os.O_EXCL, 0o600)
                self.size, mac = 0, _first_mac(key, lineage, generation)
            else:
                self.fd = os.open(path, flags, 0o600)
                self.size, mac = continue_from
                operations.ftruncate(self.fd, self.size)
                os.lseek(self.fd, self.size, os.SEEK_SET)
            self._identity = _identity(self.fd)
            if self.size == 0:  # new, or emptied by a power cut
                self._write(MAGIC)
        except OSError as error:
            self.close()
            raise _unwritable(path, error) from error
        self._end = self._before = self.size, mac  # one value, as another thread reads it

    @property
    def end(self) -> tuple[int, int]:
        """The generation that it follows, and the end of its last whole record."""
        return self.generation, self._end[0]

    @property
    def is_named(self) -> bool:
        """Whether it has its first record, and so its name."""
        return self._nameless is None

    def append(self, payload: bytes) -> None:
        """Append one record.

        Raises:
            StateUnwritable: it was not written (disk full, I/O error); the file
                ends as before, and the same call may be made again later.
            DescriptorLost: the descriptor is not that of the journal any more.
        """
        chain = self._keyed.copy()
        chain.update(self._end[1])
        chain.update(payload)
        mac = chain.digest()
        before = self.size
        try:
            # The position differs if other code closed, replaced or wrote to the descriptor.
            if os.lseek(self.fd, 0, os.SEEK_CUR) != before:
                raise self._moved()
            self._write(b"%b%b%b" % (len(payload).to_bytes(4, "little"), mac, payload))
            if self._nameless is not None:
                self._take_name(self._nameless, before)
        except OSError as error:
            self._check_same(error)
            raise _unwritable(self.path, error) from error
        self._before, self._end = self._end, (self.size, mac)

    def _moved(self) -> DescriptorLost:
        return DescriptorLost(
            f"code in this process wrote to the journal {self.path}, or put another file in its "
            "place; the next process goes on after the last record"
        )

    def _check_same(self, error: OSError) -> None:
        """Return if `error` is about the journal itself, and not another file at its descriptor."""
        check_same(lambda: self._identity == _identity(self.fd), error, f"the journal {self.path}")

    def _take_name(self, nameless: Path, before: int) -> None:
        try:
            nameless.rename(self.path)
            self._nameless = None
            sync_directory(Files(), self.path.parent)  # else a power cut may take the file itself
        except OSError:
            self._go_back(before)
            raise

    def take_back(self) -> None:
        """Undo the last `append`, which could not be synced: the same call may be made again.

        The record is written anew then. To repeat the fsync would not help: the kernel
        reports a failed write once, and drops the pages (fsync(2)).
        """
        self._end = self._before
        self._go_back(self._end[0])

    def _go_back(self, size: int) -> None:
        """Truncate the file to `size`."""
        self.size = size
        # Should this fail, the next append overwrites the rest.
        with contextlib.suppress(OSError):
            self._operations.ftruncate(self.fd, size)
        os.lseek(self.fd, size, os.SEEK_SET)

    def _write(self, data: bytes) -> None:
        written = 0
        try:
            written = self._operations.write(self.fd, data)
            while written < len(data):
                written += self._operations.write(self.fd, data[written:])
        except OSError:
            if written:
                # Back to the end of the last whole record. Should this fail as
                # well, the next append starts at the position set here, and
                # overwrites the torn record.
                with contextlib.suppress(OSError):
                    self._operations.ftruncate(self.fd, self.size)
            os.lseek(self.fd, self.size, os.SEEK_SET)
            raise
        self.size += written

    def sync(self) -> None:
        """Flush all records to the disk (fdatasync(2)).

        Raises:
            StateUnwritable: the disk reported an error. The kernel may have
                dropped the pages: records since the last sync are not safe from a
                power cut until the next generation is saved.
        """
        try:
            self._operations.fdatasync(self.fd)
        except OSError as error:
            self._check_same(error)
            raise _unwritable(self.path, error) from error
        if self._mark is not None:
            self._mark.write(*self.end)

    def sync_apart(self) -> None:
        """Do as `sync`, from another thread, while this one may append or close.

        Raises:
            OSError: the disk reported an error.
        """
        end = self.end  # before the sync: records appended meanwhile are not confirmed
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)
        if self._mark is not None:
            self._mark.write(*end)

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._nameless is not None:
            with contextlib.suppress(OSError):
                self._nameless.unlink()
            self._nameless = None


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _unwritable(path: Path, error: OSError) -> StateUnwritable:
    return StateUnwritable(
        f"can't write the journal {path}: {error.strerror or error}; "
        "make room or repair the disk: nothing is answered until it can be written"
    )


class JournalContents:
    """The contents of a journal.

    Attributes:
        payloads: of each record, in order, authenticated.
        size: the end of the last whole record.
        mac: the last record's, to chain the next one to.
        torn_bytes: the number of bytes after that.
        later_records: the number of whole records found after the damage, at least.
        damage: None, or a message on the damage before the end.
    """

    def __init__(self, size: int, mac: bytes, torn_bytes: int = 0) -> None:
        self.payloads: list[bytes] = []
        self.size = size
        self.mac = mac
        self.torn_bytes = torn_bytes
        self.later_records = 0
        self.damage: str | None = None


def read_journal(path: Path, key: bytes, lineage: str, generation: int) -> JournalContents:
    """Read and authenticate the journal at `path`.

    Raises:
        JournalDamaged: it is no journal of this lineage, generation and key.
        OSError: it can't be read.
    """
    with open_regular(path) as file:
        return parse_journal(file.read(), path, key, lineage, generation)


def parse_journal(
    stored: bytes, path: Path, key: bytes, lineage: str, generation: int
) -> JournalContents:
    """Authenticate the bytes `stored` of the journal at `path`.

    Raises:
        JournalDamaged: as `read_journal`.
    """
    data = memoryview(stored)
    mac = _first_mac(key, lineage, generation)
    if len(data) < len(MAGIC) and MAGIC.startswith(bytes(data)):
        # A kill or power cut while the journal was being made: it held no record yet.
        return JournalContents(0, mac, torn_bytes=len(data))
    if data[: len(MAGIC)] != MAGIC:
        raise JournalDamaged(f"{path} is no journal of this tapd (its first line is another)")
    contents = JournalContents(len(MAGIC), mac)
    keyed = _chain(key)
    at = len(MAGIC)
    while at < len(data):
        record = record_at(data, at, keyed, contents.mac)
        if record is None:
            break
        contents.mac, payload = record
        contents.payloads.append(payload)
        at += HEAD_BYTES + len(payload)
        contents.size = at
    contents.torn_bytes = len(data) - contents.size
    if contents.torn_bytes:
        later = find_later_record(data, contents.size, keyed, contents.mac)
        if later is not None:
            contents.later_records = count_records(data, later, keyed)
            contents.damage = (
                f"{path} is damaged at byte {contents.size}, {contents.torn_bytes} bytes before "
                "its end: whole records follow the damage, and can't be applied without what it "
                f"took; what happened from there on is lost (at least {contents.later_records + 1}"
                " records)"
            )
    return contents


def split_records(data: bytes) -> Iterator[bytes]:
    """Yield the payloads of a journal, unauthenticated, up to the first torn record."""
    at = len(MAGIC)
    while data.startswith(MAGIC) and at + HEAD_BYTES <= len(data):
        end = at + HEAD_BYTES + int.from_bytes(data[at : at + 4], "little")
        if end == at + HEAD_BYTES or end > len(data):
            return  # a torn tail: no record is empty
        yield data[at + HEAD_BYTES : end]
        at = end
