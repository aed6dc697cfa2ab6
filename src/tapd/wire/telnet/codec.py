"""The telnet wire format: bytes in, frozen events out (RFC 854, RFC 855).

The decoder's position in a sequence is two or three small durable attributes, so another
process can continue in the middle of any sequence. The decoder never fails: malformed input is
dropped as the RFCs and common clients suggest, and every buffer is bounded.

Line ends are normalized. RFC 854 has CR LF for a new line and CR NUL for a bare carriage
return, which the Enter key sends in character mode; nc sends LF and some clients CR. All of
them become LF, at once: a CR is not held back until the next byte; instead a following LF or
NUL is dropped. Other NULs are padding and dropped too.
"""

from __future__ import annotations

import re
from enum import IntEnum

from tapd.model.durable.persistent import Persistent
from tapd.values import Value

SUBNEGOTIATION_BYTES_MAX = 512
"""Longer subnegotiations are dropped; those in use are far shorter."""


class Code(IntEnum):
    """Command codes (RFC 854; EOF, SUSP and ABORT are RFC 1184's)."""

    EOF = 236
    SUSP = 237
    ABORT = 238
    SE = 240
    NOP = 241
    DM = 242
    BRK = 243
    IP = 244
    AO = 245
    AYT = 246
    EC = 247
    EL = 248
    GA = 249
    SB = 250
    WILL = 251
    WONT = 252
    DO = 253
    DONT = 254
    IAC = 255


class Option(IntEnum):
    """Options that this server knows (IANA's telnet options registry)."""

    BINARY = 0  # RFC 856
    ECHO = 1  # RFC 857
    SGA = 3  # RFC 858
    TIMING_MARK = 6  # RFC 860
    TTYPE = 24  # RFC 1091
    NAWS = 31  # RFC 1073


class Data(Value):
    """Text bytes from the client, with every line end as LF; never empty."""

    data: bytes


class Command(Value):
    """A command without argument, such as IP or AYT."""

    code: int


class Negotiation(Value):
    """WILL, WONT, DO or DONT, and its option."""

    verb: int
    option: int


class Subnegotiation(Value):
    """The parameters of an option, with IACs unescaped."""

    option: int
    data: bytes


Event = Data | Command | Negotiation | Subnegotiation

_IAC = 255
_IAC_BYTE = b"\xff"

# The decoder's position within a sequence.
_TEXT, _AFTER_IAC, _AFTER_VERB, _AFTER_SB, _PARAMETERS, _PARAMETERS_IAC = range(6)


class Decoder(Persistent):
    """Decodes one direction of one connection.

    Attributes:
        state: what the next byte is: text, a command, an option...
        code: the verb just read (state after-verb), or the option of the
            subnegotiation being read.
        parameters: the subnegotiation's parameters so far; None: too many.
        after_cr: the last text byte was CR, so a LF or NUL now is dropped.
    """

    def __init__(self) -> None:
        self.state = _TEXT
        self.code = 0
        self.parameters: bytes | None = b""
        self.after_cr = False

    def receive(self, data: bytes) -> list[Event]:
        """Consume all of `data` and return the completed events."""
        text = self.receive_text(data)
        if text is None:
            return self._receive_mixed(data)
        return [Data(text)] if text else []

    def receive_text(self, data: bytes) -> bytes | None:
        """Consume all of `data` if it is only text, and return that; otherwise consume nothing.

        Like `receive` with a single `Data`, without the event: the hot path of every line.
        """
        if self.state != _TEXT or _IAC_BYTE in data:
            return None
        return self._text(data)

    def _text(self, data: bytes) -> bytes:
        if data[-2:] == b"\r\0" and not self.after_cr:
            line = data[:-2]  # a single line, as sent in character mode
            if b"\r" not in line and b"\0" not in line:
                return line + b"\n"
        if self.after_cr and data:
            self.after_cr = False
            if data[0] in b"\n\0":
                data = data[1:]
        if b"\r" in data:
            if data.endswith(b"\r"):
                self.after_cr = True
            data = data.replace(b"\r\n", b"\n").replace(b"\r\0", b"\n").replace(b"\r", b"\n")
        return data.replace(b"\0", b"") if b"\0" in data else data

    def _receive_mixed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        position = 0
        while position < len(data):
            if self.state in (_TEXT, _PARAMETERS):
                end = data.find(_IAC_BYTE, position)
                chunk = data[position : end if end >= 0 else len(data)]
                position += len(chunk)
                if self.state == _PARAMETERS:
                    self._add_parameters(chunk)
                elif text := self._text(chunk):
                    _add_text(events, text)
                if end >= 0:
                    position += 1
                    self.state += 1  # each of the two states is followed by its after-IAC state
            else:
                self._step(data[position], events)
                position += 1
        return events

    def _step(self, byte: int, events: list[Event]) -> None:
        """Consume one byte that is not text."""
        if self.state == _AFTER_IAC:
            self._after_iac(byte, events)
        elif self.state == _AFTER_VERB:
            self.state = _TEXT
            events.append(Negotiation(self.code, byte))
        elif self.state == _AFTER_SB:
            self.state, self.code, self.parameters = _PARAMETERS, byte, b""
        elif byte == _IAC:  # in parameters, after an IAC
            self.state = _PARAMETERS
            self._add_parameters(_IAC_BYTE)
        else:
            if byte == Code.SE and self.parameters is not None:
                events.append(Subnegotiation(self.code, self.parameters))
            self.parameters = b""
            if byte == Code.SE:
                self.state = _TEXT
            else:  # the SE is missing: the following command still counts
                self._after_iac(byte, events)

    def _after_iac(self, byte: int, events: list[Event]) -> None:
        self.state = _TEXT
        if byte == _IAC:
            self.after_cr = False
            _add_text(events, _IAC_BYTE)
        elif byte >= Code.WILL:
            self.state, self.code = _AFTER_VERB, byte
        elif byte == Code.SB:
            self.state = _AFTER_SB
        elif byte >= Code.EOF and byte != Code.SE:
            events.append(Command(byte))
        # Lower codes are undefined, and a lone SE has no effect: both are ignored.

    def _add_parameters(self, chunk: bytes) -> None:
        if self.parameters is not None and chunk:
            grown = self.parameters + chunk
            self.parameters = grown if len(grown) <= SUBNEGOTIATION_BYTES_MAX else None


def _add_text(events: list[Event], text: bytes) -> None:
    """Append `text` to the last event if that is text, so that runs stay whole."""
    if events and isinstance(events[-1], Data):
        text = events.pop().data + text  # type: ignore[union-attr]  # just checked
    events.append(Data(text))


_LINE_END = re.compile(r"\r\n|\n|\r")
_LINE_ENDS = {"\r\n": "\r\n", "\n": "\r\n", "\r": "\r\0"}


def encode_text(text: str) -> bytes:
    """Encode `text` for the network virtual terminal: CR LF and CR NUL (RFC 854).

    UTF-8 never contains the byte 255, so no IAC needs escaping. Lone surrogates, which UTF-8
    can't express, are shown as escapes.
    """
    if "\r" in text:
        text = _LINE_END.sub(lambda match: _LINE_ENDS[match[0]], text)
    elif "\n" in text:
        text = text.replace("\n", "\r\n")
    return text.encode("utf-8", "backslashreplace")


def encode_negotiation(verb: int, option: int) -> bytes:
    """Return the three bytes of a WILL, WONT, DO or DONT."""
    return bytes((_IAC, verb, option))


def encode_subnegotiation(option: int, data: bytes) -> bytes:
    """Return ``IAC SB option data IAC SE``, with IACs in `data` escaped (RFC 855)."""
    doubled = data.replace(_IAC_BYTE, _IAC_BYTE * 2)
    return bytes((_IAC, Code.SB, option)) + doubled + bytes((_IAC, Code.SE))


def parse_window_size(data: bytes) -> tuple[int, int] | None:
    """Return columns and rows of a NAWS subnegotiation (RFC 1073), None if malformed.

    Zero means unknown.
    """
    if len(data) != 4:
        return None
    return int.from_bytes(data[:2], "big"), int.from_bytes(data[2:], "big")


def parse_terminal_type(data: bytes) -> str | None:
    """Return the name in a TERMINAL-TYPE IS (RFC 1091), lower case; None if malformed."""
    if data[:1] != b"\0" or not data[1:].isascii() or len(data) > 41:
        return None
    name = data[1:].decode("ascii").lower()
    return name if name.isprintable() else None
