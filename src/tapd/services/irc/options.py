"""What `tapd-mktap irc` offers. The only module here that imports click."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from tapd.errors import UsageError
from tapd.model.accounts import check_credential, generate_password, hash_password
from tapd.model.application import Application
from tapd.model.server_type import ServerType
from tapd.services.irc import settings
from tapd.services.irc.guard_settings import GUARD_SETTINGS
from tapd.services.irc.network import IrcNetwork
from tapd.services.irc.opers import Oper
from tapd.services.irc.people_settings import PEOPLE_SETTINGS

_DEFAULTS = IrcNetwork("Example", "irc.example.internal", 0.0)
_HISTORY = ("history-size", "history-days")
_SETTINGS = {
    **{name: settings.SETTINGS[name] for name in _HISTORY},
    **GUARD_SETTINGS,
    **PEOPLE_SETTINGS,
}
_GUARDED = [name for name, each in _SETTINGS.items() if not each.asks_for]
_GUARDED.remove("oper-privileges")  # the one operator that is made here may do everything


def make_network(application: Application, options: Mapping[str, Any]) -> IrcNetwork:
    """Build the network, and its first operator where one is asked for.

    Raises:
        UsageError: an option's value can't be used.
    """
    network_name = settings.check_network_name(options["network_name"])
    server_name = options["server_name"] or default_server_name(network_name)
    network = IrcNetwork(network_name, settings.check_server_name(server_name), time.time())
    for setting in ("motd", "admin"):
        if options[setting]:
            settings.SETTINGS[setting].prepare(network, options[setting], "")()
    network.ping_s = options["ping"]
    network.ping_timeout_s = options["ping_timeout"]
    network.registration_s = options["registration_time"]
    network.channels_per_user_max = options["channels_per_user"]
    for name in _GUARDED:
        value = options[name.replace("-", "_")]
        if value is not None:
            _SETTINGS[name].prepare(network, value, "")()
    oper = options["oper"]
    if oper:
        check_credential("operator name", oper)
        if " " in oper:
            raise UsageError(f"operator name {oper!r}: write one without a space")
        password = generate_password()
        network.opers[oper] = Oper(oper, hash_password(password))
        application._v_generated_password = password  # volatile: shown once, never saved
    return network


def _guard_options() -> Sequence[click.Option]:
    """Return an option for each of `_SETTINGS` that needs no secret."""
    return [
        click.Option(
            [f"--{name}"],
            metavar="VALUE",
            help=f"{_sentence(_SETTINGS[name].summary)} [default: {_shown_default(name)}]",
        )
        for name in _GUARDED
    ]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _shown_default(name: str) -> str:
    return _SETTINGS[name].read(_DEFAULTS) or "none"


def default_server_name(network_name: str) -> str:
    """Return a server name for a network of that name, in a domain that nobody can own."""
    label = "".join(character for character in network_name.lower() if character.isalnum())
    return f"irc.{label or 'network'}.internal"


def welcome_lines(application: Application, options: Mapping[str, Any]) -> Sequence[str]:
    """Say how to connect; a generated password is shown here, once."""
    lines = []
    for port in application.ports:
        if isinstance(port.service, IrcNetwork) and port.address.port:
            host = port.address.host
            if host in ("0.0.0.0", "::"):  # noqa: S104 - as it was asked for
                host = "THIS-HOST"
            lines.append(f"To reach it: irssi -c {host} -p {port.address.port}")
    password = application.__dict__.get("_v_generated_password")
    if password is not None:
        lines.append(f"Become an operator by: /OPER {options['oper']} {password}")
        lines.append("(the password was made just now and is shown only here).")
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
        click.Option(
            ["--ping"],
            type=click.FloatRange(min=1),
            default=_DEFAULTS.ping_s,
            show_default=True,
            help="Seconds of silence before a PING.",
        ),
        click.Option(
            ["--ping-timeout"],
            type=click.FloatRange(min=1),
            default=_DEFAULTS.ping_timeout_s,
            show_default=True,
            help="Seconds to answer it.",
        ),
        click.Option(
            ["--registration-time"],
            type=click.FloatRange(min=1),
            default=_DEFAULTS.registration_s,
            show_default=True,
            help="Seconds that a registration may take.",
        ),
        click.Option(
            ["--channels-per-user"],
            type=click.IntRange(min=1),
            default=_DEFAULTS.channels_per_user_max,
            show_default=True,
            help="Channels that one user can be on.",
        ),
        *_guard_options(),
    ),
)
