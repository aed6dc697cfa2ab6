"""Groups of peers for rate limits: an address, a customer's network, a local user.

Pure, except for one query to a UNIX socket.
"""

from __future__ import annotations

import socket
from typing import Any

from tapd.linux.sockets import peer_credentials

_V6_NETWORK_BYTES = 8  # a /64 is what one customer has at least (RFC 6177)
_MAPPED = b"\0" * 10 + b"\xff\xff"  # RFC 4291 section 2.5.5.2
UNIX = "unix"


def group_of_host(host: str) -> str:
    """Return the group of an address: IPv4 itself, IPv6 its /64, otherwise the text."""
    if ":" not in host:
        return host
    try:
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except OSError:
        return host
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    network = packed[:_V6_NETWORK_BYTES] + b"\0" * _V6_NETWORK_BYTES
    return f"{socket.inet_ntop(socket.AF_INET6, network)}/64"


def group_of_peer(peername: Any, connection: Any = None) -> str:
    """Return the group of a peer.

    Args:
        peername: its socket address.
        connection: its socket, which is queried for the user of a UNIX socket's peer;
            None: all UNIX peers are one group.
    """
    if isinstance(peername, tuple) and peername:
        return group_of_host(str(peername[0]))
    if connection is not None and connection.family == socket.AF_UNIX:
        try:
            return f"{UNIX}: user {peer_credentials(connection).uid}"
        except OSError:
            return UNIX
    return UNIX
