"""One telnet connection: connects the wire, the login, the editor and the prompt.

    bytes -> Wire -> events -> Login | lines or keys -> Shell -> text -> bytes

Input goes to one of three readers. During the login: `Login`. Afterwards, if the client
sends each key and lets the server echo: the `LineEditor`. Else whole lines, as from nc,
without echo. While a password is checked or a coroutine runs, input is buffered
(`model.protocols.kept`), sealed during the login, since it may contain a password.

Attributes whose names start with ``_v_`` last for one turn only.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from tapd import events
from tapd.model.access.accounts import Account
from tapd.model.application import Runtime
from tapd.model.protocol import Transport
from tapd.model.protocols.kept import KeptInput
from tapd.services.telnet import urgent
from tapd.services.telnet.login import Login, LoginCheck
from tapd.services.telnet.reading import take_keys, take_lines
from tapd.version import __version__
from tapd.wire.telnet import codec
from tapd.wire.telnet.codec import Command, Data, Negotiation, encode_text
from tapd.wire.telnet.layer import Wire
from tapd.wire.terminal.editor import LineEditor
from tapd.wire.terminal.keys import PASTE_BEGIN, PASTE_END, PASTE_OFF, PASTE_ON

if TYPE_CHECKING:
    from tapd.services.telnet.ahead import TypedAhead
    from tapd.services.telnet.service import ShellFactory
    from tapd.services.telnet.shell import Shell

_log = logging.getLogger("tapd.services.telnet")

_BRACKETS_PASTES = re.compile(r"xterm|screen|tmux|rxvt|alacritty|kitty|foot|vte|konsole|putty")


class ShellSession(KeptInput):
    """One person's connection.

    Attributes:
        wire: the state of the telnet negotiation.
        login: the login, until it is done.
        check: the password check that the login waits for.
        shell: the prompt, from then on.
        editor: the line editor, once the client sends keys.
        account: who is logged in.
        peer: the client's address, as text.
        pending: the beginning of a line or of a key.
        overlong: whether the current line is dropped up to its end.
        at_line_start: whether the output so far ended its line.
        brackets_pastes: whether the terminal was asked to.
        ended: whether the client will send no more.
        leaving: whether the connection is being closed from here.
    """

    persistence_version = 2

    service: ShellFactory
    check: LoginCheck | None = None
    _v_partial: str = ""
    _v_out: list[str] | None = None
    """Output collected while input is read; None at other times."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.login: Login | None = None
        self.shell: Shell | None = None
        self.editor: LineEditor | None = None
        self.account: Account | None = None
        self.peer = ""
        self.pending = b""
        self.overlong = False
        self.at_line_start = True
        self.brackets_pastes = False
        self.ended = False
        self.leaving = False

    def upgrade_to_version_2(self) -> None:
        """Convert typed-ahead input to the form of `KeptInput`."""
        ahead: TypedAhead | None = self.__dict__.pop("ahead", None)
        if ahead is None:
            return
        ahead.end()
        if ahead.is_sealed:
            self._sealed_part = ahead.data
        else:
            self._part = ahead.data

    @property
    def block_characters_max(self) -> int:
        """The longest statement that is taken; see `host.prompt.prompt.Session`."""
        return self.service.block_characters_max

    @property
    def runtime(self) -> Runtime:
        """The runtime for the coroutines of typed code."""
        return self.service.application.runtime

    # --- the connection's life --------------------------------------------------

    def connection_made(self, transport: Transport) -> None:
        """Offer character mode, show the banner and ask for the name."""
        self.transport = transport
        urgent.keep_in_stream(transport)
        transport.write(self.wire.offer())
        name = self.service.application.name
        self.out(f"{name}: a telnet server of tapd {__version__}\n")
        self.login = Login(self)
        self.login.begin()

    def connection_resumed(self) -> None:
        """Go on in a new process."""
        if self.login is not None:
            self.login.resume()
        if self.shell is not None:
            self.shell.resume()
        if self._has_kept():
            self.ahead_goes_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop everything that belongs to this connection only."""
        self.service.connection_count -= 1
        if self.login is not None:
            self.login.end()
        if self.shell is not None:
            self.shell.cancel()
        self.leaving = True
        self.login = self.check = self.editor = None
        self.pending = b""
        self._clear_kept()

    def data_received(self, data: bytes) -> None:
        """Handle all of `data`."""
        self._v_out = []
        login = self.login
        if login is not None:
            login.input_bytes += len(data)
        try:
            text = self.wire.receive_text(data)
            if text is None:
                self._take_mixed(data)
            elif text:
                self._typed(text)
            if login is not None:
                login.limit_input()
        finally:
            self._flush()

    def _take_mixed(self, data: bytes) -> None:
        """Handle `data` that contains telnet commands."""
        for event in self.wire.receive(data):
            if type(event) is Data:
                self._typed(event.data)
            elif isinstance(event, Command):
                self._command(event)
            else:
                self._negotiate(event)  # type: ignore[arg-type]  # not Data

    def eof_received(self) -> bool:
        """Leave once all input is handled."""
        self.ended = True
        self._leave_if_ended()
        return True

    def _leave_if_ended(self) -> None:
        if self.ended and not self.is_busy and not self._has_kept():
            self.leave()

    def code_ran(self) -> None:
        """Have changes of typed code committed together with its output."""
        if self.shell is not None:
            self.shell.namespace.touch()

    def leave(self) -> None:
        """Close the connection once all output is sent."""
        if self.leaving or not self.is_connected:
            return
        if self.brackets_pastes:
            self.out(PASTE_OFF)
        self.leaving = True
        self._flush()
        self.transport.close()

    def logged_in(self, account: Account) -> None:
        """Start the prompt for `account`."""
        self.login = None
        self.account = account
        from tapd.services.telnet.shell import Shell  # noqa: PLC0415 - nobody waits for it sooner

        self.shell = Shell(self, self.service.namespace_of(account))
        _log.info(
            "login of %a from %s",
            account.name,
            self.peer,
            extra=events.LOGIN(TAPD_PEER=self.peer, TAPD_USER=ascii(account.name)[1:-1]),
        )
        self.ask_echo(secret=False)
        self._wire_changed()
        self.prompt()
        self.transport.set_read_limit(None)
        self._replace_kept(self._read_kept())  # no longer sealed: it can't be a password any more
        self.ahead_goes_on()

    # --- output -------------------------------------------------------------------

    def out(self, text: str) -> None:
        """Send `text`; while input is read, collect it first."""
        gathered = self._v_out
        if gathered is not None:
            gathered.append(text)
        elif self.is_connected:
            self.transport.write(encode_text(text))

    def _flush(self) -> None:
        gathered, self._v_out = self._v_out, None
        if gathered:
            transport = self._v_transport
            if transport is not None:
                transport.write(encode_text("".join(gathered)))

    def _send(self, raw: bytes) -> None:
        """Send wire bytes, in order with the texts."""
        if raw:
            gathers = self._v_out is not None
            self._flush()
            self.transport.write(raw)
            self._v_out = [] if gathers else None

    def print_text(self, text: str) -> None:
        """Show the output of typed code."""
        if not text:
            return
        from_background = self._v_out is None and self._is_idle
        if from_background and self.editor is not None and self.wire.is_character:
            self._print_beside(self.editor, text)
            return
        self.out(text)
        at_line_start = text.endswith("\n")
        if at_line_start != self.at_line_start:
            self.at_line_start = at_line_start

    @property
    def _is_idle(self) -> bool:
        """Whether the prompt is shown and waits."""
        return self.shell is not None and not self.shell.awaiting

    def _print_beside(self, editor: LineEditor, text: str) -> None:
        """Show whole lines above the line that is being edited."""
        text = self._v_partial + text
        whole, newline, self._v_partial = text.rpartition("\n")
        if newline:
            self.out(editor.hide() + whole + newline + editor.show())

    def display(self, value: Any) -> None:
        """Show the value of an expression and keep it in ``_`` of the namespace."""
        if value is not None and self.shell is not None:
            text = f"{value!r}\n"  # `repr` first: it may raise, and nothing is changed yet
            if not self.at_line_start:
                self.at_line_start = True
            self.out(text)
            self.shell.namespace.names["_"] = value

    def prompt(self) -> None:
        """Ask for the next line, on a line of its own."""
        shell = self.shell
        if self.leaving or shell is None:
            return
        if not self.at_line_start:
            self.at_line_start = True
            self.out("\n")
        if self.editor is not None and self.wire.is_character:
            self.out(self.editor.begin(shell.prompt))
        else:
            self.out(shell.prompt)

    # --- input --------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether input has to wait."""
        if self.login is not None:
            return self.login.is_busy
        return self.shell is not None and self.shell.awaiting

    def _typed(self, data: bytes) -> None:
        """Give `data` to its reader, or buffer it."""
        if self._part or self._sealed_part or self._pieces is not None or self.is_busy:
            self._type_ahead(data)
            return
        while data and not self.leaving:
            if self.login is not None:
                data = self.login.take(data)
            elif self.wire.is_character:
                data = take_keys(self, data)
            else:
                data = take_lines(self, data)
            if data and self.is_busy and not self.leaving:
                self.put_back(data)
                return

    def set_pending(self, pending: bytes) -> None:
        if pending != self.pending:
            self.pending = pending

    def refuse_line(self) -> None:
        kib = self.service.line_bytes_max // 1024
        self.out(f"The line was too long ({kib} KiB are allowed); it was dropped.\n")
        self.prompt()

    def push_line(self, line: str) -> None:
        """Run `line`, and show the prompt unless a coroutine runs."""
        shell = self.shell
        if shell is None:
            return
        left = shell.push(line)
        if not shell.awaiting:
            self.prompt()
        elif left:
            self.put_back("".join(f"{each}\n" for each in left).encode())

    def push_paste(self, lines: list[str], unfinished: str) -> None:
        """Run `lines`, pasted together; show the prompt, with the unfinished last line."""
        shell = self.shell
        if shell is None:
            return
        left = shell.push(lines[0]) if len(lines) == 1 else shell.push_paste(lines)
        if shell.awaiting:
            if left or unfinished:
                self.put_back(PASTE_BEGIN + "\n".join([*left, unfinished]).encode() + PASTE_END)
            return
        self.prompt()
        if unfinished and self.editor is not None and not self.leaving:
            self.out(self.editor.insert(unfinished))

    def evaluated(self) -> None:
        """Show the prompt: the coroutine has ended."""
        self.prompt()
        self.ahead_goes_on()

    def interrupt(self) -> None:
        """Drop the line and the block, as C-c does."""
        if self.shell is not None:
            self.shell.drop_block()
            self.out("KeyboardInterrupt\n")
            self.prompt()

    def interrupts_waiting(self) -> int:
        """Count the C-c that came while a line runs; see `host.prompt.interrupts`."""
        return urgent.interrupts_waiting(self._v_transport)

    def leave_block(self) -> None:
        """Drop the current block; without one, close the connection, as C-d does."""
        if self.shell is not None and self.shell.block:
            self.shell.drop_block()
            self.prompt()
        else:
            self.leave()

    # --- input typed ahead ----------------------------------------------------------

    def _type_ahead(self, data: bytes) -> None:
        """Buffer `data` until the coroutine ends; C-c cancels it and drops the buffer."""
        # Input before the last C-c is dropped, as a terminal does.
        if self.shell is not None and b"\x03" in data:
            self._clear_kept()
            data = data[data.rindex(b"\x03") + 1 :]
            self.shell.cancel()
        if not data:
            return
        self._keep(data)
        if self._kept() > self.service.block_characters_max:
            self.transport.pause_reading()

    def put_back(self, data: bytes) -> None:
        """Put `data` in front of the buffered input."""
        if data:
            self._replace_kept(data + self._read_kept())

    def ahead_goes_on(self) -> None:
        """Run the buffered input, now that nothing is in its way, and read on.

        In a turn of its own, so that the turn before is committed and can't be lost to it.
        """
        if not self.is_busy:
            if self._has_kept():
                self.transport.pause_reading()
                self.runtime.call(self._read_on)
            else:
                self.transport.resume_reading()
        self._leave_if_ended()

    def _read_on(self) -> None:
        if self.is_connected and not self.is_busy:
            self.transport.resume_reading()  # which runs the kept input

    def _may_be_secret(self, data: bytes) -> bool:
        return self.login is not None

    def _kept_unit(self, kept: bytes) -> int:
        return 0 if self.is_busy else kept.find(b"\n") + 1 or len(kept)

    def _run_kept(self, data: bytes, rest: bytes) -> None:
        """Handle `data` as if it were typed now."""
        self._clear_kept()
        self._v_out = []
        try:
            self._typed(data)
        finally:
            self._flush()
        if rest and not self.leaving:
            self._keep(rest)
        self._leave_if_ended()

    def _skip_kept(self, data: bytes, rest: bytes) -> None:
        self._replace_kept(rest)
        self.skip_text(data)
        self._leave_if_ended()

    # --- negotiation and commands -----------------------------------------------------

    def ask_echo(self, *, secret: bool) -> None:
        """Have the client leave the echo to the server, at least for a secret."""
        self._send(self.wire.ask_echo(secret=secret))

    def _negotiate(self, event: Negotiation | codec.Subnegotiation) -> None:
        self._send(self.wire.answer(event))
        self._wire_changed()
        is_mark = isinstance(event, Negotiation) and event.option == codec.Option.TIMING_MARK
        if is_mark and self._is_idle and self.shell is not None and not self.wire.is_character:
            # A client that interrupts shows no output before this is answered (RFC 860),
            # not even the prompt that followed the interrupt.
            self.out(f"\n{self.shell.prompt}")

    def _wire_changed(self) -> None:
        """Apply the client's options: mode, terminal, width."""
        if self.shell is None or self.account is None or not self.wire.is_character:
            return
        if self.editor is None:
            limit = self.service.line_bytes_max
            history = self.service.history_of(self.account)
            self.editor = LineEditor(history, self.wire.width, limit)
            self.editor.begin(self.shell.prompt)
        self.editor.resize(self.wire.width)
        if not self.brackets_pastes and _BRACKETS_PASTES.match(self.wire.terminal):
            self.brackets_pastes = True
            self.out(PASTE_ON)

    def _command(self, event: Command) -> None:
        if event.code != codec.Code.AYT:
            self._typed(self.wire.keys_of(event))
            return
        self.out("\n[Yes: tapd is here.]\n")
        if self.editor is not None and self._is_idle:
            self.out(self.editor.show())

    # --- poison input ---------------------------------------------------------------

    def input_unit(self, data: bytes) -> int:
        """Return the length of the first line of `data`, else of all of it."""
        return self.wire.first_line(data)

    def input_skipped(self, data: bytes) -> None:
        """Drop poison input, a line, and say so."""
        text = b""
        for event in self.wire.receive(data):
            if isinstance(event, Data):
                text += event.data
            elif not isinstance(event, Command):
                self._negotiate(event)
        self.skip_text(text)

    def skip_text(self, text: bytes) -> None:
        """Drop `text` and the line that it would have completed, and say so."""
        text = self.pending + text
        self.set_pending(b"")
        if self.shell is None:
            self.out("\nThe server was killed while reading this; it was not applied.\n")
            self.leave()
            return
        typed = text.decode("utf-8", "replace").rstrip("\n")
        if self.editor is not None:
            typed = self.editor.text + typed
        if self.shell.block:
            typed = f"{self.shell.block}\n{typed}"
            self.shell.drop_block()
        self.out(f"\nThe server was killed while running this; it was not applied:\n{typed}\n")
        self.prompt()
