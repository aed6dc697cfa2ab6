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
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.wire.message import Message

log = logging.getLogger(__name__)

CHUNK_BYTES = 400
"""A message of this length goes on in the next AUTHENTICATE (sasl-3.1)."""


# --- SASL --------------------------------------------------------------------------------


@command("AUTHENTICATE", params=1, before_registration=True)
def authenticate(session: Session, message: Message) -> None:
    """Log in by SASL (sasl-3.1)."""
    text = message.params[0]
    if text == "*":
        session.end_sasl()
        session.reply(n.ERR_SASLABORTED)
    elif session.sasl is None:
        _begin(session, text.upper())
    elif len(text) > CHUNK_BYTES:
        session.end_sasl()
        session.reply(n.ERR_SASLTOOLONG)
    else:
        _take_chunk(session, session.sasl, text)


def _begin(session: Session, name: str) -> None:
    mechanism = MECHANISMS.get(name)
    if mechanism is None:
        session.reply(n.RPL_SASLMECHS, ",".join(MECHANISMS))
        session.reply(n.ERR_SASLFAIL)
        return
    session.sasl = mechanism()
    _send(session, b"")


def _take_chunk(session: Session, exchange: Exchange, text: str) -> None:
    # What came before is sealed: it may have a password in it.
    sealer = session.service.sealer
    before = (sealer.open(session.sasl_input) or b"").decode() if session.sasl_input else ""
    whole = before + ("" if text == "+" and before else text)
    if len(whole) > MESSAGE_BYTES_MAX:
        session.end_sasl()
        session.reply(n.ERR_SASLTOOLONG)
        return
    if len(text) == CHUNK_BYTES:
        session.sasl_input = sealer.seal(whole.encode())
        return
    session.sasl_input = b""
    data = decode_message(whole)
    if data is None:
        _fail(session, exchange.name, "no base64")
        return
    match exchange.step(data, session.network.accounts):
        case Challenge(challenge):
            _send(session, challenge)
        case Candidate(account, password):
            password_hash = session.network.accounts.password_hash(account)
            start_check(session, password, password_matches, (password_hash,), _checked, (account,))
        case Proved(account):
            _checked(session, True, account)
        case Failed(reason, last_word):
            if last_word:
                _send(session, last_word)
            _fail(session, exchange.name, reason)


def _checked(session: Session, ok: bool | None, name: str) -> None:
    mechanism = "SASL" if session.sasl is None else session.sasl.name
    name, device = split_device(name)
    account = session.network.accounts.find(name)
    if not ok or account is None or account.is_suspended:
        _fail(session, mechanism, "suspended" if ok else "wrong password")
        return
    session.end_sasl()
    if device:
        session.device = device
    log_in(session, account, f"SASL {mechanism}")
    session.reply(n.RPL_SASLSUCCESS)


def _fail(session: Session, mechanism: str, reason: str) -> None:
    session.end_sasl()
    note_refused_login(
        session, log, f"login by SASL {mechanism} failed for a client at {session.ip}: {reason}",
        events.LOGIN_REFUSED(TAPD_PEER=session.ip),
    )  # fmt: skip
    session.reply(n.ERR_SASLFAIL)
    note_failure(session)


def _send(session: Session, data: bytes) -> None:
    for chunk in split_chunks(base64.b64encode(data).decode()):
        session.send_from_server("AUTHENTICATE", chunk, source="")


def split_chunks(text: str) -> Iterator[str]:
    """Yield `text` as the parameters of AUTHENTICATE messages (sasl-3.1)."""
    for start in range(0, len(text), CHUNK_BYTES):
        yield text[start : start + CHUNK_BYTES]
    if len(text) % CHUNK_BYTES == 0:
        yield "+"


# --- registration of accounts -------------------------------------------------------------


@command("REGISTER", params=3, before_registration=True)
def register(session: Session, message: Message) -> None:
    """Register an account (draft/account-registration)."""
    name, email, password = message.params[:3]
    accounts, user = session.network.accounts, session.user
    name = user.nick if name == "*" else name
    if not accounts.may_register:
        session.fail(
            "REGISTER", "TEMPORARILY_UNAVAILABLE", name, text="Accounts are made by operators here"
        )
    elif user.account:
        session.fail("REGISTER", "ALREADY_AUTHENTICATED", user.account, text="You have an account")
    elif not name:
        session.fail("REGISTER", "NEED_NICK", "*", text="Choose a nick first, or name the account")
    elif (problem := why_no_account(session, name)) is not None:
        session.fail("REGISTER", problem[0], name, text=problem[1])
    elif email != "*" and not is_email(email):
        session.fail("REGISTER", "INVALID_EMAIL", name, text="That is no e-mail address")
    elif (prepared := usable_password(password)) is None:
        session.fail("REGISTER", "WEAK_PASSWORD", name, text=PASSWORD_RULE)
    else:
        address = "" if email == "*" else email
        start_check(session, prepared, make_proof, (), _registered, (name, address))


def _registered(session: Session, proof: Proof | None, name: str, email: str) -> None:
    if proof is None:
        session.fail("REGISTER", "TEMPORARILY_UNAVAILABLE", name, text="Try again later")
        return
    problem = why_no_account(session, name)  # of two at the same time the first has it
    if problem is not None:
        session.fail("REGISTER", problem[0], name, text=problem[1])
        return
    account = add_account(session, name, proof, email)
    session.send_from_server(
        "REGISTER", "SUCCESS", account.name, trailing="Account successfully registered"
    )
    log_in(session, account, "REGISTER")


@command("VERIFY", params=2, before_registration=True)
def verify(session: Session, message: Message) -> None:
    """Verify an account: none here waits for that (draft/account-registration)."""
    session.fail(
        "VERIFY", "INVALID_CODE", message.params[0], text="No account here waits to be verified"
    )
