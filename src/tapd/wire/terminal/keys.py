"""Parses keys of a character terminal, and computes the width of text.

Pure functions. `next_key` reads one key from the caller's buffer and keeps no state: an
incomplete key stays in the buffer. Keys follow xterm, on which common terminals agree (ECMA-48
for the syntax of control sequences).
"""

from __future__ import annotations

import re
import unicodedata

from tapd.values import Value

SEQUENCE_BYTES_MAX = 32
"""Longer control sequences are not keys of any terminal and are dropped."""

PASTE_ON = "\x1b[?2004h"
PASTE_OFF = "\x1b[?2004l"
PASTE_BEGIN = b"\x1b[200~"
PASTE_END = b"\x1b[201~"


class Text(Value):
    """A run of printable text."""

    text: str


class Key(Value):
    """A key that is not text: ``C-a``, ``M-b``, ``Enter``, ``Up``; "" for an unknown one."""

    name: str


class Paste(Value):
    """Pasted text, from between the terminal's brackets."""

    text: str


_TEXT_RUN = re.compile(rb"[^\x00-\x1f\x7f]+")
_CONTROL_SEQUENCE = re.compile(rb"\x1b\[([0-?]*)[ -/]*([@-~])?")
_NAMED = {0x0A: "Enter", 0x0D: "Enter", 0x09: "Tab", 0x7F: "Backspace", 0x08: "Backspace"}
_FINALS = {
    "A": "Up", "B": "Down", "C": "Right", "D": "Left", "H": "Home", "F": "End", "Z": "S-Tab",
    "M": "Enter",
}  # fmt: skip
_NUMBERED = {
    "1": "Home", "2": "Insert", "3": "Delete", "4": "End", "5": "PageUp", "6": "PageDown",
    "7": "Home", "8": "End",
}  # fmt: skip
_MODIFIERS = {"2": "S-", "3": "M-", "4": "M-", "5": "C-", "6": "C-", "7": "C-", "8": "C-"}


def next_key(buffer: bytes, start: int) -> tuple[Text | Key | Paste | None, int]:
    """Parse the key that begins at `start`.

    Returns:
        The key and the position after it; None and `start` if the rest of the buffer
        is an incomplete key.
    """
    byte = buffer[start]
    if byte == 0x1B:
        return _escape(buffer, start)
    if byte < 0x20 or byte == 0x7F:
        return Key(_NAMED.get(byte) or f"C-{chr(byte | 0x60)}"), start + 1
    match = _TEXT_RUN.match(buffer, start)
    assert match is not None  # the byte is not a control character
    end = match.end()
    if end == len(buffer):  # only the last character can be incomplete
        end -= incomplete_bytes(buffer[max(start, end - 3) : end])
        if end == start:
            return None, start
    return Text(buffer[start:end].decode("utf-8", "replace")), end


def incomplete_bytes(tail: bytes) -> int:
    """Return the length of the incomplete UTF-8 character at the end of `tail`."""
    for length in range(1, min(3, len(tail)) + 1):
        byte = tail[-length]
        if byte >= 0xC0:
            expected = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4 if byte < 0xF5 else 0
            return length if length < expected else 0
        if byte < 0x80:
            return 0
    return 0


def _escape(buffer: bytes, start: int) -> tuple[Key | Paste | None, int]:
    follower = buffer[start + 1] if start + 1 < len(buffer) else None
    if follower is None or (follower == ord("O") and start + 2 == len(buffer)):
        return None, start
    if follower == ord("["):
        return _control_sequence(buffer, start)
    if follower == ord("O"):  # keys in application mode (SS3)
        return Key(_FINALS.get(chr(buffer[start + 2]), "")), start + 3
    if follower == 0x1B or follower >= 0x80:
        return Key("Escape"), start + 1  # the next byte is a key by itself
    name = _NAMED.get(follower) or chr(follower).lower()
    if follower < 0x20 and follower not in _NAMED:
        name = f"C-{chr(follower | 0x60)}"
    return Key(f"M-{name}"), start + 2


def _control_sequence(buffer: bytes, start: int) -> tuple[Key | Paste | None, int]:
    if buffer.startswith(PASTE_BEGIN, start):
        begin = start + len(PASTE_BEGIN)
        end = buffer.find(PASTE_END, begin)
        if end < 0:
            return None, start
        text = buffer[begin:end].decode("utf-8", "replace")
        return Paste(text), end + len(PASTE_END)
    match = _CONTROL_SEQUENCE.match(buffer, start)
    assert match is not None  # the caller saw ESC [
    if match.end() - start > SEQUENCE_BYTES_MAX:
        return Key(""), start + SEQUENCE_BYTES_MAX + 1
    if match[2] is None:
        if match.end() < len(buffer):  # broken off by an invalid byte
            return Key(""), match.end()
        return None, start
    number, _, modifier = match[1].decode("ascii").partition(";")
    final = match[2].decode("ascii")
    name = _NUMBERED.get(number, "") if final == "~" else _FINALS.get(final, "")
    return Key(_MODIFIERS.get(modifier, "") + name if name else ""), match.end()


def show(text: str) -> str:
    """Return `text` as a line editor shows it: control characters as ``^X`` or ``<hex>``."""
    if text.isprintable():
        return text
    return "".join(map(_show_character, text))


def _show_character(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return "^" + chr(code ^ 0x40) if code < 0x20 or code == 0x7F else f"<{code:x}>"


def cells(character: str) -> int:
    """Return how many cells one shown character takes: 0, 1 or 2 (Unicode TR 11)."""
    if character < "\u0300":
        return 1
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def advance(text: str, row: int, column: int, width: int) -> tuple[int, int]:
    """Return the cursor's position after `text` was shown from (`row`, `column`).

    A full row counts as continued on the next one. A wide character never spans two rows.
    """
    shown = show(text)
    if shown.isascii():
        rows, column = divmod(column + len(shown), width)
        return row + rows, column
    for character in shown:
        size = cells(character)
        if column + size > width:
            row, column = row + 1, 0
        column += size
        if column >= width:
            row, column = row + 1, 0
    return row, column
