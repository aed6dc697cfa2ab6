"""Who is here: users with several clients, and those who stay without one (always-on).

Imports `delivery`, `playback` and the data model. A user is away where each of their
clients is, or where there is none. When a client goes, the account remembers when, by
the client's device (``alice@phone`` as the name in SASL or USER, as bouncers have it;
those without a name are one). When it comes again, it is told what it has missed.
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
    """Whether the users of `account` stay when their last client goes."""
    if network.always_on == "off" or account.is_suspended:
        return False
    if account.always_on is None:
        return network.always_on == "opt-out"
    return account.always_on


def refresh(network: Network, user: User) -> None:
    """Find out anew whether a registered user stays without a client; if not, none of them does.

    They do under a nick of their account, so that they can be found again.
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
    """Do that for all users, or those of one account."""
    for user in list(network.users.values()):
        if user.account and (
            account is None or network.accounts.find(user.account) is account
        ):  # fmt: skip
            refresh(network, user)


# --- away ------------------------------------------------------------------------------------


def set_away(network: Network, user: User, text: str, reply: Reply | None = None) -> None:
    """Have a user be away, or back for ""; the others are told (away-notify)."""
    if text == user.away:
        return
    user.away = text
    event = event_of(user, network, "AWAY", trailing=text or None)
    announce_change(network, user, event, cap.AWAY_NOTIFY, reply)


def update_away(network: Network, user: User, latest: str = "", reply: Reply | None = None) -> None:
    """Find out anew whether a user is away, of what their clients say.

    Args:
        network: theirs.
        user: who.
        latest: what the client said that changed it.
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
    """Forget a client's connection; its user quits with the last one.

    Does nothing the second time.

    Args:
        session: whose connection ended, or is being closed.
        reason: what the others are told of it.
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
    """Take note that a client of a registered user went; it is none of theirs any more."""
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
    """Return from when on a client that comes has missed what was said; ms since the epoch.

    Since its device was here last; one that is new has missed what nobody was there for.
    """
    account = network.accounts.find(user.account)
    seen_ms = account.devices.get(session.device) if account is not None else None
    if seen_ms is not None:
        return seen_ms
    return int(user.left_s * 1000) if user.left_s else network.now_ms()


def client_came(network: Network, reply: Reply, since_ms: int) -> None:
    """Tell a client that came to a user who was there what it has missed."""
    user = reply.user
    for channel in user.channels:
        play_missed(reply, channel.name, channel.log, since_ms)
    for nick, log in network.history.conversations_of(user.identity):
        play_missed(reply, nick, log, since_ms)
    if user.left_s:
        user.left_s = 0.0
    update_away(network, user, reply=reply)


def is_own_elsewhere(network: Network, user: User, nick: str) -> bool:
    """Whether `nick` is what another user is called of the same account, which owns it."""
    present = network.find_user(nick)
    if present is None or present is user or not user.account:
        return False
    return present.account == user.account and is_owner(network, present)


def move_client(network: Network, reply: Reply, present: User) -> None:
    """Make a registered client of one user a client of another, of the same account.

    The client sees its nick change, the channels that it leaves and those that it gets.
    Without any client left, the first user goes, unless they are always on.
    """
    session, user = reply.session, reply.user
    reply.send(event_of(user, network, "NICK", trailing=present.nick).outgoing())
    as_present = user.mask.replace(user.nick, present.nick, 1)
    for channel in user.channels:
        channel.remove_session(session)
        if channel not in present.channels:
            reply.send(event_by(network, as_present, "PART", channel.name).outgoing())
    user.sessions = tuple(each for each in user.sessions if each is not session)
    since_ms = missed_since_ms(network, session, present)
    client_went(network, session, user)
    if not user.sessions and not user.always_on:
        network.remove_user(user, f"Is {present.nick} now")
    network.attach_session(session, present)
    send_channels(reply)
    client_came(network, reply, since_ms)


def expire(network: Network, now_s: float) -> None:
    """Have those leave who have had no client for too long."""
    for user in list(network.users.values()):
        gone_s = now_s - user.left_s
        if user.always_on and not user.sessions and gone_s > network.always_on_s_max:
            network.remove_user(user, "Nobody has come back for too long")
