"""Accounts: who may log in.

Passwords are kept as argon2 hashes only (RFC 9106). argon2-cffi is imported when a
password is first hashed or checked: a server that nobody logs in to does not pay for it.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from tapd.errors import UsageError
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict


@functools.cache
def _hasher() -> Any:
    import argon2  # noqa: PLC0415 - see the module's docstring

    return argon2.PasswordHasher()


def hash_password(password: str) -> str:
    """Return the argon2 hash of `password`; slow on purpose (tens of milliseconds)."""
    return str(_hasher().hash(password))


def verify_password(password_hash: str, password: str) -> bool:
    """Whether `password` matches `password_hash`; releases the GIL meanwhile.

    An empty hash means no account: checking it takes as long and always fails.
    """
    import argon2  # noqa: PLC0415 - see the module's docstring

    try:
        return (
            bool(_hasher().verify(password_hash or decoy_hash(), password)) and password_hash != ""
        )
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHash):
        return False


@functools.cache
def decoy_hash() -> str:
    """Return a decoy hash, which matches no password: checking it takes as long as a real one."""
    return hash_password(os.urandom(16).hex())


def generate_password() -> str:
    """Return a new random password of 80 bits, easy to type."""
    import secrets  # noqa: PLC0415 - see the module's docstring

    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(4))


def check_credential(what: str, text: str) -> None:
    """Check that `text` can be a user name or a password; `what` names it in the message.

    Raises:
        UsageError: it is empty, too long or holds control characters.
    """
    if not text or not text.isprintable() or len(text.encode()) > 256:
        raise UsageError(f"a {what} is 1 to 256 bytes of printable text")


class Account(Persistent):
    """One person's account.

    Attributes:
        name: as typed at login.
        password_hash: an argon2 hash in PHC string format.
        settings: what services keep for this person, by a key of their own
            (the shell's history, say).
    """

    def __init__(self, name: str, password_hash: str) -> None:
        self.name = name
        self.password_hash = password_hash
        self.settings: dict[str, Any] = TrackedDict()

    def __repr__(self) -> str:
        return f"<Account {self.name}>"


class Authorizer(Persistent):
    """The accounts of an application, by name."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = TrackedDict()

    def add_account(self, name: str, password: str) -> Account:
        """Add an account, or change the password of an existing one.

        Raises:
            UsageError: the name or the password is empty or holds control characters.
        """
        check_credential("user name", name)
        check_credential("password", password)
        return self.keep_account(name, hash_password(password))

    def keep_account(self, name: str, password_hash: str) -> Account:
        """Add or replace an account whose credentials are already checked and hashed."""
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = Account(name, password_hash)
        else:
            account.password_hash = password_hash
        return account

    def password_hash(self, name: str) -> str:
        """Return the hash to check for `name`; an empty one if there is no such account.

        `verify_password` takes as long for the empty one, so that nobody can probe for names.
        """
        account = self.accounts.get(name)
        return "" if account is None else account.password_hash

    def __repr__(self) -> str:
        return f"<Authorizer of {len(self.accounts)} accounts>"
