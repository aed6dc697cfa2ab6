"""Replies of a command: sent to its client at once, or collected as a labeled response.

Each command gets a `Reply`, like Ergo's ResponseBuffer. Without a label that
is the `Session` itself, which sends at once and costs nothing. With one it is a
`LabeledReply`, which collects the client's messages and sends them at the command's
end: none as ACK, one message with the label, several as a batch
(ircv3.net/specs/extensions/labeled-response).

Messages that others send to the same client while its command runs are part of the
response, too. So functions that send to many sessions (`audit.tell_opers`,
`identity.set_account`) take the reply, and get the destination for each from `Reply.to`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tapd.services.irc.state.limits import ClientPace
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire.delivery import Outgoing, time_tag
from tapd.services.irc.wire.message import escape_value, render_body, safe_parameter

if TYPE_CHECKING:
    from tapd.model.protocol import Transport
    from tapd.services.irc.state.multiline import ClientBatch
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.sasl import Exchange
    from tapd.services.irc.state.user import User
    from tapd.services.irc.wire import numerics as n
    from tapd.services.irc.wire.roles import Floor


class Reply:
    """Where a command answers.

    Attributes:
        session: the client's connection.
        network, user, caps, nick, is_registered: the session's.
        label: of the command; "" for none.
    """

    __slots__ = ()
    label = ""

    if TYPE_CHECKING:  # a session has them as attributes

        @property
        def session(self) -> Client: ...
        @property
        def network(self) -> Network: ...
        @property
        def user(self) -> User: ...
        @property
        def caps(self) -> int: ...
        @property
        def nick(self) -> str: ...
        @property
        def is_registered(self) -> bool: ...

    def send(self, outgoing: Outgoing) -> None:
        """Send one message."""
        raise NotImplementedError

    def finish(self) -> None:
        """Send the collected messages. Idempotent."""

    def postpone(self) -> str:
        """Postpone the answer; return the command's label, "" for none.

        The messages collected so far are sent without it. The postponed answer goes to
        ``session.answering(label)``.
        """
        return ""

    def to(self, session: Client) -> Reply:
        """Return the destination for `session`: this reply, if it is this client's."""
        return self if session is self.session else session

    def close(self, reason: str, *, quit_reason: str | None = None) -> None:
        """Close the connection: ERROR to the client, QUIT to the others.

        Args:
            reason: the client's message.
            quit_reason: the others' message, if it differs.
        """
        self.send(Outgoing(render_body("", "ERROR", (), f"Closing link: ({reason})")))
        self.finish()
        self.session.end(reason if quit_reason is None else quit_reason)

    # --- messages of the server's -------------------------------------------------------

    def send_from_server(
        self, command: str, *params: str, trailing: str | None = None, source: str | None = None
    ) -> None:
        """Send a message from the server."""
        body = render_body(
            self.network.server_name if source is None else source, command, params, trailing
        )
        self.send_body(body)

    def send_body(self, body: bytes) -> None:
        """Send a rendered message, with the time for clients that want it."""
        self.send(Outgoing(body, (time_tag(self.network.now_ms()),)))

    def numeric(self, numeric: n.Numeric, *params: str, text: str | None = None) -> None:
        """Send a numeric.

        Args:
            numeric: which.
            params: its parameters after the client's name.
            text: the last parameter; the numeric's own where None.
        """
        trailing = numeric.text if text is None else text
        body = render_body(
            self.network.server_name, numeric.code, (self.nick, *map(safe_parameter, params)),
            trailing,
        )  # fmt: skip
        self.send_body(body)

    def notice(self, text: str) -> None:
        """Send a NOTICE from the server."""
        self.send_from_server("NOTICE", self.nick, trailing=text)

    def fail(self, command: str, code: str, *context: str, text: str, is_own: bool = False) -> None:
        """Send a FAIL (standard-replies).

        Args:
            command: the failed command; "*" for none.
            code: for programs.
            context: what it is about.
            text: for people.
            is_own: no specification defines this code, so clients without
                `standard-replies` get a NOTICE instead.
        """
        if is_own and not self.caps & cap.STANDARD_REPLIES:
            self.notice(f"FAIL {command} {code}: {text}")
        else:
            params = (command, code, *map(safe_parameter, context))
            self.send_from_server("FAIL", *params, trailing=text)

    def send_batch(self, kind: str, params: Iterable[str], content: Iterable[Outgoing]) -> None:
        """Send `content` as one batch, or as it is to clients without batches."""
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


class LabeledReply(Reply):
    """The reply to a command with a label; lives as long as the command runs."""

    __slots__ = ("_collected", "label", "session")

    if TYPE_CHECKING:
        session: Client

    def __init__(self, session: Client, label: str) -> None:
        self.session = session
        self.label = label
        self._collected: list[Outgoing] | None = []

    @property
    def network(self) -> Network:
        """The session's."""
        return self.session.network

    @property
    def user(self) -> User:
        """The session's, which a log-in may change."""
        return self.session.user

    @property
    def caps(self) -> int:
        """The session's."""
        return self.session.caps

    @property
    def nick(self) -> str:
        """The session's."""
        return self.session.nick

    @property
    def is_registered(self) -> bool:
        """The session's."""
        return self.session.is_registered

    def send(self, outgoing: Outgoing) -> None:
        """Collect one message; after the end, send it at once."""
        if self._collected is None:
            self.session.send(outgoing)
        else:
            self._collected.append(outgoing)

    def postpone(self) -> str:
        """Postpone the answer; see `Reply.postpone`."""
        label, self.label = self.label, ""
        collected, self._collected = self._collected, None
        for outgoing in collected or ():
            self.session.send(outgoing)
        return label

    def finish(self) -> None:
        """Send the collected messages, as labeled-response defines."""
        collected, self._collected = self._collected, None
        if collected is None:
            return
        session, network = self.session, self.network
        label, self.label = self.label, ""
        tag = f"label={escape_value(label)}".encode()
        server = network.server_name
        if not collected:
            collected = [Outgoing(render_body(server, "ACK", (), None))]
        # Nested batches are inside of one batch; its first message counts.
        tops = [each for each in collected if not each.batch or each.batch[0] == "+"]
        if len(tops) == 1:
            for each in collected:
                session.write(each.render_with(session.caps, tag))
                tag = b""
            return
        reference = network.next_reference()
        batch_tag = f"batch={reference}".encode()
        begin = render_body(server, "BATCH", (f"+{reference}", "labeled-response"), None)
        session.write(Outgoing(begin).render_with(session.caps, tag))
        for each in collected:
            is_top = not each.batch or each.batch[0] == "+"
            session.write(each.render_with(session.caps, batch_tag if is_top else b""))
        session.write(render_body(server, "BATCH", (f"-{reference}",), None))


class Client(Reply):
    """The state of a client's connection; `conduct.session.Session` is one.

    Attributes:
        user: its user; half-registered until `is_registered`.
        caps: bits of the negotiated `capabilities`.
        cap_version: of CAP LS: 0 (none), 301 or 302.
        negotiating: CAP LS or REQ was sent before registration, which waits for CAP END.
        is_registered: registration is complete.
        password: sealed, from PASS, until registration is complete; b"" for none.
        made_s: when the connection was made.
        check: the check it waits for (`conduct.checking`); None for none.
        sasl: the current SASL exchange; None for none.
        sasl_input: the incomplete message of its client, sealed; b"" for none.
        failures: failed logins in a row.
        device: the client's name for itself among its user's clients; "" for none.
        away: why this client is away; "" if it is not.
        batch: the multiline message that is being sent; None for none.
        ip: the address; "" before it is known.
        input_bytes: the size of all input before registration was complete.
        is_secure: the client uses TLS, which a front end terminates.
        awaits_header: a PROXY header is due.
    """

    if not TYPE_CHECKING:  # else the attributes would have to be slots
        __slots__ = ()

    user: User
    caps = 0
    cap_version = 0
    negotiating = False
    is_registered = False
    password = b""
    made_s = 0.0
    check: Any = None
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

    # Volatile: of the live connection.
    _v_transport: Any = None
    _v_heard_s = 0.0
    _v_pinged = False
    _v_pace: ClientPace | None = None
    _v_counted: tuple[str, ...] = ()
    _v_floor: Floor | None = None  # while the lines of one piece of input run

    if TYPE_CHECKING:
        service: Network

        @property
        def pending(self) -> bytes: ...
        @pending.setter
        def pending(self, data: bytes) -> None: ...
        @property
        def is_connected(self) -> bool: ...
        @property
        def transport(self) -> Transport: ...

    @property
    def live_transport(self) -> Any:
        """The transport while there is one; None after the connection ended."""
        return self._v_transport

    @property
    def heard_s(self) -> float:
        """The time of the client's last input."""
        return self._v_heard_s

    @property
    def is_pinged(self) -> bool:
        """Whether it was sent a PING, and nothing came since."""
        return self._v_pinged

    def note_ping(self) -> None:
        """Note that a PING was sent."""
        self._v_pinged = True

    @property
    def pace(self) -> ClientPace:
        """How far the client is ahead of its rate limits."""
        pace = self._v_pace
        if pace is None:
            pace = self._v_pace = ClientPace()
        return pace

    def set_floor(self, floor: Floor | None) -> None:
        """Have further lines of this read that continue `floor` bypass the parser."""
        self._v_floor = floor

    def write(self, data: bytes) -> None:
        """Send bytes."""
        raise NotImplementedError

    def set_caps(self, caps: int) -> None:
        """Change the capabilities, and this client's group in its channels."""
        raise NotImplementedError

    def end(self, reason: str) -> None:
        """Close the connection; the others get a QUIT with `reason`."""
        raise NotImplementedError

    def end_sasl(self) -> None:
        """Drop the current SASL exchange, if any."""
        raise NotImplementedError

    def pause_for(self, check: Any) -> None:
        """Read nothing until `check` has ended."""
        raise NotImplementedError

    def resume_after_check(self) -> None:
        """Read on after a check."""
        raise NotImplementedError

    def answering(self, label: str | None) -> Reply:
        """Return where a command with `label` answers; "" or None for none."""
        raise NotImplementedError
