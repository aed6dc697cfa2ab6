"""Renders the drop-in with the ports of a server.

Pure: returns texts and paths, and `cli` writes them. The units, ``tapd@.service`` and
``tapd@.socket``, are files of the package. Drop-ins have what differs from server to server:
the ports here, the options in `units.service`. Lines that people added to one stay.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from tapd.errors import UsageError
from tapd.model.address import Address
from tapd.units.instance import socket_unit
from tapd.units.unitfile import UnitFile, parse_unit_file

UNIT_DIRECTORY = Path("/etc/systemd/system")
STATE_DIRECTORY = Path("/var/lib/tapd")
PORTS_DROP_IN = "ports.conf"

_MODE = re.compile(r"0?[0-7]{3}\Z")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class SocketOptions:
    """Access to UNIX sockets; "" leaves a setting unchanged.

    Attributes:
        mode: octal digits (SocketMode=; systemd's own default is 0666).
        group: a group's name or number (SocketGroup=).
    """

    mode: str = ""
    group: str = ""

    def check(self) -> None:
        """Check them.

        Raises:
            UsageError: one is malformed.
        """
        if self.mode and not _MODE.match(self.mode):
            raise UsageError(f"--socket-mode {self.mode}: write three octal digits, such as 0660")
        if self.group and not _GROUP.match(self.group):
            raise UsageError(f"--socket-group {self.group}: write the name of a group")


def ports_drop_in_path(name: str, directory: Path = UNIT_DIRECTORY) -> Path:
    """Return the path of the drop-in with the ports of the server `name`."""
    return directory / f"{socket_unit(name)}.d" / PORTS_DROP_IN


def escape_specifiers(text: str) -> str:
    """Return `text` with each % escaped for systemd (systemd.unit(5))."""
    return text.replace("%", "%%")


def render_listen(address: Address) -> str:
    """Return the value of ``ListenStream=`` or ``ListenDatagram=`` (systemd.socket(5)).

    Raises:
        UsageError: systemd can't listen there.
    """
    if address.is_unix:
        if re.search(r"\s|\\", address.path) or not address.path.isprintable():
            raise UsageError(
                f"port {str(address)!r}: systemd takes no blanks, backslashes or control "
                "characters in a socket's path; choose another path"
            )
        return escape_specifiers(address.path)
    if not address.port:
        raise UsageError(
            f"port {str(address)!r}: systemd picks no free port; write a number from 1 to 65535"
        )
    return str(address).removeprefix("udp:")


def new_ports_drop_in(name: str) -> UnitFile:
    """Return an empty drop-in for the server `name`."""
    return UnitFile().comment(
        f"The ports of the server {name}, written by tapd-mktap from its TAP.\n"
        "They must be those that the TAP names: a later tapd-mktap changes its ListenStream=\n"
        "and ListenDatagram= lines and what it was told to, and leaves every other line as it is."
    )


def change_ports_drop_in(
    unit: UnitFile, addresses: Sequence[Address], options: SocketOptions | None = None
) -> UnitFile:
    """Return `unit` with these ports; everything else in it stays.

    Raises:
        UsageError: systemd can't listen on one of them.
    """
    options = options or SocketOptions()
    options.check()
    for key, is_datagram in (("ListenStream", False), ("ListenDatagram", True)):
        values = [render_listen(each) for each in addresses if each.is_datagram == is_datagram]
        unit = unit.with_values("Socket", key, values)
    # Only for TCP sockets: systemd warns about NoDelay= on others.
    has_unix = any(address.is_unix for address in addresses)
    is_all_tcp = not any(address.is_unix or address.is_datagram for address in addresses)
    unit = unit.with_values("Socket", "NoDelay", ["yes"] if is_all_tcp else [])
    for key, value in (("SocketMode", options.mode), ("SocketGroup", options.group)):
        if value:
            if not has_unix:
                raise UsageError(
                    f"{key}={value} is for UNIX sockets, and there is none; give --port unix:/PATH"
                )
            unit = unit.with_values("Socket", key, [value])
    return unit


def without_ports(unit: UnitFile) -> UnitFile:
    """Return a drop-in without the lines that tapd-mktap wrote."""
    for key in ("ListenStream", "ListenDatagram", "NoDelay", "SocketMode", "SocketGroup"):
        unit = unit.with_values("Socket", key, [])
    return unit


def parse_ports_drop_in(text: str, source: str) -> list[str]:
    """Return the ports of a drop-in, as systemd reads them and tapd-mktap accepts them."""
    unit = parse_unit_file(text, source)
    return [
        f"{kind}{'unix:' if value[0] in '/@' else ''}{value.replace('%%', '%')}"
        for key, kind in (("ListenStream", ""), ("ListenDatagram", "udp:"))
        for value in unit.values("Socket", key)
    ]
