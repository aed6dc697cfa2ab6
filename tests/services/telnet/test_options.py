"""`tapd-mktap telnet`'s options, parsed by click as the command does."""

from __future__ import annotations

import functools
import os
import pathlib
import pty
import subprocess
import sys

import pytest
from made_servers import make_server
from telnet_terminal import TelnetTerminal

from tapd.errors import UsageError
from tapd.model.access.accounts import verify_password
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory
from tapd.services.telnet.options import telnet_type
from tapd.store.generations import Store
from tapd.store.key import load_key

_make = functools.partial(make_server, telnet_type, port="127.0.0.1:4040")


def test_a_password_is_generated_and_shown_once() -> None:
    made = _make()
    password = made.welcome.split("with the password ")[1].split()[0]
    assert verify_password(made.application.authorizer.accounts["admin"].password_hash, password)
    assert "telnet 127.0.0.1 4040" in made.welcome
    assert password not in repr(made.application.__getstate__())


def test_a_password_on_the_command_line_is_warned_of() -> None:
    made = _make("-u", "ann", "-w", "woohoo")
    assert verify_password(made.application.authorizer.accounts["ann"].password_hash, "woohoo")
    assert "process list" in made.stderr
    assert "woohoo" not in made.welcome


def test_a_password_is_read_from_a_pipe() -> None:
    made = _make("-w", "-", stdin="woohoo\n")
    assert verify_password(made.application.authorizer.accounts["admin"].password_hash, "woohoo")
    assert made.stderr == ""


def test_a_password_is_asked_for(tmp_path: pathlib.Path) -> None:
    near, far = pty.openpty()
    environment = {"TAPD_KEY_FILE": str(tmp_path / "key")}
    mktap = [sys.executable, "-c", "from tapd.cli.mktap.command import main; main()"]
    process = subprocess.Popen(
        # setsid: it is the terminal's own, where getpass asks.
        ["setsid", "-c", *mktap, "telnet", "-p", "4040", "-w", "-", "--directory", str(tmp_path)],
        stdin=far, stdout=far, stderr=far, env={**os.environ, **environment},
    )  # fmt: skip
    os.close(far)
    person = TelnetTerminal(near)
    person.expect("Password: ")
    person.enter("woohoo")
    person.expect("Repeat for confirmation: ")
    person.enter("woohoo")
    said = person.expect(str(tmp_path / "telnet.tap") + "\r\n")
    assert process.wait() == 0
    os.close(near)
    assert "woohoo" not in said
    key = load_key(environment=environment)
    application = Store(tmp_path / "telnet.tap", key).load().application
    assert verify_password(application.authorizer.accounts["admin"].password_hash, "woohoo")


def test_a_password_is_read_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "password"
    path.write_text("woohoo\nmore\n")
    made = _make("--password-file", str(path))
    assert verify_password(made.application.authorizer.accounts["admin"].password_hash, "woohoo")
    assert made.stderr == ""


def test_passwords_that_can_not_be_had(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        _make("--password-file", str(tmp_path / "none"))
    (tmp_path / "empty").write_text("")
    with pytest.raises(UsageError, match="first line is empty"):
        _make("--password-file", str(tmp_path / "empty"))
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        _make("--password-file", str(tmp_path / "binary"))
    with pytest.raises(UsageError, match="not both"):
        _make("--password-file", str(tmp_path / "none"), "-w", "x")


def test_limits() -> None:
    service = _make(
        "--namespace", "private", "--tries", "5", "--login-time", "30",
        "--line-length", "128", "--connections", "7", "--history", "9",
    ).service  # fmt: skip
    assert service.private
    assert service.tries_max == 5
    assert service.login_time_s == 30
    assert service.line_bytes_max == 131072
    assert service.connections_max == 7
    assert service.history_lines_max == 9


def test_an_account_that_is_there_keeps_its_password() -> None:
    application = _make("-w", "woohoo").application
    before = application.authorizer.accounts["admin"].password_hash
    application.services.clear()
    application.ports.clear()
    welcome = _make(application=application).welcome
    assert application.authorizer.accounts["admin"].password_hash == before
    assert "password" not in welcome


def test_the_type_and_its_service() -> None:
    assert telnet_type.name == "telnet"
    application = Application("telnet")
    application.listen_tcp(4040, ShellFactory())
    assert repr(application.services["shellfactory"]) == "<ShellFactory shellfactory>"
