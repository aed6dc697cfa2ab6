"""A session at the prompt, killed at every point of every turn: nobody notices."""

from __future__ import annotations

from collections.abc import Callable

import argon2
import pytest

from tapd.host.prompt import streams
from tapd.model.access.accounts import Account
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory
from tapd.testing import Host, kill_everywhere

_HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def make_application() -> Application:
    application = Application("telnet", uid=0, gid=0)
    application.listen(4040, ShellFactory())
    application.authorizer.accounts["admin"] = Account("admin", _HASHER.hash("woohoo"))
    return application


def session(host: Host) -> None:
    admin = host.connect(name="admin")
    admin.send_line("admin")
    admin.send_line("woohoo")
    admin.send_line("x = [1]")
    admin.send("x.app")
    admin.send_line("end(2)")
    admin.send_line("def f(n):")
    admin.send_line("    return n * len(x)")
    admin.send_line("")
    admin.send_line("f(21)")
    admin.send_line("1/0")
    assert b"42\r\n>>> " in admin.transcript
    assert b"ZeroDivisionError" in admin.transcript


def short_session(host: Host) -> None:
    admin = host.connect(name="admin")
    admin.send_line("admin")
    admin.send_line("woohoo")
    admin.send_line("6*7")
    assert admin.read().endswith(b">>> 42\r\n>>> ")


@pytest.mark.parametrize(("scenario", "splits"), [(session, False), (short_session, True)])
def test_nobody_notices_a_kill(
    monkeypatch: pytest.MonkeyPatch, scenario: Callable[[Host], None], splits: bool
) -> None:
    decoy = _HASHER.hash("decoy")
    monkeypatch.setattr("tapd.services.telnet.login.decoy_hash", lambda: decoy)
    try:
        report = kill_everywhere(make_application, scenario, splits=splits)
    finally:
        streams.uninstall()
    assert report.kills > 4 * report.turns >= 20
