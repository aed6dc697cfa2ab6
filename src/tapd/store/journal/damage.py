"""Finds whole records after a broken one, to distinguish damage from a torn write.

A record's mac is chained to the mac of the record before, and that one is stored in the
file. So two consecutive headers, at the distance given by the first one's length, suffice to
verify the second record, whatever is between them and the last record that was read. The
search runs only where a journal has no clean end, and in bounded time: clients wait.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

MAC_BYTES = 16
HEAD_BYTES = 4 + MAC_BYTES
SEARCH_BYTES = 16 << 20
"""How far after the broken record the search for a whole one goes."""
OWN_END_BYTES = 1 << 20
"""How far the search for the broken record's own end goes, should only its length be damaged."""
PLACES_MAX = 200_000
HASHED_BYTES_MAX = 256 << 20
"""The limits of the search: places that look like records, and bytes hashed for them."""
_PAYLOAD_START = b"\x80\x05"  # a pickle of protocol 5, which the payloads of turns are
_MAC_DISTINCT_MIN = 9  # of 16 random bytes, fewer are distinct once in 40 million times


def record_at(
    data: memoryview, at: int, keyed: Any, previous_mac: bytes
) -> tuple[bytes, bytes] | None:
    """Return mac and payload of the record at `at`, or None where none verifies."""
    length = int.from_bytes(data[at : at + 4], "little")  # inline: a start reads all records
    start = at + HEAD_BYTES
    if start + length > len(data):
        return None
    mac = bytes(data[at + 4 : start])
    payload = bytes(data[start : start + length])
    chain = keyed.copy()
    chain.update(previous_mac)
    chain.update(payload)
    return (mac, payload) if chain.digest() == mac else None


def find_later_record(
    data: memoryview, broken_at: int, keyed: Any, previous_mac: bytes
) -> int | None:
    """Return where a whole record begins after the broken one; None where none is found.

    A single record at the end, without an intact head before it, can't be verified. It
    counts if it is complete and looks like a record of a turn.

    Args:
        data: the whole file.
        broken_at: where the first record begins that does not verify.
        keyed: the keyed hash of the journal.
        previous_mac: of the last record that was read.
    """
    start = broken_at + HEAD_BYTES
    if start > len(data):
        return None
    stored_mac = bytes(data[broken_at + 4 : start])
    end = start + _length_at(data, broken_at)
    if end + HEAD_BYTES <= len(data) and _follows(data, start, end, keyed, previous_mac):
        return end
    own = keyed.copy()  # of the broken one, should only its length be damaged
    own.update(previous_mac)
    own_seen, hashed_bytes = start, 0
    alone = None
    for at in itertools.islice(_plausible_heads(data, start), PLACES_MAX):
        if at <= start + OWN_END_BYTES:
            own.update(data[own_seen:at])
            own_seen = at
            if own.digest() == stored_mac:
                return at
        following = at + HEAD_BYTES + _length_at(data, at)
        if following == len(data):
            alone = at if alone is None and _looks_like_turn(data, at) else alone
        elif following + HEAD_BYTES < len(data) and hashed_bytes < HASHED_BYTES_MAX:
            size = _length_at(data, following)
            if 0 < size <= len(data) - following - HEAD_BYTES:
                hashed_bytes += size
                if record_at(data, following, keyed, bytes(data[at + 4 : at + HEAD_BYTES])):
                    return following
    return alone


def count_records(data: memoryview, at: int, keyed: Any) -> int:
    """Return how many records follow one another from `at` on, that one included."""
    count = 1
    while True:
        mac = bytes(data[at + 4 : at + HEAD_BYTES])
        at += HEAD_BYTES + _length_at(data, at)
        if at >= len(data) or record_at(data, at, keyed, mac) is None:
            return count
        count += 1


def _length_at(data: memoryview, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _follows(data: memoryview, start: int, end: int, keyed: Any, previous_mac: bytes) -> bool:
    """Whether the record at `end` is chained to the broken one.

    Either to its mac as stored (where its payload is damaged) or as it should be.
    """
    chain = keyed.copy()
    chain.update(previous_mac)
    chain.update(data[start:end])
    stored = bytes(data[start - MAC_BYTES : start])
    return any(record_at(data, end, keyed, mac) for mac in (stored, chain.digest()))


def _plausible_heads(data: memoryview, start: int) -> Iterator[int]:
    """Yield where a head may be from `start` on: its record fits into the file.

    A length that fits has a small highest byte. Power cuts often leave zeros or another
    pattern, so a length is rejected if its mac begins with the same bytes.
    """
    highest = re.escape(bytes([min((len(data) - start) >> 24, 255)]))
    small = re.compile(b"(?<=(.{3}))([\\x00-" + highest + b"])(?!\\1\\2)", re.DOTALL)
    part = bytes(data[start : start + SEARCH_BYTES])
    last = start + len(part.rstrip(b"\0"))  # pages that never reached the disk are zeros
    for match in small.finditer(data, start + 3, min(last + 3, len(data) - MAC_BYTES)):
        at = match.start() - 3
        if 0 < _length_at(data, at) <= len(data) - HEAD_BYTES - at:
            yield at


def _looks_like_turn(data: memoryview, at: int) -> bool:
    start = at + HEAD_BYTES
    distinct = len(set(data[at + 4 : start]))
    return distinct >= _MAC_DISTINCT_MIN and data[start : start + 2] == _PAYLOAD_START
