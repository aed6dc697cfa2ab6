"""Drop-ins for the units of one server, as text.

Imports `errors`, `model.address` and `units.unitfile`. Everything here is pure:
what is to be written, and where; `cli` writes it. The units themselves,
``tapd@.service`` and ``tapd@.socket``, are files of the package; what differs
from server to server are its ports, and they stand in a drop-in of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tapd.errors import UsageError
from tapd.model.address import Address
from tapd.units.unitfile import UnitFile, parse_unit_file

UNIT_DIRECTORY = Path("/etc/systemd/system")
STATE_DIRECTORY = Path("/var/lib/tapd")
PORTS_DROP_IN = "ports.conf"

_USER_PREFIX = "tapd-"
_USER_BYTES_MAX = 31  # user names of 32 bytes and more are refused (useradd(8))
_INSTANCE = re.compile(r"[A-Za-z0-9_-]+\Z")


def check_instance(name: str) -> None:
    """Check that `name` can be a systemd instance with a user of its own.

    A TAP that is run by hand may have any name; one that systemd runs has a
    user ``tapd-NAME``, whose name obeys stricter rules.

    Raises:
        UsageError: it can't; the message says why.
    """
    longest = _USER_BYTES_MAX - len(_USER_PREFIX)
    if not _INSTANCE.match(name) or len(name) > longest:
        raise UsageError(
            f"name {name!r}: a server that systemd runs has the user {_USER_PREFIX}NAME, so its "
            f"name is 1 to {longest} letters, digits, _ and -; give another --name, or --directory "
            "to make a TAP that is run by hand"
        )


def service_unit(name: str) -> str:
    """Return the name of the unit that runs the server `name`."""
    return f"tapd@{name}.service"


def socket_unit(name: str) -> str:
    """Return the name of the unit that holds the ports of the server `name`."""
    return f"tapd@{name}.socket"


def ports_drop_in_path(name: str, directory: Path = UNIT_DIRECTORY) -> Path:
    """Return where the ports of the server `name` are written down for systemd."""
    return directory / f"{socket_unit(name)}.d" / PORTS_DROP_IN


def escape_specifiers(text: str) -> str:
    """Return `text` so that systemd takes each % in it as it is (systemd.unit(5))."""
    return text.replace("%", "%%")


def render_listen_stream(address: Address) -> str:
    """Return the value of ``ListenStream=`` for `address` (systemd.socket(5)).

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
    return str(address)


def render_ports_drop_in(name: str, addresses: Sequence[Address]) -> str:
    """Return the drop-in that has systemd listen at `addresses` for the server `name`.

    Raises:
        UsageError: systemd can't listen at one of them.
    """
    unit = (
        UnitFile()
        .comment(
            f"The ports of the server {name}, written by tapd-mktap from its TAP.\n"
            "They must be those that the TAP names; a later tapd-mktap writes this anew."
        )
        .section("Socket")
    )
    for address in addresses:
        unit = unit.setting("ListenStream", render_listen_stream(address))
    if not any(address.is_unix for address in addresses):
        # systemd warns of it on UNIX sockets, which know no such option.
        unit = unit.setting("NoDelay", "yes")
    return unit.render()


def parse_ports_drop_in(text: str, source: str) -> list[str]:
    """Return the ``ListenStream=`` values of a drop-in, as systemd would read them."""
    values = parse_unit_file(text, source).values("Socket", "ListenStream")
    return [value.replace("%%", "%") for value in values]
