"""NickServ: accounts. REGISTER, IDENTIFY, LOGOUT, INFO, SET, DROP.

Imports `login`, `checking` and the data model. Passwords are checked in a thread
(`checking`), which keeps them sealed, and are named in no log.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from tapd import events
from tapd.errors import UsageError
from tapd.model.access.accounts import verify_password
from tapd.services.irc.assistants.confirming import check_code, code_for
from tapd.services.irc.assistants.table import NICKSERV, Refused, Words
from tapd.services.irc.conduct import presence
from tapd.services.irc.conduct.checking import password_matches, start_check
from tapd.services.irc.conduct.login import (
    add_account,
    log_in,
    log_out,
    note_failure,
    note_refused_login,
    why_no_account,
)
from tapd.services.irc.state.accounts import (
    PASSWORD_RULE,
    IrcAccount,
    Proof,
    is_email,
    make_proof,
    prepare_password,
    usable_password,
)
from tapd.services.irc.state.grants import channels_of, forget_account
from tapd.services.irc.wire.names import AWAY_BYTES_MAX, clip, fold

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.state.network import Network

log = logging.getLogger(__name__)


def own_account(session: Session) -> IrcAccount:
    """Return the account that the client is logged in to.

    Raises:
        Refused: it is no more.
    """
    account = session.network.accounts.find(session.user.account)
    if account is None:
        raise Refused("You are not logged in")
    return account


def known_account(session: Session, name: str) -> IrcAccount:
    """Return the account of that name, or that a nick of that name is reserved for.

    Raises:
        Refused: there is none.
    """
    accounts = session.network.accounts
    account = accounts.find(name) or accounts.owner_of(name)
    if account is None:
        raise Refused(f"{name} is nobody's: there is no such account")
    return account


def day(time_s: float) -> str:
    """Return the day of a time, for people."""
    return dt.datetime.fromtimestamp(time_s, dt.UTC).strftime("%Y-%m-%d")


@NICKSERV.command("REGISTER", "<password> [email]", secret_from=0)
def register(session: Session, words: Words) -> None:
    """Make the nick that you have an account of yours.

    Nobody else can use the nick from then on. The address is shown to nobody but you and
    the operators.
    """
    name, email = session.user.nick, words[1] if len(words) > 1 else ""
    if session.user.account:
        raise Refused(f"You are logged in to {session.user.account}: LOGOUT first")
    if not session.network.accounts.may_register:
        raise Refused("Accounts are made by operators here")
    problem = why_no_account(session, name)
    if problem is not None:
        raise Refused(problem[1])
    if email and not is_email(email):
        raise Refused("That is no e-mail address")
    password = usable_password(words[0])
    if password is None:
        raise Refused(PASSWORD_RULE)
    start_check(session, password, make_proof, (), _registered, (name, email))


def _registered(session: Session, proof: Proof | None, name: str, email: str) -> None:
    problem = why_no_account(session, name)  # of two at the same time the first has it
    if proof is None or problem is not None:
        NICKSERV.say(session, problem[1] if problem is not None else "Try again later")
        return
    account = add_account(session, name, proof, email)
    NICKSERV.say(session, f"{account.name} is registered.")
    log_in(session, account, "NickServ REGISTER")


@NICKSERV.command("IDENTIFY", "[account] <password>", secret_from=0)
def identify(session: Session, words: Words) -> None:
    """Log in to an account; without one, to that of the nick that you have."""
    accounts = session.network.accounts
    name, password = (session.user.nick, words[0]) if len(words) == 1 else words[:2]
    account = accounts.find(name) or accounts.owner_of(name)
    password_hash = accounts.password_hash(name if account is None else account.name)
    try:
        prepared = prepare_password(password)
    except UsageError:
        prepared = ""
    found = "" if account is None else account.name
    start_check(session, prepared, password_matches, (password_hash,), _identified, (found,))


def _identified(session: Session, ok: bool | None, name: str) -> None:
    account = session.network.accounts.find(name)
    if not ok or account is None or account.is_suspended:
        user = session.user
        note_refused_login(
            session, log, f"NickServ IDENTIFY failed: {user.mask} at {user.ip}",
            events.LOGIN_REFUSED(TAPD_PEER=user.ip, TAPD_USER=user.mask),
        )  # fmt: skip
        NICKSERV.say(session, "That account or password is wrong.")
        note_failure(session)
        return
    log_in(session, account, "NickServ IDENTIFY")
    NICKSERV.say(session, f"You are logged in as {account.name}.")


@NICKSERV.command("LOGOUT", needs_account=True)
def logout(session: Session, _words: Words) -> None:
    """Log out of your account; a nick that is reserved for it goes, too."""
    NICKSERV.say(session, f"You are logged in as {session.user.account} no longer.")
    log_out(session.network, session.user)


@NICKSERV.command("INFO", "[account]")
def info(session: Session, words: Words) -> None:
    """Tell about an account, or about yours."""
    network = session.network
    account = known_account(session, words[0]) if words else own_account(session)
    is_here = any(user.account == account.name for user in network.users.values())
    lines = [f"{account.name}: registered {day(account.registered_s)}."]
    lines.append("Is here now." if is_here else f"Was here last on {day(account.seen_s)}.")
    if account.is_suspended:
        lines.append("Is suspended.")
    if session.user.account == account.name or network.may(session.user, "accounts"):
        lines += _private_lines(network, account)
    NICKSERV.say(session, *lines)


def _private_lines(network: Network, account: IrcAccount) -> list[str]:
    stays = "yes" if presence.wants_always_on(network, account) else "no"
    channels = ", ".join(channel.name for channel in channels_of(network, account))
    nicks = ", ".join((account.name, *account.nicks.values()))
    return [
        f"E-mail: {account.email or 'none'}. Nicks: {nicks}.",
        f"Stays without a client (always-on): {stays}. Founder of: {channels or 'no channel'}.",
    ]


# --- SET ----------------------------------------------------------------------------------


@NICKSERV.command("SET", "<option> <value>", needs_account=True, secret_from=1)
def set_option(session: Session, words: Words) -> None:
    """Change your account: PASSWORD, EMAIL, ALWAYS-ON or AWAY.

    SET PASSWORD OLD NEW: the password.

    SET EMAIL ADDRESS: the address; NONE for none.

    SET ALWAYS-ON on, off or default: whether you stay on your channels when your last client
    goes, and get what was said when one comes back.

    SET AWAY TEXT: what others are told while no client of yours is there; NONE for the usual.
    """
    option = _OPTIONS.get(words[0].upper())
    if option is None:
        raise Refused(f"There is no option {words[0][:32]}; there are: {', '.join(_OPTIONS)}")
    option(session, own_account(session), words[1:])


def _set_password(session: Session, account: IrcAccount, words: Words) -> None:
    if len(words) != 2:
        raise Refused("Write: SET PASSWORD <old> <new>")
    new = usable_password(words[1])
    if new is None:
        raise Refused(PASSWORD_RULE)
    password_hash = account.proof.password_hash
    secrets = f"{words[0]}\0{new}"
    start_check(session, secrets, exchange, (password_hash,), _exchanged, (account.name,))


def exchange(secrets: str, password_hash: str) -> Proof | None:
    """Return the proof of a new password where the old one is right; runs in a thread.

    Args:
        secrets: the old one as typed, a NUL, and the new one prepared.
        password_hash: of the old one.
    """
    old, _, new = secrets.partition("\0")
    try:
        is_right = verify_password(password_hash, prepare_password(old))
    except UsageError:
        is_right = False
    return make_proof(new) if is_right else None


def _exchanged(session: Session, proof: Proof | None, name: str) -> None:
    account = session.network.accounts.find(name)
    if proof is None or account is None:
        NICKSERV.say(session, "That password is wrong.")
        note_failure(session)
        return
    account.proof = proof
    log.info("account %s has a new password, by %s", account.name, session.user.mask)
    NICKSERV.say(session, "Your password is changed.")


def _set_email(session: Session, account: IrcAccount, words: Words) -> None:
    if words[0].upper() == "NONE":
        account.email = ""
    elif is_email(words[0]):
        account.email = words[0]
    else:
        raise Refused("That is no e-mail address")
    NICKSERV.say(session, "Your address is changed.")


_ALWAYS_ON = {"ON": True, "OFF": False, "DEFAULT": None}


def _set_always_on(session: Session, account: IrcAccount, words: Words) -> None:
    network = session.network
    if words[0].upper() not in _ALWAYS_ON:
        raise Refused("Write: SET ALWAYS-ON on, off or default")
    if network.always_on == "off":
        raise Refused("Nobody stays without a client on this network")
    account.always_on = _ALWAYS_ON[words[0].upper()]
    presence.refresh_all(network, account)
    if presence.wants_always_on(network, account):
        NICKSERV.say(session, "You stay here when your last client goes.")
    else:
        NICKSERV.say(session, "You quit when your last client goes.")


def _set_away_text(session: Session, account: IrcAccount, words: Words) -> None:
    text = " ".join(words)
    account.away_text = "" if text.upper() == "NONE" else clip(text, AWAY_BYTES_MAX)
    NICKSERV.say(session, f"Without a client you are away: {account.away_text or 'as usual'}")


_OPTIONS: dict[str, Callable[[Session, IrcAccount, Words], None]] = {
    "PASSWORD": _set_password,
    "EMAIL": _set_email,
    "ALWAYS-ON": _set_always_on,
    "AWAY": _set_away_text,
}


# --- DROP ---------------------------------------------------------------------------------


@NICKSERV.command("DROP", "[code]", needs_account=True)
def drop(session: Session, words: Words) -> None:
    """Give up your account, its nicks and its channels; a code is asked for first."""
    account = own_account(session)
    code = code_for(session.network, "account", account.name, account.registered_s)
    if not words:
        NICKSERV.say(
            session,
            f"{account.name}, its nicks and the channels that it founded will be nobody's.",
            f"If you are sure, write: DROP {code}",
        )
        return
    check_code(words[0], code)
    remove_account(session.network, account)
    log.info("account %s dropped by %s", account.name, session.user.mask)
    NICKSERV.say(session, f"{account.name} is an account no more.")


def remove_account(network: Network, account: IrcAccount) -> None:
    """Forget an account, with its nicks, channels and conversations; its users are logged out."""
    forget_account(network, account)
    network.accounts.remove(account)
    log_out_all(network, account)
    network.history.forget(f"account:{fold(account.name)}")


def log_out_all(network: Network, account: IrcAccount) -> None:
    """Log out the users of an account; who is there without a client goes."""
    for user in list(network.users.values()):
        if user.account == account.name:
            log_out(network, user)
