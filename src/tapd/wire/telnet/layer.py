"""Telnet policy: character mode, echo, terminal type and window size.

Joins `codec` and `negotiation`. At the start the server offers to echo and to suppress
go-ahead, which together mean character mode (RFC 857, 858), and asks for terminal type and
window size (RFC 1091, 1073). A client that does not answer gets lines and no echo. A client
that declines character mode does its own line editing; it is asked to leave the echo to the
server only for passwords.

Sans-IO: returns the bytes to send.
"""

from __future__ import annotations

from tapd.model.durable.persistent import Persistent
from tapd.wire.telnet.codec import (
    Code,
    Command,
    Data,
    Decoder,
    Event,
    Negotiation,
    Option,
    Subnegotiation,
    encode_subnegotiation,
    parse_terminal_type,
    parse_window_size,
)
from tapd.wire.telnet.negotiation import OptionMachine

_OURS = bytes((Option.ECHO, Option.SGA))
_THEIRS = bytes((Option.SGA, Option.TTYPE, Option.NAWS))
_TTYPE_SEND = encode_subnegotiation(Option.TTYPE, b"\x01")


class Wire(Persistent):
    """The telnet state of one connection.

    Attributes:
        decoder: decodes input.
        options: the negotiated options.
        declined: whether the client declined character mode.
        is_echoing: whether the server echoes.
        is_character: whether the client sends each key at once as well.
        terminal: the terminal's type, in lower case; "" while unknown.
        width: the terminal's width; 0 while unknown.
    """

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.options = OptionMachine(_OURS, _THEIRS)
        self.declined = False
        self.is_echoing = False
        self.is_character = False
        self.terminal = ""
        self.width = 0

    def offer(self) -> bytes:
        """Return what to send first."""
        options = self.options
        return (
            options.want_ours(Option.ECHO, on=True)
            + options.want_ours(Option.SGA, on=True)
            + options.want_theirs(Option.TTYPE, on=True)
            + options.want_theirs(Option.NAWS, on=True)
        )

    def receive(self, data: bytes) -> list[Event]:
        """Consume all of `data` and return the completed events."""
        return self.decoder.receive(data)

    def receive_text(self, data: bytes) -> bytes | None:
        """Consume all of `data` if it is only text, and return that; otherwise consume nothing."""
        return self.decoder.receive_text(data)

    def answer(self, event: Negotiation | Subnegotiation) -> bytes:
        """Handle what the client says about an option; return what to send."""
        if isinstance(event, Subnegotiation):
            self._take_parameters(event)
            return b""
        had_type = self.options.peer_does(Option.TTYPE)
        if event.option in _OURS and event.verb in (Code.DO, Code.DONT):
            if event.verb == Code.DONT:
                self.declined = True
            elif self.declined and self.options.is_off(event.option):
                self.declined = False  # asked unprompted: the client has changed its mind
        reply = self.options.receive(event)
        if not had_type and self.options.peer_does(Option.TTYPE):
            reply += _TTYPE_SEND
        self._note()
        return reply

    def ask_echo(self, *, secret: bool) -> bytes:
        """Negotiate who echoes the next input; return what to send."""
        reply = self.options.want_ours(Option.ECHO, on=secret or not self.declined)
        self._note()
        return reply

    def _note(self) -> None:
        """Cache what the hot path needs as plain attributes."""
        is_echoing = self.options.we_do(Option.ECHO)
        is_character = is_echoing and not self.declined and self.options.we_do(Option.SGA)
        if (is_echoing, is_character) != (self.is_echoing, self.is_character):
            self.is_echoing, self.is_character = is_echoing, is_character

    def _take_parameters(self, event: Subnegotiation) -> None:
        if event.option == Option.NAWS:
            size = parse_window_size(event.data)
            if size is not None:
                self.width = size[0]
        elif event.option == Option.TTYPE:
            name = parse_terminal_type(event.data)
            if name is not None:
                self.terminal = name

    def first_line(self, data: bytes) -> int:
        """Return how many bytes of `data`, the next input, the first line takes; all if incomplete.

        Does not change the decoder.
        """
        decoder = Decoder()
        decoder.__setstate__(self.decoder.__getstate__())
        for index in range(len(data)):
            events = decoder.receive(data[index : index + 1])
            if events and isinstance(events[-1], Data) and events[-1].data.endswith(b"\n"):
                is_pair = data[index : index + 2] in (b"\r\n", b"\r\0")
                return index + 1 + is_pair
        return len(data)

    def keys_of(self, command: Command) -> bytes:
        """Return the keys that `command` stands for; b"" for none."""
        return _KEYS.get(command.code, b"")


def count_interrupts(waiting: bytes) -> int:
    """Return how many C-c follow the last whole line of `waiting`, raw input."""
    line = waiting[max(waiting.rfind(b"\n"), waiting.rfind(b"\r")) + 1 :]
    return line.count(b"\x03") + sum(
        line.count(bytes((Code.IAC, code))) for code, key in _KEYS.items() if key == b"\x03"
    )


_KEYS: dict[int, bytes] = {
    Code.IP: b"\x03",
    Code.BRK: b"\x03",
    Code.ABORT: b"\x03",
    Code.EOF: b"\x04",
    Code.EC: b"\x7f",
    Code.EL: b"\x15",
}
