"""The wire format: every split, every byte, and what the RFCs say of line ends."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.wire.telnet.codec import (
    SUBNEGOTIATION_BYTES_MAX,
    Command,
    Data,
    Decoder,
    Event,
    Negotiation,
    Subnegotiation,
    encode_subnegotiation,
    encode_text,
    parse_terminal_type,
    parse_window_size,
)

# Weighted towards the bytes that mean something.
_BYTES = st.lists(
    st.one_of(
        st.sampled_from([255, 255, 255, 250, 240, 251, 253, 244, 246, 13, 10, 0, 1, 31]),
        st.integers(0, 255),
    ),
    max_size=60,
).map(bytes)


def _decode(chunks: list[bytes], *, pickled: bool = False) -> list[Event]:
    decoder = Decoder()
    events: list[Event] = []
    for chunk in chunks:
        if pickled:
            decoder = pickle.loads(pickle.dumps(decoder))
        for event in decoder.receive(chunk):
            if isinstance(event, Data) and events and isinstance(events[-1], Data):
                events[-1] = Data(events[-1].data + event.data)
            else:
                events.append(event)
    return events


@given(_BYTES)
def test_every_split_decodes_alike(data: bytes) -> None:
    whole = _decode([data])
    for index in range(len(data) + 1):
        assert _decode([data[:index], data[index:]]) == whole
    assert _decode([data[index : index + 1] for index in range(len(data))], pickled=True) == whole


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"a\r\nb", b"a\nb"),  # RFC 854: CR LF is a new line
        (b"a\r\0b", b"a\nb"),  # RFC 854: CR NUL is what Enter sends
        (b"a\nb", b"a\nb"),  # nc
        (b"a\rb", b"a\nb"),  # raw clients
        (b"a\r\n\nb", b"a\n\nb"),
        (b"a\r\r\nb", b"a\n\nb"),
        (b"a\0b", b"ab"),  # RFC 854: NUL is no operation
        (b"a\xff\xffb", b"a\xffb"),  # RFC 854: a doubled IAC is data
        (b"\r\xff\xf1\n", b"\n"),  # NOP between CR and LF
    ],
)
def test_text(wire: bytes, text: bytes) -> None:
    events = [event for event in _decode([wire]) if isinstance(event, Data)]
    assert b"".join(event.data for event in events) == text


def test_commands_and_options() -> None:
    wire = b"a\xff\xf4\xff\xfd\x01b\xff\xfa\x1f\x00\xff\xff\x00\x18\xff\xf0c"
    assert _decode([wire]) == [
        Data(b"a"),
        Command(244),
        Negotiation(253, 1),
        Data(b"b"),
        Subnegotiation(31, b"\x00\xff\x00\x18"),
        Data(b"c"),
    ]


def test_a_subnegotiation_too_long_is_dropped_and_bounded() -> None:
    decoder = Decoder()
    decoder.receive(b"\xff\xfa\x18" + b"x" * 100_000)
    assert len(pickle.dumps(decoder)) < 2 * SUBNEGOTIATION_BYTES_MAX
    assert decoder.receive(b"\xff\xf0after") == [Data(b"after")]


def test_a_command_within_a_subnegotiation_ends_it() -> None:
    assert _decode([b"\xff\xfa\x18abc\xff\xfd\x01x"]) == [Negotiation(253, 1), Data(b"x")]


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("a\nb", b"a\r\nb"),
        ("a\r\nb", b"a\r\nb"),
        ("a\rb", b"a\r\0b"),
        ("h\xe4\U0001f600", "h\xe4\U0001f600".encode()),
        ("\udc80", b"\\udc80"),
    ],
)
def test_encode_text(text: str, wire: bytes) -> None:
    assert encode_text(text) == wire


@given(st.text(), st.binary(max_size=40))
def test_what_is_encoded_decodes(text: str, parameters: bytes) -> None:
    assert b"\xff" not in encode_text(text)
    assert _decode([encode_subnegotiation(31, parameters)]) == [Subnegotiation(31, parameters)]


def test_window_size_and_terminal_type() -> None:
    assert parse_window_size(b"\x00\x50\x00\x18") == (80, 24)
    assert parse_window_size(b"\x00\x50\x00") is None
    assert parse_terminal_type(b"\x00XTERM-256COLOR") == "xterm-256color"
    assert parse_terminal_type(b"\x01x") is None
    assert parse_terminal_type(b"\x00\x1b[2J") is None
    assert parse_terminal_type(b"\x00" + b"x" * 41) is None
