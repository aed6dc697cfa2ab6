"""What operators do to users and the network: SAJOIN, SAPART, SANICK, SAMODE, CHGHOST, LOCKDOWN."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tapd.services.irc.commands.channels import known_channel
from tapd.services.irc.commands.modes import change_modes
from tapd.services.irc.conduct.admission import LOCKDOWNS
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.identity import show_host
from tapd.services.irc.conduct.membership import join_channel, leave_channel
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.mode_changes import parse_changes
from tapd.services.irc.wire.names import HOST_BYTES_MAX, is_channel_name, is_nick

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.state.user import User
    from tapd.services.irc.wire.message import Message

_HOST = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._/:]*\Z")


def _known_user(session: Session, nick: str) -> User | None:
    user = session.network.find_user(nick)
    if user is None:
        session.reply(n.ERR_NOSUCHNICK, nick)
    return user


@command("SAJOIN", params=2, privilege="force")
def sajoin(session: Session, message: Message) -> None:
    """Have a user join a channel, whatever its modes and bans say."""
    network = session.network
    user = _known_user(session, message.params[0])
    name = message.params[1]
    if user is None:
        return
    if not is_channel_name(name):
        session.reply(n.ERR_NOSUCHCHANNEL, name)
        return
    channel = network.find_channel(name) or network.make_channel(name)
    if user in channel.members:
        session.reply(n.ERR_USERONCHANNEL, user.nick, channel.name)
    else:
        join_channel(network, user, channel)


@command("SAPART", params=2, privilege="force")
def sapart(session: Session, message: Message) -> None:
    """Have a user leave a channel."""
    user = _known_user(session, message.params[0])
    channel = known_channel(session, message.params[1]) if user is not None else None
    if user is None or channel is None:
        return
    if user not in channel.members:
        session.reply(n.ERR_USERNOTINCHANNEL, user.nick, channel.name)
        return
    reason = message.params[2] if len(message.params) > 2 else None
    leave_channel(session.network, user, channel, reason)


@command("SANICK", params=2, privilege="force")
def sanick(session: Session, message: Message) -> None:
    """Give a user another nick."""
    network, wanted = session.network, message.params[1]
    user = _known_user(session, message.params[0])
    if user is None:
        return
    if not is_nick(wanted):
        session.reply(n.ERR_ERRONEUSNICKNAME, wanted)
    elif network.find_user(wanted) not in (None, user):
        session.reply(n.ERR_NICKNAMEINUSE, wanted)
    elif wanted != user.nick:
        network.change_nick(user, wanted)


@command("SAMODE", params=2, privilege="force")
def samode(session: Session, message: Message) -> None:
    """Change a channel's modes without being its operator."""
    channel = known_channel(session, message.params[0])
    if channel is not None:
        changes = parse_changes(message.params[1], message.params[2:])
        change_modes(session, channel, changes, is_forced=True)


@command("CHGHOST", params=2, privilege="host")
def chghost(session: Session, message: Message) -> None:
    """Give a user another host, or with ``*`` their own again."""
    user = _known_user(session, message.params[0])
    host = message.params[1]
    if user is None:
        return
    if host != "*" and (_HOST.match(host) is None or len(host) > HOST_BYTES_MAX):
        session.fail("CHGHOST", "INVALID_HOST", host, text="That is no host", is_own=True)
        return
    user.vhost = "" if host == "*" else host
    show_host(session.network, user)


@command("LOCKDOWN", privilege="lockdown")
def lockdown(session: Session, message: Message) -> None:
    """Say who may come in: off, accounts, sasl or all; without one, tell."""
    network = session.network
    if message.params:
        level = message.params[0].lower()
        if level not in LOCKDOWNS:
            known = ", ".join(LOCKDOWNS)
            session.fail(
                "LOCKDOWN", "INVALID_LEVEL", level, text=f"Use one of {known}", is_own=True
            )
            return
        network.lockdown = level
    session.notice(f"LOCKDOWN is {network.lockdown}: {LOCKDOWNS[network.lockdown]}")
