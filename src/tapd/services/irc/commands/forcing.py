"""Operators' commands: SAJOIN, SAPART, SANICK, SAMODE, CHGHOST, LOCKDOWN."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tapd.services.irc.commands.channels import known_channel, known_user
from tapd.services.irc.commands.modes import change_modes
from tapd.services.irc.conduct.admission import LOCKDOWNS
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.identity import show_host
from tapd.services.irc.conduct.membership import join_channel, leave_channel
from tapd.services.irc.conduct.refusal import Fail, Refused
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.mode_changes import parse_changes
from tapd.services.irc.wire.names import HOST_BYTES_MAX, is_channel_name, is_nick

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message

_HOST = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._/:]*\Z")


@command("SAJOIN", params=2, privilege="force")
def sajoin(reply: Reply, message: Message) -> None:
    """Have a user join a channel, whatever its modes and bans say."""
    network = reply.network
    user, name = known_user(reply, message.params[0]), message.params[1]
    if not is_channel_name(name):
        raise Refused(n.ERR_NOSUCHCHANNEL, name)
    channel = network.find_channel(name) or network.make_channel(name)
    if user in channel.members:
        raise Refused(n.ERR_USERONCHANNEL, user.nick, channel.name)
    join_channel(network, user, channel, reply if user is reply.user else None)


@command("SAPART", params=2, privilege="force")
def sapart(reply: Reply, message: Message) -> None:
    """Have a user leave a channel."""
    user = known_user(reply, message.params[0])
    channel = known_channel(reply, message.params[1])
    if user not in channel.members:
        raise Refused(n.ERR_USERNOTINCHANNEL, user.nick, channel.name)
    reason = message.params[2] if len(message.params) > 2 else None
    leave_channel(reply.network, user, channel, reason)


@command("SANICK", params=2, privilege="force")
def sanick(reply: Reply, message: Message) -> None:
    """Give a user another nick."""
    network, wanted = reply.network, message.params[1]
    user = known_user(reply, message.params[0])
    if not is_nick(wanted):
        raise Refused(n.ERR_ERRONEUSNICKNAME, wanted)
    if network.find_user(wanted) not in (None, user):
        raise Refused(n.ERR_NICKNAMEINUSE, wanted)
    if wanted != user.nick:
        network.change_nick(user, wanted, reply)


@command("SAMODE", params=2, privilege="force")
def samode(reply: Reply, message: Message) -> None:
    """Change a channel's modes without being its operator."""
    channel = known_channel(reply, message.params[0])
    changes = parse_changes(message.params[1], message.params[2:])
    change_modes(reply, channel, changes, is_forced=True)


@command("CHGHOST", params=2, privilege="host")
def chghost(reply: Reply, message: Message) -> None:
    """Give a user another host, or with ``*`` their own again."""
    user, host = known_user(reply, message.params[0]), message.params[1]
    if host != "*" and (_HOST.match(host) is None or len(host) > HOST_BYTES_MAX):
        raise Fail("INVALID_HOST", host, text="That is no host", is_own=True)
    user.vhost = "" if host == "*" else host
    show_host(reply.network, user, reply)


@command("LOCKDOWN", privilege="lockdown")
def lockdown(reply: Reply, message: Message) -> None:
    """Say who may come in: off, accounts, sasl or all; without one, tell."""
    network = reply.network
    if message.params:
        level = message.params[0].lower()
        if level not in LOCKDOWNS:
            known = ", ".join(LOCKDOWNS)
            raise Fail("INVALID_LEVEL", level, text=f"Use one of {known}", is_own=True)
        network.lockdown = level
    reply.notice(f"LOCKDOWN is {network.lockdown}: {LOCKDOWNS[network.lockdown]}")
