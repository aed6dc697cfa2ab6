"""Accounts of an IRC network, and their credentials.

They are separate from the application's own accounts
(`tapd.model.access.accounts.Authorizer`): anybody may register here, and must not thereby
get into a shell of the same application.

An account keeps an argon2 hash, for SASL PLAIN and the like, and the keys of SCRAM
(RFC 5802 section 3): neither allows a log-in elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stringprep
import unicodedata
from typing import NamedTuple

from tapd.errors import UsageError
from tapd.model.access.accounts import hash_password
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict
from tapd.services.irc.wire.names import clip, fold, is_nick

PASSWORD_BYTES_MIN = 8
PASSWORD_BYTES_MAX = 256
SCRAM_ITERATIONS = 16384
"""RFC 7677 section 4 requires at least 4096."""
_SALT_BYTES = 16
DEVICES_MAX = 20
DEVICE_BYTES_MAX = 32
NICKS_MAX = 10
"""Limit of an account's nicks besides its name."""

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def prepare_password(text: str) -> str:
    """Return `text` in the form in which passwords are compared (SASLprep, RFC 4013).

    Raises:
        UsageError: it has characters that are not allowed in passwords.
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(each) else each
        for each in text
        if not stringprep.in_table_b1(each)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(is_prohibited(each) for each in prepared for is_prohibited in _PROHIBITED):
        raise UsageError("the password has characters that no password may have")
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not (stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1]))
    ):
        raise UsageError("the password mixes directions of writing")
    return prepared


class ScramKeys(NamedTuple):
    """A server's keys for SCRAM-SHA-256 (RFC 5802 section 3)."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class Proof(NamedTuple):
    """The data to check an account's password against."""

    password_hash: str
    scram: ScramKeys


def make_proof(password: str) -> Proof:
    """Return the proof of a prepared `password`. Slow on purpose: run it in a thread."""
    return Proof(hash_password(password), derive_scram_keys(password, os.urandom(_SALT_BYTES)))


def derive_scram_keys(password: str, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> ScramKeys:
    """Return the keys of a prepared `password` (RFC 5802 section 3)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    return ScramKeys(salt, iterations, stored_key, hmac.digest(salted, b"Server Key", "sha256"))


class IrcAccount(Persistent):
    """One registered account.

    Attributes:
        name: as it was registered; also a nick that is theirs.
        proof: of the password.
        email: as given; "" for none. Stored for the operators; no mail is sent.
        registered_s: when.
        seen_s: when a user last logged in or left.
        nicks: the nicks reserved for it besides its name, as written, by folded nick.
        devices: when each of its clients last disconnected (ms since the epoch), by device.
        away_text: why its user is away while no client is there; "" for the default.
        always_on: its user stays when the last client disconnects; None for the network's
            default.
        is_suspended: nobody can log in.
    """

    email = ""
    seen_s = 0.0
    away_text = ""
    always_on: bool | None = None
    is_suspended = False

    def __init__(self, name: str, proof: Proof, registered_s: float) -> None:
        self.name = name
        self.proof = proof
        self.registered_s = self.seen_s = registered_s
        self.nicks: dict[str, str] = TrackedDict()
        self.devices: dict[str, int] = TrackedDict()

    def __repr__(self) -> str:
        return f"<IrcAccount {self.name}>"

    def note_device(self, device: str, time_ms: int) -> None:
        """Record that a client of this account disconnects now."""
        if len(self.devices) >= DEVICES_MAX and device not in self.devices:
            del self.devices[min(self.devices, key=self.devices.__getitem__)]
        self.devices[device] = time_ms


def split_device(text: str) -> tuple[str, str]:
    """Return name and device of ``alice@phone``; the device is "" if there is none."""
    name, _, device = text.partition("@")
    return name, clip(device, DEVICE_BYTES_MAX) if device.isprintable() else ""


class Accounts(Persistent):
    """All accounts, and the owners of nicks.

    Attributes:
        by_name: by folded name.
        owners: folded name of the account that owns a nick, by folded nick.
        secret: derives decoy credentials for accounts that do not exist.
        may_register: whether clients can register themselves.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, IrcAccount] = TrackedDict()
        self.owners: dict[str, str] = TrackedDict()
        self.secret = os.urandom(32)
        self.may_register = True

    def __repr__(self) -> str:
        return f"<Accounts: {len(self.by_name)}>"

    def find(self, name: str) -> IrcAccount | None:
        """Return the account of that name."""
        return self.by_name.get(fold(name))

    def owner_of(self, nick: str) -> IrcAccount | None:
        """Return the account that a nick is reserved for."""
        owner = self.owners.get(fold(nick))
        return None if owner is None else self.by_name.get(owner)

    def why_not_new(self, name: str) -> tuple[str, str] | None:
        """Return why there can't be a new account of that name; None if there can.

        Returns:
            A code of draft/account-registration, and a text.
        """
        if not is_nick(name):
            return "BAD_ACCOUNT_NAME", "An account's name is written like a nick"
        if self.find(name) is not None or self.owner_of(name) is not None:
            return "ACCOUNT_EXISTS", "There is such an account already"
        return None

    def add(self, name: str, proof: Proof, now_s: float) -> IrcAccount:
        """Add an account that was checked to be new; its name is reserved as a nick."""
        account = self.by_name[fold(name)] = IrcAccount(name, proof, now_s)
        self.owners[fold(name)] = fold(name)
        return account

    def reserve(self, account: IrcAccount, nick: str) -> None:
        """Reserve a free nick for `account`."""
        account.nicks[fold(nick)] = nick
        self.owners[fold(nick)] = fold(account.name)

    def release(self, account: IrcAccount, nick: str) -> bool:
        """Release a reserved nick; return whether it was reserved. The name itself stays."""
        folded = fold(nick)
        if account.nicks.pop(folded, None) is None:
            return False
        del self.owners[folded]
        return True

    def remove(self, account: IrcAccount) -> None:
        """Remove an account, and free its nicks."""
        del self.by_name[fold(account.name)]
        for folded in [each for each, owner in self.owners.items() if owner == fold(account.name)]:
            del self.owners[folded]

    def password_hash(self, name: str) -> str:
        """Return the hash to check for `name`: an empty one if there is no such account."""
        account = self.find(split_device(name)[0])
        return "" if account is None else account.proof.password_hash

    def scram_keys(self, name: str) -> ScramKeys:
        """Return the keys for `name`; decoy keys, which match nothing, if there is no account.

        A name always gets the same salt, so it does not reveal which accounts exist.
        """
        name = split_device(name)[0]
        account = self.find(name)
        if account is not None:
            return account.proof.scram
        salt = hmac.digest(self.secret, fold(name).encode(), "sha256")[:_SALT_BYTES]
        return ScramKeys(salt, SCRAM_ITERATIONS, os.urandom(32), os.urandom(32))


PASSWORD_RULE = f"Choose a password of {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes"


def usable_password(text: str) -> str | None:
    """Return a new password, prepared; None if it is invalid (`PASSWORD_RULE`)."""
    try:
        prepared = prepare_password(text)
    except UsageError:
        return None
    fits = PASSWORD_BYTES_MIN <= len(prepared.encode()) <= PASSWORD_BYTES_MAX
    return prepared if fits else None


def is_email(text: str) -> bool:
    """Whether `text` looks like an address; no mail is sent, so the check is loose."""
    local, at, domain = text.rpartition("@")
    return (
        bool(local and at and "." in domain.strip(".") and text.isprintable()) and " " not in text
    )
