"""Logging in and out of accounts.

Every way to log in (SASL, REGISTER, the assistants) ends here, so that the log, the
conversations and the other clients are told alike.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tapd import events
from tapd.services.irc.conduct import admission
from tapd.services.irc.conduct.announce import give_ranks
from tapd.services.irc.conduct.identity import set_account, tell_login
from tapd.services.irc.conduct.presence import refresh
from tapd.services.irc.conduct.reservation import protect

if TYPE_CHECKING:
    from tapd.services.irc.state.accounts import IrcAccount, Proof
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Client, Reply
    from tapd.services.irc.state.user import User

_log = logging.getLogger(__name__)


def log_in(reply: Reply, account: IrcAccount, way: str) -> None:
    """Log the user of a client in to `account`.

    Args:
        reply: where the client is answered.
        account: the account, already proved to be theirs.
        way: the method, for the log.
    """
    network, user = reply.network, reply.user
    _log.info(
        "%s logged in as %s by %s", user.mask, account.name, way,
        extra=events.LOGIN(TAPD_USER=account.name, TAPD_PEER=user.ip),
    )  # fmt: skip
    account.seen_s = network.now_s()
    reply.session.failures = 0
    before = user.identity
    set_account(network, user, account.name, reply)
    if not reply.is_registered:
        tell_login(reply)
    elif before != user.identity and before.startswith("guest:"):
        network.history.move(before, user.identity)
    if reply.is_registered:
        give_ranks(network, user)
        refresh(network, user)
        admission.recheck_soon(reply.session)


def log_out(network: Network, user: User, reply: Reply | None = None) -> None:
    """Log a registered user out; they lose a nick that belongs to the account."""
    set_account(network, user, "", reply)
    protect(network, user, reply)
    refresh(network, user)


def add_account(reply: Reply, name: str, proof: Proof, email: str) -> IrcAccount:
    """Add an account, which was checked to be new; nobody is logged in to it yet."""
    network = reply.network
    account = network.accounts.add(name, proof, network.now_s())
    account.email = email
    admission.note_registration(reply.session)
    _log.info("account %s registered by %s at %s", name, reply.user.mask, reply.user.ip)
    return account


def note_refused_login(
    session: Client, where: logging.Logger, text: str, extra: Mapping[str, object]
) -> None:
    """Log a failed login, rate-limited: the first few each with its fields; more are counted."""
    session.network.application.runtime.tell(
        where, "login failed", text,
        peer=session.ip, level=logging.WARNING, at_once=LINES_AT_ONCE,
        extra=extra,
    )  # fmt: skip


LINES_AT_ONCE = 3
"""Failed logins that are logged individually; more within 10 s are counted."""
FAILURES_MAX = 5
"""Wrong passwords before a connection is closed."""


def note_failure(reply: Reply) -> None:
    """Count a failed login; close the connection after too many."""
    session = reply.session
    session.failures += 1
    if session.failures >= FAILURES_MAX:
        reply.close("Too many failed logins")


def why_no_account(reply: Reply, name: str) -> tuple[str, str] | None:
    """Return why the client can't register an account of that name; None if it can.

    Returns:
        A code of draft/account-registration, and a text.
    """
    problem = reply.network.accounts.why_not_new(name)
    if problem is not None:
        return problem
    if not admission.may_register(reply.session):
        return "TEMPORARILY_UNAVAILABLE", "No accounts can be registered from there now"
    other = reply.network.find_user(name)
    if other is not None and other is not reply.user:
        return "ACCOUNT_EXISTS", "Somebody else uses that name now"
    return None
