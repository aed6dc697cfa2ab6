"""Completing a client's registration, and the welcome.

Registration waits for NICK, USER and, after CAP LS or REQ, CAP END (IRCv3 capability
negotiation; modern, "Connection Registration"). Further conditions (bans, mandatory
log-in) belong in `complete`.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from tapd.errors import UsageError
from tapd.services.irc.conduct import admission, audit
from tapd.services.irc.conduct.checking import password_matches, start_check
from tapd.services.irc.conduct.login import log_in
from tapd.services.irc.conduct.membership import send_channels
from tapd.services.irc.conduct.presence import client_came, missed_since_ms, refresh
from tapd.services.irc.conduct.reservation import is_owner, is_refused, protect, rename_to_guest
from tapd.services.irc.state.accounts import prepare_password, split_device
from tapd.services.irc.wire import modes
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import render_time
from tapd.services.irc.wire.isupport import isupport_lines

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.state.user import User

MOTD_LINES_MAX = 1000
MOTD_LINE_BYTES_MAX = 400


def try_complete(reply: Reply) -> None:
    """Complete the registration of a client, if nothing is missing."""
    session, user = reply.session, reply.user
    if session.is_registered or session.negotiating or not (user.nick and user.username):
        return
    network = reply.network
    if session.sasl is not None:  # sasl-3.1: register without it
        session.end_sasl()
        reply.numeric(n.ERR_SASLABORTED)
    if network.password_hash:
        sealer = session.service.sealer
        given = (sealer.open(session.password) or b"").decode() if session.password else ""
        start_check(reply, given, password_matches, (network.password_hash,), _password_checked)
    elif session.password and not user.account:
        _log_in_by_pass(reply)
    else:
        complete(reply)


def _log_in_by_pass(reply: Reply) -> None:
    """Log in by ``PASS account:password``, for clients without SASL; anything else is ignored."""
    network = reply.network
    given = (network.sealer.open(reply.session.password) or b"").decode()
    reply.session.password = b""
    name, _, password = given.partition(":")
    account = network.accounts.find(split_device(name)[0])
    try:
        prepared = prepare_password(password)
    except UsageError:
        prepared = ""
    if account is None or not prepared:
        complete(reply)
        return
    password_hash = account.proof.password_hash
    start_check(reply, prepared, password_matches, (password_hash,), _pass_checked, (name,))


def _pass_checked(reply: Reply, ok: bool | None, text: str) -> None:
    name, device = split_device(text)
    account = reply.network.accounts.find(name)
    if not ok or account is None or account.is_suspended:
        reply.numeric(n.ERR_PASSWDMISMATCH)
        reply.close("Bad password")
        return
    if device:
        reply.session.device = device
    log_in(reply, account, "PASS")
    complete(reply)


def _password_checked(reply: Reply, ok: bool | None) -> None:
    if ok:
        complete(reply)
    else:
        reply.numeric(n.ERR_PASSWDMISMATCH)
        reply.close("Bad password")


def complete(reply: Reply) -> None:
    """Admit a client whose registration is complete."""
    network, user = reply.network, reply.user
    if not admission.may_enter(reply):
        return
    present = network.find_user(user.nick)
    if present is not None and user.account and present.account == user.account:
        reply.session.password = b""
        join_user(reply, present)
        return
    if present is not None and is_owner(network, user):
        rename_to_guest(network, present, reply)  # another user had this account's nick
        present = None
    if present is None and not is_refused(network, user, user.nick):
        reply.session.password = b""
        network.attach_session(reply.session, user)
        network.add_user(user)
        refresh(network, user)
        welcome(reply)
        protect(network, user, reply)
        text = f"Client connecting: {audit.describe(reply.session)}"
        audit.tell_opers(network, "c", text, reply)
    else:
        reply.numeric(n.ERR_NICKNAMEINUSE, user.nick)
        user.nick = ""


def join_user(reply: Reply, present: User) -> None:
    """Attach a newly registered client to a user who is there already."""
    network, address = reply.network, reply.user.ip
    since_ms = missed_since_ms(network, reply.session, present)
    if not present.sessions and present.ip != address:
        present.ip = address  # bans apply to it; what others see stays the same
    network.attach_session(reply.session, present)
    welcome(reply)
    send_channels(reply)
    client_came(network, reply, since_ms)


def welcome(reply: Reply) -> None:
    """Send the welcome (modern, "Connection Registration")."""
    network, user = reply.network, reply.user
    name, version = network.server_name, network.version
    reply.numeric(n.RPL_WELCOME, text=f"Welcome to the {network.network_name} Network, {user.mask}")
    reply.numeric(n.RPL_YOURHOST, text=f"Your host is {name}, running version {version}")
    created = render_time(int(network.created_s * 1000))
    reply.numeric(n.RPL_CREATED, text=f"This server was created {created}")
    with_parameter = "".join(
        sorted(
            mode.letter for mode in modes.CHANNEL_MODES.values() if mode.kind is not modes.Kind.FLAG
        )
    )
    reply.numeric(
        n.RPL_MYINFO,
        name,
        version,
        "".join(sorted(modes.USER_MODES)),
        "".join(sorted(modes.CHANNEL_MODES)),
        with_parameter,
    )
    send_isupport(reply)
    send_lusers(reply)
    send_motd(reply)
    if user.modes:
        reply.numeric(n.RPL_UMODEIS, f"+{user.modes}")


def send_isupport(reply: Reply) -> None:
    """Send the ISUPPORT lines."""
    for tokens in isupport_lines(reply.network):
        reply.numeric(n.RPL_ISUPPORT, *tokens)


def send_lusers(reply: Reply) -> None:
    """Send the numbers of users and channels (modern, "LUSERS message")."""
    network = reply.network
    count = len(network.users)
    invisible, opers = network.counts["i"], network.counts["o"]
    reply.numeric(
        n.RPL_LUSERCLIENT,
        text=f"There are {count - invisible} users and {invisible} invisible on 1 servers",
    )
    if opers:
        reply.numeric(n.RPL_LUSEROP, str(opers))
    if network.half_registered:
        reply.numeric(n.RPL_LUSERUNKNOWN, str(len(network.half_registered)))
    if network.channels:
        reply.numeric(n.RPL_LUSERCHANNELS, str(len(network.channels)))
    reply.numeric(n.RPL_LUSERME, text=f"I have {count} clients and 0 servers")
    most = network.most_users
    reply.numeric(
        n.RPL_LOCALUSERS, str(count), str(most), text=f"Current local users {count}, max {most}"
    )
    reply.numeric(
        n.RPL_GLOBALUSERS, str(count), str(most), text=f"Current global users {count}, max {most}"
    )


def read_motd(path: str) -> tuple[str, ...]:
    """Return the lines of the message of the day in the file at `path`; none for "".

    Raises:
        UsageError: it can't be read, is not UTF-8 text or is too long.
    """
    if not path:
        return ()
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"reading the message of the day {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"reading the message of the day {path}: it is not UTF-8 text") from None
    lines = tuple(line.rstrip().replace("\0", "") for line in text.splitlines())
    if len(lines) > MOTD_LINES_MAX or any(
        len(line.encode()) > MOTD_LINE_BYTES_MAX for line in lines
    ):
        raise UsageError(
            f"the message of the day {path}: at most {MOTD_LINES_MAX} lines "
            f"of at most {MOTD_LINE_BYTES_MAX} bytes"
        )
    return lines


def send_motd(reply: Reply) -> None:
    """Send the message of the day, or that there is none."""
    network = reply.network
    if not network.motd:
        reply.numeric(n.ERR_NOMOTD)
        return
    reply.numeric(n.RPL_MOTDSTART, text=f"- {network.server_name} Message of the day - ")
    for line in network.motd:
        reply.numeric(n.RPL_MOTD, text=f"- {line}")
    reply.numeric(n.RPL_ENDOFMOTD)
