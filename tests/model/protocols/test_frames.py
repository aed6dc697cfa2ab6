"""Frames: the same to the protocol wherever the network cuts them and the process ends."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Harness, harnesses
from hypothesis import given
from hypothesis import strategies as st
from recording import cut, feed

from tapd import Application, AuthorError, FrameProtocol, Service

Serve = Callable[..., Harness]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    yield from harnesses(tmp_path)


class Noting(FrameProtocol):
    prefix_bytes = 1
    frame_bytes_max = 20

    def __init__(self) -> None:
        self.events: list[Any] = []

    def frame_received(self, frame: bytes) -> None:
        self.events.append(frame)

    def frame_too_long(self, size: int) -> None:
        self.events.append(size)


class Little(Noting):
    prefix_bytes = 2
    byteorder = "little"


class Wide(Noting):
    prefix_bytes = 8


class Echo(FrameProtocol):
    def frame_received(self, frame: bytes) -> None:
        self.send_frame(frame)


FORMATS = {Noting: "B", Little: "<H", Wide: ">Q"}


@given(
    st.sampled_from(list(FORMATS)),
    st.lists(st.binary(max_size=30), max_size=12),
    st.lists(st.integers(0, 400), max_size=12),
    st.booleans(),
)
def test_cuts_and_kills_change_nothing(
    kind: type[Noting], frames: list[bytes], places: list[int], kill: bool
) -> None:
    data = b"".join(struct.pack(FORMATS[kind], len(frame)) + frame for frame in frames)
    expected = [frame if len(frame) <= 20 else len(frame) for frame in frames]
    assert feed(kind(), [data]).events == expected
    assert feed(kind(), cut(data, places), kill=kill).events == expected
    assert feed(kind(), [data[i : i + 1] for i in range(len(data))]).events == expected


@given(st.lists(st.binary(max_size=300)))
def test_what_is_sent_is_received(frames: list[bytes]) -> None:
    sender = feed(Echo(), [])
    for frame in frames:
        sender.send_frame(frame)
    assert feed(Echo(), [sender.transport.output]).transport.output == sender.transport.output


def test_a_frame_too_long_closes() -> None:
    protocol = feed(Echo(), [b"\x00\x00\x00\x02hi", b"\x00\x10\x00\x01", b"rest"])
    assert protocol.transport.output == b"\x00\x00\x00\x02hi"
    assert protocol.transport.is_closed


def test_a_megabyte_byte_by_byte_is_kept_in_pieces() -> None:
    protocol = feed(Echo(), [struct.pack(">I", 9000), *[b"x"] * 8999])
    assert len(protocol._pieces) == 8
    protocol.data_received(b"y")
    assert protocol.transport.output == struct.pack(">I", 9000) + b"x" * 8999 + b"y"
    assert protocol._pieces is None


@pytest.mark.parametrize(
    ("kept", "data", "size"),
    [
        (b"", b"\x03abc\x01d", 4),
        (b"\x03a", b"bcd", 2),
        (b"", b"\x03a", 2),
        (b"\x20", b"x" * 40, 32),
    ],
)
def test_units_of_input(kept: bytes, data: bytes, size: int) -> None:
    assert feed(Noting(), [kept]).input_unit(data) == size


def test_what_is_skipped_is_one_frame() -> None:
    protocol = feed(Noting(), [b"\x03a"])
    protocol.input_skipped(b"bc")
    protocol.data_received(b"\x01d")
    protocol.input_skipped(b"\x04e")
    protocol.data_received(b"fgh\x01i")
    assert protocol.events == [b"d", b"i"]


@pytest.mark.parametrize(
    ("attributes", "said"),
    [({"prefix_bytes": 3}, "write 1, 2, 4 or 8"), ({"byteorder": "middle"}, "'big' or 'little'")],
)
def test_attributes_that_cannot_be_meant(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(AuthorError, match=said):
        type("Wrong", (FrameProtocol,), attributes)


def test_a_frame_that_does_not_fit_its_prefix_is_refused_before_it_is_sent() -> None:
    protocol = feed(Noting(), [])
    with pytest.raises(AuthorError, match="256 bytes: its length does not fit into 1 byte"):
        protocol.send_frame(b"x" * 256)
    assert protocol.transport.output == b""


class Echoes(Service):
    protocol = Echo


def test_killed_after_every_byte(serve: Serve) -> None:
    application = Application("echo")
    application.listen("127.0.0.1:0", Echoes())
    harness = serve(application)
    peer = harness.connect()
    sent = b"\x00\x00\x00\x05hello\x00\x00\x00\x00\x00\x00\x00\x01!"
    for byte in sent:
        peer.send(bytes([byte]))
        harness.crash()
    peer.expect(sent)
