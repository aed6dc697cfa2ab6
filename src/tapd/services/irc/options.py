"""The options of `tapd-mktap irc`.

The only module of this package that imports click.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from tapd.errors import UsageError
from tapd.model.access.accounts import check_credential, generate_password, hash_password
from tapd.model.address import without_twins
from tapd.model.application import Application
from tapd.model.server_type import Made, ServerType
from tapd.services.irc.service import IrcNetwork
from tapd.services.irc.settings import server as settings
from tapd.services.irc.state.opers import Oper

_NO_OPTIONS = {
    *("network-name", "server-name", "motd", "admin"),  # options with their own help texts, below
    *("oper-privileges", "remove-oper"),  # of existing operators
}


def make_network(_application: Application, options: Mapping[str, Any]) -> Made[IrcNetwork]:
    """Build the network, and its first operator if requested.

    The operator's generated password is shown once.

    Raises:
        UsageError: an option's value is invalid.
    """
    network_name = settings.check_network_name(options["network_name"])
    server_name = options["server_name"] or default_server_name(network_name)
    network = IrcNetwork(network_name, settings.check_server_name(server_name), time.time())
    for setting in ("motd", "admin"):
        if options[setting]:
            settings.SETTINGS[setting].prepare(network, options[setting], "")()
    notes: list[str] = []
    oper = options["oper"]
    if oper:
        check_credential("operator name", oper)
        if " " in oper:
            raise UsageError(f"operator name {oper!r}: write one without a space")
        password = generate_password()
        network.opers[oper] = Oper(oper, hash_password(password))
        notes = [
            f"Become an operator by: /OPER {oper} {password}",
            "(the password was made just now and is shown only here).",
        ]
    return Made(network, notes)


def default_server_name(network_name: str) -> str:
    """Return a server name for a network of that name, in a reserved domain."""
    label = "".join(character for character in network_name.lower() if character.isalnum())
    return f"irc.{label or 'network'}.internal"


def welcome_lines(application: Application, _options: Mapping[str, Any]) -> Sequence[str]:
    """Return lines that say how to connect."""
    lines = []
    own = [port.address for port in application.ports if isinstance(port.service, IrcNetwork)]
    for address in without_twins(own):
        if address.port:
            host = address.host
            if host in ("0.0.0.0", "::"):  # noqa: S104 - as it was asked for
                host = "THIS-HOST"
            lines.append(f"To reach it: irssi -c {host} -p {address.port}")
    return lines


irc_type = ServerType(
    name="irc",
    aliases=("words",),
    summary="An IRC network that remembers.",
    make=make_network,
    default_port="6667",
    welcome=welcome_lines,
    options=(
        click.Option(
            ["--network-name"],
            default="Example",
            show_default=True,
            help="Name of the network; one word.",
        ),
        click.Option(
            ["--server-name"],
            help="Name of the server, with a dot in it. None given: irc.NETWORK.internal.",
        ),
        click.Option(["--motd"], metavar="FILE", help="File of the message of the day."),
        click.Option(
            ["--admin"], metavar="PLACE;MORE;CONTACT", help="What the command ADMIN shows."
        ),
        click.Option(
            ["--oper"],
            metavar="NAME",
            help="An IRC operator's name; a password is generated and shown once.",
        ),
    ),
    settings={
        name: each
        for name, each in settings.SETTINGS.items()
        if name not in _NO_OPTIONS and not each.asks_for
    },
    defaults=lambda: IrcNetwork("Example", "irc.example.internal", 0.0),
)
