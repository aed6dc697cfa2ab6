"""Settings of an IRC network's server, for `tapctl set`, and checks of option values.

`options` uses the same checks when the network is created.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tapd.errors import UsageError
from tapd.model.access.accounts import check_credential, hash_password
from tapd.model.setting import Change, Setting, number_setting
from tapd.services.irc.conduct.registration import read_motd
from tapd.services.irc.settings.guards import GUARD_SETTINGS
from tapd.services.irc.settings.people import PEOPLE_SETTINGS
from tapd.services.irc.state.opers import Oper
from tapd.services.irc.wire.names import HOST_BYTES_MAX

if TYPE_CHECKING:
    from tapd.services.irc.state.network import Network

_SERVER_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?(?:\.[-A-Za-z0-9]+)+\Z")


def check_network_name(text: str) -> str:
    """Return `text` if it is a valid network name.

    Raises:
        UsageError: it is not.
    """
    if not text or not text.isprintable() or not text.isascii() or len(text) > 32 or " " in text:
        raise UsageError(f"network name {text!r}: write 1 to 32 ASCII characters without a space")
    return text


def check_server_name(text: str) -> str:
    """Return `text` if it is a valid server name: a host name with a dot in it.

    Raises:
        UsageError: it is not.
    """
    if not _SERVER_NAME.match(text) or len(text) > HOST_BYTES_MAX:
        raise UsageError(f"server name {text!r}: write a host name with a dot in it")
    return text


def _text_setting(attribute: str, summary: str, check: Callable[[str], str]) -> Setting:
    def prepare(service: Network, value: str, _secret: str) -> Change:
        checked = check(value)
        return lambda: setattr(service, attribute, checked)

    def read(service: Network) -> str:
        return str(getattr(service, attribute))

    return Setting(summary, prepare, read)


def _set_motd(network: Network, value: str, _secret: str) -> Change:
    path = str(pathlib.Path(value).absolute()) if value else ""
    lines = read_motd(path)

    def change() -> None:
        network.motd_file, network.motd = path, lines

    return change


def _set_admin(network: Network, value: str, _secret: str) -> Change:
    lines = parse_admin(value)
    return lambda: setattr(network, "admin", lines)


def parse_admin(value: str) -> tuple[str, str, str]:
    """Parse the three lines of ADMIN in ``PLACE;MORE;CONTACT``.

    Raises:
        UsageError: there are more, or they contain unprintable characters.
    """
    parts = [part.strip() for part in value.split(";")] if value else []
    if len(parts) > 3 or not value.isprintable() or len(value.encode()) > 300:
        raise UsageError(f"{value!r}: write PLACE;MORE;CONTACT, at most 300 bytes")
    place, more, contact = [*parts, "", "", ""][:3]
    return place, more, contact


def _add_oper(network: Network, name: str, password: str) -> Change:
    check_credential("operator name", name)
    check_credential("password", password)
    if " " in name:
        raise UsageError(f"operator name {name!r}: write one without a space")
    oper = Oper(name, hash_password(password))
    return lambda: network.opers.__setitem__(name, oper)


def _remove_oper(network: Network, name: str, _secret: str) -> Change:
    if name not in network.opers:
        there = ", ".join(network.opers) or "none"
        raise UsageError(f"there is no operator {name!r}; there are: {there}")
    return lambda: network.opers.pop(name, None)


def _set_password(network: Network, value: str, password: str) -> Change:
    if value not in ("on", "off"):
        raise UsageError(f"{value!r}: write on or off")
    if value == "off":
        return lambda: setattr(network, "password_hash", "")
    check_credential("password", password)
    password_hash = hash_password(password)
    return lambda: setattr(network, "password_hash", password_hash)


SETTINGS: Mapping[str, Setting] = {
    "network-name": _text_setting(
        "network_name", "the network's name, as new clients see it", check_network_name
    ),
    "server-name": _text_setting("server_name", "the server's name", check_server_name),
    "motd": Setting(
        "the file of the message of the day; nothing for none",
        _set_motd,
        lambda network: str(network.motd_file),
    ),
    "admin": Setting(
        "what ADMIN shows: PLACE;MORE;CONTACT",
        _set_admin,
        lambda network: ";".join(network.admin).rstrip(";"),
    ),
    "oper": Setting(
        "let VALUE become an operator, or change the password",
        _add_oper,
        lambda network: ", ".join(network.opers),
        asks_for="Password",
    ),
    "remove-oper": Setting("let VALUE become an operator no more", _remove_oper, lambda _: ""),
    "server-password": Setting(
        "on: clients must give a password (PASS); off: they need not",
        _set_password,
        lambda network: "on" if network.password_hash else "off",
        asks_for="Password",
    ),
    "ping": number_setting("ping_s", "seconds of silence before a PING", whole=False),
    "ping-timeout": number_setting("ping_timeout_s", "seconds to answer it", whole=False),
    "registration-time": number_setting(
        "registration_s", "seconds that a registration may take", whole=False
    ),
    "history-size": number_setting(
        "history_events_max", "events kept of each channel and conversation; 0 for none", least=0
    ),
    "history-days": number_setting(
        "history_age_s_max", "days that they are kept", least=0.01, factor=86400, whole=False
    ),
    "channels-per-user": number_setting("channels_per_user_max", "channels one user can be on"),
    **GUARD_SETTINGS,
    **PEOPLE_SETTINGS,
}
