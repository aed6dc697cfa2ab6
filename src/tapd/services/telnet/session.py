"""One telnet connection: where the wire, the login, the editor and the prompt meet.

    bytes -> Decoder -> events -> Login | lines or keys -> Shell -> text -> bytes

Input goes to one of three readers. While the login lasts: `Login`. After it, where
the client lets the server echo and sends each key as it is pressed (ECHO and SGA
are agreed on, RFC 857 and 858): keys, for the `LineEditor`. Else whole lines, as
nc sends them, with nothing echoed.

While a password is checked or a coroutine is awaited, input is *typed ahead*. It
was taken from the kernel, so it is kept here and runs later, in a turn of its
own. Should the server die of it, it is tried again unit by unit under a mark,
and what dies again is skipped, as the host does for input in the kernel.
"""

from __future__ import annotations

import logging
import re
import socket
from typing import TYPE_CHECKING, Any

import tapd
from tapd.model.accounts import Account
from tapd.model.protocol import Protocol, Transport
from tapd.model.timer import Timer
from tapd.services.telnet.codec import (
    Code,
    Command,
    Data,
    Decoder,
    Negotiation,
    Option,
    Subnegotiation,
    encode_subnegotiation,
    encode_text,
    parse_terminal_type,
    parse_window_size,
)
from tapd.services.telnet.editor import WIDTH_DEFAULT, Action, LineEditor
from tapd.services.telnet.login import Login
from tapd.services.telnet.options_machine import OptionMachine
from tapd.services.telnet.shell import Shell
from tapd.services.telnet.terminal import PASTE_OFF, PASTE_ON, Key, Paste, Text, next_key

if TYPE_CHECKING:
    from tapd.services.telnet.service import ShellFactory

_log = logging.getLogger("tapd.services.telnet")

_OURS = bytes((Option.ECHO, Option.SGA))
_THEIRS = bytes((Option.SGA, Option.TTYPE, Option.NAWS))
_TTYPE_SEND = encode_subnegotiation(Option.TTYPE, b"\x01")
_BRACKETS_PASTES = re.compile(r"xterm|screen|tmux|rxvt|alacritty|kitty|foot|vte|konsole|putty")
_LINE_STOP = re.compile(rb"[\n\x03\x04]")
_INTERRUPTS = (Code.IP, Code.BRK, Code.ABORT)


class ShellSession(Protocol):
    """One person's connection.

    Attributes:
        decoder: the wire, inwards.
        options: what was negotiated.
        login: the login, until it is done.
        shell: the prompt, from then on.
        editor: the line editor, once the client sends keys.
        account: who is logged in.
        peer: the client's address, as text.
        is_character: whether the client sends keys and lets the server echo.
        terminal, width: what the client says of its terminal.
        brackets_pastes: whether the terminal was asked to.
        pending: the beginning of a line or of a key.
        overlong: whether the line that comes in is dropped up to its end.
        ahead: what was typed ahead; sealed while the login lasts.
        ahead_timer: the turn that will run it.
        ahead_careful: it is tried unit by unit, because the server died once.
        ahead_tried: the mark that the first unit of it is being tried.
        at_line_start: whether the coroutine's output so far ended its line.
        ended: whether the client will send no more.
        leaving: whether the connection is being closed from here.
    """

    service: ShellFactory

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.options = OptionMachine(_OURS, _THEIRS)
        self.login: Login | None = None
        self.shell: Shell | None = None
        self.editor: LineEditor | None = None
        self.account: Account | None = None
        self.peer = ""
        self.is_character = False
        self.terminal = ""
        self.width = WIDTH_DEFAULT
        self.brackets_pastes = False
        self.pending = b""
        self.overlong = False
        self.ahead = b""
        self.ahead_timer: Timer | None = None
        self.ahead_careful = False
        self.ahead_tried = False
        self.at_line_start = True
        self.ended = False
        self.leaving = False

    # --- the connection's life --------------------------------------------------

    def connection_made(self, transport: Transport) -> None:
        """Offer character mode, show the banner and ask who it is."""
        self.transport = transport
        self.peer = _render_peer(transport.get_extra_info("peername"))
        # A client's synch (RFC 854) is urgent data; its mark must stay in the stream.
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        options = self.options
        offer = (
            options.want_ours(Option.ECHO, on=True)
            + options.want_ours(Option.SGA, on=True)
            + options.want_theirs(Option.TTYPE, on=True)
            + options.want_theirs(Option.NAWS, on=True)
        )
        transport.write(offer)
        name = self.service.application.name
        self.out(f"{name}: a telnet server of tapd {tapd.__version__}\n")
        self.login = Login(self)
        self.login.begin()

    def connection_resumed(self) -> None:
        """Go on in a new process."""
        if self.login is not None:
            self.login.resume()
        if self.shell is not None:
            self.shell.resume()
        if self.ahead and not self._is_busy():
            self.ahead_careful = True
            if self.ahead_tried:
                self.ahead_tried = False
                size = _first_line(self.ahead)
                unit, self.ahead = self.ahead[:size], self.ahead[size:]
                self._skip(unit)
            self.ahead_waits()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what goes on for this connection only."""
        self.service.connection_count -= 1
        if self.login is not None:
            self.login.end()
        if self.ahead_timer is not None:
            self.ahead_timer.cancel()
        if self.shell is not None:
            self.shell.cancel()
        self.login = self.shell = self.editor = None
        self.pending = self.ahead = b""

    def data_received(self, data: bytes) -> None:
        """Take all of `data`."""
        self._v_out: list[str] | None = []
        try:
            for event in self.decoder.receive(data):
                if type(event) is Data:
                    self._typed(event.data)
                else:
                    self._control(event)
        finally:
            self._flush()

    def eof_received(self) -> bool:
        """Leave once all that was sent is done."""
        self.ended = True
        self._leave_if_ended()
        return True

    def _leave_if_ended(self) -> None:
        if self.ended and not self._is_busy() and not self.ahead:
            self.leave()

    def leave(self) -> None:
        """Close the connection once all output is sent."""
        if self.leaving or not self.is_connected:
            return
        self.leaving = True
        if self.brackets_pastes:
            self.out(PASTE_OFF)
        self._flush()
        self.transport.close()

    # --- output -------------------------------------------------------------------

    def out(self, text: str) -> None:
        """Send `text`; within a turn's reading it is gathered first."""
        gathered: list[str] | None = self.__dict__.get("_v_out")
        if gathered is None:
            self.transport.write(encode_text(text))
        else:
            gathered.append(text)

    def _flush(self) -> None:
        gathered: list[str] | None = self.__dict__.get("_v_out")
        self._v_out = None
        if gathered and self.is_connected:
            self.transport.write(encode_text("".join(gathered)))

    def _send(self, raw: bytes) -> None:
        """Send wire bytes, in their place between the texts."""
        if raw:
            gathered = self.__dict__.get("_v_out")
            self._flush()
            self.transport.write(raw)
            if gathered is not None:
                self._v_out = []

    def print_text(self, text: str) -> None:
        """Show what typed code prints."""
        if not text:
            return
        shell = self.shell
        if self.editor is not None and self.is_character and not self.__dict__.get("_v_evaluating"):
            if shell is not None and not shell.awaiting:
                self._print_beside(text)
                return
        self.out(text)
        at_line_start = text.endswith("\n")
        if at_line_start != self.at_line_start:
            self.at_line_start = at_line_start

    def _print_beside(self, text: str) -> None:
        """Show whole lines of a background task above the line being edited."""
        assert self.editor is not None
        text = self.__dict__.get("_v_partial", "") + text
        whole, newline, self._v_partial = text.rpartition("\n")
        if newline:
            self.out(self.editor.hide() + whole + newline + self.editor.show())

    def display(self, value: Any) -> None:
        """Show the value of an expression and keep it in ``_`` of the namespace."""
        if value is not None and self.shell is not None:
            self.print_text(f"{value!r}\n")
            self.shell.namespace.names["_"] = value

    def _prompt(self) -> None:
        """Ask for the next line, on a line of its own."""
        if self.leaving or self.shell is None:
            return
        if not self.at_line_start:
            self.at_line_start = True
            self.out("\n")
        prompt = self.shell.prompt
        self.out(self.editor.begin(prompt) if self.is_character and self.editor else prompt)

    # --- input --------------------------------------------------------------------

    def _is_busy(self) -> bool:
        """Whether input has to wait."""
        if self.login is not None:
            return self.login.is_busy
        return self.shell is not None and self.shell.awaiting

    def _typed(self, data: bytes) -> None:
        """Give `data` to whom it belongs, or keep it for later."""
        if self.ahead or self._is_busy():
            self._type_ahead(data)
            return
        while data and not self.leaving:
            if self._is_busy():
                self.put_back("", data)
                return
            if self.login is not None:
                data = self.login.take(data)
            elif self.is_character:
                data = self._take_keys(data)
            else:
                data = self._take_lines(data)

    def _take_lines(self, data: bytes) -> bytes:
        """Run the whole lines in `data`; return what has to wait."""
        buffer = self.pending + data
        start = 0
        while match := _LINE_STOP.search(buffer, start):
            line, stop = buffer[start : match.start()], match[0]
            start = match.end()
            if stop == b"\n":
                self._run_line(line)
            elif stop == b"\x03":
                self._interrupt()
            elif not line:
                self.leave()
            else:  # C-d within a line means nothing
                buffer = line + buffer[start:]
                start = 0
            if self.leaving or self.shell is None or self.shell.awaiting:
                if self.pending:
                    self.pending = b""
                return buffer[start:]
        rest = buffer[start:]
        if len(rest) > self.service.line_bytes_max:
            self.overlong = True
        if self.overlong:
            rest = b""
        if rest != self.pending:
            self.pending = rest
        return b""

    def _run_line(self, line: bytes) -> None:
        if self.overlong or len(line) > self.service.line_bytes_max:
            self.overlong = False
            self._refuse_line()
        else:
            self._push(line.decode("utf-8", "replace"))

    def _refuse_line(self) -> None:
        kib = self.service.line_bytes_max // 1024
        self.out(f"The line was too long ({kib} KiB are allowed); it was dropped.\n")
        self._prompt()

    def _push(self, line: str) -> None:
        """Run one line, and ask for the next unless it has to be waited for."""
        shell = self.shell
        if shell is None:
            return
        self._v_evaluating = True
        try:
            shell.push(line)
        finally:
            self._v_evaluating = False
        if not shell.awaiting:
            self._prompt()

    def evaluated(self) -> None:
        """Ask for the next line: what was awaited has ended."""
        self._prompt()
        self.ahead_waits()
        self._leave_if_ended()

    def _interrupt(self) -> None:
        """Drop the line and the block, as C-c does."""
        if self.shell is not None:
            self.shell.drop_block()
            self.out("KeyboardInterrupt\n")
            self._prompt()

    # --- keys ---------------------------------------------------------------------

    def _take_keys(self, data: bytes) -> bytes:
        """Edit with the keys in `data`; return what has to wait."""
        buffer = self.pending + data
        if self.pending:
            self.pending = b""
        start = 0
        while start < len(buffer):
            key, end = next_key(buffer, start)
            if key is None:
                if len(buffer) - start <= self.service.block_characters_max:
                    self.pending = buffer[start:]
                    return b""
                end = start + 1  # a paste without end: as if it were typed
                key = Key("")
            start = end
            self._key(key)
            if self.leaving or self.shell is None or self.shell.awaiting:
                return buffer[start:]
        return b""

    def _key(self, key: Text | Key | Paste) -> None:
        editor = self.editor
        assert editor is not None  # there is one in character mode
        if isinstance(key, Text):
            self.out(editor.insert(key.text))
            return
        if isinstance(key, Paste):
            self._paste(key.text)
            return
        screen, action = editor.press(key.name)
        if screen:
            self.out(screen)
        if action is Action.SUBMIT:
            self.out(editor.leave())
            self._submit(editor)
        elif action is Action.INTERRUPT:
            self.out("^C" + editor.leave())
            self._interrupt()
        elif action is Action.LEAVE:
            self._leave_key(editor)
        elif action is Action.COMPLETE:
            self._complete(editor)

    def _submit(self, editor: LineEditor) -> None:
        if editor.overlong:
            self._refuse_line()
            return
        line = editor.text
        if line and not line.isspace() and (not editor.history or editor.history[-1] != line):
            editor.history.append(line)
        self._push(line)

    def _leave_key(self, editor: LineEditor) -> None:
        self.out("\n")
        if self.shell is not None and self.shell.block:
            self.shell.drop_block()
            self._prompt()
        else:
            self.leave()

    def _complete(self, editor: LineEditor) -> None:
        pass

    def _paste(self, text: str) -> None:
        editor = self.editor
        assert editor is not None
        self.out(editor.insert(text))

    # --- what was typed ahead -------------------------------------------------------

    def _type_ahead(self, data: bytes) -> None:
        """Keep `data` until what goes on has ended; C-c ends that and drops it."""
        if self.login is None and b"\x03" in data:
            data = data[data.rindex(b"\x03") + 1 :]
            self._cancel()
        self.put_back("", (self._ahead_bytes() + data) if self.ahead else data, replace=True)

    def _cancel(self) -> None:
        self.ahead = b""
        if self.shell is not None:
            self.shell.cancel()

    def _ahead_bytes(self) -> bytes:
        if self.login is None or not self.ahead:
            return self.ahead
        return self.service.application.runtime.sealer.open(self.ahead) or b""

    def put_back(self, line: str, data: bytes = b"", *, replace: bool = False) -> None:
        """Put a line and `data` before what was typed ahead, or in its place."""
        data = line.encode() + data
        if not replace:
            data += self._ahead_bytes()
        if self.login is not None and data:
            data = self.service.application.runtime.sealer.seal(data)
        if self.ahead != data:
            self.ahead = data

    def ahead_waits(self) -> None:
        """Run what was typed ahead in a turn of its own."""
        if self.ahead and self.ahead_timer is None:
            self.ahead_timer = self.service.application.call_later(0, self.run_ahead)

    def run_ahead(self) -> None:
        """Run what was typed ahead: all of it, or after a death one unit at a time."""
        self.ahead_timer = None
        if not self.is_connected or self._is_busy():
            return
        if self.ahead_careful and not self.ahead_tried:
            self.ahead_tried = True  # committed before the next turn tries it
            self.ahead_waits()
            return
        data, self.ahead = self._ahead_bytes(), b""
        rest = b""
        if self.ahead_tried:
            self.ahead_tried = False
            size = _first_line(data)
            data, rest = data[:size], data[size:]
            if not rest:
                self.ahead_careful = False
        self._v_out = []
        try:
            self._typed(data)
        finally:
            self._flush()
        if rest and not self.leaving:
            self.put_back("", self._ahead_bytes() + rest, replace=True)
            if not self._is_busy():
                self.ahead_waits()
        self._leave_if_ended()

    def logged_in(self, account: Account) -> None:
        """Begin the prompt for `account`."""
        ahead = self._ahead_bytes()
        self.login = None
        self.ahead = ahead
        self.account = account
        self.shell = Shell(self, self.service.namespace_of(account))
        _log.info(
            "login of %s from %s",
            ascii(account.name),
            self.peer,
            extra={"TAPD_PEER": self.peer, "TAPD_USER": ascii(account.name)[1:-1]},
        )
        self.update_echo()
        self._mode_changed()
        self._prompt()
        self.transport.resume_reading()
        self.ahead_waits()
        self._leave_if_ended()

    # --- negotiation and commands -----------------------------------------------------

    @property
    def is_echoing(self) -> bool:
        """Whether the client leaves the echo to the server."""
        return self.options.we_do(Option.ECHO)

    def update_echo(self) -> None:
        """Take the echo over for a password even where the client keeps to lines."""

    def _control(self, event: Command | Negotiation | Subnegotiation | Data) -> None:
        if isinstance(event, Negotiation):
            had_type = self.options.peer_does(Option.TTYPE)
            self._send(self.options.receive(event))
            if not had_type and self.options.peer_does(Option.TTYPE):
                self._send(_TTYPE_SEND)
            self._mode_changed()
        elif isinstance(event, Subnegotiation):
            self._parameters(event)
        elif isinstance(event, Command):
            self._command(event.code)

    def _mode_changed(self) -> None:
        """Note whether keys or lines come in from now on."""
        is_character = self.options.we_do(Option.ECHO) and self.options.we_do(Option.SGA)
        if is_character != self.is_character:
            self.is_character = is_character
        if not is_character or self.shell is None or self.account is None:
            return
        if self.editor is None:
            history = self.service.history_of(self.account)
            self.editor = LineEditor(history, self.width, self.service.line_bytes_max)
            self.editor.begin(self.shell.prompt)
        self._bracket_pastes()

    def _bracket_pastes(self) -> None:
        if self.editor is not None and not self.brackets_pastes:
            if _BRACKETS_PASTES.match(self.terminal):
                self.brackets_pastes = True
                self.out(PASTE_ON)

    def _parameters(self, event: Subnegotiation) -> None:
        if event.option == Option.NAWS:
            size = parse_window_size(event.data)
            if size is not None and size[0] != self.width:
                self.width = size[0]
                if self.editor is not None:
                    self.editor.resize(self.width)
        elif event.option == Option.TTYPE:
            name = parse_terminal_type(event.data)
            if name is not None:
                self.terminal = name
                self._bracket_pastes()

    def _command(self, code: int) -> None:
        if code in _INTERRUPTS:
            self._typed(b"\x03")
        elif code == Code.EC:
            self._typed(b"\x7f")
        elif code == Code.EL:
            self._typed(b"\x15")
        elif code == Code.EOF:
            self._typed(b"\x04")
        elif code == Code.AYT:
            self.out("\n[tapd is here]\n")
            if self.shell is not None and not self._is_busy():
                self.out(self.editor.show() if self.editor else self.shell.prompt)

    # --- input that kills -----------------------------------------------------------

    def input_unit(self, data: bytes) -> int:
        """Return the length of the first line of `data`, else of all of it."""
        decoder = Decoder()
        decoder.__setstate__(self.decoder.__getstate__())
        for index in range(len(data)):
            events = decoder.receive(data[index : index + 1])
            if events and isinstance(events[-1], Data) and events[-1].data.endswith(b"\n"):
                pair = data[index : index + 2] in (b"\r\n", b"\r\0")
                return index + 1 + pair
        return len(data)

    def input_skipped(self, data: bytes) -> None:
        """Drop the line that killed the server, and say so."""
        text = b""
        for event in self.decoder.receive(data):
            if isinstance(event, Data):
                text += event.data
            elif not isinstance(event, Command):
                self._control(event)
        self._skip(text)

    def _skip(self, text: bytes) -> None:
        text = self.pending + text
        self.pending = b""
        if self.login is not None:
            self.out("\nThe server was killed while reading this; it was not applied.\n")
            self.leave()
            return
        if self.shell is None:
            return
        typed = text.decode("utf-8", "replace").rstrip("\n")
        if self.editor is not None:
            typed = self.editor.text + typed
        if self.shell.block:
            typed = f"{self.shell.block}\n{typed}"
            self.shell.drop_block()
        self.out(f"\nThe server was killed while running this; it was not applied:\n{typed}\n")
        self._prompt()


def _first_line(data: bytes) -> int:
    """Return the length of the first line of decoded input, else of all of it."""
    return data.find(b"\n") + 1 or len(data)


def _render_peer(peername: Any) -> str:
    """Return a socket address as people write it."""
    if isinstance(peername, tuple) and len(peername) >= 2:
        host, port = peername[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return "a UNIX socket"
