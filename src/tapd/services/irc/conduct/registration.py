"""Completing a registration: when all is there, and the welcome.

Imports `isupport`, `checking` and the numerics. Registration waits for NICK,
USER and, where CAP LS or REQ came, CAP END (IRCv3 capability negotiation;
modern, "Connection Registration"). What else has to hold before a client is let
in (a ban, an account that must be used) is added to `complete`.
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
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.state.user import User

MOTD_LINES_MAX = 1000
MOTD_LINE_BYTES_MAX = 400


def try_complete(session: Session) -> None:
    """Complete the registration of `session`, if nothing is missing."""
    user = session.user
    if session.is_registered or session.negotiating or not (user.nick and user.username):
        return
    network = session.network
    if session.sasl is not None:  # sasl-3.1: registered without it, then
        session.end_sasl()
        session.reply(n.ERR_SASLABORTED)
    if network.password_hash:
        sealer = session.service.sealer
        given = (sealer.open(session.password) or b"").decode() if session.password else ""
        start_check(session, given, password_matches, (network.password_hash,), _password_checked)
    elif session.password and not user.account:
        _log_in_by_pass(session)
    else:
        complete(session)


def _log_in_by_pass(session: Session) -> None:
    """Log in by ``PASS account:password``, for clients without SASL; anything else is ignored."""
    network = session.network
    given = (session.service.sealer.open(session.password) or b"").decode()
    session.password = b""
    name, _, password = given.partition(":")
    account = network.accounts.find(split_device(name)[0])
    try:
        prepared = prepare_password(password)
    except UsageError:
        prepared = ""
    if account is None or not prepared:
        complete(session)
        return
    password_hash = account.proof.password_hash
    start_check(session, prepared, password_matches, (password_hash,), _pass_checked, (name,))


def _pass_checked(session: Session, ok: bool | None, text: str) -> None:
    name, device = split_device(text)
    account = session.network.accounts.find(name)
    if not ok or account is None or account.is_suspended:
        session.reply(n.ERR_PASSWDMISMATCH)
        session.close("Bad password")
        return
    if device:
        session.device = device
    log_in(session, account, "PASS")
    complete(session)


def _password_checked(session: Session, ok: bool | None) -> None:
    if ok:
        complete(session)
    else:
        session.reply(n.ERR_PASSWDMISMATCH)
        session.close("Bad password")


def complete(session: Session) -> None:
    """Let a client in whose registration is complete."""
    network, user = session.network, session.user
    if not admission.may_enter(session):
        return
    present = network.find_user(user.nick)
    if present is not None and user.account and present.account == user.account:
        session.password = b""
        join_user(session, present)
        return
    if present is not None and is_owner(network, user):
        rename_to_guest(network, present)  # who had the nick of this account
        present = None
    if present is None and not is_refused(network, user, user.nick):
        session.password = b""
        network.attach_session(session, user)
        network.add_user(user)
        refresh(network, user)
        welcome(session)
        protect(network, user)
        audit.tell_opers(network, "c", f"Client connecting: {audit.describe(session)}")
    else:
        session.reply(n.ERR_NICKNAMEINUSE, user.nick)
        user.nick = ""


def join_user(session: Session, present: User) -> None:
    """Make a session whose registration is complete one more client of a user who is there."""
    network, address = session.network, session.user.ip
    since_ms = missed_since_ms(network, session, present)
    if not present.sessions and present.ip != address:
        present.ip = address  # which bans are held against; what others see stays as it was
    network.attach_session(session, present)
    welcome(session)
    send_channels(session)
    client_came(network, session, since_ms)


def welcome(session: Session) -> None:
    """Send what every client is sent first (modern, "Connection Registration")."""
    network, user = session.network, session.user
    name, version = network.server_name, network.version
    session.reply(n.RPL_WELCOME, text=f"Welcome to the {network.network_name} Network, {user.mask}")
    session.reply(n.RPL_YOURHOST, text=f"Your host is {name}, running version {version}")
    created = render_time(int(network.created_s * 1000))
    session.reply(n.RPL_CREATED, text=f"This server was created {created}")
    with_parameter = "".join(
        sorted(
            mode.letter for mode in modes.CHANNEL_MODES.values() if mode.kind is not modes.Kind.FLAG
        )
    )
    session.reply(
        n.RPL_MYINFO,
        name,
        version,
        "".join(sorted(modes.USER_MODES)),
        "".join(sorted(modes.CHANNEL_MODES)),
        with_parameter,
    )
    send_isupport(session)
    send_lusers(session)
    send_motd(session)
    if user.modes:
        session.reply(n.RPL_UMODEIS, f"+{user.modes}")


def send_isupport(session: Session) -> None:
    """Send the lines of ISUPPORT."""
    for tokens in isupport_lines(session.network):
        session.reply(n.RPL_ISUPPORT, *tokens)


def send_lusers(session: Session) -> None:
    """Send the numbers of users and channels (modern, "LUSERS message")."""
    network = session.network
    count = len(network.users)
    invisible, opers = network.counts["i"], network.counts["o"]
    session.reply(
        n.RPL_LUSERCLIENT,
        text=f"There are {count - invisible} users and {invisible} invisible on 1 servers",
    )
    if opers:
        session.reply(n.RPL_LUSEROP, str(opers))
    if network.half_registered:
        session.reply(n.RPL_LUSERUNKNOWN, str(len(network.half_registered)))
    if network.channels:
        session.reply(n.RPL_LUSERCHANNELS, str(len(network.channels)))
    session.reply(n.RPL_LUSERME, text=f"I have {count} clients and 0 servers")
    most = network.most_users
    session.reply(
        n.RPL_LOCALUSERS, str(count), str(most), text=f"Current local users {count}, max {most}"
    )
    session.reply(
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


def send_motd(session: Session) -> None:
    """Send the message of the day, or that there is none."""
    network = session.network
    if not network.motd:
        session.reply(n.ERR_NOMOTD)
        return
    session.reply(n.RPL_MOTDSTART, text=f"- {network.server_name} Message of the day - ")
    for line in network.motd:
        session.reply(n.RPL_MOTD, text=f"- {line}")
    session.reply(n.RPL_ENDOFMOTD)
