"""The journal file: cut at any byte, with any bit flipped, failing at every system call."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapd.errors import JournalDamaged, StateUnwritable
from tapd.store.journal.file import MAGIC, JournalWriter, read_journal

KEY = b"k" * 32
LINEAGE = "a1"
PAYLOADS = [b"first", b"2", b"third record" * 3, b"\0" * 20, b"last"]


def write_journal(path: Path, payloads: list[bytes] = PAYLOADS) -> list[int]:
    """Write `payloads`; return where each record ends."""
    writer = JournalWriter(path, KEY, LINEAGE, 7)
    ends = [writer.size]
    for payload in payloads:
        writer.append(payload)
        ends.append(writer.size)
    writer.sync()
    writer.close()
    return ends


def read(path: Path, generation: int = 7) -> Any:
    return read_journal(path, KEY, LINEAGE, generation)


@given(payloads=st.lists(st.binary(max_size=300), min_size=1, max_size=8))
@settings(max_examples=40)
def test_what_is_written_is_read(payloads: list[bytes], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    write_journal(path, payloads)
    contents = read(path)
    assert contents.payloads == payloads
    assert contents.torn_bytes == 0
    assert contents.damage is None


def test_cut_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "j"
    ends = write_journal(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        contents = read(path)
        complete = sum(end <= size for end in ends[1:])
        assert contents.payloads == PAYLOADS[:complete]
        assert contents.damage is None, "a torn tail is no damage"
        assert contents.torn_bytes == size - (ends[complete] if size >= len(MAGIC) else 0)


def test_goes_on_after_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "j"
    ends = write_journal(path)
    whole = path.read_bytes()
    for size in range(len(MAGIC), len(whole)):
        path.write_bytes(whole[:size])
        contents = read(path)
        writer = JournalWriter(path, KEY, LINEAGE, 7, continue_from=(contents.size, contents.mac))
        writer.append(b"and on")
        writer.close()
        complete = sum(end <= size for end in ends[1:])
        again = read(path)
        assert again.payloads == [*PAYLOADS[:complete], b"and on"]
        assert again.torn_bytes == 0


def test_every_bit_flipped(tmp_path: Path) -> None:
    """No flipped bit yields a payload that was not written; before the tail it is named."""
    path = tmp_path / "j"
    ends = write_journal(path)
    whole = path.read_bytes()
    last_begins = ends[-2]
    for position in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            if position < len(MAGIC):
                with pytest.raises(JournalDamaged):
                    read(path)
                continue
            contents = read(path)
            broken = sum(end <= position for end in ends[1:])
            assert contents.payloads == PAYLOADS[:broken]
            if position < last_begins:
                assert contents.damage is not None
                assert str(ends[broken]) in contents.damage


@pytest.mark.parametrize(
    "fill",
    [b"\0", b"\1\0\0\0", b"text", os.urandom(1 << 10), b"\5\0\0\0\6\0\0\0\7\0\0\0"],
)
def test_a_large_torn_record_does_not_keep_a_start_waiting(tmp_path: Path, fill: bytes) -> None:
    """Clients wait meanwhile; a search that looked at all that might follow took minutes."""
    path = tmp_path / "j"
    write_journal(path)
    torn = (1 << 30).to_bytes(4, "little") + b"m" * 16 + fill * ((8 << 20) // len(fill))
    with path.open("ab") as file:
        file.write(torn)
    started_s = time.process_time()
    contents = read(path)
    assert time.process_time() - started_s < 10.0
    assert contents.payloads == PAYLOADS
    assert contents.damage is None
    assert contents.torn_bytes == len(torn)


@pytest.mark.parametrize("size", [1 << 16, 1 << 20])
@pytest.mark.parametrize("part", ["length", "mac", "payload"])
def test_damage_to_a_large_record_is_named(tmp_path: Path, size: int, part: str) -> None:
    path = tmp_path / "j"
    ends = write_journal(path, [b"first", b"\0\1" * (size // 2), b"third"])
    damaged = bytearray(path.read_bytes())
    damaged[ends[1] + {"length": 3, "mac": 9, "payload": 5000}[part]] ^= 64
    path.write_bytes(damaged)
    contents = read(path)
    assert contents.payloads == [b"first"]
    assert contents.damage is not None


@pytest.mark.parametrize(
    ("key", "lineage", "generation"), [(b"x" * 32, LINEAGE, 7), (KEY, "b2", 7), (KEY, LINEAGE, 8)]
)
def test_another_key_lineage_or_generation_reads_nothing(
    tmp_path: Path, key: bytes, lineage: str, generation: int
) -> None:
    path = tmp_path / "j"
    write_journal(path)
    assert read_journal(path, key, lineage, generation).payloads == []


def test_records_cant_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "j"
    ends = write_journal(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: ends[1]] + whole[ends[2] :])
    assert read(path).payloads == PAYLOADS[:1]


class FailingFiles:
    """os.write and friends, of which the Nth call fails, or writes only a part."""

    def __init__(self, nth: int, error: int | None) -> None:
        self.calls = 0
        self.nth = nth
        self.error = error

    def _is_due(self) -> bool:
        self.calls += 1
        return self.calls == self.nth

    def write(self, fd: int, data: Any) -> int:
        if self._is_due():
            if self.error is None:
                return os.write(fd, bytes(data)[: max(1, len(data) // 2)])
            os.write(fd, bytes(data)[: len(data) // 2])  # some of it was written all the same
            raise OSError(self.error, os.strerror(self.error))
        return os.write(fd, data)

    def fdatasync(self, fd: int) -> None:
        if self._is_due():
            raise OSError(self.error or errno.EIO, "fdatasync")
        os.fdatasync(fd)

    def ftruncate(self, fd: int, length: int) -> None:
        if self._is_due():
            raise OSError(self.error or errno.EIO, "ftruncate")
        os.ftruncate(fd, length)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, None])
def test_the_nth_call_fails(tmp_path: Path, error: int | None) -> None:
    """For every N: what was reported as written is there, and a retry completes it."""
    path = tmp_path / "j"
    for nth in range(1, 100):
        files = FailingFiles(nth, error)
        appended: list[bytes] = []
        failures = 0
        try:
            writer = JournalWriter(path, KEY, LINEAGE, 7, operations=files)
        except StateUnwritable:
            continue
        for payload in PAYLOADS:
            for _attempt in range(2):
                try:
                    writer.append(payload)
                except StateUnwritable:
                    failures += 1
                    # What is on the disk now is what was there before, and a tail to cut.
                    assert path.exists() == bool(appended)
                    assert not appended or read(path).payloads == appended
                    continue
                appended.append(payload)
                break
        try:
            writer.sync()
        except StateUnwritable:
            failures += 1
        writer.close()
        assert appended == PAYLOADS
        assert read(path).payloads == PAYLOADS
        assert read(path).torn_bytes == 0
        if not failures and files.calls < nth:
            return
    pytest.fail("the failing call was never reached")


def test_an_unwritable_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(StateUnwritable, match="can't write the journal"):
        JournalWriter(tmp_path / "absent" / "j", KEY, LINEAGE, 1)


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """Root writes journals where a server's own user may put what it likes."""
    victim = tmp_path / "victim"
    victim.write_text("root's")
    (tmp_path / "j").symlink_to(victim)
    with pytest.raises(StateUnwritable, match="can't write the journal"):
        JournalWriter(tmp_path / "j", KEY, LINEAGE, 1, continue_from=(0, b""))
    writer = JournalWriter(tmp_path / "j", KEY, LINEAGE, 1)
    writer.append(b"record")
    writer.close()
    assert not (tmp_path / "j").is_symlink()
    assert victim.read_text() == "root's"


def test_a_journal_has_its_name_from_its_first_record_on(tmp_path: Path) -> None:
    path = tmp_path / "j"
    writer = JournalWriter(path, KEY, LINEAGE, 7)
    assert not path.exists()
    writer.close()
    assert list(tmp_path.iterdir()) == []
    writer = JournalWriter(path, KEY, LINEAGE, 7)
    writer.append(PAYLOADS[0])
    assert read(path).payloads == PAYLOADS[:1]
    writer.append(PAYLOADS[1])
    writer.close()
    assert read(path).payloads == PAYLOADS[:2]
    assert list(tmp_path.iterdir()) == [path]


def test_a_journal_of_every_length_is_gone_on_with(tmp_path: Path) -> None:
    """Cut anywhere, by a power cut say, from nothing on: what follows is kept each time."""
    path = tmp_path / "j"
    write_journal(path)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept: list[bytes] = []
        for payload in (b"one", b"another"):
            contents = read(path)
            assert contents.damage is None
            place = contents.size, contents.mac
            writer = JournalWriter(path, KEY, LINEAGE, 7, continue_from=place)
            writer.append(payload)
            writer.close()
            kept.append(payload)
        assert read(path).payloads[-2:] == kept
