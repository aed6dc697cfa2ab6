"""Damage to each byte of a short journal: what is read, and how the damage is reported.

The table of docs/damage.md, enumerated:

| what happened to a journal of six records | what is read | what it is called |
|---|---|---|
| cut at any byte | the records that are whole | torn |
| a byte of the last record changed | the five before it | torn |
| a byte of an earlier one changed | those before it | damaged |
| a stretch overwritten, before the last record | those before it | damaged |
| a stretch overwritten, up to the end | those before it | torn |
| a byte of each of two records changed | those before the first | damaged |
| a byte changed, and the last record cut | those before the first | damaged |
| a byte of the first line changed | nothing | no journal |
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapd.errors import JournalDamaged
from tapd.store.journal.damage import HEAD_BYTES
from tapd.store.journal.file import MAGIC, JournalContents, JournalWriter, parse_journal

KEY = b"k" * 32
RECORDS: list[tuple[object, ...]] = [
    ("base", "boot", 0, True, [], [], (6, 4711)),
    ("turn", [(1, 77, False, 0)], [(1, 5, b"hello\n", 0)], [], {}, {}, {}, []),
    ("sent", [(1, 6)], []),
    ("turn", [], [(1, 12, b"\0" * 300, 0)], [], {}, {3: pickle.dumps(["x"] * 9, 5)}, {}, []),
    ("turn", [], [(1, 15, [b"a" * 20, b"b" * 20], 0)], [], {}, {}, {}, []),
    ("turn", [], [(1, 19, pickle.dumps(("a", 2), 5), 4)], [1], {}, {}, {}, []),
]
PAYLOADS = [pickle.dumps(record, 5) for record in RECORDS]
LAST = len(PAYLOADS) - 1


class Short:
    """A journal of six records."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal"
        writer = JournalWriter(self.path, KEY, "a1", 7)
        self.begins: list[int] = []
        for payload in PAYLOADS:
            self.begins.append(writer.end[1])
            writer.append(payload)
        writer.close()
        self.whole = self.path.read_bytes()

    def record_of(self, position: int) -> int:
        """Return in which record a byte is; -1: in the first line."""
        return sum(begin <= position for begin in self.begins) - 1

    def read(self, data: bytes) -> JournalContents:
        """Read a journal of these bytes."""
        return parse_journal(data, self.path, KEY, "a1", 7)


@pytest.fixture
def short(tmp_path: Path) -> Short:
    return Short(tmp_path)


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each position, and `data` with that byte changed, in three ways."""
    for position in range(len(data)):
        for change in (0x01, 0x80, 0xFF):
            flipped = bytearray(data)
            flipped[position] ^= change
            yield position, bytes(flipped)


def assert_is(contents: JournalContents, kept: int, later: int | None) -> None:
    """Check what was read, and what it is called: damaged before `later` records, or torn."""
    assert contents.payloads == PAYLOADS[:kept]
    if later is None:
        assert contents.damage is None
    else:
        assert contents.damage is not None
        # The first of them can't be verified where the head before it is gone.
        assert max(later - 1, 1) <= contents.later_records <= later
        assert f"at byte {contents.size}" in contents.damage
        assert f"at least {contents.later_records + 1} records" in contents.damage


def test_cut_at_any_byte_it_is_torn(short: Short) -> None:
    for size in range(len(short.whole)):
        kept = max(short.record_of(size), 0)
        contents = short.read(short.whole[:size])
        assert_is(contents, kept, None)
        begins = short.begins[kept] if size >= len(MAGIC) else 0
        assert (contents.size, contents.torn_bytes) == (begins, size - begins)


def test_a_changed_byte(short: Short) -> None:
    for position, data in flips(short.whole):
        record = short.record_of(position)
        if record < 0:
            with pytest.raises(JournalDamaged):
                short.read(data)
        else:
            assert_is(short.read(data), record, LAST - record if record < LAST else None)


@pytest.mark.parametrize("fill", ["zeros", "ones", "noise"])
@pytest.mark.parametrize("size", [4, 20, 100, 512])
def test_a_stretch_overwritten(short: Short, size: int, fill: str) -> None:
    """As a sector that the disk lost; at every offset, not only where sectors begin."""
    noise = random.Random(size)
    for start in range(len(MAGIC), len(short.whole)):
        end = min(start + size, len(short.whole))
        lost = {"zeros": bytes(size), "ones": b"\xff" * size, "noise": noise.randbytes(size)}[fill]
        data = short.whole[:start] + lost[: end - start] + short.whole[end:]
        changed = [at for at in range(start, end) if data[at] != short.whole[at]]
        if changed:
            first, last = short.record_of(changed[0]), short.record_of(changed[-1])
            assert_is(short.read(data), first, LAST - last if last < LAST else None)


@pytest.mark.parametrize("size", [512, 4096])
def test_a_lost_sector_of_a_longer_journal(tmp_path: Path, size: int) -> None:
    writer = JournalWriter(tmp_path / "j", KEY, "a1", 7)
    begins: list[int] = []
    payloads = PAYLOADS * 30
    for payload in payloads:
        begins.append(writer.end[1])
        writer.append(payload)
    writer.close()
    whole = (tmp_path / "j").read_bytes()
    for start in range(512, len(whole) - size, 512):
        data = whole[:start] + bytes(size) + whole[start + size :]
        contents = parse_journal(data, tmp_path / "j", KEY, "a1", 7)
        broken = sum(begin <= start for begin in begins) - 1
        assert contents.payloads == payloads[:broken]
        later = sum(begin >= start + size for begin in begins)
        assert contents.later_records in (later, later - 1)
        assert (contents.damage is not None) == (later > 0)


def test_a_changed_byte_in_each_of_two_records(short: Short) -> None:
    pick = random.Random(12)
    ends = [*short.begins[1:], len(short.whole)]
    for _attempt in range(1500):
        first, second = sorted(pick.sample(range(LAST + 1), 2))
        data = bytearray(short.whole)
        for record in (first, second):
            data[pick.randrange(short.begins[record], ends[record])] ^= pick.randrange(1, 256)
        contents = short.read(bytes(data))
        assert contents.payloads == PAYLOADS[:first]
        # Of the last two nothing verifies: it is damage where the last one has all its bytes.
        if (first, second) != (LAST - 1, LAST):
            assert contents.damage is not None


def test_a_changed_byte_before_a_torn_record(short: Short) -> None:
    for cut in (1, 30):
        for position, data in flips(short.whole[: len(short.whole) - cut]):
            record = short.record_of(position)
            if record >= 0:
                later = LAST - 1 - record
                assert_is(short.read(data), record, later if later > 0 else None)


def test_a_torn_record_with_records_of_another_journal_in_it(tmp_path: Path) -> None:
    """They prove nothing; where one ends exactly at the cut it may look like the last record."""
    short = Short(tmp_path)
    other = JournalWriter(tmp_path / "other", b"o" * 32, "b2", 1)
    inner_ends = []
    for payload in PAYLOADS:
        other.append(payload)
        inner_ends.append(other.end[1])
    other.close()
    inner = (tmp_path / "other").read_bytes() + b"and the rest of it"
    outer = pickle.dumps(inner, 5)
    writer = JournalWriter(short.path, KEY, "a1", 7)
    for payload in [*PAYLOADS, outer]:
        writer.append(payload)
    writer.close()
    whole = short.path.read_bytes()
    cuts = {len(short.whole) + HEAD_BYTES + outer.index(inner) + end for end in inner_ends}
    for size in range(len(short.whole), len(whole)):
        contents = short.read(whole[:size])
        assert contents.payloads == PAYLOADS
        assert contents.damage is None or size in cuts
