"""Sealed secrets: what they hide, what opens them, and that their length costs no Python."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tapd.model.access.seal import Sealer

KEY = b"k" * 32
# What 0.1.0's first form sealed with KEY and the nonce 00 01 ... 0f; one is of two blocks.
OLD = {
    b"woohoo": "000102030405060708090a0b0c0d0e0ffe8344e1b4c7e553a43dc8287c552c047e08d039d58f",
    b"x" * 100: "000102030405060708090a0b0c0d0e0f8972b1c01ef7fd9cdfed74048baa60f9711fc729c2985c0e"
        "2c1e763432b22f142d937cdb75740404f3be29d8f8364f64efd3349f739d618d653ed2195697d6a9"
        "ad7b7d4d6ead9aea55abd0b812999e0f7f054a552cae5fd6c335e9ee62ae6b3d29c365a4f66c8f7f"
        "46902eaed2429040f0b50499",
}  # fmt: skip


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32))
def test_what_was_sealed_is_opened_by_its_key_alone(secret: bytes, key: bytes) -> None:
    token = Sealer(key).seal(secret)
    assert Sealer(key).open(token) == secret
    assert Sealer(key + b"x").open(token) is None
    assert len(secret) < 4 or secret not in token[4:]  # the first bytes say what it is


def test_a_token_with_any_byte_changed_is_refused() -> None:
    sealer = Sealer(KEY)
    token = sealer.seal(b"woohoo")
    for index in range(len(token)):
        for bit in range(8):
            changed = bytearray(token)
            changed[index] ^= 1 << bit
            assert sealer.open(bytes(changed)) is None
    for size in range(len(token)):
        assert sealer.open(token[:size]) is None


def test_what_the_form_before_sealed_is_opened() -> None:
    for secret, token in OLD.items():
        assert Sealer(KEY).open(bytes.fromhex(token)) == secret
        assert Sealer(b"x" * 32).open(bytes.fromhex(token)) is None


def test_a_secret_is_sealed_with_another_nonce_each_time() -> None:
    sealer = Sealer(KEY)
    assert len({sealer.seal(b"woohoo") for _ in range(100)}) == 100


def calls_in(function: Any, *args: Any) -> int:
    """Return how many functions, of Python and of C, a call calls."""
    count = 0

    def note(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(*args)
    finally:
        sys.setprofile(before)
    return count


def test_a_long_secret_takes_as_many_calls_as_a_short_one() -> None:
    """It was 60 KiB in 8 ms when the key stream was made block by block."""
    sealer = Sealer(KEY)
    short, long = b"x", b"x" * 61_440
    assert calls_in(sealer.seal, long) == calls_in(sealer.seal, short)
    assert calls_in(sealer.open, sealer.seal(long)) == calls_in(sealer.open, sealer.seal(short))
