"""Accounts over the wire: AUTHENTICATE (SASL), REGISTER and VERIFY.

ircv3.net/specs/extensions/sasl-3.1, sasl-3.2 and draft/account-registration.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapd import events
from tapd.services.irc.conduct.checking import password_matches, start_check
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.login import (
    add_account,
    log_in,
    note_failure,
    note_refused_login,
    why_no_account,
)
from tapd.services.irc.conduct.refusal import Fail, Refused
from tapd.services.irc.state.accounts import (
    PASSWORD_RULE,
    Proof,
    is_email,
    make_proof,
    split_device,
    usable_password,
)
from tapd.services.irc.state.sasl import (
    MECHANISMS,
    MESSAGE_BYTES_MAX,
    Candidate,
    Challenge,
    Exchange,
    Failed,
    Proved,
    decode_message,
)
from tapd.services.irc.wire import numerics as n

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message

_log = logging.getLogger(__name__)

CHUNK_BYTES = 400
"""A message of this length continues in the next AUTHENTICATE (sasl-3.1)."""


# --- SASL --------------------------------------------------------------------------------


@command("AUTHENTICATE", params=1, before_registration=True)
def authenticate(reply: Reply, message: Message) -> None:
    """Log in by SASL (sasl-3.1)."""
    text = message.params[0]
    if text == "*":
        reply.session.end_sasl()
        reply.numeric(n.ERR_SASLABORTED)
    elif reply.session.sasl is None:
        _begin(reply, text.upper())
    elif len(text) > CHUNK_BYTES:
        reply.session.end_sasl()
        reply.numeric(n.ERR_SASLTOOLONG)
    else:
        _take_chunk(reply, reply.session.sasl, text)


def _begin(reply: Reply, name: str) -> None:
    mechanism = MECHANISMS.get(name)
    if mechanism is None:
        reply.numeric(n.RPL_SASLMECHS, ",".join(MECHANISMS))
        raise Refused(n.ERR_SASLFAIL)
    reply.session.sasl = mechanism()
    _send(reply, b"")


def _take_chunk(reply: Reply, exchange: Exchange, text: str) -> None:
    session = reply.session
    # Earlier parts are sealed: they may contain a password.
    sealer = session.service.sealer
    before = (sealer.open(session.sasl_input) or b"").decode() if session.sasl_input else ""
    whole = before + ("" if text == "+" and before else text)
    if len(whole) > MESSAGE_BYTES_MAX:
        session.end_sasl()
        raise Refused(n.ERR_SASLTOOLONG)
    if len(text) == CHUNK_BYTES:
        session.sasl_input = sealer.seal(whole.encode())
        return
    session.sasl_input = b""
    data = decode_message(whole)
    if data is None:
        _fail(reply, exchange.name, "no base64")
        return
    match exchange.step(data, session.network.accounts):
        case Challenge(challenge):
            _send(reply, challenge)
        case Candidate(account, password):
            password_hash = session.network.accounts.password_hash(account)
            start_check(reply, password, password_matches, (password_hash,), _checked, (account,))
        case Proved(account):
            _checked(reply, True, account)
        case Failed(reason, last_word):
            if last_word:
                _send(reply, last_word)
            _fail(reply, exchange.name, reason)


def _checked(reply: Reply, ok: bool | None, name: str) -> None:
    mechanism = "SASL" if reply.session.sasl is None else reply.session.sasl.name
    name, device = split_device(name)
    account = reply.network.accounts.find(name)
    if not ok or account is None or account.is_suspended:
        _fail(reply, mechanism, "suspended" if ok else "wrong password")
        return
    reply.session.end_sasl()
    if device:
        reply.session.device = device
    log_in(reply, account, f"SASL {mechanism}")
    reply.numeric(n.RPL_SASLSUCCESS)


def _fail(reply: Reply, mechanism: str, reason: str) -> None:
    ip = reply.session.ip
    reply.session.end_sasl()
    note_refused_login(
        reply.session, _log, f"login by SASL {mechanism} failed for a client at {ip}: {reason}",
        events.LOGIN_REFUSED(TAPD_PEER=ip),
    )  # fmt: skip
    reply.numeric(n.ERR_SASLFAIL)
    note_failure(reply)


def _send(reply: Reply, data: bytes) -> None:
    for chunk in split_chunks(base64.b64encode(data).decode()):
        reply.send_from_server("AUTHENTICATE", chunk, source="")


def split_chunks(text: str) -> Iterator[str]:
    """Yield `text` as the parameters of AUTHENTICATE messages (sasl-3.1)."""
    for start in range(0, len(text), CHUNK_BYTES):
        yield text[start : start + CHUNK_BYTES]
    if len(text) % CHUNK_BYTES == 0:
        yield "+"


# --- registration of accounts -------------------------------------------------------------


@command("REGISTER", params=3, before_registration=True)
def register(reply: Reply, message: Message) -> None:
    """Register an account (draft/account-registration)."""
    name, email, password = message.params[:3]
    accounts, user = reply.network.accounts, reply.user
    name = user.nick if name == "*" else name
    if not accounts.may_register:
        raise Fail("TEMPORARILY_UNAVAILABLE", name, text="Accounts are made by operators here")
    if user.account:
        raise Fail("ALREADY_AUTHENTICATED", user.account, text="You have an account")
    if not name:
        raise Fail("NEED_NICK", "*", text="Choose a nick first, or name the account")
    problem = why_no_account(reply, name)
    if problem is not None:
        raise Fail(problem[0], name, text=problem[1])
    if email != "*" and not is_email(email):
        raise Fail("INVALID_EMAIL", name, text="That is no e-mail address")
    prepared = usable_password(password)
    if prepared is None:
        raise Fail("WEAK_PASSWORD", name, text=PASSWORD_RULE)
    address = "" if email == "*" else email
    start_check(reply, prepared, make_proof, (), _registered, (name, address))


def _registered(reply: Reply, proof: Proof | None, name: str, email: str) -> None:
    if proof is None:
        reply.fail("REGISTER", "TEMPORARILY_UNAVAILABLE", name, text="Try again later")
        return
    problem = why_no_account(reply, name)  # of two concurrent registrations the first wins
    if problem is not None:
        reply.fail("REGISTER", problem[0], name, text=problem[1])
        return
    account = add_account(reply, name, proof, email)
    reply.send_from_server(
        "REGISTER", "SUCCESS", account.name, trailing="Account successfully registered"
    )
    log_in(reply, account, "REGISTER")


@command("VERIFY", params=2, before_registration=True)
def verify(_reply: Reply, message: Message) -> None:
    """Verify an account: none here waits for that (draft/account-registration)."""
    text = "No account here waits to be verified"
    raise Fail("INVALID_CODE", message.params[0], text=text)
