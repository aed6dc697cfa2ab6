"""Who a user is to others: account, host, real name; and who is told of a change.

Imports `delivery` and the capabilities' bits. Whatever logs somebody in or gives
them another host calls these, so that every client hears of it in the form that
it understands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import event_of

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.client import Client
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.user import User


def set_account(network: Network, user: User, account: str) -> None:
    """Log a user in to `account`, or out for "" (IRCv3 account-notify; 900 and 901).

    Before registration is complete nobody is told: who sets the account of a
    session then tells that client itself, by `tell_login`.
    """
    if user.account == account:
        return
    user.account = account
    if network.users.get(user.folded) is user:
        outgoing = event_of(user, network, "ACCOUNT", account or "*").outgoing()
        network.tell_others(user, outgoing, having=cap.ACCOUNT_NOTIFY)
        network.monitors.tell_change(user, outgoing, cap.ACCOUNT_NOTIFY)
        for session in user.sessions:
            if session.caps & cap.ACCOUNT_NOTIFY:
                session.send(outgoing)
    for session in user.sessions:
        tell_login(session)
    _show_mode(network, user, on=bool(account))
    show_host(network, user)


def _show_mode(network: Network, user: User, *, on: bool) -> None:
    """Set or clear +r; a registered user's clients are told."""
    if network.users.get(user.folded) is not user:
        user.set_mode("r", on=on)
    elif network.set_user_mode(user, "r", on=on):
        outgoing = network.server_event("MODE", user.nick, "+r" if on else "-r")
        user.send(outgoing)


def show_host(network: Network, user: User) -> None:
    """Show `user` with the host that is theirs now: an operator's gift, an account's, a cloak."""
    if network.users.get(user.folded) is user:
        change_host(network, user, user.username, network.host_of(user))
    else:
        user.host = network.host_of(user)


def tell_login(session: Client) -> None:
    """Tell a client who it is logged in as (900), or that it is no longer (901)."""
    user = session.user
    mask = user.mask if session.is_registered else f"{user.nick or '*'}!*@*"
    if user.account:
        text = f"You are now logged in as {user.account}"
        session.reply(n.RPL_LOGGEDIN, mask, user.account, text=text)
    else:
        session.reply(n.RPL_LOGGEDOUT, mask)


def change_host(network: Network, user: User, username: str, host: str) -> None:
    """Show a registered user with another user name and host (IRCv3 chghost).

    Clients without the capability see a QUIT and a JOIN, with their ranks set
    again, so that what they know of the user stays right.
    """
    if (username, host) == (user.username, user.host):
        return
    changed = event_of(user, network, "CHGHOST", username, host).outgoing()
    left = event_of(user, network, "QUIT", trailing="Changing host").outgoing()
    network.tell_others(user, changed, having=cap.CHGHOST)
    network.monitors.tell_change(user, changed, cap.CHGHOST)
    network.tell_others(user, left, lacking=cap.CHGHOST)
    user.username, user.host = username, host
    for channel in user.channels:
        _join_again(network, user, channel)
    for session in user.sessions:
        if session.caps & cap.CHGHOST:
            session.send(changed)
        else:
            session.reply(n.RPL_VISIBLEHOST, host)


def _join_again(network: Network, user: User, channel: Channel) -> None:
    joined = event_of(user, network, "JOIN", channel.name)
    plain, extended = joined.outgoing(), joined.extended(user).outgoing()
    ranks = channel.members[user]
    nicks = [user.nick] * len(ranks)
    mode = network.server_event("MODE", channel.name, f"+{ranks}", *nicks) if ranks else None
    for caps, sessions in channel.audience.items():
        if caps & cap.CHGHOST:
            continue
        for session in sessions:
            if session.user is not user:
                session.send(extended if caps & cap.EXTENDED_JOIN else plain)
                if mode is not None:
                    session.send(mode)
