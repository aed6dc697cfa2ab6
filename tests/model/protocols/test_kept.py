"""Kept input: sealed where it may be secret, and run unit by unit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tapd.model.access.seal import Sealer
from tapd.model.protocols.kept import PIECE_BYTES, KeptInput


class Lines(KeptInput):
    """Runs lines; a line of ``wait`` has those behind it wait."""

    def __init__(self, key: bytes = b"k" * 32) -> None:
        self.service = SimpleNamespace(sealer=Sealer(key))  # type: ignore[assignment]
        self.done: list[bytes] = []
        self.waits = True

    def data_received(self, data: bytes) -> None:
        self._keep(data)

    def _may_be_secret(self, data: bytes) -> bool:
        return b"secret" in data

    def _kept_unit(self, kept: bytes) -> int:
        return 0 if self.waits else kept.find(b"\n") + 1

    def _run_kept(self, data: bytes, rest: bytes) -> None:
        self._clear_kept()
        *lines, begun = data.split(b"\n")
        for index, line in enumerate(lines):
            self.done.append(line)
            if line == b"wait":
                self.waits = True
                begun = b"\n".join([*lines[index + 1 :], begun])
                break
        self._replace_kept(begun + rest)

    def _skip_kept(self, data: bytes, rest: bytes) -> None:
        self.done.append(b"skipped " + data[:-1])
        self._replace_kept(rest)


def keep(*pieces: bytes) -> Lines:
    protocol = Lines()
    for piece in pieces:
        protocol.data_received(piece)
    return protocol


def state(protocol: Lines) -> dict[str, Any]:
    return {name: value for name, value in vars(protocol).items() if name.startswith("_")}


def test_nothing_runs_before_it_may() -> None:
    protocol = keep(b"one\ntw", b"o\n")
    assert protocol.kept_bytes() == 0
    protocol.reading_resumed()
    assert protocol.done == []
    assert protocol._kept() == 8


def test_all_of_it_runs_when_reading_is_resumed() -> None:
    protocol = keep(b"one\ntw", b"o\nthr")
    protocol.waits = False
    assert protocol.kept_bytes() == 11
    protocol.reading_resumed()
    assert protocol.done == [b"one", b"two"]
    assert protocol._read_kept() == b"thr"
    assert protocol.kept_bytes() == 0


def test_what_waits_again_is_kept() -> None:
    protocol = keep(b"one\nwait\ntwo\n")
    protocol.waits = False
    protocol.reading_resumed()
    assert protocol.done == [b"one", b"wait"]
    assert protocol._read_kept() == b"two\n"


def test_a_unit_runs_or_is_skipped_by_itself() -> None:
    protocol = keep(b"one\ntwo\nwait\nthree\n")
    protocol.waits = False
    protocol.run_kept_unit()
    assert protocol.done == [b"one"]
    protocol.skip_kept_unit()
    assert protocol.done == [b"one", b"skipped two"]
    assert protocol.kept_bytes() == len(b"wait\nthree\n")
    protocol.run_kept_unit()
    assert protocol.kept_bytes() == 0
    assert protocol._read_kept() == b"three\n"


def test_what_may_be_secret_is_sealed_with_all_that_is_kept() -> None:
    protocol = keep(b"x" * PIECE_BYTES, b"y", b"a secret", b"\n")
    protocol.data_received(b" secret")
    assert protocol._sealed_part
    assert b"secret" not in repr(state(protocol)).encode()
    assert not protocol._part
    assert protocol._pieces is None
    whole = b"x" * PIECE_BYTES + b"ya secret\n secret"
    assert protocol._read_kept() == whole
    assert protocol._kept() == len(whole)
    protocol.waits = False
    protocol.reading_resumed()
    assert protocol._read_kept() == b" secret"
    assert protocol._sealed_part


def test_long_input_is_kept_in_pieces() -> None:
    protocol = keep(*[b"x" * 100] * 50)
    assert len(protocol._part) <= PIECE_BYTES
    assert protocol._pieces is not None
    assert protocol._read_kept() == b"x" * 5000
    protocol._replace_kept(b"short")
    assert state(protocol) == {"_part": b"short", "_pieces": None}


def test_what_was_sealed_with_another_key_is_in_nobodys_way() -> None:
    protocol = keep(b"a secret\n")
    protocol.service = Lines(b"o" * 32).service
    protocol.waits = False
    assert protocol._has_kept()
    assert protocol.kept_bytes() == 0
    protocol.reading_resumed()
    assert not protocol._has_kept()
    assert protocol.done == []
