"""Announces events: records them, tells the others, and answers the acting client last.

The acting client is answered last and by the `Reply` of its command, so that the event
can become part of a labeled response. Every event of a channel passes `announce`, every
change of a mode `set_modes` or `announce_modes`, every change of a user
`announce_change`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tapd.services.irc.state.grants import CHANSERV
from tapd.services.irc.wire.delivery import Event, Outgoing, event_by, event_of
from tapd.services.irc.wire.mode_changes import Change, fill_messages, render_changes
from tapd.services.irc.wire.modes import CHANNEL_MODES, Kind
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.state.user import User


def announce(
    network: Network,
    channel: Channel,
    event: Event,
    reply: Reply | None = None,
    *,
    outgoing: Outgoing | None = None,
    having: int = 0,
    echo: int = 0,
) -> None:
    """Record an event of a channel, and tell the members; the acting client is told last.

    Args:
        network: of both.
        channel: the channel.
        event: the event.
        reply: of the command that caused it; None if no client here did.
        outgoing: the message, if it is not just the event.
        having: only to clients with all of these capabilities.
        echo: capabilities that the acting client needs to be told.
    """
    if outgoing is None:
        outgoing = event.outgoing()
    network.record(channel, event)
    if reply is None:
        channel.broadcast(outgoing, having=having)
        return
    channel.broadcast(outgoing, skip=reply.session, having=having)
    if reply.caps & echo == echo:
        reply.send(outgoing)


def announce_change(
    network: Network, user: User, event: Event, having: int, reply: Reply | None = None
) -> Outgoing:
    """Tell users who share a channel with `user`, or monitor them, of a change.

    Args:
        network: theirs.
        user: the user that changed.
        event: the change. It belongs to no channel, so it is not recorded.
        having: only to clients with all of these capabilities.
        reply: of the command that caused it, if any.

    Returns:
        The message, for the user's own clients.
    """
    outgoing = event.outgoing()
    network.tell_others(user, outgoing, having=having)
    network.monitors.tell_change(user, outgoing, having, reply)
    return outgoing


# --- modes --------------------------------------------------------------------------------


def chanserv_mask(network: Network) -> str:
    """Return the source of ChanServ's messages."""
    return f"{CHANSERV}!{CHANSERV}@{network.server_name}"


def set_modes(
    network: Network, channel: Channel, changes: Iterable[Change], reply: Reply | None = None
) -> None:
    """Change a channel's modes as ChanServ, and announce the effective changes."""
    source = chanserv_mask(network)
    done = [made for each in changes if (made := set_mode(network, channel, each, source))]
    announce_modes(network, channel, done, reply=reply)


def set_mode(network: Network, channel: Channel, change: Change, source: str) -> Change | None:
    """Make one change of a channel's mode, which is allowed and has a right parameter.

    Args:
        network: of the channel.
        channel: whose mode.
        change: which. A mask is normalized; the parameter of a rank is a member's nick.
        source: ``nick!user@host`` of whoever changes it.

    Returns:
        The change as it is announced; None where it changed nothing.
    """
    match CHANNEL_MODES[change.letter].kind:
        case Kind.PREFIX:
            return _set_rank(network, channel, change)
        case Kind.LIST:
            return _set_entry(network, channel, change, source)
        case kind:
            return _set_setting(channel, change, kind)


def _set_rank(network: Network, channel: Channel, change: Change) -> Change | None:
    user = network.users[fold(change.param or "")]
    is_made = channel.set_rank(user, change.letter, on=change.on)
    return change._replace(param=user.nick) if is_made else None


def _set_entry(network: Network, channel: Channel, change: Change, source: str) -> Change | None:
    letter, mask = change.letter, change.param or ""
    present = channel.find_entry(letter, mask)
    if change.on == (present is not None):
        return None
    if present is not None:
        channel.remove_entry(letter, present)
        return change._replace(param=present)
    channel.add_entry(letter, mask, source, network.now_s())
    return change


def _set_setting(channel: Channel, change: Change, kind: Kind) -> Change | None:
    modes, letter, value = channel.modes, change.letter, change.param or ""
    if not change.on:
        if modes.pop(letter, None) is None:
            return None
        return change._replace(param="*" if kind is Kind.ALWAYS else None)  # a key is a secret
    if modes.get(letter) == value:
        return None
    modes[letter] = value
    return change._replace(param=value or None)


def announce_modes(
    network: Network,
    channel: Channel,
    changes: Iterable[Change],
    *,
    user: User | None = None,
    reply: Reply | None = None,
) -> None:
    """Announce changes of a channel's modes, already made.

    Args:
        network: of the channel.
        channel: the channel.
        changes: the changes; may be empty.
        user: who made them; None for ChanServ.
        reply: of the command, if any.
    """
    source = chanserv_mask(network) if user is None else user.mask
    for params in fill_messages(changes, source, channel.name):
        if user is None:
            event = event_by(network, source, "MODE", channel.name, *params)
        else:
            event = event_of(user, network, "MODE", channel.name, *params)
        announce(network, channel, event, reply)


def give_ranks(network: Network, user: User) -> None:
    """Give `user`, who has just logged in, their ranks on the channels they are on."""
    for channel in user.channels:
        if channel.registration is None:
            continue
        rank = channel.registration.rank_of(user.account)
        if rank and not channel.has_rank(user, rank):
            set_modes(network, channel, [Change(on=True, letter=rank, param=user.nick)])


def announce_user_modes(
    network: Network, user: User, changes: Iterable[Change], reply: Reply | None = None
) -> None:
    """Announce a user's changes of their own modes to their clients."""
    event = event_of(user, network, "MODE", user.nick, *render_changes(changes))
    user.send(event.outgoing(), reply)
