"""The sync mark: how far the journal was fsynced, in ``NAME.d/synced``.

A journal that was cut at the end of a record looks whole. The mark is written after each
sync, so that the loss of synced records is noticed at the next start. After a power cut the
mark may be an older one, but never covers bytes that were not synced.

The file is opened for each write: a sync takes far longer, and code typed at a prompt could
close a descriptor that is kept, so that it becomes another file's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from tapd.store.files import open_regular, temporary_name

MARK_NAME = "synced"
_NUMBER_BYTES = 8
_PLACE_BYTES = 2 * _NUMBER_BYTES
_MAC_BYTES = 16
_BYTES = _PLACE_BYTES + _MAC_BYTES


class SyncMark:
    """The generation and the size of the journal that the disk confirmed last."""

    def __init__(self, directory: Path, key: bytes, lineage: str) -> None:
        """Begin; nothing is read or made yet.

        Args:
            directory: ``NAME.d``.
            key: 16 to 64 bytes, of the application's journals.
            lineage: of the application.
        """
        self._path = directory / MARK_NAME
        self._keyed = hashlib.blake2b(
            lineage.encode(), key=key, digest_size=_MAC_BYTES, person=b"tapd synced"
        )

    def write(self, generation: int, size: int) -> None:
        """Note that the journal of `generation` is on the disk up to `size` bytes.

        Where that can't be written, the older mark stays: it covers less.
        """
        place = generation.to_bytes(_NUMBER_BYTES, "little") + size.to_bytes(
            _NUMBER_BYTES, "little"
        )
        with contextlib.suppress(OSError):
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                self._make(place + self._mac(place))
                return
            try:
                os.pwrite(fd, place + self._mac(place), 0)
            finally:
                os.close(fd)

    def read(self) -> tuple[int, int] | None:
        """Return generation and size in bytes; None where there is no mark that verifies."""
        try:
            with open_regular(self._path) as file:
                data = file.read(_BYTES)
        except OSError:
            return None
        place, mac = data[:_PLACE_BYTES], data[_PLACE_BYTES:]
        if len(data) != _BYTES or mac != self._mac(place):
            return None
        generation, size = place[:_NUMBER_BYTES], place[_NUMBER_BYTES:]
        return int.from_bytes(generation, "little"), int.from_bytes(size, "little")

    def remove(self) -> None:
        """Remove it, once the loss of what it covers was reported.

        Raises:
            OSError: it can't be removed.
        """
        self._path.unlink(missing_ok=True)

    def _make(self, data: bytes) -> None:
        """Make the file, complete before it gets its name."""
        new = temporary_name(self._path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(new, flags, 0o600)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
        new.rename(self._path)

    def _mac(self, place: bytes) -> bytes:
        chain = self._keyed.copy()
        chain.update(place)
        return chain.digest()
