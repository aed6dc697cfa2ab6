"""Lines: the same to the protocol wherever the network cuts them and the process ends."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Harness, harnesses
from hypothesis import given
from hypothesis import strategies as st
from recording import RecordingTransport, cut, feed

from tapd import Application, AuthorError, InputTooLong, LineProtocol, Service
from tapd.model.protocols.kept import PIECE_BYTES

Serve = Callable[..., Harness]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    yield from harnesses(tmp_path)


class Noting(LineProtocol):
    """Notes what it was given; the lines ``raw N``, ``boom`` and ``pause`` do what they say."""

    line_bytes_max = 12
    raw_bytes_max = 100

    def __init__(self) -> None:  # no super(): authors forget it
        self.events: list[Any] = []

    def line_received(self, line: str) -> None:
        self.events.append(line)
        if count := re.fullmatch("raw ([0-9]+)", line):
            self.set_raw_mode(int(count[1]))
        elif line == "boom":
            raise RuntimeError(line)
        elif line == "pause":
            self.transport.pause_reading()

    def raw_data_received(self, data: bytes) -> None:
        self.events.append(data)

    def line_too_long(self) -> None:
        self.events.append("too long")


class Nul(Noting):
    delimiter = b"\0"


class Dashes(Noting):
    delimiter = b"--\r\n--"


class Polite(LineProtocol):
    """Has the default of everything."""

    def line_received(self, line: str) -> None:
        self.send_line(line[::-1])


ALPHABET = [
    b"a",
    b"\r",
    b"\n",
    b"\r\n",
    b"raw 3\n",
    b"raw 0\r\n",
    b"raw 25\n",
    b"x" * 14,
    b"\0",
    b"--\r\n--",
    b"-",
    b"\xc3",
]


@given(
    st.sampled_from([Noting, Nul, Dashes]),
    st.lists(st.sampled_from(ALPHABET), max_size=30).map(b"".join),
    st.lists(st.integers(0, 400), max_size=12),
    st.booleans(),
)
def test_cuts_and_kills_change_nothing(
    kind: type[Noting], data: bytes, places: list[int], kill: bool
) -> None:
    whole = feed(kind(), [data])
    pieces = feed(kind(), cut(data, places), kill=kill)
    assert pieces.events == whole.events
    bytewise = feed(kind(), [data[i : i + 1] for i in range(len(data))], kill=kill)
    assert bytewise.events == whole.events


@given(
    st.lists(st.sampled_from([*ALPHABET, b"pause\n", b"pause\r\n"]), max_size=30).map(b"".join),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_pauses_keep_the_order_and_lose_nothing(data: bytes, places: list[int]) -> None:
    """Whoever pauses and resumes gets what one gets who never did."""
    expected = feed(Noting(), [data.replace(b"pause", b"PAUSE")]).events
    protocol = Noting()
    transport: Any = RecordingTransport()
    protocol.transport = transport
    for chunk in cut(data, places):
        protocol.data_received(chunk)
        while transport.is_paused:  # the turn gives it nothing meanwhile
            protocol = pickle.loads(pickle.dumps(protocol))
            protocol.transport = transport
            transport.is_paused = False
            protocol.reading_resumed()
    assert [event.lower() for event in protocol.events] == [event.lower() for event in expected]


def reference_lines(data: bytes, limit: int) -> list[str]:
    """Return what a reader that has all of `data` at once would say its lines are."""
    lines = data.split(b"\n")[:-1]
    plain = [line[:-1] if line.endswith(b"\r") else line for line in lines]
    return ["too long" if len(line) > limit else line.decode("utf-8", "replace") for line in plain]


@given(
    st.lists(st.sampled_from([b"a", b"\r", b"\n", b"x" * 11, b"\xff"]), max_size=40).map(b"".join)
)
def test_lines_are_what_lies_between_newlines(data: bytes) -> None:
    closed = data + b"\n"
    assert feed(Noting(), [closed]).events == reference_lines(closed, 12)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [11, 12, 13, 14])
def test_the_limit_is_exact(size: int, end: bytes) -> None:
    data = b"x" * size + end + b"after\n"
    expected = ["x" * size if size <= 12 else "too long", "after"]
    for at in range(len(data)):
        assert feed(Noting(), [data[:at], data[at:]]).events == expected


def test_defaults() -> None:
    protocol = feed(Polite(), [b"abc\r\nd\xc3\xa9f\n\xff\n\n"])
    assert protocol.transport.output == "cba\r\nféd\r\n\N{REPLACEMENT CHARACTER}\r\n\r\n".encode()
    protocol = feed(Polite(), [b"x" * 70000, b"abc\n"])
    assert protocol.transport.output == b"error: the line is longer than 65536 bytes\r\n"
    assert protocol.transport.is_closed


def test_text_that_the_encoding_lacks_is_sent_as_question_marks() -> None:
    class Ascii(Polite):
        encoding = "ascii"

    assert feed(Ascii(), [b"\xe9a\n"]).transport.output == b"a?\r\n"


def test_raw_mode_within_raw_mode_and_its_limits() -> None:
    class Blocks(LineProtocol):
        raw_bytes_max = 10

        def __init__(self) -> None:
            self.blocks: list[bytes] = []

        def line_received(self, line: str) -> None:
            self.set_raw_mode(int(line))

        def raw_data_received(self, data: bytes) -> None:
            self.blocks.append(data)
            if data == b"more":
                self.set_raw_mode(2)

    assert feed(Blocks(), [b"4\nmore\n\n0\n1\nx"]).blocks == [b"more", b"\n\n", b"", b"x"]
    with pytest.raises(InputTooLong, match="11 bytes announced; raw_bytes_max is 10"):
        feed(Blocks(), [b"11\n"])
    with pytest.raises(AuthorError, match="give 0 or more"):
        feed(Blocks(), [b"-1\n"])


def test_a_line_that_raised_is_handled_and_what_follows_is_kept() -> None:
    protocol = Noting()
    transport: Any = RecordingTransport()
    protocol.transport = transport
    with pytest.raises(RuntimeError):
        protocol.data_received(b"one\nboom\ntwo\nthr")
    assert protocol.events == ["one", "boom"]
    protocol.data_received(b"ee\n")
    assert protocol.events == ["one", "boom", "two", "three"]


def test_a_pause_keeps_lines_back_until_reading_is_resumed() -> None:
    protocol = feed(Noting(), [b"one\npause\ntwo\npause\nthree\nfo"])
    assert protocol.events == ["one", "pause"]
    protocol.transport.is_paused = False
    protocol.reading_resumed()
    assert protocol.events == ["one", "pause", "two", "pause"]
    protocol.transport.is_paused = False
    protocol.reading_resumed()
    protocol.data_received(b"ur\n")
    assert protocol.events[4:] == ["three", "four"]


def test_nothing_is_handed_on_after_close() -> None:
    class Quitting(Polite):
        def line_received(self, line: str) -> None:
            super().line_received(line)
            self.transport.close()

    protocol = feed(Quitting(), [b"ab\ncd\n"])
    assert protocol.transport.output == b"ba\r\n"
    assert protocol._kept() == 0


def test_a_whole_line_changes_no_state() -> None:
    protocol = feed(Polite(), [b"abc\n", b"d\ne\n"])
    assert not {name for name in vars(protocol) if not name.startswith("_v_")}


def test_a_long_line_byte_by_byte_is_kept_in_pieces_that_only_grow() -> None:
    protocol = feed(Polite(), [b"x"] * (5 * PIECE_BYTES))
    assert len(protocol._pieces) == 4
    assert len(protocol._part) <= PIECE_BYTES
    protocol.data_received(b"y\n")
    assert protocol.transport.output == b"y" + b"x" * (5 * PIECE_BYTES) + b"\r\n"
    assert protocol._pieces is None
    assert protocol._part == b""


@pytest.mark.parametrize(
    ("kept", "data", "size"),
    [
        (b"", b"abc", 3),
        (b"", b"abc\ndef\n", 4),
        (b"ab", b"c\ndef", 2),
        (b"raw 5\nab", b"cdefg", 3),
        (b"raw 5\nab", b"c", 1),
    ],
)
def test_units_of_input(kept: bytes, data: bytes, size: int) -> None:
    assert feed(Noting(), [kept]).input_unit(data) == size


def test_a_delimiter_cut_in_two_ends_a_unit() -> None:
    assert feed(Dashes(), [b"ab--\r"]).input_unit(b"\n--cd") == 3


def test_what_is_skipped_is_one_line_and_the_next_is_whole() -> None:
    protocol = feed(Noting(), [b"ki"])
    protocol.input_skipped(b"ll\n")
    protocol.data_received(b"next\n")
    assert protocol.events == ["next"]
    assert b"was not applied\r\n" in protocol.transport.output
    protocol.input_skipped(b"half")
    protocol.data_received(b" of it\nlast\n")
    assert protocol.events == ["next", "last"]
    protocol = feed(Noting(), [b"raw 4\nab"])
    protocol.input_skipped(b"cd")
    protocol.data_received(b"next\n")
    assert protocol.events == ["raw 4", "next"]


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"encoding": "utf-16"}, "use utf-8, or FrameProtocol"),
        ({"encoding": "klingon"}, "unknown encoding"),
        ({"errors": "shrug"}, "unknown error handler"),
        ({"delimiter": "\n"}, "is not bytes"),
        ({"delimiter": b""}, "is not bytes"),
    ],
)
def test_attributes_that_cannot_be_meant(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(AuthorError, match=said):
        type("Wrong", (LineProtocol,), attributes)


# --- over real sockets, killed ------------------------------------------------------------


class Tally(Service):
    """Counts the lines of all."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def build_protocol(self, peer: Any) -> LineProtocol:
        return Talking()


class Talking(LineProtocol):
    service: Tally

    def line_received(self, line: str) -> None:
        if line == "boom":
            raise RuntimeError(line)
        self.service.lines.append(line)
        if line == "pause":
            self.transport.pause_reading()
            self.service.application.call_later(0.01, self.go_on)
        self.send_line(f"{len(self.service.lines)} {line}")

    def go_on(self) -> None:
        self.transport.resume_reading()


def make_application() -> Application:
    application = Application("tally")
    application.listen("127.0.0.1:0", Tally())
    return application


def test_killed_after_every_byte(serve: Serve) -> None:
    harness = serve(make_application())
    peer = harness.connect()
    for byte in b"one\r\ntwo\nthree\n":
        peer.send(bytes([byte]))
        harness.crash()
    peer.expect(b"1 one\r\n2 two\r\n3 three\r\n")


def test_killed_while_lines_are_held_back(serve: Serve) -> None:
    harness = serve(make_application())
    peer = harness.connect()
    peer.sock.sendall(b"pause\ntwo\npause\nfour\nfi")
    harness.pump()
    harness.crash()
    tally: Any = harness.application.services["tally"]
    harness.wait_for(lambda: len(harness.application.services["tally"].lines) == 4)
    harness.crash()
    peer.send(b"ve\n")
    peer.expect(b"1 pause\r\n2 two\r\n3 pause\r\n4 four\r\n5 five\r\n")
    assert tally is not harness.application.services["tally"]


def test_a_line_that_raises_closes_its_connection_and_is_not_run_again(serve: Serve) -> None:
    harness = serve(make_application())
    peer = harness.connect()
    peer.send(b"one\nboom\ntwo\n")
    assert peer.read_end() == b"1 one\r\n"
    harness.crash()
    assert list(harness.application.services["tally"].lines) == ["one"]
