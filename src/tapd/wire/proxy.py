"""Parses the PROXY protocol's header, versions 1 and 2: the client's real address.

A TLS terminator or load balancer in front of the server sends it before anything else
(HAProxy's ``proxy-protocol.txt``). Only connections from a known proxy may begin with it, and
they must.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from tapd.errors import PeerError
from tapd.wire.addresses import shown_address

V1_BYTES_MAX = 107
"""Limit of a version 1 header, with its CR LF (section 2.1)."""
V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD_BYTES = 16
V2_BYTES_MAX = 2048
"""Limit of a version 2 header: addresses and extensions."""
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_SSL = 0x20
_SSL_CLIENT = 0x01


class Header(NamedTuple):
    """A parsed header.

    Attributes:
        address: of the client, as in `addresses`; "" for the sender's own (a health
            check), or for an unknown kind.
        is_secure: the header says that the client uses TLS.
        size: length in bytes.
    """

    address: str
    is_secure: bool
    size: int


def parse_header(data: bytes) -> Header | None:
    """Parse the header at the beginning of `data`; None if it is incomplete.

    Raises:
        PeerError: it is malformed.
    """
    if data[:1] == b"P":
        return _parse_v1(data)
    if data[: len(V2_SIGNATURE)] == V2_SIGNATURE[: len(data)]:
        return _parse_v2(data)
    raise PeerError("a connection from a trusted proxy began without a PROXY header")


def _parse_v1(data: bytes) -> Header | None:
    line, end, _ = data[:V1_BYTES_MAX].partition(b"\r\n")
    if not end:
        if len(data) >= V1_BYTES_MAX or line[:6] != b"PROXY "[: len(line)]:
            raise PeerError("a PROXY header of version 1 is malformed")
        return None
    words = line.decode("ascii", "replace").split(" ")
    size = len(line) + 2
    if words[:2] == ["PROXY", "UNKNOWN"]:
        return Header("", False, size)
    if len(words) == 6 and words[0] == "PROXY":
        try:
            address = ipaddress.ip_address(words[2])
        except ValueError:
            address = None
        if address is not None and words[1] == f"TCP{address.version}":
            return Header(_show(address), False, size)
    raise PeerError("a PROXY header of version 1 is malformed")


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < _V2_HEAD_BYTES:
        return None
    command, family = data[12], data[13]
    size = _V2_HEAD_BYTES + int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY) or size > V2_BYTES_MAX:
        raise PeerError("a PROXY header of version 2 is malformed")
    if len(data) < size:
        return None
    if command == _LOCAL:
        return Header("", False, size)
    block = data[_V2_HEAD_BYTES:size]
    length = {_TCP4: 4, _TCP6: 16}.get(family)
    if length is None:  # UNIX sockets, datagrams: no address to show
        return Header("", False, size)
    if len(block) < 2 * length + 4:
        raise PeerError("a PROXY header of version 2 is malformed")
    address = ipaddress.ip_address(block[:length])
    return Header(_show(address), _is_secure(block[2 * length + 4 :]), size)


def _show(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return shown_address(str(mapped or address))


def _is_secure(extras: bytes) -> bool:
    """Whether one of the type-length-value triples says that the client uses TLS."""
    while len(extras) >= 3:
        length = int.from_bytes(extras[1:3], "big")
        if extras[0] == _SSL and length:
            return bool(extras[3] & _SSL_CLIENT)
        extras = extras[3 + length :]
    return False
