"""A user's public identity: account, host, real name; and announcing its changes.

All code that logs a user in or changes a host calls these functions, so that every client
hears of it in the form that it understands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.conduct.announce import announce_change
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import event_of

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.state.user import User


def set_account(network: Network, user: User, account: str, reply: Reply | None = None) -> None:
    """Log a user in to `account`, or out with "" (IRCv3 account-notify; 900 and 901).

    Before registration is complete nobody is told: the caller then tells that client
    itself, with `tell_login`.

    Args:
        network: theirs.
        user: the user.
        account: see there.
        reply: of the command that caused it, if any.
    """
    if user.account == account:
        return
    user.account = account
    if network.users.get(user.folded) is user:
        event = event_of(user, network, "ACCOUNT", account or "*")
        outgoing = announce_change(network, user, event, cap.ACCOUNT_NOTIFY, reply)
        user.send(outgoing, reply, having=cap.ACCOUNT_NOTIFY)
    for session in user.sessions:
        tell_login(session if reply is None else reply.to(session))
    _show_mode(network, user, reply, on=bool(account))
    show_host(network, user, reply)


def _show_mode(network: Network, user: User, reply: Reply | None, *, on: bool) -> None:
    """Set or clear +r; tell a registered user's clients."""
    if network.users.get(user.folded) is not user:
        user.set_mode("r", on=on)
    elif network.set_user_mode(user, "r", on=on):
        user.send(network.server_event("MODE", user.nick, "+r" if on else "-r"), reply)


def show_host(network: Network, user: User, reply: Reply | None = None) -> None:
    """Update a user's shown host: an operator's gift, an account's, or a cloak."""
    if network.users.get(user.folded) is user:
        change_host(network, user, user.username, network.host_of(user), reply)
    else:
        user.host = network.host_of(user)


def tell_login(reply: Reply) -> None:
    """Tell a client which account it is logged in to (900), or that it is logged out (901)."""
    user = reply.user
    mask = user.mask if reply.is_registered else f"{user.nick or '*'}!*@*"
    if user.account:
        text = f"You are now logged in as {user.account}"
        reply.numeric(n.RPL_LOGGEDIN, mask, user.account, text=text)
    else:
        reply.numeric(n.RPL_LOGGEDOUT, mask)


def change_host(
    network: Network, user: User, username: str, host: str, reply: Reply | None = None
) -> None:
    """Change a registered user's user name and host (IRCv3 chghost).

    Clients without the capability see a QUIT and a JOIN, with the user's ranks set again,
    so that their view of the user stays right.
    """
    if (username, host) == (user.username, user.host):
        return
    event = event_of(user, network, "CHGHOST", username, host)
    left = event_of(user, network, "QUIT", trailing="Changing host").outgoing()
    changed = announce_change(network, user, event, cap.CHGHOST, reply)
    network.tell_others(user, left, lacking=cap.CHGHOST)
    user.username, user.host = username, host
    for channel in user.channels:
        _join_again(network, user, channel)
    for session in user.sessions:
        where = session if reply is None else reply.to(session)
        if where.caps & cap.CHGHOST:
            where.send(changed)
        else:
            where.numeric(n.RPL_VISIBLEHOST, host)


def _join_again(network: Network, user: User, channel: Channel) -> None:
    joined = event_of(user, network, "JOIN", channel.name).joining(user)
    ranks = channel.members[user]
    nicks = [user.nick] * len(ranks)
    mode = network.server_event("MODE", channel.name, f"+{ranks}", *nicks) if ranks else None
    for caps, sessions in channel.audience.items():
        if caps & cap.CHGHOST:
            continue
        for session in sessions:
            if session.user is not user:
                session.send(joined)
                if mode is not None:
                    session.send(mode)
