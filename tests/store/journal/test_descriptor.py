"""The journal's descriptor, closed or used by authors' code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tapd.errors import DescriptorLost
from tapd.store.journal.file import JournalWriter, read_journal

KEY = b"k" * 32
LINEAGE = "a1"


def put_another_over(fd: int, path: Path) -> None:
    other = os.open(path, os.O_RDWR | os.O_CREAT)
    os.dup2(other, fd)
    os.close(other)


def put_a_pipe_over(fd: int) -> None:
    reading, writing = os.pipe()
    os.dup2(writing, fd)
    os.close(writing)
    os.close(reading)


FOREIGN_DEEDS: dict[str, Callable[[int, Path], object]] = {
    "closed": lambda fd, _path: os.close(fd),
    "another file": put_another_over,
    "a pipe": lambda fd, _path: put_a_pipe_over(fd),
    "written to": lambda fd, _path: os.write(fd, b"junk"),
    "moved": lambda fd, _path: os.lseek(fd, 0, os.SEEK_SET),
}


@pytest.mark.parametrize("deed", FOREIGN_DEEDS)
def test_foreign_code_at_the_descriptor(deed: str, tmp_path: Path) -> None:
    """No record goes where the next process does not find it."""
    writer = JournalWriter(tmp_path / "j", KEY, LINEAGE, 7)
    writer.append(b"first")
    FOREIGN_DEEDS[deed](writer.fd, tmp_path / "other")
    with pytest.raises(DescriptorLost):
        writer.append(b"second")
    if deed == "closed":
        with pytest.raises(DescriptorLost):
            writer.sync()
        writer.fd = -1
    writer.close()
    assert read_journal(tmp_path / "j", KEY, LINEAGE, 7).payloads == [b"first"]
    assert not (tmp_path / "other").exists() or (tmp_path / "other").read_bytes() == b""
