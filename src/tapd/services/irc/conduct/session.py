"""A client's connection: bytes to commands, and replies back.

Imports the wire format, `delivery`, `numerics` and the command table; of the
commands themselves it knows nothing. What a client is and has lives in its
`User`; here is only what belongs to this one connection.

**Labeled responses.** While a command with a label runs, what this session is
sent is collected, and at the command's end it leaves as IRCv3 labeled-response
asks: nothing as ACK, one message with the label, several as a batch. Commands
need not know of it.

**Work that takes long** (an argon2 hash): see `checking`. The session reads no
input meanwhile, so answers come in the order of the questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from typing import Protocol as TypingProtocol

from tapd.model.protocol import Transport
from tapd.model.protocols.kept import KeptInput
from tapd.services.irc.conduct import admission, audit, flood, presence
from tapd.services.irc.conduct.command_table import Command, find_command
from tapd.services.irc.state.limits import ClientPace
from tapd.services.irc.state.user import User
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import message as wire
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import Outgoing, time_tag
from tapd.services.irc.wire.message import Message, Reason, Rejected, parse_line, render_body

if TYPE_CHECKING:
    from tapd.services.irc.conduct.checking import Check
    from tapd.services.irc.state.multiline import ClientBatch
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.sasl import Exchange

    class Floor(TypingProtocol):
        """What a member has just said, by which more of the same is known."""

        def goes_on(self, session: Session, line: bytes) -> bool:
            """Say what is in `line`, if it is one more; return whether it was."""


_HTTP_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

_REJECTIONS = {
    Reason.NOT_UTF8: ("INVALID_UTF8", "Your message is not UTF-8 and was dropped"),
    Reason.NUL: ("INVALID_MESSAGE", "Your message has a NUL in it and was dropped"),
    Reason.MALFORMED: ("INVALID_MESSAGE", "Your message has no command and was dropped"),
}

_FIRST_LINE = re.compile(rb"[\r\n]*[^\r\n]*(?:\r\n|\r|\n)").match
"""Up to the end of the first line that is not empty."""

_SECRETIVE = re.compile(rb"(?i)pass|oper|authenticate|register|identify|ns |nickserv|webirc")
"""What stands in input with a password in it, before that."""

_SKIPPED = "The server was killed by this; it was skipped"


class Session(KeptInput):
    """One client's connection.

    Attributes:
        service: the network.
        user: who it is; half-registered until `is_registered`.
        caps: bits of `capabilities` that were negotiated.
        cap_version: of CAP LS: 0 (none), 301 or 302.
        negotiating: CAP LS or REQ came before the end of registration: it waits for CAP END.
        is_registered: registration is complete.
        password: sealed, from PASS, until registration is complete; b"" for none.
        made_s: when the connection was made.
        check: what this session waits for; None for nothing.
        sasl: the exchange that is under way; None for none.
        sasl_input: its client's message as far as it has come, sealed; b"" for nothing.
        failures: failed logins in a row.
        device: which of its user's clients it is, by its own word; "" for one like others.
        away: why this client is away; "" where it is not.
        batch: the message of several lines that is being sent; None for none.
        ip: the address; "" before it is known.
        input_bytes: what came before registration was complete.
        is_secure: the client came by TLS, which ended in front of the server.
        awaits_header: a PROXY header has yet to come.
    """

    persistence_version = 2

    service: Network
    user: User
    caps = 0
    cap_version = 0
    negotiating = False
    is_registered = False
    password = b""
    made_s = 0.0
    check: Check | None = None
    sasl: Exchange | None = None
    sasl_input = b""
    failures = 0
    ip = ""
    input_bytes = 0
    is_secure = False
    awaits_header = False
    device = ""
    away = ""
    batch: ClientBatch | None = None

    # Volatile: of the live connection, or of the command that runs.
    _v_transport: Any = None
    _v_heard_s = 0.0
    _v_pinged = False
    _v_label: str | None = None
    _v_collected: list[Outgoing] | None = None
    _v_pace: ClientPace | None = None
    _v_floor: Floor | None = None  # while the lines of one piece of input run

    def __repr__(self) -> str:
        return f"<Session of {self.user.nick or 'a half-registered client'}>"

    @property
    def network(self) -> Network:
        """The network that it is a client of."""
        return self.service

    @property
    def nick(self) -> str:
        """What numerics address this client by: "*" before it has a nick."""
        return self.user.nick if self.is_registered else self.user.nick or "*"

    @property
    def pending(self) -> bytes:
        """Input that is incomplete, or waits for a check to end.

        What may be half of a password is kept sealed.
        """
        if self._sealed_part or self._pieces is not None:
            return self._read_kept()
        return self._part  # as most often

    @pending.setter
    def pending(self, data: bytes) -> None:
        self._replace_kept(data)

    def upgrade_to_version_2(self) -> None:
        """Keep input as `KeptInput` does."""
        self._part = self.__dict__.pop("plain_input", b"")
        self._sealed_part = self.__dict__.pop("sealed_input", b"")

    @property
    def live_transport(self) -> Any:
        """The transport while there is one; None where the connection has ended."""
        return self._v_transport

    @property
    def heard_s(self) -> float:
        """When something came from the client last."""
        return self._v_heard_s

    @property
    def is_pinged(self) -> bool:
        """Whether it was sent a PING, and nothing came since."""
        return self._v_pinged

    def note_ping(self) -> None:
        """Take note of a PING that is sent."""
        self._v_pinged = True

    @property
    def pace(self) -> ClientPace:
        """How far the client is ahead of its limits."""
        pace = self._v_pace
        if pace is None:
            pace = self._v_pace = ClientPace()
        return pace

    def set_floor(self, floor: Floor | None) -> None:
        """Let the lines of this piece of input that go on as `floor` does skip the parser."""
        self._v_floor = floor

    @property
    def label(self) -> str | None:
        """The label of the command that runs, where it has one."""
        return self._v_label

    # --- the connection's life ----------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:
        """Begin a registration."""
        self.made_s = self._v_heard_s = self.network.now_s()
        self.user = User("", "")
        self.network.session_opened(self)
        admission.limit_input(self)
        admission.arrive(self, transport)

    def connection_resumed(self) -> None:
        """Go on in a new process; what was being checked is checked again."""
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

    def close(self, reason: str, *, quit_reason: str | None = None) -> None:
        """End the connection: ERROR to the client, QUIT to the others.

        Args:
            reason: what the client is told.
            quit_reason: what the others are told, where that differs.
        """
        self.send(Outgoing(render_body("", "ERROR", (), f"Closing link: ({reason})")))
        self.flush_label()
        self._v_transport.close()
        presence.end_session(self, reason if quit_reason is None else quit_reason)

    # --- input ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Run the commands that `data` completes."""
        self._v_heard_s = self.network.now_s()
        self._v_pinged = False
        if self.check is not None:  # reading is paused; this had been peeked before
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
        """Go on with what came while this session was too fast, or waited for a check."""
        self._v_heard_s = self.network.now_s()
        super().reading_resumed()

    def _may_be_secret(self, data: bytes) -> bool:
        return _SECRETIVE.search(data) is not None

    def _kept_unit(self, kept: bytes) -> int:
        if self.awaits_header:
            return 0  # it has line ends of its own, and is taken as soon as it is whole
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
            if self.check is not None:
                rest = b"\n".join((*lines[index + 1 :], rest))
                break
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
            self.begin_label(label)
            try:
                self.run(message)
            finally:
                self.flush_label()
        else:
            self.run(message)

    def run(self, message: Message | Rejected) -> None:
        """Run one command, or say why not."""
        if isinstance(message, Rejected):
            self._reject(message)
            return
        if self.batch is not None and self.batch.takes(self, message):
            return
        command = find_command(message.command)
        if command is None:
            if self.is_registered:
                self.reply(n.ERR_UNKNOWNCOMMAND, message.command[:32])
            elif message.command in _HTTP_METHODS:
                # A web page made somebody's browser talk to us: it must not get to its body.
                self.close("This is not a web server")
            else:
                self.reply(n.ERR_NOTREGISTERED)
        elif self._may_run(command, message):
            if command.privilege:
                audit.note_action(self, command.name, " ".join(message.params))
            command.function(self, message)

    def _may_run(self, command: Command, message: Message) -> bool:
        if not self.is_registered and not command.before_registration:
            self.reply(n.ERR_NOTREGISTERED)
        elif self.is_registered and command.only_before_registration:
            self.reply(n.ERR_ALREADYREGISTERED)
        elif len(message.params) < command.params:
            self.reply(n.ERR_NEEDMOREPARAMS, command.name)
        elif command.privilege and not self.network.may(self.user, command.privilege):
            self.reply(n.ERR_NOPRIVILEGES)
        else:
            return True
        return False

    def _reject(self, rejected: Rejected) -> None:
        if rejected.reason is Reason.TOO_LONG:
            self.reply(n.ERR_INPUTTOOLONG)
        else:
            code, text = _REJECTIONS[rejected.reason]
            is_own = rejected.reason is not Reason.NOT_UTF8
            self.fail(rejected.command, code, text=text, is_own=is_own)

    def input_skipped(self, data: bytes) -> None:
        """Drop what killed the server, and say so."""
        lines, self.pending = wire.split_lines(self.pending, data)
        self._tell_of_skipped(lines)

    def _tell_of_skipped(self, lines: Sequence[bytes]) -> None:
        if lines:
            self.fail("*", "INTERNAL_ERROR", text=_SKIPPED, is_own=True)

    def pause_for(self, check: Check) -> None:
        """Read nothing until `check` has ended; it keeps the label until then."""
        collected, self._v_label, self._v_collected = self._v_collected, None, None
        for outgoing in collected or ():
            self.send(outgoing)
        self.check = check
        self._v_transport.pause_reading()

    def resume_after_check(self) -> None:
        """Go on with what came while something was checked."""
        self.check = None
        self._v_transport.resume_reading()  # which runs what was kept

    def end_sasl(self) -> None:
        """Forget the exchange that is under way, if any."""
        self.sasl = None
        self.sasl_input = b""

    # --- output ---------------------------------------------------------------------------

    def send(self, outgoing: Outgoing) -> None:
        """Send one message, or collect it for the labeled response that is being made."""
        if self._v_collected is not None:
            self._v_collected.append(outgoing)
        elif self._v_transport is not None:
            self._v_transport.write(outgoing.render(self.caps))

    def send_unlabeled(self, outgoing: Outgoing) -> None:
        """Send one message that is no part of a labeled response, whatever runs."""
        self._write(outgoing.render(self.caps))

    def send_from_server(
        self, command: str, *params: str, trailing: str | None = None, source: str | None = None
    ) -> None:
        """Send a message of the server's."""
        body = render_body(
            self.network.server_name if source is None else source, command, params, trailing
        )
        self.send_body(body)

    def send_body(self, body: bytes) -> None:
        """Send a rendered message, with the time for who wants it."""
        if self.caps & cap.SERVER_TIME or self._v_collected is not None:
            self.send(Outgoing(body, (time_tag(self.network.now_ms()),)))
        elif self._v_transport is not None:
            self._v_transport.write(body)

    def reply(self, numeric: n.Numeric, *params: str, text: str | None = None) -> None:
        """Send a numeric.

        Args:
            numeric: which.
            params: its parameters after the client's name.
            text: the last parameter; the numeric's own where None.
        """
        trailing = numeric.text if text is None else text
        body = render_body(
            self.network.server_name, numeric.code, (self.nick, *map(wire.safe_parameter, params)),
            trailing,
        )  # fmt: skip
        self.send_body(body)

    def fail(self, command: str, code: str, *context: str, text: str, is_own: bool = False) -> None:
        """Send a FAIL (standard-replies).

        Args:
            command: that failed; "*" for none.
            code: for programs.
            context: what it is about.
            text: for people.
            is_own: no specification names this code, so clients that didn't ask for
                `standard-replies` get a NOTICE instead.
        """
        self._standard("FAIL", command, code, context, text, is_own=is_own)

    def warn(self, command: str, code: str, *context: str, text: str, is_own: bool = False) -> None:
        """Send a WARN; as `fail`."""
        self._standard("WARN", command, code, context, text, is_own=is_own)

    def note(self, command: str, code: str, *context: str, text: str, is_own: bool = False) -> None:
        """Send a NOTE; as `fail`."""
        self._standard("NOTE", command, code, context, text, is_own=is_own)

    def _standard(
        self,
        kind: str,
        command: str,
        code: str,
        context: tuple[str, ...],
        text: str,
        *,
        is_own: bool,
    ) -> None:
        if is_own and not self.caps & cap.STANDARD_REPLIES:
            self.notice(f"{kind} {command} {code}: {text}")
        else:
            params = (command, code, *map(wire.safe_parameter, context))
            self.send_from_server(kind, *params, trailing=text)

    def notice(self, text: str) -> None:
        """Send a NOTICE of the server's."""
        self.send_from_server("NOTICE", self.nick, trailing=text)

    def send_batch(self, kind: str, params: Iterable[str], content: Iterable[Outgoing]) -> None:
        """Send `content` as one batch, or as it is to who doesn't know batches."""
        if not self.caps & cap.BATCH:
            for each in content:
                self.send(each)
            return
        reference = self.network.next_reference()
        server = self.network.server_name
        begin = render_body(server, "BATCH", (f"+{reference}", kind, *params), None)
        self.send(Outgoing(begin, (), f"+{reference}"))
        for each in content:
            self.send(each.in_batch(reference))
        self.send(Outgoing(render_body(server, "BATCH", (f"-{reference}",), None), (), reference))

    # --- labeled responses ------------------------------------------------------------------

    def begin_label(self, label: str) -> None:
        """Collect what is sent from now on as the response to `label`."""
        self._v_label = label
        self._v_collected = []

    def postpone_label(self) -> str:
        """Have the command that runs be answered later; return its label, "" for none."""
        label, self._v_label, self._v_collected = self._v_label, None, None
        return label or ""

    def flush_label(self) -> None:
        """Send what was collected (labeled-response); nothing where there is no label."""
        if self._v_label is None or self._v_collected is None:
            return
        label, collected = self._v_label, self._v_collected
        self._v_label = self._v_collected = None
        tag = f"label={wire.escape_value(label)}".encode()
        server = self.network.server_name
        if not collected:
            collected = [Outgoing(render_body(server, "ACK", (), None))]
        # What has a batch of its own is inside of one; its first message is what counts.
        tops = [each for each in collected if not each.batch or each.batch[0] == "+"]
        if len(tops) == 1:
            self._write_labeled(collected, tag)
            return
        reference = self.network.next_reference()
        batch_tag = f"batch={reference}".encode()
        begin = render_body(server, "BATCH", (f"+{reference}", "labeled-response"), None)
        self._write(Outgoing(begin).render_with(self.caps, tag))
        for each in collected:
            is_top = not each.batch or each.batch[0] == "+"
            self._write(each.render_with(self.caps, batch_tag if is_top else b""))
        self._write(render_body(server, "BATCH", (f"-{reference}",), None))

    def _write_labeled(self, collected: list[Outgoing], tag: bytes) -> None:
        self._write(collected[0].render_with(self.caps, tag))
        for each in collected[1:]:
            self._write(each.render_with(self.caps, b""))

    def _write(self, data: bytes) -> None:
        if self._v_transport is not None:
            self._v_transport.write(data)

    # --- what changes for the others ----------------------------------------------------------

    def set_caps(self, caps: int) -> None:
        """Change the capabilities, and in which groups the channels have this session."""
        if caps == self.caps:
            return
        channels = list(self.user.channels) if self.is_registered else []
        for channel in channels:
            channel.remove_session(self)
        self.caps = caps
        for channel in channels:
            channel.add_session(self)


def _why(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or type(exc).__name__
