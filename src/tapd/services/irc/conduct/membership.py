"""Joining and leaving channels: the state, and who is told.

Imports the data model and `delivery`. The commands JOIN, PART and KICK decide
whether; this does it. Services (always-on users, automatic joins) use it as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tapd.services.irc.conduct.playback import play_newest, send_marker
from tapd.services.irc.state.grants import change_as_chanserv, rank_at_join
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import event_of
from tapd.services.irc.wire.message import BODY_BYTES_MAX, fill_lines
from tapd.services.irc.wire.mode_changes import Change
from tapd.services.irc.wire.modes import RANKS, symbols_of

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.client import Client
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.user import User


def join_channel(
    network: Network, user: User, channel: Channel, *, session: Client | None = None
) -> None:
    """Make `user` a member of `channel`, tell its members, and send topic and names.

    Args:
        network: of both.
        user: who joins; was not a member.
        channel: which they may join.
        session: the one that asked, if any.
    """
    ranks = rank_at_join(channel, user)
    channel.add(user, ranks)
    user.drop_invite(channel)
    event = event_of(user, network, "JOIN", channel.name)
    network.record(channel, event)
    plain = event.outgoing()
    extended = event.extended(user).outgoing()
    channel.broadcast(plain, skip=session, lacking=cap.EXTENDED_JOIN)
    channel.broadcast(extended, skip=session, having=cap.EXTENDED_JOIN)
    if session is not None:
        session.send(extended if session.caps & cap.EXTENDED_JOIN else plain)
    if channel.registered and ranks:  # who makes a channel is alone with their rank
        rank = Change(on=True, letter=ranks, param=user.nick)
        change_as_chanserv(network, channel, [rank], skip=session)
    if user.away:
        away = event_of(user, network, "AWAY", trailing=user.away).outgoing()
        channel.broadcast(away, skip=session, having=cap.AWAY_NOTIFY)
    for each in user.sessions:
        _send_state(each, channel)
        play_newest(each, channel.name, channel.log, network.history_on_join)


def _send_state(session: Client, channel: Channel) -> None:
    """Send what follows a client's own JOIN: topic, read marker and names, in this order."""
    if channel.topic:
        send_topic(session, channel)
    if session.caps & cap.READ_MARKER:  # before RPL_ENDOFNAMES (draft/read-marker)
        send_marker(session, channel.name)
    send_names(session, channel)


def send_channels(session: Client) -> None:
    """Tell one session which channels its user is on, as if it had just joined them.

    For a client that comes to a user who is there already.
    """
    user = session.user
    for channel in user.channels:
        event = event_of(user, session.network, "JOIN", channel.name)
        is_extended = session.caps & cap.EXTENDED_JOIN
        session.send((event.extended(user) if is_extended else event).outgoing())
        _send_state(session, channel)


def leave_channel(
    network: Network,
    user: User,
    channel: Channel,
    reason: str | None,
    *,
    session: Client | None = None,
) -> None:
    """Have `user` leave `channel` (PART), telling its members."""
    event = event_of(user, network, "PART", channel.name, trailing=reason)
    network.record(channel, event)
    outgoing = event.outgoing()
    channel.broadcast(outgoing, skip=session)
    if session is not None:
        session.send(outgoing)
    channel.remove(user)
    network.drop_if_empty(channel)


def send_topic(session: Client, channel: Channel) -> None:
    """Send the topic, who set it and when; or that there is none."""
    if channel.topic:
        session.reply(n.RPL_TOPIC, channel.name, text=channel.topic)
        session.reply(n.RPL_TOPICWHOTIME, channel.name, channel.topic_by, str(int(channel.topic_s)))
    else:
        session.reply(n.RPL_NOTOPIC, channel.name)


def send_names(session: Client, channel: Channel) -> None:
    """Send who is on `channel`, as far as the client may know (modern, "NAMES message")."""
    user = session.user
    is_member = user in channel.members
    if is_member or channel.is_visible_to(user):
        kind = "@" if "s" in channel.modes else "="
        overhead = f":{session.network.server_name} 353 {session.nick} {kind} {channel.name} :\r\n"
        members = channel.members.items()
        if not is_member and not user.is_oper:
            members = {each: ranks for each, ranks in members if "i" not in each.modes}.items()
        words = _member_words(members, session.caps)
        for line in fill_lines(words, BODY_BYTES_MAX - len(overhead.encode())):
            session.reply(n.RPL_NAMREPLY, kind, channel.name, text=line)
    session.reply(n.RPL_ENDOFNAMES, channel.name)


def _member_words(members: Iterable[tuple[User, str]], caps: int) -> list[str]:
    shown = len(RANKS) if caps & cap.MULTI_PREFIX else 1
    if caps & cap.USERHOST_IN_NAMES:
        return [symbols_of(ranks)[:shown] + user.mask for user, ranks in members]
    return [
        symbols_of(ranks)[:shown] + user.nick if ranks else user.nick for user, ranks in members
    ]
