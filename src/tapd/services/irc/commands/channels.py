"""Commands about channels: JOIN, PART, TOPIC, NAMES, INVITE, KICK, KNOCK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.conduct.announce import announce
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.membership import (
    join_channel,
    leave_channel,
    remove_member,
    send_names,
    send_topic,
)
from tapd.services.irc.conduct.refusal import Refused
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import Outgoing, event_of, time_tag
from tapd.services.irc.wire.message import render_body
from tapd.services.irc.wire.modes import CHANNEL_MODES, RANKS, is_at_least
from tapd.services.irc.wire.names import KICK_BYTES_MAX, TOPIC_BYTES_MAX, clip, is_channel_name

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.state.user import User
    from tapd.services.irc.wire.message import Message

KNOCK_S = 60.0
"""The interval between two KNOCKs that a channel is told of."""


@command("JOIN", params=1)
def join(reply: Reply, message: Message) -> None:
    """Join channels, with their keys; ``JOIN 0`` leaves all (modern, "JOIN message")."""
    if message.params[0] == "0":
        for channel in list(reply.user.channels):
            leave_channel(reply.network, reply.user, channel, None, reply)
        return
    keys = message.params[1].split(",") if len(message.params) > 1 else []
    for index, name in enumerate(message.params[0].split(",")):
        if name:
            try:
                join_one(reply, name, keys[index] if index < len(keys) else "")
            except Refused as refusal:
                refusal.tell(reply, "JOIN")


def join_one(reply: Reply, name: str, key: str) -> None:
    """Have a client's user join the channel `name`.

    Raises:
        Refused: they may not.
    """
    network, user = reply.network, reply.user
    if not is_channel_name(name):
        raise Refused(n.ERR_NOSUCHCHANNEL, name)
    channel = network.find_channel(name)
    if channel is not None and user in channel.members:
        return
    if len(user.channels) >= network.channels_per_user_max:
        raise Refused(n.ERR_TOOMANYCHANNELS, name)
    if channel is None:
        channel = network.make_channel(name)
    else:
        refusal = why_shut(channel, user, key)
        if refusal is not None:
            raise Refused(refusal, channel.name)
    join_channel(network, user, channel, reply)


def why_shut(channel: Channel, user: User, key: str) -> n.Numeric | None:
    """Return the numeric that refuses `user` a JOIN of `channel`; None if they may join."""
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
def part(reply: Reply, message: Message) -> None:
    """Leave channels (modern, "PART message")."""
    reason = clip(message.params[1], KICK_BYTES_MAX) if len(message.params) > 1 else None
    for name in message.params[0].split(","):
        try:
            channel = own_channel(reply, name)
        except Refused as refusal:
            refusal.tell(reply, "PART")
        else:
            leave_channel(reply.network, reply.user, channel, reason or None, reply)


def known_channel(reply: Reply, name: str) -> Channel:
    """Return the channel `name`.

    Raises:
        Refused: there is none (403).
    """
    channel = reply.network.find_channel(name)
    if channel is None:
        raise Refused(n.ERR_NOSUCHCHANNEL, name)
    return channel


def known_user(reply: Reply, nick: str) -> User:
    """Return the user `nick`.

    Raises:
        Refused: there is none (401).
    """
    user = reply.network.find_user(nick)
    if user is None:
        raise Refused(n.ERR_NOSUCHNICK, nick)
    return user


def own_channel(reply: Reply, name: str) -> Channel:
    """Return the channel `name`, which the client's user is on.

    Raises:
        Refused: there is none, or they are not there (403, 442).
    """
    channel = known_channel(reply, name)
    if reply.user not in channel.members:
        raise Refused(n.ERR_NOTONCHANNEL, channel.name)
    return channel


@command("TOPIC", params=1)
def topic(reply: Reply, message: Message) -> None:
    """Show or change a channel's topic (modern, "TOPIC message")."""
    user = reply.user
    if len(message.params) < 2:
        channel = known_channel(reply, message.params[0])
        if not channel.is_visible_to(user):
            raise Refused(n.ERR_NOTONCHANNEL, channel.name)
        send_topic(reply, channel)
        return
    channel = own_channel(reply, message.params[0])
    if "t" in channel.modes and not channel.has_rank(user, "h"):
        raise Refused(n.ERR_CHANOPRIVSNEEDED, channel.name)
    registration = channel.registration
    if registration and registration.locks_topic and not registration.allows(user.account, "o"):
        text = "The topic is locked (ChanServ SET TOPICLOCK)"
        raise Refused(n.ERR_CHANOPRIVSNEEDED, channel.name, text=text)
    set_topic(reply, channel, clip(message.params[1], TOPIC_BYTES_MAX))


def set_topic(reply: Reply, channel: Channel, text: str) -> None:
    """Change the topic and tell the members; "" takes it away."""
    network, user = reply.network, reply.user
    channel.topic, channel.topic_by, channel.topic_s = text, user.mask, network.now_s()
    announce(network, channel, event_of(user, network, "TOPIC", channel.name, trailing=text), reply)


@command("NAMES")
def names(reply: Reply, message: Message) -> None:
    """List who is on channels (modern, "NAMES message"); without one, nobody."""
    if not message.params:
        reply.numeric(n.RPL_ENDOFNAMES, "*")
        return
    name = message.params[0].partition(",")[0]  # TARGMAX: one
    channel = reply.network.find_channel(name)
    if channel is None:
        reply.numeric(n.RPL_ENDOFNAMES, name)
    else:
        send_names(reply, channel)


@command("INVITE")
def invite(reply: Reply, message: Message) -> None:
    """Invite somebody to a channel; without parameters, list own invitations."""
    user = reply.user
    if not message.params:
        for channel in (user.invites or {}).values():
            reply.numeric(n.RPL_INVITELIST, channel.name)
        reply.numeric(n.RPL_ENDOFINVITELIST)
        return
    if len(message.params) < 2:
        raise Refused(n.ERR_NEEDMOREPARAMS, "INVITE")
    target = known_user(reply, message.params[0])
    channel = own_channel(reply, message.params[1])
    if target in channel.members:
        raise Refused(n.ERR_USERONCHANNEL, target.nick, channel.name)
    if "i" in channel.modes and not channel.has_rank(user, "h"):
        raise Refused(n.ERR_CHANOPRIVSNEEDED, channel.name)
    _invite(reply, target, channel)


def _invite(reply: Reply, target: User, channel: Channel) -> None:
    network, user = reply.network, reply.user
    if channel.has_rank(user, "h"):
        target.add_invite(channel)  # which opens +i, +k, +l and bans: no other member's does
    outgoing = event_of(user, network, "INVITE", target.nick, trailing=channel.name).outgoing()
    reply.numeric(n.RPL_INVITING, target.nick, channel.name)
    if target.away:
        reply.numeric(n.RPL_AWAY, target.nick, text=target.away)
    target.send(outgoing)
    channel.broadcast_to_rank(outgoing, "h", skip=reply.session, having=cap.INVITE_NOTIFY)


@command("KICK", params=2)
def kick(reply: Reply, message: Message) -> None:
    """Have somebody leave a channel (modern, "KICK message")."""
    user = reply.user
    channel = own_channel(reply, message.params[0])
    reason = clip(message.params[2], KICK_BYTES_MAX) if len(message.params) > 2 else ""
    nick = message.params[1].partition(",")[0]  # TARGMAX: one
    if not channel.has_rank(user, "h"):
        raise Refused(n.ERR_CHANOPRIVSNEEDED, channel.name)
    target = known_user(reply, nick)
    if target not in channel.members:
        raise Refused(n.ERR_USERNOTINCHANNEL, target.nick, channel.name)
    if not _may_kick(channel.members[user], channel.members[target]):
        raise Refused(n.ERR_CHANOPRIVSNEEDED, channel.name)
    remove_member(reply.network, channel, target, reason or user.nick, reply)


def _may_kick(ranks: str, of_target: str) -> bool:
    """Whether a rank is as high as the target's; of half and protected operators higher."""
    needed = of_target[:1] or RANKS[-1]
    return is_at_least(ranks, {"h": "o", "a": "q"}.get(needed, needed))


@command("KNOCK", params=1)
def knock(reply: Reply, message: Message) -> None:
    """Ask for an invitation to a channel that can't be joined."""
    network, user = reply.network, reply.user
    channel = known_channel(reply, message.params[0])
    now_s = network.now_s()
    if user in channel.members:
        raise Refused(n.ERR_KNOCKONCHAN, channel.name)
    if not channel.modes.keys() & {"i", "k"}:
        raise Refused(n.ERR_CHANOPEN, channel.name)
    if channel.is_banned(user):
        raise Refused(n.ERR_CANNOTKNOCK, channel.name)
    if now_s - channel.knocked_s < KNOCK_S:
        raise Refused(n.ERR_TOOMANYKNOCK, channel.name)
    channel.knocked_s = now_s
    _tell_of_knock(reply, channel)
    reply.numeric(n.RPL_KNOCKDLVR, channel.name)


def _tell_of_knock(reply: Reply, channel: Channel) -> None:
    network = reply.network
    params = (channel.name, channel.name, reply.user.mask)
    body = render_body(network.server_name, n.RPL_KNOCK.code, params, n.RPL_KNOCK.text)
    channel.broadcast_to_rank(Outgoing(body, (time_tag(network.now_ms()),)), "h")
