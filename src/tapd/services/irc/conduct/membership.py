"""Joining and leaving channels: the state change and its announcement.

The commands JOIN, PART and KICK check permissions and call this. So do always-on users
and automatic joins.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tapd.services.irc.conduct.announce import announce, announce_modes, chanserv_mask
from tapd.services.irc.conduct.playback import play_newest, send_marker
from tapd.services.irc.state.grants import rank_at_join
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import event_by, event_of
from tapd.services.irc.wire.message import BODY_BYTES_MAX, fill_lines
from tapd.services.irc.wire.mode_changes import Change
from tapd.services.irc.wire.modes import RANKS, symbols_of

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.state.user import User


def join_channel(
    network: Network, user: User, channel: Channel, reply: Reply | None = None
) -> None:
    """Make `user` a member of `channel`, tell its members, and send topic and names.

    Args:
        network: of both.
        user: the new member; not a member yet.
        channel: a channel that they may join.
        reply: of their own command, if any.
    """
    ranks = rank_at_join(channel, user)
    channel.add(user, ranks)
    user.drop_invite(channel)
    event = event_of(user, network, "JOIN", channel.name)
    announce(network, channel, event, reply, outgoing=event.joining(user))
    if channel.registered and ranks:  # a channel's creator is alone with it
        rank = Change(on=True, letter=ranks, param=user.nick)
        announce_modes(network, channel, [rank], reply=reply)
    if user.away:
        away = event_of(user, network, "AWAY", trailing=user.away).outgoing()
        skip = None if reply is None else reply.session
        channel.broadcast(away, skip=skip, having=cap.AWAY_NOTIFY)
    for session in user.sessions:
        each = session if reply is None else reply.to(session)
        _send_state(each, channel)
        play_newest(each, channel.name, channel.log, network.history_on_join)


def _send_state(reply: Reply, channel: Channel) -> None:
    """Send the messages after a client's own JOIN: topic, read marker and names, in this order."""
    if channel.topic:
        send_topic(reply, channel)
    if reply.caps & cap.READ_MARKER:  # before RPL_ENDOFNAMES (draft/read-marker)
        send_marker(reply, channel.name)
    send_names(reply, channel)


def send_channels(reply: Reply) -> None:
    """Send one client its user's channels, as if it had just joined them.

    For a client that joins an existing user.
    """
    user = reply.user
    for channel in user.channels:
        event = event_of(user, reply.network, "JOIN", channel.name)
        reply.send(event.joining(user))
        _send_state(reply, channel)


def leave_channel(
    network: Network,
    user: User,
    channel: Channel,
    reason: str | None,
    reply: Reply | None = None,
) -> None:
    """Have `user` leave `channel` (PART), telling its members; by `reply`, if they asked."""
    event = event_of(user, network, "PART", channel.name, trailing=reason)
    announce(network, channel, event, reply)
    channel.remove(user)
    network.drop_if_empty(channel)


def remove_member(
    network: Network, channel: Channel, user: User, reason: str, reply: Reply | None = None
) -> None:
    """Have a member leave `channel` (KICK), by the client of `reply`, else by ChanServ."""
    params = ("KICK", channel.name, user.nick)
    if reply is None:
        event = event_by(network, chanserv_mask(network), *params, trailing=reason)
    else:
        event = event_of(reply.user, network, *params, trailing=reason)
    announce(network, channel, event, reply)
    channel.remove(user)
    network.drop_if_empty(channel)


def send_topic(reply: Reply, channel: Channel) -> None:
    """Send the topic, who set it and when; or that there is none."""
    if channel.topic:
        reply.numeric(n.RPL_TOPIC, channel.name, text=channel.topic)
        reply.numeric(n.RPL_TOPICWHOTIME, channel.name, channel.topic_by, str(int(channel.topic_s)))
    else:
        reply.numeric(n.RPL_NOTOPIC, channel.name)


def send_names(reply: Reply, channel: Channel) -> None:
    """Send the members of `channel` visible to the client (modern, "NAMES message")."""
    user = reply.user
    is_member = user in channel.members
    if is_member or channel.is_visible_to(user):
        kind = "@" if "s" in channel.modes else "="
        overhead = f":{reply.network.server_name} 353 {reply.nick} {kind} {channel.name} :\r\n"
        members = channel.members.items()
        if not is_member and not user.is_oper:
            members = {each: ranks for each, ranks in members if "i" not in each.modes}.items()
        words = _member_words(members, reply.caps)
        for line in fill_lines(words, BODY_BYTES_MAX - len(overhead.encode())):
            reply.numeric(n.RPL_NAMREPLY, kind, channel.name, text=line)
    reply.numeric(n.RPL_ENDOFNAMES, channel.name)


def _member_words(members: Iterable[tuple[User, str]], caps: int) -> list[str]:
    shown = len(RANKS) if caps & cap.MULTI_PREFIX else 1
    if caps & cap.USERHOST_IN_NAMES:
        return [symbols_of(ranks)[:shown] + user.mask for user, ranks in members]
    return [
        symbols_of(ranks)[:shown] + user.nick if ranks else user.nick for user, ranks in members
    ]
