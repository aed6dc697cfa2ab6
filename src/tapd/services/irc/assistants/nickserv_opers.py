"""NickServ: operators' commands for accounts. LIST, SUSPEND, UNSUSPEND, RESET, REMOVE."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tapd.model.access.accounts import generate_password
from tapd.services.irc.assistants.confirming import check_code, code_for
from tapd.services.irc.assistants.nickserv import day, known_account, log_out_all, remove_account
from tapd.services.irc.assistants.table import NICKSERV, Refused, Words
from tapd.services.irc.conduct.checking import start_check
from tapd.services.irc.state.accounts import Proof, make_proof
from tapd.services.irc.wire.masks import matches

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply

_log = logging.getLogger(__name__)

LISTED_MAX = 100
_PRIVILEGE = "accounts"


@NICKSERV.command("LIST", "[mask]", privilege=_PRIVILEGE)
def list_accounts(reply: Reply, words: Words) -> None:
    """List accounts, those that match a mask."""
    mask = words[0] if words else "*"
    found = [each for each in reply.network.accounts.by_name.values() if matches(mask, each.name)]
    for account in found[:LISTED_MAX]:
        state = ", suspended" if account.is_suspended else ""
        NICKSERV.say(reply, f"{account.name}: seen {day(account.seen_s)}{state}")
    NICKSERV.say(reply, f"{len(found)} accounts, {min(len(found), LISTED_MAX)} shown.")


@NICKSERV.command("SUSPEND", "<account>", privilege=_PRIVILEGE)
def suspend(reply: Reply, words: Words) -> None:
    """Let nobody log in to an account; who is, is logged out."""
    account = known_account(reply, words[0])
    if account.is_suspended:
        raise Refused(f"{account.name} is suspended already")
    account.is_suspended = True
    log_out_all(reply.network, account, reply)
    _log.info("account %s suspended by %s", account.name, reply.user.mask)
    NICKSERV.say(reply, f"{account.name} is suspended.")


@NICKSERV.command("UNSUSPEND", "<account>", privilege=_PRIVILEGE)
def unsuspend(reply: Reply, words: Words) -> None:
    """Let people log in to an account again."""
    account = known_account(reply, words[0])
    if not account.is_suspended:
        raise Refused(f"{account.name} is not suspended")
    account.is_suspended = False
    _log.info("account %s unsuspended by %s", account.name, reply.user.mask)
    NICKSERV.say(reply, f"{account.name} is suspended no more.")


@NICKSERV.command("RESET", "<account>", privilege=_PRIVILEGE)
def reset(reply: Reply, words: Words) -> None:
    """Give an account a new password, for somebody who has forgotten theirs."""
    account = known_account(reply, words[0])
    password = generate_password()
    start_check(reply, password, prove, (), _has_reset, (account.name,))


def prove(password: str) -> tuple[str, Proof]:
    """Return a password with its proof; runs in a thread."""
    return password, make_proof(password)


def _has_reset(reply: Reply, made: tuple[str, Proof] | None, name: str) -> None:
    account = reply.network.accounts.find(name)
    if made is None or account is None:
        NICKSERV.say(reply, "Try again later.")
        return
    password, account.proof = made
    _log.info("account %s has a new password, by %s", account.name, reply.user.mask)
    NICKSERV.say(reply, f"The password of {account.name} is now {password}")


@NICKSERV.command("REMOVE", "<account> [code]", privilege=_PRIVILEGE)
def remove(reply: Reply, words: Words) -> None:
    """Remove somebody's account, as they themselves do by DROP."""
    account = known_account(reply, words[0])
    code = code_for(reply.network, "account", account.name, account.registered_s)
    if len(words) < 2:
        NICKSERV.say(reply, f"If you are sure, write: REMOVE {account.name} {code}")
        return
    check_code(words[1], code)
    remove_account(reply.network, account, reply)
    _log.info("account %s removed by %s", account.name, reply.user.mask)
    NICKSERV.say(reply, f"{account.name} is an account no more.")
