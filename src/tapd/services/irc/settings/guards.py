"""Settings of limits, lockdown, cloaks and proxies, for `tapctl set`.

Part of the service's `settings`; those that need no secret are options of
`tapd-mktap irc`, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tapd.errors import UsageError
from tapd.model.access.accounts import check_credential, hash_password
from tapd.model.setting import Change, Setting, choice_setting
from tapd.services.irc.conduct.admission import LOCKDOWNS
from tapd.services.irc.state.opers import ALL_PRIVILEGES, PRIVILEGES
from tapd.wire.addresses import LOCAL, V4_BITS, V6_BITS, parse_network

if TYPE_CHECKING:
    from tapd.services.irc.state.network import Network

NUMBER_MAX = 1_000_000_000


def parse_number(value: str, least: int = 0, most: int = NUMBER_MAX) -> int:
    """Return the whole number in `value`.

    Raises:
        UsageError: it is not one, or too small or too large.
    """
    number = int(value) if value.isascii() and value.isdigit() and len(value) < 12 else -1
    if not least <= number <= most:
        upper = f" to {most}" if most < NUMBER_MAX else " up"
        raise UsageError(f"{value!r}: write a whole number from {least}{upper}")
    return number


def parse_networks(value: str) -> tuple[str, ...]:
    """Return the networks in ``ADDRESS[/BITS],...``; ``localhost`` is any UNIX socket.

    Raises:
        UsageError: one of them is invalid.
    """
    words = tuple(word.strip() for word in value.split(",") if word.strip())
    for word in words:
        if word != LOCAL and parse_network(word) is None:
            raise UsageError(f"{word!r}: write ADDRESS, ADDRESS/BITS or {LOCAL} (UNIX sockets)")
    return words


def parse_bits(value: str) -> tuple[int, int]:
    """Return the prefix lengths in ``IPV4/IPV6``.

    Raises:
        UsageError: they are invalid.
    """
    v4, slash, v6 = value.partition("/")
    if not slash:
        raise UsageError(f"{value!r}: write the bits of IPv4 and of IPv6, such as 24/64")
    return parse_number(v4, 1, V4_BITS), parse_number(v6, 1, V6_BITS)


def _limit(attribute: str, summary: str) -> Setting:
    def prepare(network: Network, value: str, _secret: str) -> Change:
        number = parse_number(value)
        return lambda: setattr(network.limits, attribute, number)

    def read(network: Network) -> str:
        return f"{getattr(network.limits, attribute):g}"

    return Setting(f"{summary}; 0 for no limit", prepare, read, form="NUMBER")


def _set_rate(network: Network, value: str, _secret: str) -> Change:
    try:
        rate = float(value)
    except ValueError:
        rate = -1.0
    if not (rate == 0 or 0.01 <= rate <= 1e6):
        raise UsageError(f"{value!r}: write a number, such as 2 or 0.5; 0 for no limit")
    return lambda: setattr(network.limits, "lines_per_s", rate)


def _set_bits(network: Network, value: str, _secret: str) -> Change:
    v4_bits, v6_bits = parse_bits(value)

    def change() -> None:
        network.limits.v4_bits, network.limits.v6_bits = v4_bits, v6_bits

    return change


def _set_exempt(network: Network, value: str, _secret: str) -> Change:
    networks = parse_networks(value)
    return lambda: setattr(network.limits, "exempt", networks)


def _set_proxies(network: Network, value: str, _secret: str) -> Change:
    networks = parse_networks(value)
    return lambda: setattr(network.fronts, "proxies", networks)


def _set_proxy_port(network: Network, value: str, _secret: str) -> Change:
    port = parse_number(value, 0, 65535)
    return lambda: setattr(network.fronts, "proxy_port", port)


def _set_proxy_tls(network: Network, value: str, _secret: str) -> Change:
    if value not in ("on", "off"):
        raise UsageError(f"{value!r}: write on or off")
    return lambda: setattr(network.fronts, "are_tls", value == "on")


def _set_webirc(network: Network, value: str, password: str) -> Change:
    gateways = parse_networks(value)
    if gateways:
        check_credential("password", password)
    password_hash = hash_password(password) if gateways else ""

    def change() -> None:
        network.fronts.gateways, network.fronts.webirc_hash = gateways, password_hash

    return change


def _set_sts(network: Network, value: str, _secret: str) -> Change:
    port_text, _, duration_text = value.partition(":")
    port = parse_number(port_text or "0", 0, 65535)
    duration_s = parse_number(duration_text or "300")

    def change() -> None:
        network.fronts.sts_port, network.fronts.sts_duration_s = port, duration_s

    return change


def _read_sts(network: Network) -> str:
    fronts = network.fronts
    return f"{fronts.sts_port}:{fronts.sts_duration_s}" if fronts.sts_port else "0"


def _set_privileges(network: Network, value: str, _secret: str) -> Change:
    name, _, text = value.partition(":")
    privileges = tuple(word.strip() for word in text.split(",") if word.strip())
    if name not in network.opers:
        there = ", ".join(network.opers) or "none"
        raise UsageError(f"there is no operator {name!r}; there are: {there}")
    unknown = set(privileges) - PRIVILEGES.keys() - {ALL_PRIVILEGES}
    if unknown:
        known = ", ".join((ALL_PRIVILEGES, *PRIVILEGES))
        raise UsageError(f"{', '.join(sorted(unknown))}: privileges are {known}")
    return lambda: setattr(network.opers[name], "privileges", privileges)


def _read_privileges(network: Network) -> str:
    return "; ".join(f"{each.name}:{','.join(each.privileges)}" for each in network.opers.values())


_ON_OFF = {"on": True, "off": False}

GUARD_SETTINGS: Mapping[str, Setting] = {
    "flood-rate": Setting(
        "commands a second that one client may send on and on; 0 for no limit",
        _set_rate,
        lambda network: f"{network.limits.lines_per_s:g}",
        form="NUMBER",
    ),
    "flood-burst": _limit("burst_lines", "commands that it may send at once"),
    "flood-bytes": _limit("flood_bytes", "bytes from one that is too fast before it is closed"),
    "connections": _limit("connections", "connections in all"),
    "connections-per-address": _limit("connections_per_address", "connections from one address"),
    "connections-per-network": _limit("connections_per_network", "connections from one network"),
    "network-bits": Setting(
        "what a network is: the bits of IPv4 and of IPv6, such as 24/64",
        _set_bits,
        lambda network: f"{network.limits.v4_bits}/{network.limits.v6_bits}",
    ),
    "connections-per-minute": _limit(
        "connections_per_minute", "new connections of one address a minute"
    ),
    "half-registered": _limit("half_registered", "registrations under way at once"),
    "accounts-per-hour": _limit("accounts_per_hour", "accounts that one address can register"),
    "nick-changes": _limit("nick_changes_per_minute", "changes of nick a minute"),
    "new-targets": _limit("new_targets_per_minute", "people one can begin to write to a minute"),
    "limits-exempt": Setting(
        "networks whose connections are not limited (localhost: UNIX sockets)",
        _set_exempt,
        lambda network: ",".join(network.limits.exempt),
    ),
    "lockdown": choice_setting(
        "lockdown",
        "who may come in: off (all), accounts (no new ones), sasl (only by it), all (nobody)",
        {level: level for level in LOCKDOWNS},
    ),
    "cloaks": choice_setting(
        "cloaks", "on: new clients are seen by a cloak in place of their address", _ON_OFF
    ),
    "trusted-proxies": Setting(
        "networks whose connections begin with a PROXY header, always",
        _set_proxies,
        lambda network: ",".join(network.fronts.proxies),
    ),
    "proxy-port": Setting(
        "only those to this port of ours do; 0 for any",
        _set_proxy_port,
        lambda network: str(network.fronts.proxy_port),
        form="PORT",
    ),
    "proxy-tls": Setting(
        "on: whoever comes through a proxy came to it by TLS",
        _set_proxy_tls,
        lambda network: "on" if network.fronts.are_tls else "off",
        choices=("on", "off"),
    ),
    "webirc": Setting(
        "networks of gateways that may use WEBIRC; nothing for none",
        _set_webirc,
        lambda network: ",".join(network.fronts.gateways),
        asks_for="Password",
    ),
    "sts": Setting(
        "PORT[:SECONDS] where TLS is, which clients shall use from then on; 0 for nowhere",
        _set_sts,
        _read_sts,
    ),
    "oper-privileges": Setting(
        "NAME:PRIVILEGE,... what an operator may do; * for all",
        _set_privileges,
        _read_privileges,
    ),
}
