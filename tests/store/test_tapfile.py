"""The TAP file: only bytes signed with the key are ever unpickled."""

from __future__ import annotations

import os
import pickle
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.errors import TapDamaged, TapdError, TapForeign, TapMissing, TapTooNew
from tapd.store.key import Key
from tapd.store.layout import read_bytes
from tapd.store.tapfile import (
    FOOTER_BYTES,
    MAGIC,
    Manifest,
    first_losses,
    parse_tap,
    read_manifest,
    render_archived_tap,
    render_tail,
    render_tap,
    split_tap,
)

KEY = Key(bytes(range(32)))
STRANGER = Key(bytes(32))
MANIFEST = Manifest(
    generation=7,
    lineage="ab" * 16,
    name="telnet",
    saved_at="2026-01-02T03:04:05.678+00:00",
    python="3.11.2",
    tapd="0.1.0",
    ports=({"address": "127.0.0.1:4040", "service": "shell"},),
    services=({"name": "shell", "type": "tapd.services.telnet:Shell"},),
    globals=("builtins:dict",),
    clean=True,
    journal={"position": 12},
)
PICKLE = pickle.dumps({"x": [1, 2, 3]}, 5)
TAP = render_tap(PICKLE, MANIFEST, KEY)


def test_a_tap_gives_back_what_was_put_in() -> None:
    data, manifest = parse_tap(TAP, KEY, "t")
    assert bytes(data) == PICKLE
    assert manifest == MANIFEST


def test_the_pickle_is_not_copied() -> None:
    data, _manifest = parse_tap(TAP, KEY, "t")
    assert data.obj is TAP


def test_plain_pickle_load_still_returns_the_object(tmp_path: Path) -> None:
    path = tmp_path / "t.tap"
    path.write_bytes(TAP)
    with path.open("rb") as file:
        assert pickle.load(file) == {"x": [1, 2, 3]}


def test_every_flipped_bit_is_refused() -> None:
    for position in range(len(TAP)):
        for bit in range(8):
            damaged = bytearray(TAP)
            damaged[position] ^= 1 << bit
            with pytest.raises(TapdError) as caught:
                parse_tap(bytes(damaged), KEY, "t.tap")
            assert isinstance(caught.value, TapDamaged | TapForeign)
            assert "\n" not in str(caught.value)
            assert str(caught.value).startswith("t.tap: ")


def test_every_truncation_and_extension_is_refused() -> None:
    for length in range(len(TAP)):
        for cut in (TAP[:length], TAP[len(TAP) - length :]):
            with pytest.raises(TapDamaged):
                parse_tap(cut, KEY, "t")
    for more in (b"\0", b"x" * 1000, TAP):
        with pytest.raises(TapDamaged):
            parse_tap(TAP + more, KEY, "t")
        with pytest.raises(TapDamaged):
            parse_tap(more + TAP, KEY, "t")


def test_damage_anywhere_in_a_large_tap_is_refused() -> None:
    pickled = pickle.dumps(os.urandom(1 << 20), 5)
    tap = bytearray(render_tap(pickled, MANIFEST, KEY))
    chosen = random.Random(4)
    for _ in range(200):
        position, bit = chosen.randrange(len(tap)), 1 << chosen.randrange(8)
        tap[position] ^= bit
        with pytest.raises((TapDamaged, TapForeign)):
            parse_tap(bytes(tap), KEY, "t")
        tap[position] ^= bit
    assert bytes(parse_tap(bytes(tap), KEY, "t")[0]) == pickled


@given(st.binary(max_size=400), st.integers(1, 255))
def test_junk_is_refused(junk: bytes, cut: int) -> None:
    for data in (junk, junk + MAGIC, junk + TAP[-cut:], PICKLE + junk):
        with pytest.raises((TapDamaged, TapTooNew)):
            parse_tap(data, KEY, "t")


def test_each_kind_of_damage_has_its_own_message() -> None:
    def message(data: bytes) -> str:
        with pytest.raises(TapdError) as caught:
            parse_tap(data, KEY, "t.tap")
        return str(caught.value)

    flipped = bytearray(TAP)
    flipped[3] ^= 1
    assert "empty" in message(b"")
    assert "cut short" in message(TAP[:-1])
    assert "not a TAP" in message(b"#!/bin/sh\n" * 100)
    assert "changed since it was written" in message(bytes(flipped))
    assert len({message(b""), message(TAP[:-1]), message(b"#!"), message(bytes(flipped))}) == 4


def test_a_strangers_tap_is_refused_with_the_way_to_accept_it() -> None:
    theirs = render_tap(PICKLE, MANIFEST, STRANGER)
    with pytest.raises(TapForeign) as caught:
        parse_tap(theirs, KEY, "t.tap")
    message = str(caught.value)
    assert STRANGER.key_id in message
    assert "tapctl show" in message
    assert "tapctl trust" in message
    stored, tail = split_tap(theirs, "t.tap")  # which is what tapctl show does
    assert bytes(stored) == PICKLE
    assert tail.manifest == MANIFEST


def test_a_forged_signature_is_told_from_an_unknown_key() -> None:
    forger = Key(b"f" * 32)
    forger.key_id = KEY.key_id
    with pytest.raises(TapForeign, match="forged"):
        parse_tap(render_tap(PICKLE, MANIFEST, forger), KEY, "t")


def test_parts_of_two_good_taps_make_no_good_tap() -> None:
    other_pickle = pickle.dumps({"x": [1, 2, 4]}, 5)
    other_manifest = MANIFEST.replace(generation=8)
    other = render_tap(other_pickle, other_manifest, KEY)
    assert len(other) == len(TAP)
    cuts = [len(PICKLE), len(TAP) - FOOTER_BYTES, len(TAP) - 76, len(TAP) - 44]
    for cut in cuts:
        for mixed in (TAP[:cut] + other[cut:], other[:cut] + TAP[cut:]):
            with pytest.raises((TapDamaged, TapForeign)):
                parse_tap(mixed, KEY, "t")


def test_a_later_format_is_told_from_damage() -> None:
    later = render_tap(PICKLE, MANIFEST.replace(format=2), KEY)
    with pytest.raises(TapTooNew, match="format 2"):
        parse_tap(later, KEY, "t")
    only_flipped = bytearray(TAP)
    struct.pack_into("<I", only_flipped, len(TAP) - 12, 2)
    with pytest.raises(TapDamaged):
        parse_tap(bytes(only_flipped), KEY, "t")


def test_a_retired_key_still_opens_its_taps() -> None:
    rotated = Key(b"n" * 32, retired=(KEY,))
    assert bytes(parse_tap(TAP, rotated, "t")[0]) == PICKLE


def test_an_archived_tap_is_compressed_and_verified_before_that_is_undone() -> None:
    pickled = pickle.dumps(["line"] * 10 + [b"a" * 100_000], 5)
    archived = render_archived_tap(memoryview(pickled), MANIFEST, KEY)
    assert len(archived) < len(pickled) // 10
    assert bytes(parse_tap(archived, KEY, "t")[0]) == pickled
    for position in range(0, len(archived), 7):
        damaged = bytearray(archived)
        damaged[position] ^= 0x10
        with pytest.raises((TapDamaged, TapForeign)):
            parse_tap(bytes(damaged), KEY, "t")
    for wrong in (len(pickled) - 1, len(pickled) + 1, 1, (1 << 63) - 1, (1 << 64) - 1):
        stored = archived[: len(split_tap(archived, "t")[0])]
        lying = stored + render_tail(stored, MANIFEST, KEY, encoding=1, pickle_bytes=wrong)
        with pytest.raises(TapDamaged, match="decompressed"):
            parse_tap(lying, KEY, "t")


def test_the_manifest_is_read_without_the_pickle(tmp_path: Path) -> None:
    path = tmp_path / "t.tap"
    path.write_bytes(TAP)
    assert read_manifest(path, KEY) == MANIFEST
    with pytest.raises(TapForeign):
        read_manifest(path, STRANGER)
    with pytest.raises(TapMissing, match="tapd-mktap"):
        read_manifest(tmp_path / "other.tap", KEY)
    (tmp_path / "d.tap").mkdir()
    with pytest.raises(TapDamaged, match="can't be read"):
        read_manifest(tmp_path / "d.tap", KEY)
    os.mkfifo(tmp_path / "fifo.tap")  # to open one waits for a writer
    with pytest.raises(TapDamaged, match="not a regular file"):
        read_manifest(tmp_path / "fifo.tap", KEY)
    with pytest.raises(TapDamaged, match="not a regular file"):
        read_bytes(tmp_path / "fifo.tap")
    damaged = bytearray(TAP)
    damaged[2] ^= 1
    path.write_bytes(damaged)
    assert read_manifest(path, KEY) == MANIFEST  # its pickle is checked by whoever loads it


def test_every_damage_to_manifest_and_footer_is_seen_without_the_pickle(tmp_path: Path) -> None:
    path = tmp_path / "t.tap"
    for position in range(len(PICKLE), len(TAP)):
        damaged = bytearray(TAP)
        damaged[position] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises((TapDamaged, TapForeign)):
            read_manifest(path, KEY)
    for length in range(0, len(TAP), 5):
        path.write_bytes(TAP[:length])
        with pytest.raises(TapDamaged):
            read_manifest(path, KEY)


def test_an_absurd_manifest_length_costs_no_memory(tmp_path: Path) -> None:
    damaged = bytearray(TAP)
    struct.pack_into("<Q", damaged, len(TAP) - FOOTER_BYTES + 16, 1 << 62)
    (tmp_path / "t.tap").write_bytes(damaged)
    with pytest.raises(TapDamaged):
        read_manifest(tmp_path / "t.tap", KEY)


def test_fields_of_a_later_tapd_are_left_out_of_the_manifest() -> None:
    more = MANIFEST.render().replace(b"{", b'{"flavour":"lime",', 1)
    assert Manifest.parse(more) == MANIFEST
    for junk in (b"", b"[]", b"{}", b"\xff", b'{"generation":1}'):
        with pytest.raises(ValueError):  # noqa: PT011 - json's messages are not ours
            Manifest.parse(junk)


@pytest.mark.parametrize(
    "field",
    [
        b'"generation":null', b'"generation":"9"', b'"generation":-1', b'"generation":true',
        b'"generation":1e3', b'"generation":%d' % (1 << 63), b'"name":["a"]', b'"saved_at":5',
        b'"ports":"abc"', b'"ports":5', b'"ports":[1]', b'"services":{}', b'"losses":["x"]',
        b'"loss_count":"many"', b'"python_path":"/x"', b'"python_path":[{}]', b'"globals":[null]',
        b'"clean":0', b'"journal":[]', b'"name":' + b"[" * 100_000,
    ],
    ids=lambda field: field[:24].decode(),
)  # fmt: skip
def test_a_manifest_of_wrong_types_makes_no_sense(field: bytes) -> None:
    class Lying(Manifest):
        def render(self) -> bytes:
            return MANIFEST.render()[:-1] + b"," + field + b"}"

    lying = Lying(**MANIFEST.as_dict())
    with pytest.raises(TapDamaged, match="makes no sense"):
        _ = split_tap(render_tap(PICKLE, lying, STRANGER), "t")[1].manifest


json_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        Manifest,
        generation=st.integers(1, 1 << 40),
        lineage=json_texts,
        name=json_texts,
        saved_at=json_texts,
        python=json_texts,
        tapd=json_texts,
        globals=st.lists(json_texts, max_size=5).map(tuple),
        clean=st.booleans(),
        journal=st.dictionaries(json_texts, st.integers(), max_size=3),
    ),
    st.binary(max_size=200),
)
def test_any_manifest_and_pickle_survive_a_round_trip(manifest: Manifest, data: bytes) -> None:
    pickle_back, manifest_back = parse_tap(render_tap(data, manifest, KEY), KEY, "t")
    assert (bytes(pickle_back), manifest_back) == (data, manifest)
    archived = render_archived_tap(memoryview(data), manifest, KEY)
    assert bytes(parse_tap(archived, KEY, "t")[0]) == data


def test_a_million_losses_do_not_make_the_manifest_a_burden() -> None:
    fields = first_losses({"path": str(number)} for number in range(100_000))
    assert len(fields["losses"]) == 200
    assert fields["loss_count"] == 100_000
