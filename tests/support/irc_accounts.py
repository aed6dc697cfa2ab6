"""Accounts for tests of the IRC server: made without waiting, and clients logged in."""

from __future__ import annotations

import base64

from irc_kit import Client, Irc

from tapd.services.irc.state.accounts import Proof, derive_scram_keys, make_proof
from tapd.services.irc.state.opers import Oper

PASSWORD = "correct-horse"


def proof_of(password: str) -> Proof:
    """Return a proof with few iterations of SCRAM, which a test need not wait for."""
    keys = derive_scram_keys(password, b"s" * 16, 10)
    return Proof(make_proof(password).password_hash, keys)


_PROOF = proof_of(PASSWORD)


def register_account(irc: Irc, name: str = "alice") -> None:
    irc.network.accounts.add(name, _PROOF, 1.0)


def encode(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def ask_slowly(client: Client, *lines: str, until: str) -> list[str]:
    """Send lines whose answer waits for a thread; return it."""
    client.send(*lines)
    said: list[str] = []

    def is_there() -> bool:
        said.extend(client.read())
        return any(f" {until} " in line for line in said)

    client.irc.harness.wait_for(is_there)
    return said


def connect_as(irc: Irc, nick: str = "alice", account: str = "alice", *, caps: str = "") -> Client:
    """Return a client that has logged in by SASL, and waits for CAP END only."""
    client = irc.connect()
    client.ask("CAP LS 302", f"CAP REQ :sasl {caps}", f"NICK {nick}", f"USER {nick} 0 * :A")
    client.ask("AUTHENTICATE PLAIN")
    plain = encode(f"\0{account}\0{PASSWORD}")
    ask_slowly(client, f"AUTHENTICATE {plain}", until="903")
    return client


def logged_in(irc: Irc, nick: str = "alice", account: str = "alice", *, caps: str = "") -> Client:
    """Return a registered client that is logged in."""
    client = connect_as(irc, nick, account, caps=caps)
    assert any(f" 001 {nick} " in line for line in client.ask("CAP END"))
    return client


def make_oper(irc: Irc, nick: str) -> None:
    irc.network.opers["boss"] = Oper("boss", "")
    user = irc.network.users[nick]
    user.oper = "boss"
    irc.network.set_user_mode(user, "o", on=True)


def told(lines: list[str]) -> list[str]:
    """Return what NickServ or ChanServ said."""
    return [line.split(" :", 1)[1] for line in lines if "Serv@irc.test.internal NOTICE " in line]
