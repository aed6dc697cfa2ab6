"""Keeps copies of torn or damaged parts of journals, which a start cuts off or can't use.

The same bytes are kept once, and the number of copies is limited, so that a server that
crashes at each start does not fill the disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tapd.store.files import (
    Files,
    free_name,
    open_regular,
    sync_directory,
    write_temporary,
    writing,
)
from tapd.store.names import parse_journal_name

_log = logging.getLogger(__name__)

COPIES_MAX = 5
"""The most copies of one kind in a directory; beyond that the oldest is removed."""
_CHUNK_BYTES = 1 << 20


def keep_copy(path: Path, kind: str, *, start: int = 0) -> Path:
    """Copy the file at `path`, from byte `start` on, beside it, durably.

    Args:
        path: the journal.
        kind: `CUT`, a torn tail, or `DAMAGED`.
        start: the first byte that is kept.

    Returns:
        The path of the copy; an existing copy of the same bytes is used again.

    Raises:
        StateUnwritable: it can't be made; nothing was changed.
    """
    files = Files()
    with writing(path):
        for copy in _copies(path, kind):
            if _is_same(path, start, copy):
                return copy
        aside = _free(path, kind)
        temporary = write_temporary(files, aside, _chunks(path, start))
        try:
            files.link(temporary, aside)  # unlike a rename, it overwrites nothing
        finally:
            files.unlink(temporary)
        sync_directory(files, path.parent)
    _prune(path.parent, kind, aside)
    return aside


def set_aside(path: Path, kind: str) -> Path:
    """Rename the unusable file at `path`; return its new name.

    Raises:
        StateUnwritable: it can't be renamed; nothing was changed.
    """
    files = Files()
    with writing(path):
        aside = _free(path, kind)
        files.rename(path, aside)
        sync_directory(files, path.parent)
    return aside  # the only one of its kind, so that none is removed for another


def kept_copies(directory: Path) -> list[Path]:
    """Return all copies in `directory`, by name."""
    return sorted(path for path, _kind in _all_copies(directory) if path.is_file())


def _all_copies(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield path and kind of each copy of a journal."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in directory.iterdir():
            name = parse_journal_name(path.name)
            if name is not None and name.copy:
                yield path, name.copy


def _copies(path: Path, kind: str) -> list[Path]:
    """Return the copies of one kind of the journal at `path`."""
    copy = f"{path.name}.{kind}"
    there = (each for each, its_kind in _all_copies(path.parent) if its_kind == kind)
    return sorted(each for each in there if each.name.startswith(copy))


def _free(path: Path, kind: str) -> Path:
    aside = path.with_name(f"{path.name}.{kind}")
    return free_name(aside) if os.path.lexists(aside) else aside


def _chunks(path: Path, start: int) -> Iterator[bytes]:
    with open_regular(path) as file:
        file.seek(start)
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _is_same(path: Path, start: int, copy: Path) -> bool:
    status = copy.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size != path.stat().st_size - start:
        return False
    return all(
        ours == theirs for ours, theirs in zip(_chunks(path, start), _chunks(copy, 0), strict=True)
    )


def _prune(directory: Path, kind: str, newest: Path) -> None:
    """Remove the oldest copies beyond `COPIES_MAX`; a failure only costs disk space."""
    with contextlib.suppress(OSError):
        copies = [path for path, its in _all_copies(directory) if its == kind and path != newest]
        copies.sort(key=lambda path: (path.lstat().st_mtime_ns, path.name), reverse=True)
        for path in copies[COPIES_MAX - 1 :]:
            path.unlink()
            _log.warning("%s was removed: copies that are kept: %d", path, COPIES_MAX)
