"""Detects ports already taken by other servers or processes.

The service manager binds a server's ports only when the server starts, and then reports no
more than "Address already in use".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click

from tapd.cli.machine import Machine
from tapd.errors import AddressUnusable, UnitFileMalformed, UsageError
from tapd.host.manager.binding import why_not_free
from tapd.model.address import Address, parse_address, without_twins
from tapd.systemd.inherited import is_spare_loopback
from tapd.units.instance import escape_instance, socket_unit
from tapd.units.render import parse_ports_drop_in, ports_drop_in_path

_ANY = {"0.0.0.0", "::"}  # noqa: S104 - recognised, not bound


@dataclasses.dataclass(frozen=True, slots=True)
class Clash:
    """A port that this server can't have, or would have to share.

    Attributes:
        text: who has it, and what to do.
        is_taken: it is in use now; else another server is configured for it.
    """

    text: str
    is_taken: bool


def find_clashes(machine: Machine, name: str, addresses: Sequence[Address]) -> list[Clash]:
    """Return which of `addresses` the server `name` could not have, or would have to share.

    Ports that its own socket unit has open are no clash.
    """
    own_path = ports_drop_in_path(name, machine.unit_directory)
    is_open = own_path.exists() and machine.is_active(socket_unit(name))
    own = _ports_in(own_path) if is_open else []
    others = _other_servers(machine, name)
    clashes: dict[Address, Clash] = {}
    for address in addresses:
        if is_spare_loopback(address, addresses):
            continue
        if any(_is_same_port(address, port) for port in own):
            continue
        reason = why_not_free(address)
        server = next(
            (other for other, ports in others.items() if any(_overlap(address, p) for p in ports)),
            "",
        )
        # A server that is not started has no port open, so something else has this one.
        if server and (not reason or machine.is_active(f"tapd@{server}.socket")):
            text = (
                f"{address} is a port of the server {server}, too: stop that one "
                f"({machine.typed_systemctl} stop 'tapd@{server}.socket'), or choose another with "
                "tapd-mktap --port"
            )
            clashes[address] = Clash(text, is_taken=bool(reason))
        elif reason:
            clashes[address] = Clash(reason, is_taken=True)
    return [clashes[address] for address in without_twins(list(clashes))]


def taken(clashes: Sequence[Clash]) -> list[AddressUnusable]:
    """Return an error for each port that is in use now."""
    return [AddressUnusable(clash.text) for clash in clashes if clash.is_taken]


def refuse_taken(clashes: Sequence[Clash]) -> None:
    """Raise if a port is in use now.

    Raises:
        ExceptionGroup: of an AddressUnusable for each.
    """
    if errors := taken(clashes):
        raise ExceptionGroup("not all ports are free", errors)


def warn_of(clashes: Sequence[Clash]) -> None:
    """Print each clash as a warning."""
    for clash in clashes:
        click.echo(f"tapd-mktap: {clash.text}", err=True)


def _other_servers(machine: Machine, name: str) -> dict[str, list[Address]]:
    """Return the ports of each installed server but `name`, by the server's instance."""
    found = {}
    for path in sorted(machine.unit_directory.glob("tapd@?*.socket.d/ports.conf")):
        instance = path.parent.name.removeprefix("tapd@").removesuffix(".socket.d")
        if instance != escape_instance(name):
            found[instance] = _ports_in(path)
    return found


def _ports_in(path: Path) -> list[Address]:
    """Return the ports of a drop-in, without those that can't be parsed."""
    try:
        texts = parse_ports_drop_in(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, UnitFileMalformed):
        return []
    addresses: list[Address] = []
    for text in texts:
        try:
            addresses += parse_address(text)
        except UsageError:  # written by hand, in a form that only systemd understands
            continue
    return addresses


def _is_same_port(one: Address, other: Address) -> bool:
    """Whether both have the same port number or path, on any host."""
    return (one.port, one.path, one.is_datagram) == (other.port, other.path, other.is_datagram)


def _overlap(one: Address, other: Address) -> bool:
    """Whether only one of the two can be bound."""
    if not _is_same_port(one, other) or one.is_ipv6 != other.is_ipv6:
        return False
    return one.host == other.host or bool({one.host, other.host} & _ANY)
