"""Client addresses and networks: parsing, and finding the networks that contain an address.

Pure. An address is a text as `peer_address` returns it. The peer of a UNIX socket is
``localhost`` and in no network.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from typing import Any

LOCAL = "localhost"
"""The address of clients of a UNIX socket."""
V4_BITS, V6_BITS = 32, 128

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def peer_address(peername: Any) -> str:
    """Return a peer's address for people: IPv6 without scope, ``localhost`` for UNIX."""
    if not isinstance(peername, tuple) or not peername:
        return LOCAL
    return shown_address(str(peername[0]).partition("%")[0])


def shown_address(address: str) -> str:
    """Return an IP address as a message parameter: mapped IPv4 as IPv4, no leading colon."""
    address = address.removeprefix("::ffff:")
    return f"0{address}" if address[:1] == ":" else address


def parse_network(text: str) -> Network | None:
    """Parse ``ADDRESS[/BITS]``, without host bits; None if it is malformed."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


@functools.lru_cache(maxsize=8192)
def parse_address(address: str) -> tuple[int, int] | None:
    """Return version (4 or 6) and number of an address; None for a UNIX socket."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return parsed.version, int(parsed)


def network_key(address: str, v4_bits: int, v6_bits: int) -> str:
    """Return a key that is equal for all addresses in the same network of this size."""
    parsed = parse_address(address)
    if parsed is None:
        return address
    version, number = parsed
    shift = V4_BITS - v4_bits if version == 4 else V6_BITS - v6_bits
    return f"{version}:{number >> shift:x}"


class NetworkIndex:
    """Finds the networks that contain an address: one look-up for each prefix length in use."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._names: dict[tuple[int, int, int], str] = {}
        self._texts: set[str] = set()
        for text in networks:
            network = parse_network(text)
            if network is None:
                self._texts.add(text)
            else:
                shift = network.max_prefixlen - network.prefixlen
                first = int(network.network_address) >> shift
                self._names[network.version, shift, first] = text
        self._shifts = sorted({(version, shift) for version, shift, _ in self._names})

    def find(self, address: str) -> list[str]:
        """Return the networks that contain `address`, narrowest first, as they were given."""
        parsed = parse_address(address)
        if parsed is None:
            return [address] if address in self._texts else []
        version, number = parsed
        found = (
            self._names.get((version, shift, number >> shift))
            for its_version, shift in self._shifts
            if its_version == version
        )
        return [text for text in found if text is not None]

    def __contains__(self, address: str) -> bool:
        return bool(self.find(address))
