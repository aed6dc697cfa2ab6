r"""The IRC wire format: bytes to messages and back, sans-IO and without state.

A message is (modern.ircdocs.horse, "Message Format", and IRCv3 message-tags)::

    ['@' tags SPACE] [':' source SPACE] command {SPACE parameter} [SPACE ':' trailing] CR LF

`split_lines` cuts a stream at line ends and returns the incomplete rest, which the caller
passes to the next call. The rest is bounded: of an overlong line only as much is kept as
shows that it is overlong. `parse_line` turns one line into a `Message`, or into a
`Rejected` with the reason.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

BODY_BYTES_MAX = 512
"""Limit of a message without its tags, with CR LF (RFC 1459 section 2.3)."""
CLIENT_TAGS_BYTES_MAX = 4096
"""Limit of a client's tags: 4094 bytes of data, the @ and the space (message-tags)."""
LINE_BYTES_MAX = CLIENT_TAGS_BYTES_MAX + BODY_BYTES_MAX - 2
PARAMETERS_MAX = 15
LABEL_BYTES_MAX = 64

_LINE_END = re.compile(rb"[\r\n]+")
_COMMAND = re.compile(r"[A-Za-z]+\Z|[0-9]{3}\Z")
_TAG_KEY = re.compile(r"\+?(?:[-A-Za-z0-9.]+/)?[-A-Za-z0-9]+\Z")
_NO_TAGS: Mapping[str, str] = MappingProxyType({})

_ESCAPES = {";": r"\:", " ": r"\s", "\\": r"\\", "\r": r"\r", "\n": r"\n"}
_UNESCAPES = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_TO_ESCAPE = re.compile(r"[; \\\r\n]")


class Reason(enum.Enum):
    """Why a line is not a message."""

    TOO_LONG = enum.auto()
    NOT_UTF8 = enum.auto()
    NUL = enum.auto()
    MALFORMED = enum.auto()


class Message(NamedTuple):
    """One message from a client. A source is ignored: the connection identifies the client.

    Attributes:
        command: in upper case, or three digits.
        params: at most 15.
        tags: values unescaped; "" for a tag without one.
    """

    command: str
    params: tuple[str, ...]
    tags: Mapping[str, str] = _NO_TAGS


class Rejected(NamedTuple):
    """A line that is not a valid message.

    Attributes:
        reason: why.
        command: its apparent command, or "*".
        tags: those that can be parsed: the answer may need the label.
    """

    reason: Reason
    command: str = "*"
    tags: Mapping[str, str] = _NO_TAGS


def is_label(text: str) -> bool:
    """Whether `text` is a valid label (labeled-response: 1 to 64 bytes)."""
    return 0 < len(text.encode()) <= LABEL_BYTES_MAX


def safe_parameter(text: str) -> str:
    """Return a client's `text` made safe as a middle parameter of a message."""
    if not text:
        return "*"
    if " " in text:
        text = text.partition(" ")[0] or "*"
    return text if text[0] != ":" else f"*{text[1:]}"


def split_lines(pending: bytes, data: bytes) -> tuple[list[bytes], bytes]:
    """Cut ``pending + data`` at line ends: CR LF, and CR or LF alone, as old clients send.

    Returns:
        The complete lines that are not empty, and the next
        `pending`: at most ``LINE_BYTES_MAX + 1`` bytes, however long the line is.
    """
    if pending:
        data = pending + data
    if data.endswith(b"\r\n") and data.find(b"\n") == len(data) - 1 and data.count(b"\r") == 1:
        return ([data[:-2]] if len(data) > 2 else []), b""  # one line, the usual case
    lines = data.split(b"\r\n")
    if not len(lines) - 1 == data.count(b"\n") == data.count(b"\r"):
        lines = _LINE_END.split(data)
    rest = lines.pop()
    return [line for line in lines if line], rest[: LINE_BYTES_MAX + 1]


def parse_line(line: bytes) -> Message | Rejected:
    """Parse one line, without its end.

    Text that is not UTF-8 is rejected (ISUPPORT UTF8ONLY), as are a NUL
    (RFC 2812 section 2.3.1) and lines over the limits (417 in the reference).
    """
    if len(line) > LINE_BYTES_MAX:
        return Rejected(Reason.TOO_LONG)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Rejected(Reason.NOT_UTF8, _guess_command(line), _guess_tags(line))
    if "\0" in text:
        return Rejected(Reason.NUL, _guess_command(line), _guess_tags(line))
    tags = _NO_TAGS
    body_bytes = len(line)
    if text[:1] == "@":
        section, _, text = text.partition(" ")
        tags_bytes = len(section.encode()) + 1
        if tags_bytes > CLIENT_TAGS_BYTES_MAX:
            return Rejected(Reason.TOO_LONG)
        body_bytes -= tags_bytes
        tags = parse_tags(section[1:])
    if body_bytes > BODY_BYTES_MAX - 2:
        return Rejected(Reason.TOO_LONG, _guess_command(line), tags)
    return _parse_body(text, tags)


@functools.lru_cache(maxsize=256)
def _command_of(word: str) -> str | None:
    """Return `word` as a command, in upper case; None if it is not one."""
    return word.upper() if _COMMAND.match(word) else None


def _parse_body(text: str, tags: Mapping[str, str]) -> Message | Rejected:
    head, colon, trailing = text.lstrip(" ").partition(" :")
    words = head.split(" ") if "  " not in head else [word for word in head.split(" ") if word]
    if words and words[0][:1] == ":":
        del words[0]
    while words and not words[-1]:
        words.pop()
    command = _command_of(words[0]) if words else None
    if command is None:
        return Rejected(Reason.MALFORMED, words[0] if words else "*", tags)
    params = words[1:]
    if len(params) >= PARAMETERS_MAX:
        return Message(command, _fifteen(text), tags)
    if colon:
        params.append(trailing)
    return Message(command, tuple(params), tags)


def _fifteen(text: str) -> tuple[str, ...]:
    """Return 15 parameters: the last is the rest, with or without its colon."""
    rest = text.lstrip(" ")
    if rest[:1] == ":":
        rest = rest.partition(" ")[2].lstrip(" ")
    rest = rest.partition(" ")[2].lstrip(" ")
    params: list[str] = []
    while rest and len(params) < PARAMETERS_MAX - 1 and rest[0] != ":":
        word, _, rest = rest.partition(" ")
        rest = rest.lstrip(" ")
        params.append(word)
    if rest:
        params.append(rest.removeprefix(":"))
    return tuple(params)


def _guess_command(line: bytes) -> str:
    """Guess the command of an invalid line, for the answer; "*" for none."""
    for word in line.split(b" ")[:3]:
        if word and word[:1] not in b"@:":
            text = word.decode("ascii", "ignore")
            return text.upper() if _COMMAND.match(text) and len(text) <= 32 else "*"
    return "*"


def _guess_tags(line: bytes) -> Mapping[str, str]:
    """Return the tags of an invalid line, if they can be parsed."""
    section = line.partition(b" ")[0]
    if section[:1] != b"@" or len(section) >= CLIENT_TAGS_BYTES_MAX or b"\0" in section:
        return _NO_TAGS
    try:
        return parse_tags(section[1:].decode())
    except UnicodeDecodeError:
        return _NO_TAGS


def parse_tags(section: str) -> dict[str, str]:
    """Parse tags, without the @; of a repeated tag the last counts. Invalid ones are dropped."""
    tags = {}
    for each in section.split(";"):
        key, _, value = each.partition("=")
        if _TAG_KEY.match(key):
            tags[key] = unescape_value(value)
    return tags


def render_tags(tags: Iterable[tuple[str, str]]) -> str:
    """Render tags, without the @."""
    return ";".join(f"{key}={escape_value(value)}" if value else key for key, value in tags)


def escape_value(value: str) -> str:
    """Return a tag's value as it stands on the wire (message-tags, "Escaping values")."""
    return _TO_ESCAPE.sub(lambda match: _ESCAPES[match[0]], value)


def unescape_value(value: str) -> str:
    """Undo `escape_value`; a lone backslash is dropped, as the specification says."""
    if "\\" not in value:
        return value
    return _ESCAPED.sub(lambda match: _UNESCAPES.get(match[1], match[1]), value)


def render_body(source: str, command: str, params: Iterable[str], trailing: str | None) -> bytes:
    """Render a message without tags, cut to 512 bytes between two characters.

    Args:
        source: without the colon; "" for none.
        command: a verb or a numeric's code.
        params: middle parameters: not empty, no space, no leading colon.
        trailing: the last parameter, always with its colon; None for none.
    """
    text = " ".join((f":{source}", command, *params) if source else (command, *params))
    data = (text if trailing is None else f"{text} :{trailing}").encode()
    if len(data) > BODY_BYTES_MAX - 2:
        data = data[: BODY_BYTES_MAX - 2].decode("utf-8", "ignore").encode()
    return data + b"\r\n"


def fill_lines(words: Iterable[str], bytes_max: int) -> Iterator[str]:
    """Yield `words` joined by spaces into texts of at most `bytes_max` bytes each.

    A longer word gets a text of its own. Cuts one long text, for speed: every client that
    joins a large channel gets its names.
    """
    data = " ".join(words).encode()
    start = 0
    while len(data) - start > bytes_max:
        end = data.rfind(b" ", start, start + bytes_max + 1)
        if end < 0:
            end = data.find(b" ", start)
            if end < 0:
                break
        yield data[start:end].decode()
        start = end + 1
    if start < len(data):
        yield data[start:].decode()
