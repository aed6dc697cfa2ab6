"""What a client and this server agree on: options, terminal, and who echoes.

The policy above `codec` and `options_machine`. At the start the server offers to
echo and to suppress go-ahead, which together are character mode (RFC 857, 858),
and asks for terminal type and window size (RFC 1091, 1073). A client that says
nothing gets lines and no echo. One that declines character mode keeps its own
line editing, and is asked to leave the echo to the server for passwords only.

Imports the codec's neighbours only; sans-IO: bytes to send are returned.
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
    """One connection's telnet side.

    Attributes:
        decoder: what comes in.
        options: what was negotiated.
        declined: whether the client declined character mode.
        is_echoing: whether the client leaves the echo to the server.
        is_character: whether it sends each key at once besides.
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
        """Take all of `data` and return the events that it completes."""
        return self.decoder.receive(data)

    def receive_text(self, data: bytes) -> bytes | None:
        """Take all of `data` where it is but text, and return that; else take nothing."""
        return self.decoder.receive_text(data)

    def answer(self, event: Negotiation | Subnegotiation) -> bytes:
        """Take what the client says of an option; return what to send."""
        if isinstance(event, Subnegotiation):
            self._take_parameters(event)
            return b""
        had_type = self.options.peer_does(Option.TTYPE)
        if event.option in _OURS and event.verb in (Code.DO, Code.DONT):
            if event.verb == Code.DONT:
                self.declined = True
            elif self.declined and self.options.is_off(event.option):
                self.declined = False  # it asks by itself: it has changed its mind
        reply = self.options.receive(event)
        if not had_type and self.options.peer_does(Option.TTYPE):
            reply += _TTYPE_SEND
        self._note()
        return reply

    def ask_echo(self, *, secret: bool) -> bytes:
        """Settle who echoes what is typed next; return what to send."""
        reply = self.options.want_ours(Option.ECHO, on=secret or not self.declined)
        self._note()
        return reply

    def _note(self) -> None:
        """Keep what the hot path asks for as plain attributes."""
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
        """Return how many of the next bytes, `data`, hold the first line; else all of them.

        The decoder itself is left as it is.
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
        """Return what the person would have typed for `command`; b"" for no key."""
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
