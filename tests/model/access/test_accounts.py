"""Accounts and the checks of their passwords."""

from __future__ import annotations

import argon2
import pytest

from tapd.model.access import accounts
from tapd.model.access.accounts import Authorizer, verify_password

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_nobody_has_a_password_and_refusing_it_takes_a_hash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoy = CHEAP.hash("decoy")
    checked = []

    class Hasher:
        def verify(self, password_hash: str, password: str) -> bool:
            checked.append(password_hash)
            return CHEAP.verify(password_hash, password)

    monkeypatch.setattr(accounts, "decoy_hash", lambda: decoy)
    monkeypatch.setattr(accounts, "_hasher", Hasher)
    nobody = Authorizer().password_hash("nobody")
    assert not verify_password(nobody, "wrong")
    assert not verify_password(nobody, "decoy")
    assert checked == [decoy, decoy]
    assert verify_password(CHEAP.hash("woohoo"), "woohoo")
    assert not verify_password("no hash", "woohoo")
