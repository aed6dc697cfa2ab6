"""Commands about channels: JOIN, PART, TOPIC, NAMES, INVITE, KICK, KNOCK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.membership import join_channel, leave_channel, send_names, send_topic
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import Outgoing, event_of, time_tag
from tapd.services.irc.wire.message import render_body
from tapd.services.irc.wire.modes import CHANNEL_MODES, RANKS, is_at_least
from tapd.services.irc.wire.names import KICK_BYTES_MAX, TOPIC_BYTES_MAX, clip, is_channel_name

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.user import User
    from tapd.services.irc.wire.message import Message

KNOCK_S = 60.0
"""A channel hears of one KNOCK in this time."""


@command("JOIN", params=1)
def join(session: Session, message: Message) -> None:
    """Join channels, with their keys; ``JOIN 0`` leaves all (modern, "JOIN message")."""
    if message.params[0] == "0":
        for channel in list(session.user.channels):
            leave_channel(session.network, session.user, channel, None, session=session)
        return
    keys = message.params[1].split(",") if len(message.params) > 1 else []
    for index, name in enumerate(message.params[0].split(",")):
        if name:
            join_one(session, name, keys[index] if index < len(keys) else "")


def join_one(session: Session, name: str, key: str) -> None:
    """Have the session's user join the channel `name`, or tell why not."""
    network, user = session.network, session.user
    if not is_channel_name(name):
        session.reply(n.ERR_NOSUCHCHANNEL, name)
        return
    channel = network.find_channel(name)
    if channel is not None and user in channel.members:
        return
    if len(user.channels) >= network.channels_per_user_max:
        session.reply(n.ERR_TOOMANYCHANNELS, name)
        return
    if channel is None:
        channel = network.make_channel(name)
    else:
        refusal = why_shut(channel, user, key)
        if refusal is not None:
            session.reply(refusal, channel.name)
            return
    join_channel(network, user, channel, session=session)


def why_shut(channel: Channel, user: User, key: str) -> n.Numeric | None:
    """Return the numeric that keeps `user` out of `channel`; None where nothing does."""
    registration = channel.registration
    if registration is not None:
        if registration.is_founder(user.account):
            return None
        if registration.autokick_of(user) is not None:
            return n.ERR_BANNEDFROMCHAN
    if user.has_invite(channel):
        return None
    for letter in channel.modes:
        mode = CHANNEL_MODES.get(letter)
        refusal = mode.entry(channel, user, key) if mode is not None and mode.entry else None
        if refusal is not None:
            return refusal
    return n.ERR_BANNEDFROMCHAN if channel.is_banned(user) else None


@command("PART", params=1)
def part(session: Session, message: Message) -> None:
    """Leave channels (modern, "PART message")."""
    reason = clip(message.params[1], KICK_BYTES_MAX) if len(message.params) > 1 else None
    for name in message.params[0].split(","):
        channel = own_channel(session, name)
        if channel is not None:
            leave_channel(session.network, session.user, channel, reason or None, session=session)


def known_channel(session: Session, name: str) -> Channel | None:
    """Return the channel `name`, or tell the client that there is none (403)."""
    channel = session.network.find_channel(name)
    if channel is None:
        session.reply(n.ERR_NOSUCHCHANNEL, name)
    return channel


def own_channel(session: Session, name: str) -> Channel | None:
    """Return the channel `name`, or tell the client that it is not there (403, 442)."""
    channel = known_channel(session, name)
    if channel is not None and session.user not in channel.members:
        session.reply(n.ERR_NOTONCHANNEL, channel.name)
        return None
    return channel


@command("TOPIC", params=1)
def topic(session: Session, message: Message) -> None:
    """Show or change a channel's topic (modern, "TOPIC message")."""
    user = session.user
    if len(message.params) < 2:
        channel = known_channel(session, message.params[0])
        if channel is None:
            return
        if channel.is_visible_to(user):
            send_topic(session, channel)
        else:
            session.reply(n.ERR_NOTONCHANNEL, channel.name)
        return
    channel = own_channel(session, message.params[0])
    if channel is None:
        return
    if "t" in channel.modes and not channel.has_rank(user, "h"):
        session.reply(n.ERR_CHANOPRIVSNEEDED, channel.name)
        return
    registration = channel.registration
    if registration and registration.locks_topic and not registration.allows(user.account, "o"):
        text = "The topic is locked (ChanServ SET TOPICLOCK)"
        session.reply(n.ERR_CHANOPRIVSNEEDED, channel.name, text=text)
        return
    set_topic(session, channel, clip(message.params[1], TOPIC_BYTES_MAX))


def set_topic(session: Session, channel: Channel, text: str) -> None:
    """Change the topic and tell the members; "" takes it away."""
    network, user = session.network, session.user
    channel.topic, channel.topic_by, channel.topic_s = text, user.mask, network.now_s()
    event = event_of(user, network, "TOPIC", channel.name, trailing=text)
    network.record(channel, event)
    outgoing = event.outgoing()
    channel.broadcast(outgoing, skip=session)
    session.send(outgoing)


@command("NAMES")
def names(session: Session, message: Message) -> None:
    """List who is on channels (modern, "NAMES message"); without one, nobody."""
    if not message.params:
        session.reply(n.RPL_ENDOFNAMES, "*")
        return
    name = message.params[0].partition(",")[0]  # TARGMAX: one
    channel = session.network.find_channel(name)
    if channel is None:
        session.reply(n.RPL_ENDOFNAMES, name)
    else:
        send_names(session, channel)


@command("INVITE")
def invite(session: Session, message: Message) -> None:
    """Invite somebody to a channel; without parameters, list own invitations."""
    network, user = session.network, session.user
    if not message.params:
        for channel in (user.invites or {}).values():
            session.reply(n.RPL_INVITELIST, channel.name)
        session.reply(n.RPL_ENDOFINVITELIST)
        return
    if len(message.params) < 2:
        session.reply(n.ERR_NEEDMOREPARAMS, "INVITE")
        return
    target = network.find_user(message.params[0])
    if target is None:
        session.reply(n.ERR_NOSUCHNICK, message.params[0])
        return
    channel_or_none = own_channel(session, message.params[1])
    if channel_or_none is None:
        return
    channel = channel_or_none
    if target in channel.members:
        session.reply(n.ERR_USERONCHANNEL, target.nick, channel.name)
    elif "i" in channel.modes and not channel.has_rank(user, "h"):
        session.reply(n.ERR_CHANOPRIVSNEEDED, channel.name)
    else:
        _invite(session, target, channel)


def _invite(session: Session, target: User, channel: Channel) -> None:
    network, user = session.network, session.user
    if channel.has_rank(user, "h"):
        target.add_invite(channel)  # which opens +i, +k, +l and bans: no other member's does
    outgoing = event_of(user, network, "INVITE", target.nick, trailing=channel.name).outgoing()
    session.reply(n.RPL_INVITING, target.nick, channel.name)
    if target.away:
        session.reply(n.RPL_AWAY, target.nick, text=target.away)
    target.send(outgoing)
    channel.broadcast_to_rank(outgoing, "h", skip=session, having=cap.INVITE_NOTIFY)


@command("KICK", params=2)
def kick(session: Session, message: Message) -> None:
    """Have somebody leave a channel (modern, "KICK message")."""
    user = session.user
    channel = own_channel(session, message.params[0])
    if channel is None:
        return
    reason = clip(message.params[2], KICK_BYTES_MAX) if len(message.params) > 2 else ""
    nick = message.params[1].partition(",")[0]  # TARGMAX: one
    target = session.network.find_user(nick)
    if not channel.has_rank(user, "h"):
        session.reply(n.ERR_CHANOPRIVSNEEDED, channel.name)
    elif target is None:
        session.reply(n.ERR_NOSUCHNICK, nick)
    elif target not in channel.members:
        session.reply(n.ERR_USERNOTINCHANNEL, target.nick, channel.name)
    elif not _may_kick(channel.members[user], channel.members[target]):
        session.reply(n.ERR_CHANOPRIVSNEEDED, channel.name)
    else:
        _kick(session, channel, target, reason or user.nick)


def _may_kick(ranks: str, of_target: str) -> bool:
    """Whether a rank is as high as the target's; of half and protected operators higher."""
    needed = of_target[:1] or RANKS[-1]
    return is_at_least(ranks, {"h": "o", "a": "q"}.get(needed, needed))


def _kick(session: Session, channel: Channel, target: User, reason: str) -> None:
    network = session.network
    event = event_of(
        session.user, network, "KICK", channel.name, target.nick, trailing=reason
    )  # fmt: skip
    network.record(channel, event)
    outgoing = event.outgoing()
    channel.broadcast(outgoing, skip=session)
    session.send(outgoing)
    channel.remove(target)
    network.drop_if_empty(channel)


@command("KNOCK", params=1)
def knock(session: Session, message: Message) -> None:
    """Ask for an invitation to a channel that can't be joined."""
    network, user = session.network, session.user
    channel = known_channel(session, message.params[0])
    if channel is None:
        return
    now_s = network.now_s()
    if user in channel.members:
        session.reply(n.ERR_KNOCKONCHAN, channel.name)
    elif not channel.modes.keys() & {"i", "k"}:
        session.reply(n.ERR_CHANOPEN, channel.name)
    elif channel.is_banned(user):
        session.reply(n.ERR_CANNOTKNOCK, channel.name)
    elif now_s - channel.knocked_s < KNOCK_S:
        session.reply(n.ERR_TOOMANYKNOCK, channel.name)
    else:
        channel.knocked_s = now_s
        _tell_of_knock(session, channel)
        session.reply(n.RPL_KNOCKDLVR, channel.name)


def _tell_of_knock(session: Session, channel: Channel) -> None:
    network = session.network
    params = (channel.name, channel.name, session.user.mask)
    body = render_body(network.server_name, n.RPL_KNOCK.code, params, n.RPL_KNOCK.text)
    channel.broadcast_to_rank(Outgoing(body, (time_tag(network.now_ms()),)), "h")
