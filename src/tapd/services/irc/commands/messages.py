"""PRIVMSG, NOTICE and TAGMSG, to channels, to ranks of channels, and to users.

One code path for all three (modern, "Sending Messages"; IRCv3 message-tags). A NOTICE is
never answered, so that two programs can't answer each other for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from tapd.services.irc.assistants.table import Assistant, find_assistant
from tapd.services.irc.conduct.announce import announce
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.flood import target_wait_s
from tapd.services.irc.conduct.refusal import Refused
from tapd.services.irc.state.user import ACTIVE_S
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import Event, Line, Outgoing, event_of
from tapd.services.irc.wire.isupport import TARGETS_MAX
from tapd.services.irc.wire.message import BODY_BYTES_MAX
from tapd.services.irc.wire.modes import RANK_OF_SYMBOL, SILENCING
from tapd.services.irc.wire.names import CHANNEL_TYPES, is_channel_like

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.reply import Client, Reply
    from tapd.services.irc.state.user import User
    from tapd.services.irc.wire.message import Message


@command("PRIVMSG")
def privmsg(reply: Reply, message: Message) -> None:
    """Say something to channels or users."""
    _say(reply, message)


@command("NOTICE")
def notice(reply: Reply, message: Message) -> None:
    """Say something that no program may answer."""
    _say(reply, message)


@command("TAGMSG", params=1)
def tagmsg(reply: Reply, message: Message) -> None:
    """Send client-only tags without a text (IRCv3 message-tags)."""
    if not reply.caps & cap.MESSAGE_TAGS:
        raise Refused(n.ERR_UNKNOWNCOMMAND, "TAGMSG")
    _say(reply, message)


class Said(NamedTuple):
    """A client's message, for any target.

    Attributes:
        command: PRIVMSG, NOTICE or TAGMSG.
        text: all of it; None for none.
        tags: those that came with it.
        lines: of a multiline message; () for others.
    """

    command: str
    text: str | None
    tags: Mapping[str, str]
    lines: tuple[Line, ...] = ()


def _say(reply: Reply, message: Message) -> None:
    verb, params = message.command, message.params
    text: str | None = None
    if not params or not params[0]:
        refusal = Refused(n.ERR_NORECIPIENT, text=f"No recipient given ({verb})")
        tell_refused(reply, verb, refusal)
        return
    if verb != "TAGMSG":
        if len(params) < 2 or not params[1]:
            tell_refused(reply, verb, Refused(n.ERR_NOTEXTTOSEND))
            return
        text = params[1]
    said = Said(verb, text, message.tags)
    targets = params[0].split(",") if "," in params[0] else (params[0],)
    for index, target in enumerate(targets):
        if index >= TARGETS_MAX:
            tell_refused(reply, verb, Refused(n.ERR_TOOMANYTARGETS, target))
            return
        if target:
            try:
                say_to(reply, said, target)
            except Refused as refused:
                tell_refused(reply, verb, refused)


def tell_refused(reply: Reply, verb: str, refusal: Refused) -> None:
    """Tell a client why its message is refused; a NOTICE is never answered."""
    if verb != "NOTICE":
        refusal.tell(reply, verb)


def say_to(reply: Reply, said: Said, target: str) -> None:
    """Deliver a client's message to one target.

    Raises:
        Refused: it is not allowed there.
    """
    session = reply.session
    network, user = session.service, session.user
    if session.heard_s - user.active_s >= ACTIVE_S and said.command != "TAGMSG":
        user.active_s = session.heard_s
    name = target
    if target[0] in RANK_OF_SYMBOL and is_channel_like(target[1:]):  # STATUSMSG
        name = target[1:]
    if name[0] in CHANNEL_TYPES:
        channel = network.find_channel(name)
        if channel is None:
            raise Refused(n.ERR_NOSUCHCHANNEL, name)
        _say_on_channel(reply, session, said, channel, target)
        return
    assistant = find_assistant(network, name)
    if assistant is not None:
        _say_to_assistant(reply, said, assistant)
        return
    receiver = network.find_user(name)
    if receiver is None:
        raise Refused(n.ERR_NOSUCHNICK, name)
    _say_to_user(reply, session, said, receiver)


def _event(session: Client, said: Said, target: str) -> Event:
    tags = said.tags if said.tags and session.caps & cap.MESSAGE_TAGS else None
    text = None if said.lines else said.text
    return event_of(
        session.user, session.service, said.command, target,
        trailing=text, client_tags=tags, lines=said.lines,
    )  # fmt: skip


def _say_on_channel(
    reply: Reply, session: Client, said: Said, channel: Channel, target: str
) -> None:
    verb = said.command
    symbol = target[0] if target[0] in RANK_OF_SYMBOL else ""
    why = channel.why_silent(session.user, verb, said.text or "")
    if why:
        raise Refused(n.ERR_CANNOTSENDTOCHAN, channel.name, text=f"Cannot send: {why}")
    event = _event(session, said, symbol + channel.name)
    having = cap.MESSAGE_TAGS if verb == "TAGMSG" else 0
    if symbol:
        outgoing = event.outgoing()
        rank = RANK_OF_SYMBOL[symbol]
        channel.broadcast_to_rank(outgoing, rank, skip=session, having=having)
        _echo(reply, outgoing)
        return
    announce(session.service, channel, event, reply, having=having, echo=cap.ECHO_MESSAGE)
    is_member = verb != "TAGMSG" and session.user in channel.members
    if is_member and SILENCING.isdisjoint(channel.modes):
        session.set_floor(Floor(f"{verb} {target} :".encode(), verb, channel))


class Floor(NamedTuple):
    """A member's last message on a channel, if no mode checks its text.

    Lines of one read are mostly alike: a pasted text. Nothing else runs between them, so the
    checks of the first hold for the others.

    Attributes:
        prefix: the line up to the part that may differ.
        command: PRIVMSG or NOTICE.
        channel: the channel.
    """

    prefix: bytes
    command: str
    channel: Channel

    def goes_on(self, session: Client, line: bytes) -> bool:
        """Say the text in `line`, if it continues the message; return whether it did."""
        prefix = self.prefix
        if not line.startswith(prefix) or len(line) > BODY_BYTES_MAX - 2:
            return False
        try:
            text = line[len(prefix) :].decode()
        except UnicodeDecodeError:
            return False
        if not text or "\0" in text:
            return False
        channel = self.channel
        network = session.service
        event = event_of(session.user, network, self.command, channel.name, trailing=text)
        announce(network, channel, event, session, echo=cap.ECHO_MESSAGE)
        return True


def _say_to_user(reply: Reply, session: Client, said: Said, target: User) -> None:
    verb, text = said.command, said.text
    sender = session.user
    wait_s = target_wait_s(session, target)
    if wait_s:
        reason = f"Too many people at once; wait {math.ceil(wait_s)} seconds"
        raise Refused(n.ERR_TARGETTOOFAST, target.nick, text=reason)
    if "R" in target.modes and not sender.account and target is not sender:
        raise Refused(n.ERR_CANNOTSENDTOUSER, target.nick)
    is_ctcp = text is not None and text[:1] == "\x01" and not text.startswith("\x01ACTION ")
    if "T" in target.modes and is_ctcp:
        raise Refused(n.ERR_CANNOTSENDTOUSER, target.nick)
    event = _event(session, said, target.nick)
    session.service.history.record_conversation(sender, target, event)
    outgoing = event.outgoing()
    having = cap.MESSAGE_TAGS if verb == "TAGMSG" else 0
    receivers = target.sessions if target is sender else target.sessions + sender.sessions
    for each in receivers:
        if each is not session and each.caps & having == having:
            each.send(outgoing)
    if target is sender and session.caps & having == having:
        session.send(outgoing)  # at once: of the two copies the echo has the label
    if target.away and verb == "PRIVMSG":
        reply.numeric(n.RPL_AWAY, target.nick, text=target.away)
    _echo(reply, outgoing)


def _say_to_assistant(reply: Reply, said: Said, assistant: Assistant) -> None:
    """Have NickServ or ChanServ run a line; it is not stored, and passwords are not echoed."""
    if said.command != "PRIVMSG" or said.text is None:
        return
    line = said.text.replace("\n", " ")
    hidden = Said(said.command, assistant.hide_secrets(line), said.tags)
    _echo(reply, _event(reply.session, hidden, assistant.nick).outgoing())
    assistant.run(reply, line)
    # They change ranks and nicks; the same line may be to a channel, too.
    reply.session.set_floor(None)


def _echo(reply: Reply, outgoing: Outgoing) -> None:
    """Send the sender their own message, if they want it (IRCv3 echo-message)."""
    if reply.caps & cap.ECHO_MESSAGE:
        reply.send(outgoing)
