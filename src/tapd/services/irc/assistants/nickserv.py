"""NickServ: accounts. REGISTER, IDENTIFY, LOGOUT, INFO, SET, DROP.

Passwords are checked in a thread (`checking`), which keeps them sealed, and are never
logged.
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
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Reply

_log = logging.getLogger(__name__)


def own_account(reply: Reply) -> IrcAccount:
    """Return the account that the client is logged in to.

    Raises:
        Refused: it no longer exists.
    """
    account = reply.network.accounts.find(reply.user.account)
    if account is None:
        raise Refused("You are not logged in")
    return account


def known_account(reply: Reply, name: str) -> IrcAccount:
    """Return the account that has that name or reserves that nick.

    Raises:
        Refused: there is none.
    """
    accounts = reply.network.accounts
    account = accounts.find(name) or accounts.owner_of(name)
    if account is None:
        raise Refused(f"{name} is nobody's: there is no such account")
    return account


def day(time_s: float) -> str:
    """Return the day of a time, for people."""
    return dt.datetime.fromtimestamp(time_s, dt.UTC).strftime("%Y-%m-%d")


@NICKSERV.command("REGISTER", "<password> [email]", secret_from=0)
def register(reply: Reply, words: Words) -> None:
    """Make the nick that you have an account of yours.

    Nobody else can use the nick from then on. The address is shown to nobody but you and
    the operators.
    """
    name, email = reply.user.nick, words[1] if len(words) > 1 else ""
    if reply.user.account:
        raise Refused(f"You are logged in to {reply.user.account}: LOGOUT first")
    if not reply.network.accounts.may_register:
        raise Refused("Accounts are made by operators here")
    problem = why_no_account(reply, name)
    if problem is not None:
        raise Refused(problem[1])
    if email and not is_email(email):
        raise Refused("That is no e-mail address")
    password = usable_password(words[0])
    if password is None:
        raise Refused(PASSWORD_RULE)
    start_check(reply, password, make_proof, (), _registered, (name, email))


def _registered(reply: Reply, proof: Proof | None, name: str, email: str) -> None:
    problem = why_no_account(reply, name)  # of two concurrent registrations the first wins
    if proof is None or problem is not None:
        NICKSERV.say(reply, problem[1] if problem is not None else "Try again later")
        return
    account = add_account(reply, name, proof, email)
    NICKSERV.say(reply, f"{account.name} is registered.")
    log_in(reply, account, "NickServ REGISTER")


@NICKSERV.command("IDENTIFY", "[account] <password>", secret_from=0)
def identify(reply: Reply, words: Words) -> None:
    """Log in to an account; without one, to that of the nick that you have."""
    accounts = reply.network.accounts
    name, password = (reply.user.nick, words[0]) if len(words) == 1 else words[:2]
    account = accounts.find(name) or accounts.owner_of(name)
    password_hash = accounts.password_hash(name if account is None else account.name)
    try:
        prepared = prepare_password(password)
    except UsageError:
        prepared = ""
    found = "" if account is None else account.name
    start_check(reply, prepared, password_matches, (password_hash,), _identified, (found,))


def _identified(reply: Reply, ok: bool | None, name: str) -> None:
    account = reply.network.accounts.find(name)
    if not ok or account is None or account.is_suspended:
        user = reply.user
        note_refused_login(
            reply.session, _log, f"NickServ IDENTIFY failed: {user.mask} at {user.ip}",
            events.LOGIN_REFUSED(TAPD_PEER=user.ip, TAPD_USER=user.mask),
        )  # fmt: skip
        NICKSERV.say(reply, "That account or password is wrong.")
        note_failure(reply)
        return
    log_in(reply, account, "NickServ IDENTIFY")
    NICKSERV.say(reply, f"You are logged in as {account.name}.")


@NICKSERV.command("LOGOUT", needs_account=True)
def logout(reply: Reply, _words: Words) -> None:
    """Log out of your account; a nick that is reserved for it goes, too."""
    NICKSERV.say(reply, f"You are logged in as {reply.user.account} no longer.")
    log_out(reply.network, reply.user, reply)


@NICKSERV.command("INFO", "[account]")
def info(reply: Reply, words: Words) -> None:
    """Tell about an account, or about yours."""
    network = reply.network
    account = known_account(reply, words[0]) if words else own_account(reply)
    is_here = any(user.account == account.name for user in network.users.values())
    lines = [f"{account.name}: registered {day(account.registered_s)}."]
    lines.append("Is here now." if is_here else f"Was here last on {day(account.seen_s)}.")
    if account.is_suspended:
        lines.append("Is suspended.")
    if reply.user.account == account.name or network.may(reply.user, "accounts"):
        lines += _private_lines(network, account)
    NICKSERV.say(reply, *lines)


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
def set_option(reply: Reply, words: Words) -> None:
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
    option(reply, own_account(reply), words[1:])


def _set_password(reply: Reply, account: IrcAccount, words: Words) -> None:
    if len(words) != 2:
        raise Refused("Write: SET PASSWORD <old> <new>")
    new = usable_password(words[1])
    if new is None:
        raise Refused(PASSWORD_RULE)
    password_hash = account.proof.password_hash
    secrets = f"{words[0]}\0{new}"
    start_check(reply, secrets, exchange, (password_hash,), _exchanged, (account.name,))


def exchange(secrets: str, password_hash: str) -> Proof | None:
    """Return the proof of a new password if the old one is right; runs in a thread.

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


def _exchanged(reply: Reply, proof: Proof | None, name: str) -> None:
    account = reply.network.accounts.find(name)
    if proof is None or account is None:
        NICKSERV.say(reply, "That password is wrong.")
        note_failure(reply)
        return
    account.proof = proof
    _log.info("account %s has a new password, by %s", account.name, reply.user.mask)
    NICKSERV.say(reply, "Your password is changed.")


def _set_email(reply: Reply, account: IrcAccount, words: Words) -> None:
    if words[0].upper() == "NONE":
        account.email = ""
    elif is_email(words[0]):
        account.email = words[0]
    else:
        raise Refused("That is no e-mail address")
    NICKSERV.say(reply, "Your address is changed.")


_ALWAYS_ON = {"ON": True, "OFF": False, "DEFAULT": None}


def _set_always_on(reply: Reply, account: IrcAccount, words: Words) -> None:
    network = reply.network
    if words[0].upper() not in _ALWAYS_ON:
        raise Refused("Write: SET ALWAYS-ON on, off or default")
    if network.always_on == "off":
        raise Refused("Nobody stays without a client on this network")
    account.always_on = _ALWAYS_ON[words[0].upper()]
    presence.refresh_all(network, account)
    if presence.wants_always_on(network, account):
        NICKSERV.say(reply, "You stay here when your last client goes.")
    else:
        NICKSERV.say(reply, "You quit when your last client goes.")


def _set_away_text(reply: Reply, account: IrcAccount, words: Words) -> None:
    text = " ".join(words)
    account.away_text = "" if text.upper() == "NONE" else clip(text, AWAY_BYTES_MAX)
    NICKSERV.say(reply, f"Without a client you are away: {account.away_text or 'as usual'}")


_OPTIONS: dict[str, Callable[[Reply, IrcAccount, Words], None]] = {
    "PASSWORD": _set_password,
    "EMAIL": _set_email,
    "ALWAYS-ON": _set_always_on,
    "AWAY": _set_away_text,
}


# --- DROP ---------------------------------------------------------------------------------


@NICKSERV.command("DROP", "[code]", needs_account=True)
def drop(reply: Reply, words: Words) -> None:
    """Give up your account, its nicks and its channels; a code is asked for first."""
    account = own_account(reply)
    code = code_for(reply.network, "account", account.name, account.registered_s)
    if not words:
        NICKSERV.say(
            reply,
            f"{account.name}, its nicks and the channels that it founded will be nobody's.",
            f"If you are sure, write: DROP {code}",
        )
        return
    check_code(words[0], code)
    remove_account(reply.network, account, reply)
    _log.info("account %s dropped by %s", account.name, reply.user.mask)
    NICKSERV.say(reply, f"{account.name} is an account no more.")


def remove_account(network: Network, account: IrcAccount, reply: Reply) -> None:
    """Remove an account with its nicks, channels and conversations; log its users out."""
    forget_account(network, account)
    network.accounts.remove(account)
    log_out_all(network, account, reply)
    network.history.forget(f"account:{fold(account.name)}")


def log_out_all(network: Network, account: IrcAccount, reply: Reply) -> None:
    """Log out the users of an account; users without a client leave."""
    for user in list(network.users.values()):
        if user.account == account.name:
            log_out(network, user, reply)
