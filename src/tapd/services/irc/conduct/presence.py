"""Presence: users with several clients, and always-on users without one.

A user is away if all of their clients are, or if there is none. When a client
disconnects, the account records the time for the client's device (``alice@phone`` as the
name in SASL or USER, as with bouncers; clients without a device count as one). When that
device connects again, it gets what it missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.conduct.announce import announce_change
from tapd.services.irc.conduct.membership import send_channels
from tapd.services.irc.conduct.playback import play_missed
from tapd.services.irc.conduct.reservation import is_owner
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire.delivery import event_by, event_of

if TYPE_CHECKING:
    from tapd.services.irc.state.accounts import IrcAccount
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Client, Reply
    from tapd.services.irc.state.user import User

AWAY_TEXT = "No client is connected"


def wants_always_on(network: Network, account: IrcAccount) -> bool:
    """Whether the users of `account` stay when their last client disconnects."""
    if network.always_on == "off" or account.is_suspended:
        return False
    if account.always_on is None:
        return network.always_on == "opt-out"
    return account.always_on


def refresh(network: Network, user: User) -> None:
    """Update whether a registered user is always-on; one without a client leaves if not.

    They are always-on only under a nick of their account, so that they can be found again.
    """
    account = network.accounts.find(user.account) if user.account else None
    user_stays = (
        account is not None and is_owner(network, user) and wants_always_on(network, account)
    )
    if user_stays != user.always_on:
        user.always_on = user_stays
    if not user_stays and not user.sessions:
        network.remove_user(user, "Connection closed")


def refresh_all(network: Network, account: IrcAccount | None = None) -> None:
    """Refresh all users, or those of one account."""
    for user in list(network.users.values()):
        if user.account and (
            account is None or network.accounts.find(user.account) is account
        ):  # fmt: skip
            refresh(network, user)


# --- away ------------------------------------------------------------------------------------


def set_away(network: Network, user: User, text: str, reply: Reply | None = None) -> None:
    """Set a user away, or back with ""; the others are told (away-notify)."""
    if text == user.away:
        return
    user.away = text
    event = event_of(user, network, "AWAY", trailing=text or None)
    announce_change(network, user, event, cap.AWAY_NOTIFY, reply)


def update_away(network: Network, user: User, latest: str = "", reply: Reply | None = None) -> None:
    """Update whether a user is away, from the state of their clients.

    Args:
        network: theirs.
        user: the user.
        latest: the client's AWAY text that changed it.
        reply: of the client's command, if any.
    """
    texts = [session.away for session in user.sessions]
    if texts:
        set_away(network, user, (latest or texts[-1]) if all(texts) else "", reply)
    elif user.always_on and not user.away:
        account = network.accounts.find(user.account)
        set_away(network, user, (account.away_text if account else "") or AWAY_TEXT, reply)


# --- clients that go and come -------------------------------------------------------------------


def end_session(session: Client, reason: str) -> None:
    """Remove a client's connection; its user quits with the last one. Idempotent.

    Args:
        session: the connection, which ended or is being closed.
        reason: the quit message.
    """
    network = session.network
    was_registered = session.is_registered
    network.detach_session(session)
    if not was_registered:
        return
    user = session.user
    client_went(network, session, user)
    if not user.sessions and not user.always_on:
        network.remove_user(user, reason)


def client_went(network: Network, session: Client, user: User) -> None:
    """Note that a registered user's client disconnected; it is detached already."""
    now_s = network.now_s()
    account = network.accounts.find(user.account) if user.account else None
    if account is not None:
        account.seen_s = now_s
        account.note_device(session.device, int(now_s * 1000))
    if user.sessions:
        update_away(network, user)
    elif user.always_on:
        user.left_s = now_s
        update_away(network, user)


def missed_since_ms(network: Network, session: Client, user: User) -> int:
    """Return since when a connecting client has missed messages; ms since the epoch.

    That is since its device was last connected; for a new device, since the user has had no
    client.
    """
    account = network.accounts.find(user.account)
    seen_ms = account.devices.get(session.device) if account is not None else None
    if seen_ms is not None:
        return seen_ms
    return int(user.left_s * 1000) if user.left_s else network.now_ms()


def client_came(network: Network, reply: Reply, since_ms: int) -> None:
    """Play what it missed to a client that joined an existing user."""
    user = reply.user
    for channel in user.channels:
        play_missed(reply, channel.name, channel.log, since_ms)
    for nick, log in network.history.conversations_of(user.identity):
        play_missed(reply, nick, log, since_ms)
    if user.left_s:
        user.left_s = 0.0
    update_away(network, user, reply=reply)


def is_own_elsewhere(network: Network, user: User, nick: str) -> bool:
    """Whether `nick` is used by another user of the same account, which owns the nick."""
    present = network.find_user(nick)
    if present is None or present is user or not user.account:
        return False
    return present.account == user.account and is_owner(network, present)


def move_client(network: Network, reply: Reply, present: User) -> None:
    """Move a registered client to another user of the same account.

    The client sees its nick change, and channels that it leaves and joins. If the first user
    has no client left, they quit, unless they are always-on.
    """
    session, user = reply.session, reply.user
    reply.send(event_of(user, network, "NICK", trailing=present.nick).outgoing())
    as_present = user.mask.replace(user.nick, present.nick, 1)
    for channel in user.channels:
        channel.remove_session(session)
        if channel not in present.channels:
            reply.send(event_by(network, as_present, "PART", channel.name).outgoing())
    user.sessions = tuple(each for each in user.sessions if each is not session)
    # Before `client_went`, which records that this device was here until now.
    since_ms = missed_since_ms(network, session, present)
    client_went(network, session, user)
    if not user.sessions and not user.always_on:
        network.remove_user(user, f"Is {present.nick} now")
    network.attach_session(session, present)
    send_channels(reply)
    client_came(network, reply, since_ms)


def expire(network: Network, now_s: float) -> None:
    """Remove users who have had no client for too long."""
    for user in list(network.users.values()):
        gone_s = now_s - user.left_s
        if user.always_on and not user.sessions and gone_s > network.always_on_s_max:
            network.remove_user(user, "Nobody has come back for too long")
