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
from tapd.services.irc.conduct.checking import password_matches, start_check
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.flood import nick_wait_s
from tapd.services.irc.conduct.login import note_refused_login
from tapd.services.irc.conduct.presence import is_own_elsewhere, move_client, refresh
from tapd.services.irc.conduct.registration import try_complete
from tapd.services.irc.conduct.reservation import is_refused, protect
from tapd.services.irc.state.accounts import split_device
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import event_of
from tapd.services.irc.wire.names import REALNAME_BYTES_MAX, clean_username, clip, fold, is_nick
from tapd.wire.addresses import parse_address, shown_address

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.wire.message import Message

log = logging.getLogger(__name__)


@command("PASS", params=1, only_before_registration=True)
def set_password(session: Session, message: Message) -> None:
    """Give the server's password (modern, "PASS message"); the last one counts."""
    sealer = session.service.sealer
    session.password = sealer.seal(message.params[0].encode())


@command("NICK", before_registration=True)
def nick(session: Session, message: Message) -> None:
    """Take a nickname, or change it (modern, "NICK message")."""
    wanted = message.params[0] if message.params else ""
    network, user = session.network, session.user
    if not wanted:
        session.reply(n.ERR_NONICKNAMEGIVEN)
    elif not is_nick(wanted):
        session.reply(n.ERR_ERRONEUSNICKNAME, wanted)
    elif session.is_registered and is_own_elsewhere(network, user, wanted):
        move_client(network, session, network.users[fold(wanted)])
    elif network.find_user(wanted) not in (None, user) and not _may_yet_log_in(session):
        session.reply(n.ERR_NICKNAMEINUSE, wanted)
    elif is_refused(network, user, wanted) and not _may_yet_log_in(session):
        text = "Nickname is reserved: log in to its account, or choose another"
        session.reply(n.ERR_NICKNAMEINUSE, wanted, text=text)
    elif not session.is_registered:
        user.nick = wanted
        try_complete(session)
    elif wanted != user.nick and not _is_held(session, wanted) and not _is_too_fast(session):
        network.change_nick(user, wanted, skip=session)
        protect(network, user)
        refresh(network, user)
        recheck_soon(session)


def _is_too_fast(session: Session) -> bool:
    """Whether the nick was changed too often; the client is told then."""
    wait_s = nick_wait_s(session)
    if wait_s:
        text = f"Nick change too fast; wait {math.ceil(wait_s)} seconds"
        session.reply(n.ERR_NICKTOOFAST, session.user.nick, text=text)
    return bool(wait_s)


def _may_yet_log_in(session: Session) -> bool:
    """Whether a nick may yet turn out to be that of the client's own account (CAP, PASS)."""
    return not session.is_registered and (session.negotiating or bool(session.password))


def _is_held(session: Session, wanted: str) -> bool:
    """Whether a ban on some channel forbids the change; the client is told then."""
    user = session.user
    if fold(wanted) == user.folded:
        return False
    for channel, ranks in ((each, each.members[user]) for each in user.channels):
        if not ranks and channel.is_banned(user):
            session.reply(n.ERR_BANNICKCHANGE, wanted, channel.name)
            return True
    return False


@command("USER", params=4, only_before_registration=True)
def set_user(session: Session, message: Message) -> None:
    """Give user name and real name (modern, "USER message")."""
    name, device = split_device(message.params[0])
    username = clean_username(name)
    realname = message.params[3]
    if not username or not realname:
        session.reply(n.ERR_NEEDMOREPARAMS, "USER")
        return
    # The tilde says that no ident server vouches for it.
    session.user.username = f"~{username}"
    session.user.realname = clip(realname, REALNAME_BYTES_MAX)
    if device and not session.device:
        session.device = device
    try_complete(session)


@command("PING", params=1, before_registration=True)
def ping(session: Session, message: Message) -> None:
    """Answer with a PONG that has the same token (modern, "PING message")."""
    session.send_from_server("PONG", session.network.server_name, trailing=message.params[0])


@command("PONG", before_registration=True)
def pong(session: Session, message: Message) -> None:
    """Answer a PING: that it came is all that counts (modern, "PONG message")."""


@command("ERROR", before_registration=True)
def error(session: Session, message: Message) -> None:
    """Be ignored: only servers say it (modern, "ERROR message")."""


@command("QUIT", before_registration=True)
def leave(session: Session, message: Message) -> None:
    """Leave the network (modern, "QUIT message")."""
    reason = message.params[0] if message.params else ""
    session.close(f"Quit: {reason}")


@command("SETNAME", params=1)
def set_realname(session: Session, message: Message) -> None:
    """Change the real name (IRCv3 setname)."""
    realname = message.params[0]
    if not realname or len(realname.encode()) > REALNAME_BYTES_MAX:
        session.fail("SETNAME", "INVALID_REALNAME", text="Realname is not valid")
        return
    network, user = session.network, session.user
    user.realname = realname
    outgoing = event_of(user, network, "SETNAME", trailing=realname).outgoing()
    network.tell_others(user, outgoing, having=cap.SETNAME)
    network.monitors.tell_change(user, outgoing, cap.SETNAME)
    for each in user.sessions:
        if each is not session and each.caps & cap.SETNAME:
            each.send(outgoing)
    if session.caps & cap.SETNAME:
        session.send(outgoing)
    recheck_soon(session)


@command("WEBIRC", params=4, only_before_registration=True)
def webirc(session: Session, message: Message) -> None:
    """Say, as a gateway that is trusted, which address the client has."""
    fronts = session.network.fronts
    password, _gateway, _host, address = message.params[:4]
    address = shown_address(address.removeprefix("0::ffff:"))
    options = message.params[4].split(" ") if len(message.params) > 4 else []
    is_first = not session.user.nick and not session.user.username
    if not (fronts.webirc_hash and is_first and fronts.is_gateway(session.ip)):
        _refuse(session, "not a gateway, or not the first command")
    elif parse_address(address) is None:
        _refuse(session, "no address")
    else:
        args = (address, "secure" in options)
        start_check(session, password, password_matches, (fronts.webirc_hash,), _checked, args)


def _checked(session: Session, ok: bool | None, address: str, is_secure: bool) -> None:
    if not ok:
        _refuse(session, "wrong password")
        return
    session.is_secure = is_secure
    take_address(session, address)


def _refuse(session: Session, why: str) -> None:
    note_refused_login(
        session, log, f"WEBIRC from {session.ip} refused: {why}",
        events.LOGIN_REFUSED(TAPD_PEER=session.ip),
    )  # fmt: skip
    session.close("WEBIRC is not for you")
