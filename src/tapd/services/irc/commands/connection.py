"""Commands of a connection: registration, liveness, leaving.

NICK, USER, PASS, PING, PONG, QUIT, ERROR, SETNAME; and WEBIRC, by which a gateway
says for whom it speaks (ircv3.net/specs/extensions/webirc).
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from tapd import events
from tapd.services.irc.conduct.admission import recheck_soon, take_address
from tapd.services.irc.conduct.announce import announce_change
from tapd.services.irc.conduct.checking import password_matches, start_check
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.flood import nick_wait_s
from tapd.services.irc.conduct.login import note_refused_login
from tapd.services.irc.conduct.presence import is_own_elsewhere, move_client, refresh
from tapd.services.irc.conduct.refusal import Fail, Refused
from tapd.services.irc.conduct.registration import try_complete
from tapd.services.irc.conduct.reservation import is_refused, protect
from tapd.services.irc.state.accounts import split_device
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import event_of
from tapd.services.irc.wire.names import REALNAME_BYTES_MAX, clean_username, clip, fold, is_nick
from tapd.wire.addresses import parse_address, shown_address

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Client, Reply
    from tapd.services.irc.state.user import User
    from tapd.services.irc.wire.message import Message

_log = logging.getLogger(__name__)


@command("PASS", params=1, only_before_registration=True)
def set_password(reply: Reply, message: Message) -> None:
    """Give the server's password (modern, "PASS message"); the last one counts."""
    sealer = reply.network.sealer
    reply.session.password = sealer.seal(message.params[0].encode())


@command("NICK", before_registration=True)
def nick(reply: Reply, message: Message) -> None:
    """Take a nickname, or change it (modern, "NICK message")."""
    wanted = message.params[0] if message.params else ""
    network, user = reply.network, reply.user
    if not wanted:
        raise Refused(n.ERR_NONICKNAMEGIVEN)
    if not is_nick(wanted):
        raise Refused(n.ERR_ERRONEUSNICKNAME, wanted)
    if reply.is_registered and is_own_elsewhere(network, user, wanted):
        move_client(network, reply, network.users[fold(wanted)])
        return
    if not _may_yet_log_in(reply.session):
        if network.find_user(wanted) not in (None, user):
            raise Refused(n.ERR_NICKNAMEINUSE, wanted)
        if is_refused(network, user, wanted):
            text = "Nickname is reserved: log in to its account, or choose another"
            raise Refused(n.ERR_NICKNAMEINUSE, wanted, text=text)
    if not reply.is_registered:
        user.nick = wanted
        try_complete(reply)
    elif wanted != user.nick:
        _check_held(user, wanted)
        _check_pace(reply.session)
        network.change_nick(user, wanted, reply)
        protect(network, user, reply)
        refresh(network, user)
        recheck_soon(reply.session)


def _check_pace(session: Client) -> None:
    """Check the rate of nick changes.

    Raises:
        Refused: it is too high.
    """
    wait_s = nick_wait_s(session)
    if wait_s:
        text = f"Nick change too fast; wait {math.ceil(wait_s)} seconds"
        raise Refused(n.ERR_NICKTOOFAST, session.user.nick, text=text)


def _may_yet_log_in(session: Client) -> bool:
    """Whether the client may still log in to the account that owns the nick (CAP, PASS)."""
    return not session.is_registered and (session.negotiating or bool(session.password))


def _check_held(user: User, wanted: str) -> None:
    """Check the bans of the user's channels.

    Raises:
        Refused: one forbids the change.
    """
    if fold(wanted) == user.folded:
        return
    for channel, ranks in ((each, each.members[user]) for each in user.channels):
        if not ranks and channel.is_banned(user):
            raise Refused(n.ERR_BANNICKCHANGE, wanted, channel.name)


@command("USER", params=4, only_before_registration=True)
def set_user(reply: Reply, message: Message) -> None:
    """Give user name and real name (modern, "USER message")."""
    name, device = split_device(message.params[0])
    username = clean_username(name)
    realname = message.params[3]
    if not username or not realname:
        raise Refused(n.ERR_NEEDMOREPARAMS, "USER")
    # The tilde means: not verified by an ident server.
    reply.user.username = f"~{username}"
    reply.user.realname = clip(realname, REALNAME_BYTES_MAX)
    if device and not reply.session.device:
        reply.session.device = device
    try_complete(reply)


@command("PING", params=1, before_registration=True)
def ping(reply: Reply, message: Message) -> None:
    """Answer with a PONG that has the same token (modern, "PING message")."""
    reply.send_from_server("PONG", reply.network.server_name, trailing=message.params[0])


@command("PONG", before_registration=True)
def pong(reply: Reply, message: Message) -> None:
    """Answer a PING: that it came is all that counts (modern, "PONG message")."""


@command("ERROR", before_registration=True)
def error(reply: Reply, message: Message) -> None:
    """Be ignored: only servers say it (modern, "ERROR message")."""


@command("QUIT", before_registration=True)
def leave(reply: Reply, message: Message) -> None:
    """Leave the network (modern, "QUIT message")."""
    reason = message.params[0] if message.params else ""
    reply.close(f"Quit: {reason}")


@command("SETNAME", params=1)
def set_realname(reply: Reply, message: Message) -> None:
    """Change the real name (IRCv3 setname)."""
    realname = message.params[0]
    if not realname or len(realname.encode()) > REALNAME_BYTES_MAX:
        raise Fail("INVALID_REALNAME", text="Realname is not valid")
    network, user = reply.network, reply.user
    user.realname = realname
    event = event_of(user, network, "SETNAME", trailing=realname)
    outgoing = announce_change(network, user, event, cap.SETNAME, reply)
    user.send(outgoing, reply, having=cap.SETNAME)
    recheck_soon(reply.session)


@command("WEBIRC", params=4, only_before_registration=True)
def webirc(reply: Reply, message: Message) -> None:
    """Say, as a gateway that is trusted, which address the client has."""
    fronts = reply.network.fronts
    password, _gateway, _host, address = message.params[:4]
    address = shown_address(address.removeprefix("0::ffff:"))
    options = message.params[4].split(" ") if len(message.params) > 4 else []
    is_first = not reply.user.nick and not reply.user.username
    if not (fronts.webirc_hash and is_first and fronts.is_gateway(reply.session.ip)):
        _refuse(reply, "not a gateway, or not the first command")
    elif parse_address(address) is None:
        _refuse(reply, "no address")
    else:
        args = (address, "secure" in options)
        start_check(reply, password, password_matches, (fronts.webirc_hash,), _checked, args)


def _checked(reply: Reply, ok: bool | None, address: str, is_secure: bool) -> None:
    if not ok:
        _refuse(reply, "wrong password")
        return
    reply.session.is_secure = is_secure
    take_address(reply, address)


def _refuse(reply: Reply, why: str) -> None:
    note_refused_login(
        reply.session, _log, f"WEBIRC from {reply.session.ip} refused: {why}",
        events.LOGIN_REFUSED(TAPD_PEER=reply.session.ip),
    )  # fmt: skip
    reply.close("WEBIRC is not for you")
