"""`tapd-mktap telnet`'s options, parsed by click as the command does."""

from __future__ import annotations

import pathlib
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tapd.errors import UsageError
from tapd.model.accounts import verify_password
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory
from tapd.services.telnet.options import make_shell, telnet_type, welcome_lines


def _make(*arguments: str, application: Application | None = None, stdin: str = "") -> Any:
    """Return the application, the service, the welcome and what went to stderr."""
    application = application or Application("telnet")
    made: list[Any] = []

    def callback(**options: Any) -> None:
        service = make_shell(application, options)
        application.listen("127.0.0.1:4040", service)
        made.extend([service, "\n".join(welcome_lines(application, options))])

    command = click.Command("telnet", params=list(telnet_type.options), callback=callback)
    result = CliRunner().invoke(command, list(arguments), input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert made, result.output
    return application, *made, result.stderr


def test_a_password_is_generated_and_shown_once() -> None:
    application, _service, welcome, _stderr = _make()
    password = welcome.split("with the password ")[1].split()[0]
    assert verify_password(application.authorizer.accounts["admin"].password_hash, password)
    assert "telnet 127.0.0.1 4040" in welcome
    assert password not in repr(application.__getstate__())


def test_a_password_on_the_command_line_is_warned_of() -> None:
    application, _service, welcome, stderr = _make("-u", "ann", "-w", "woohoo")
    assert verify_password(application.authorizer.accounts["ann"].password_hash, "woohoo")
    assert "process list" in stderr
    assert "woohoo" not in welcome


def test_a_password_is_asked_for() -> None:
    application, _service, _welcome, stderr = _make("-w", "-", stdin="woohoo\nwoohoo\n")
    assert verify_password(application.authorizer.accounts["admin"].password_hash, "woohoo")
    assert "woohoo" not in stderr


def test_a_password_is_read_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "password"
    path.write_text("woohoo\nmore\n")
    application, _service, _welcome, stderr = _make("--password-file", str(path))
    assert verify_password(application.authorizer.accounts["admin"].password_hash, "woohoo")
    assert stderr == ""


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
    _application, service, _welcome, _stderr = _make(
        "--namespace", "private", "--tries", "5", "--login-time", "30",
        "--line-length", "128", "--connections", "7", "--history", "9",
    )  # fmt: skip
    assert service.private
    assert service.tries_max == 5
    assert service.login_time_s == 30
    assert service.line_bytes_max == 131072
    assert service.connections_max == 7
    assert service.history_lines_max == 9


def test_an_account_that_is_there_keeps_its_password() -> None:
    application, *_ = _make("-w", "woohoo")
    before = application.authorizer.accounts["admin"].password_hash
    application.services.clear()
    application.ports.clear()
    _application, _service, welcome, _stderr = _make(application=application)
    assert application.authorizer.accounts["admin"].password_hash == before
    assert "password" not in welcome


def test_the_type_and_its_service() -> None:
    assert telnet_type.name == "telnet"
    application = Application("telnet")
    application.listen_tcp(4040, ShellFactory())
    assert repr(application.services["shellfactory"]) == "<ShellFactory shellfactory>"
