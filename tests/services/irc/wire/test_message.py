"""The codec: modern, "Message Format"; IRCv3 message-tags; RFC 1459 section 2.3."""

from __future__ import annotations

import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.services.irc.wire.message import (
    BODY_BYTES_MAX,
    CLIENT_TAGS_BYTES_MAX,
    LINE_BYTES_MAX,
    Message,
    Reason,
    Rejected,
    escape_value,
    fill_lines,
    parse_line,
    parse_tags,
    render_body,
    render_tags,
    split_lines,
    unescape_value,
)

streams = st.lists(
    st.sampled_from([b"\r\n", b"\n", b"\r", b"PING :a", b"\0", b"\xff", b" ", b":", b"@a=b;+c "]),
    max_size=30,
).map(b"".join)


@given(streams, st.lists(st.integers(0, 200), max_size=6))
def test_a_stream_cut_anywhere_gives_the_same_lines(stream: bytes, cuts: list[int]) -> None:
    whole, rest = split_lines(b"", stream)
    lines = []
    pending = b""
    places = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    start = 0
    for end in places:
        pending = pickle.loads(pickle.dumps(pending))  # it is all there is to keep
        more, pending = split_lines(pending, stream[start:end])
        lines += more
        start = end
    assert (lines, pending) == (whole, rest)


def test_every_split_of_a_conversation() -> None:
    stream = b"NICK a\r\nUSER a 0 * :A B\r\n\r\n@a=b PRIVMSG #c :hi\n\nQUIT"
    expected = split_lines(b"", stream)
    for cut in range(len(stream) + 1):
        first, pending = split_lines(b"", stream[:cut])
        second, rest = split_lines(pending, stream[cut:])
        assert (first + second, rest) == expected


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_what_is_kept_of_a_line_is_bounded(sizes: list[int]) -> None:
    pending = b""
    for size in sizes:
        lines, pending = split_lines(pending, b"x" * size)
        assert not lines
        assert len(pending) <= LINE_BYTES_MAX + 1
    (line,), pending = split_lines(pending, b"\r\nQUIT")
    assert pending == b"QUIT"
    rejected = parse_line(line)
    if sum(sizes) > BODY_BYTES_MAX - 2:
        assert isinstance(rejected, Rejected)
        assert rejected.reason is Reason.TOO_LONG


@pytest.mark.parametrize(
    ("line", "command", "params"),
    [
        (b"quit", "QUIT", ()),
        (b"  PING   a  ", "PING", ("a",)),
        (b":source PING a", "PING", ("a",)),
        (b"USER a 0 * :Real name", "USER", ("a", "0", "*", "Real name")),
        (b"TOPIC #c :", "TOPIC", ("#c", "")),
        (b"PRIVMSG #c ::)", "PRIVMSG", ("#c", ":)")),
        (b"PRIVMSG #c :a  b ", "PRIVMSG", ("#c", "a  b ")),
        (b"PRIVMSG #c  :a", "PRIVMSG", ("#c", "a")),
        (b"PRIVMSG a:b c", "PRIVMSG", ("a:b", "c")),
        ("PRIVMSG #c :hé".encode(), "PRIVMSG", ("#c", "hé")),
        (b"001 a", "001", ("a",)),
        (b"@a=1;+b PING x", "PING", ("x",)),
    ],
)
def test_parsing(line: bytes, command: str, params: tuple[str, ...]) -> None:
    message = parse_line(line)
    assert isinstance(message, Message)
    assert (message.command, message.params) == (command, params)


def test_fifteen_parameters_are_the_most() -> None:
    """RFC 1459 section 2.3: the 15th is all the rest, with or without a colon."""
    words = [str(number) for number in range(20)]
    message = parse_line(f"X {' '.join(words)}".encode())
    assert isinstance(message, Message)
    assert message.params == (*words[:14], " ".join(words[14:]))
    message = parse_line(f":s X {' '.join(words[:14])} :a b".encode())
    assert isinstance(message, Message)
    assert message.params == (*words[:14], "a b")
    message = parse_line(f"X {' '.join(words[:15])} :a b".encode())
    assert isinstance(message, Message)
    assert message.params == (*words[:14], "14 :a b")


@pytest.mark.parametrize(
    ("line", "reason", "command"),
    [
        (b"PRIVMSG a :\xff\xfe", Reason.NOT_UTF8, "PRIVMSG"),
        (b"\xff", Reason.NOT_UTF8, "*"),
        (b"@a=\xff :x PRIVMSG a", Reason.NOT_UTF8, "PRIVMSG"),
        (b"PRIVMSG a :\0", Reason.NUL, "PRIVMSG"),
        (b"PRIVMSG a :" + b"x" * 500, Reason.TOO_LONG, "PRIVMSG"),
        (b"@a=b ", Reason.MALFORMED, "*"),
        (b":only", Reason.MALFORMED, "*"),
        (b" ", Reason.MALFORMED, "*"),
        (b"12 a", Reason.MALFORMED, "12"),
        (b"PRIV-MSG a", Reason.MALFORMED, "PRIV-MSG"),
    ],
)
def test_what_is_no_message(line: bytes, reason: Reason, command: str) -> None:
    rejected = parse_line(line)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.command) == (reason, command)


def test_what_can_be_read_of_a_rejected_lines_tags() -> None:
    rejected = parse_line(b"@label=x PRIVMSG a :\xff")
    assert rejected == Rejected(Reason.NOT_UTF8, "PRIVMSG", {"label": "x"})
    assert parse_line(b"@label=\xff A") == Rejected(Reason.NOT_UTF8, "A")


def test_the_limits_of_tags_and_body_are_apart() -> None:
    """IRCv3 message-tags, "Size limit": 4094 bytes of tag data beside 512 of the rest."""
    tags = b"@a=" + b"x" * (CLIENT_TAGS_BYTES_MAX - 4) + b" "
    body = b"PING :" + b"y" * (BODY_BYTES_MAX - 2 - 6)
    assert len(tags) == CLIENT_TAGS_BYTES_MAX
    assert isinstance(parse_line(tags + body), Message)
    rejected = parse_line(tags + body + b"y")
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.TOO_LONG
    assert isinstance(parse_line(body), Message)
    assert parse_line(body + b"y") == Rejected(Reason.TOO_LONG, "PING")
    assert parse_line(b"@x" + tags[1:] + b"PING :a") == Rejected(Reason.TOO_LONG)


@given(st.binary(max_size=700))
def test_no_line_is_an_error(line: bytes) -> None:
    result = parse_line(line.replace(b"\r", b"").replace(b"\n", b""))
    assert isinstance(result, Message | Rejected)
    if isinstance(result, Message):
        assert len(result.params) <= 15


@given(st.text())
def test_a_tags_value_goes_there_and_back(value: str) -> None:
    escaped = escape_value(value)
    assert not set(escaped) & set("; \r\n")
    assert unescape_value(escaped) == value


def test_unescaping_as_the_specification_says() -> None:
    r"""IRCv3 message-tags: an unknown escape is its character, a lone \ at the end vanishes."""
    assert unescape_value(r"a\b\:\s\\\r\n") == "ab; \\\r\n"
    assert unescape_value("test\\") == "test"


def test_tags() -> None:
    assert parse_tags(r"a;b=;c=1\s2;c=3;+ex.org/d=4;bad key=5;=6;+;") == {
        "a": "",
        "b": "",
        "c": "3",
        "+ex.org/d": "4",
    }
    assert render_tags([("a", ""), ("b", "x y;")]) == r"a;b=x\sy\:"


@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=900))
def test_a_rendered_message_fits_and_is_utf8(text: str) -> None:
    data = render_body("irc.test", "PRIVMSG", ("#c",), text)
    assert len(data) <= BODY_BYTES_MAX
    assert data.endswith(b"\r\n")
    data.decode()
    if len(text.encode()) < 400:
        message = parse_line(data[:-2])
        assert isinstance(message, Message)
        assert message.params == ("#c", text)


@given(st.lists(st.text("abcé", min_size=1, max_size=30)), st.integers(60, 100))
def test_filled_lines_hold_all_words_in_order(words: list[str], limit: int) -> None:
    lines = list(fill_lines(words, limit))
    assert " ".join(lines).split() == words
    assert all(len(line.encode()) <= limit for line in lines)
    for line, following in itertools.pairwise(lines):  # none is shorter than it need be
        assert len(f"{line} {following.split()[0]}".encode()) > limit


def test_a_word_too_long_stands_alone() -> None:
    assert list(fill_lines(["a", "b" * 9, "c", "d"], 4)) == ["a", "b" * 9, "c d"]
    assert list(fill_lines([], 4)) == []
