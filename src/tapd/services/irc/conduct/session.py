"""A client's connection: bytes to commands, and messages back.

It knows nothing of the commands themselves. A client's identity is in its `User`; the
session has only the state of one connection.

**Answers.** A command gets a `reply`: this session, or an object that collects the
labeled response.

**Slow work** (an argon2 hash): see `checking`. The session reads no input meanwhile, so
answers come in the order of the questions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tapd.model.protocol import Transport
from tapd.model.protocols.kept import KeptInput
from tapd.services.irc.conduct import admission, audit, flood, presence
from tapd.services.irc.conduct.command_table import Command, find_command
from tapd.services.irc.conduct.refusal import Refusal, Refused
from tapd.services.irc.state.reply import Client, LabeledReply, Reply
from tapd.services.irc.state.user import User
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import message as wire
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import Outgoing, time_tag
from tapd.services.irc.wire.message import Message, Reason, Rejected, parse_line

if TYPE_CHECKING:
    from tapd.services.irc.conduct.checking import Check
    from tapd.services.irc.state.network import Network

_HTTP_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

_REJECTIONS = {
    Reason.NOT_UTF8: ("INVALID_UTF8", "Your message is not UTF-8 and was dropped"),
    Reason.NUL: ("INVALID_MESSAGE", "Your message has a NUL in it and was dropped"),
    Reason.MALFORMED: ("INVALID_MESSAGE", "Your message has no command and was dropped"),
}

_FIRST_LINE = re.compile(rb"[\r\n]*[^\r\n]*(?:\r\n|\r|\n)").match
"""Matches up to the end of the first line that is not empty."""

_SECRETIVE = re.compile(rb"(?i)pass|oper|authenticate|register|identify|ns |nickserv|webirc")
"""Matches the start of input that contains a password."""

_SKIPPED = "The server was killed by this; it was skipped"


class Session(KeptInput, Client):
    """One client's connection. Its state is in `Client`; its behaviour is here."""

    persistence_version = 2

    service: Network
    check: Check | None = None

    def __repr__(self) -> str:
        return f"<Session of {self.user.nick or 'a half-registered client'}>"

    @property
    def network(self) -> Network:
        """The network that it is a client of."""
        return self.service

    @property
    def nick(self) -> str:
        """The client's name in numerics: "*" before it has a nick."""
        return self.user.nick if self.is_registered else self.user.nick or "*"

    @property
    def pending(self) -> bytes:
        """Input that is incomplete, or waits for a check to end.

        Possible passwords are kept sealed.
        """
        if self._sealed_part or self._pieces is not None:
            return self._read_kept()
        return self._part  # the usual case

    @pending.setter
    def pending(self, data: bytes) -> None:
        self._replace_kept(data)

    def upgrade_to_version_2(self) -> None:
        """Convert the kept input to the form of `KeptInput`."""
        self._part = self.__dict__.pop("plain_input", b"")
        self._sealed_part = self.__dict__.pop("sealed_input", b"")

    # --- the connection's life ----------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:
        """Start a registration."""
        self.made_s = self._v_heard_s = self.network.now_s()
        self.user = User("", "")
        self.network.session_opened(self)
        admission.limit_input(self)
        admission.arrive(self, transport)

    def connection_resumed(self) -> None:
        """Go on in a new process; restart a check that was under way."""
        self._v_heard_s = self.network.now_s()
        admission.limit_input(self)
        if self.check is not None:
            if self.check.begin() and self.is_connected:
                self.resume_after_check()
        elif not self.transport.is_reading() and not self.transport.is_closing():
            self.network.waiting_room.enter_again(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Quit."""
        reason = "Connection closed" if exc is None else f"Connection lost: {_why(exc)}"
        presence.end_session(self, reason)

    def end(self, reason: str) -> None:
        """Close the connection; the others get a QUIT with `reason`. See `close`."""
        self._v_transport.close()
        presence.end_session(self, reason)

    # --- input ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Run the commands that `data` completes."""
        self._v_heard_s = self.network.now_s()
        self._v_pinged = False
        if self.check is not None:  # reading is paused, but this was read before
            self.pending += data
            return
        if self.awaits_header:
            data = admission.take_header(self, data)
            if self.awaits_header:
                return
        lines, rest = wire.split_lines(self.pending, data)
        if self.is_registered:
            self._run_lines(lines, rest)
            return
        self.input_bytes += len(data)
        self._run_lines(lines, rest[: admission.LINE_BYTES_MAX + 1])
        admission.limit_input(self)

    def reading_resumed(self) -> None:
        """Run the input that was kept during a pause for flooding or for a check."""
        self._v_heard_s = self.network.now_s()
        super().reading_resumed()

    def _may_be_secret(self, data: bytes) -> bool:
        return _SECRETIVE.search(data) is not None

    def _kept_unit(self, kept: bytes) -> int:
        if self.awaits_header:
            return 0  # a PROXY header has its own framing, and runs as soon as it is whole
        line = _FIRST_LINE(kept)
        return 0 if line is None else line.end()

    def _run_kept(self, data: bytes, rest: bytes) -> None:
        self._v_heard_s = self.network.now_s()
        lines, begun = wire.split_lines(b"", data)
        self._run_lines(lines, begun + rest)

    def _skip_kept(self, data: bytes, rest: bytes) -> None:
        self.pending = rest
        self._tell_of_skipped(wire.split_lines(b"", data)[0])

    def _run_lines(self, lines: Sequence[bytes], rest: bytes) -> None:
        limits = self.service.limits
        line_s, latest_s = limits.line_s, self._v_heard_s + limits.burst_s
        self._v_floor, is_closing = None, self._v_transport.is_closing
        for index, line in enumerate(lines):
            if is_closing():
                rest = b""
                break
            if line_s and self.pace.due_s > latest_s and not self.network.may(self.user, "flood"):
                rest = flood.hold(self, b"\n".join((*lines[index:], rest)))
                break
            self._run_line(line, line_s)
            # The lines after one that waits for a check must not overtake it.
            if self.check is not None:
                rest = b"\n".join((*lines[index + 1 :], rest))
                break
        # Each write is journaled, so unchanged input is not written again.
        if rest != self.pending:
            self.pending = rest

    def _run_line(self, line: bytes, line_s: float) -> None:
        floor = self._v_floor
        if floor is not None:
            if floor.goes_on(self, line):
                flood.note_line(self, line_s)
                return
            self._v_floor = None
        message = parse_line(line)
        if line_s:
            flood.note_line(self, line_s, message)
        label = message.tags.get("label") if message.tags else None
        if label is not None and self.caps & cap.LABELED_RESPONSE and wire.is_label(label):
            reply = LabeledReply(self, label)
            try:
                self.run(message, reply)
            finally:
                reply.finish()
        else:
            self.run(message, self)

    def run(self, message: Message | Rejected, reply: Reply) -> None:
        """Run one command, which answers by `reply`, or refuse it."""
        if isinstance(message, Rejected):
            _reject(message, reply)
            return
        if self.batch is not None and self.batch.takes(reply, message):
            return
        command = find_command(message.command)
        if command is None:
            if self.is_registered:
                reply.numeric(n.ERR_UNKNOWNCOMMAND, message.command[:32])
            elif message.command in _HTTP_METHODS:
                # A web page made a browser send this: close before its body is read as commands.
                reply.close("This is not a web server")
            else:
                reply.numeric(n.ERR_NOTREGISTERED)
            return
        refusal = self._why_not(command, message)
        if refusal is not None:
            refusal.tell(reply, command.name)
            return
        if command.privilege:
            audit.note_action(reply, command.name, " ".join(message.params))
        try:
            command.function(reply, message)
        except Refusal as refused:
            refused.tell(reply, command.name)

    def _why_not(self, command: Command, message: Message) -> Refused | None:
        if not self.is_registered and not command.before_registration:
            return Refused(n.ERR_NOTREGISTERED)
        if self.is_registered and command.only_before_registration:
            return Refused(n.ERR_ALREADYREGISTERED)
        if len(message.params) < command.params:
            return Refused(n.ERR_NEEDMOREPARAMS, command.name)
        if command.privilege and not self.network.may(self.user, command.privilege):
            return Refused(n.ERR_NOPRIVILEGES)
        return None

    def input_skipped(self, data: bytes) -> None:
        """Drop poison input, and say so."""
        lines, self.pending = wire.split_lines(self.pending, data)
        self._tell_of_skipped(lines)

    def _tell_of_skipped(self, lines: Sequence[bytes]) -> None:
        if lines:
            self.fail("*", "INTERNAL_ERROR", text=_SKIPPED, is_own=True)

    def pause_for(self, check: Check) -> None:
        """Read nothing until `check` has ended."""
        self.check = check
        self._v_transport.pause_reading()

    def resume_after_check(self) -> None:
        """Read on after a check."""
        self.check = None
        self._v_transport.resume_reading()  # which runs the kept input

    def end_sasl(self) -> None:
        """Drop the current SASL exchange, if any."""
        self.sasl = None
        self.sasl_input = b""

    # --- output ---------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """This session: without a label, a command answers here, at once."""
        return self

    def answering(self, label: str | None) -> Reply:
        """Return where a command with `label` answers; "" or None for none."""
        return LabeledReply(self, label) if label else self

    def send(self, outgoing: Outgoing) -> None:
        """Send one message."""
        if self._v_transport is not None:
            self._v_transport.write(outgoing.render(self.caps))

    def send_body(self, body: bytes) -> None:
        """Send a rendered message, with the time for clients that want it."""
        if self.caps & cap.SERVER_TIME:
            self.send(Outgoing(body, (time_tag(self.service.now_ms()),)))
        elif self._v_transport is not None:
            self._v_transport.write(body)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._v_transport is not None:
            self._v_transport.write(data)

    # --- what changes for the others ----------------------------------------------------------

    def set_caps(self, caps: int) -> None:
        """Change the capabilities, and this session's group in its channels."""
        if caps == self.caps:
            return
        channels = list(self.user.channels) if self.is_registered else []
        for channel in channels:
            channel.remove_session(self)
        self.caps = caps
        for channel in channels:
            channel.add_session(self)


def _reject(rejected: Rejected, reply: Reply) -> None:
    if rejected.reason is Reason.TOO_LONG:
        reply.numeric(n.ERR_INPUTTOOLONG)
    else:
        code, text = _REJECTIONS[rejected.reason]
        is_own = rejected.reason is not Reason.NOT_UTF8
        reply.fail(rejected.command, code, text=text, is_own=is_own)


def _why(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or type(exc).__name__
