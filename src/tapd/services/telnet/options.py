"""The options of `tapd-mktap telnet`.

The only module of this package that imports click.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from tapd.errors import UsageError
from tapd.model.access.accounts import generate_password
from tapd.model.address import without_twins
from tapd.model.application import Application
from tapd.model.server_type import Made, ServerType
from tapd.model.setting import ACCOUNT_SETTINGS
from tapd.services.telnet.service import ShellFactory


def make_shell(application: Application, options: Mapping[str, Any]) -> Made[ShellFactory]:
    """Build the service and its first account; a generated password is shown once.

    Raises:
        UsageError: the options contradict each other, or the password can't be read.
    """
    service = ShellFactory()
    user = options["user"]
    password = _given_password(options)
    notes = [f"and log in as {user}."]
    generated = password is None and user not in application.authorizer.accounts
    if generated:
        password = generate_password()
        notes = [
            f"and log in as {user} with the password {password}",
            "(it was made just now and is shown only here).",
        ]
    if password is not None:
        application.authorizer.add_account(user, password)
    return Made(service, notes, generated=generated)


def _given_password(options: Mapping[str, Any]) -> str | None:
    password: str | None = options["password"]
    path: str | None = options["password_file"]
    if password is not None and path is not None:
        raise UsageError("give --password or --password-file, not both")
    if path is not None:
        return _read_password(path)
    if password == "-":  # noqa: S105 - this asks for one
        if not sys.stdin.isatty():
            return _read_password("-")
        answer = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return str(answer)
    if password is not None:
        click.echo(
            "warning: a password on the command line can be seen in the process list and in the "
            "shell's history; -w - asks for it, --password-file reads it",
            err=True,
        )
    return password


def _read_password(path: str) -> str:
    """Return the first line of the file at `path`; ``-`` is standard input."""
    try:
        with click.open_file(path, encoding="utf-8") as file:
            password = str(file.readline()).rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"reading the password from {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"reading the password from {path}: it is not UTF-8 text") from None
    if not password:
        raise UsageError(f"reading the password from {path}: its first line is empty")
    return password


def welcome_lines(application: Application, _options: Mapping[str, Any]) -> Sequence[str]:
    """Return lines that say how to connect."""
    own = [port.address for port in application.ports if isinstance(port.service, ShellFactory)]
    lines = [
        _how_to_reach(str(address), address.host, address.port) for address in without_twins(own)
    ]
    return list(dict.fromkeys(lines))


def _how_to_reach(address: str, host: str, port: int) -> str:
    if not port:
        path = pathlib.PurePath(address.removeprefix("unix:"))
        return f"To reach it: socat -,raw,echo=0 UNIX-CONNECT:{path}"
    if host in ("0.0.0.0", "::"):  # noqa: S104 - as it was asked for
        host = "THIS-HOST"
    return f"To reach it: telnet {host} {port}"


telnet_type = ServerType(
    name="telnet",
    summary="A Python prompt over telnet.",
    make=make_shell,
    welcome=welcome_lines,
    options=(
        click.Option(
            ["-u", "--user"], default="admin", show_default=True, help="Name of the account."
        ),
        click.Option(
            ["-w", "--password"],
            help="Its password; - asks for it, or reads it from a pipe. None given: one is "
            "generated and shown once.",
        ),
        click.Option(
            ["--password-file"],
            metavar="FILE",
            help="Read the password from the first line of FILE.",
        ),
    ),
    settings={
        name: each for name, each in ShellFactory.settable.items() if name not in ACCOUNT_SETTINGS
    },
    defaults=ShellFactory,
)
