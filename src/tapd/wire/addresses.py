"""Addresses and networks of clients: parsing, and which network an address is in.

Pure; imports nothing of this package. An address is a text as `peer_address`
makes it; a UNIX socket's peer is ``localhost`` and in no network.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from typing import Any

LOCAL = "localhost"
"""The address of who comes by a UNIX socket."""
V4_BITS, V6_BITS = 32, 128

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def peer_address(peername: Any) -> str:
    """Return the address of a peer for people: IPv6 without scope, ``localhost`` for UNIX."""
    if not isinstance(peername, tuple) or not peername:
        return LOCAL
    return shown_address(str(peername[0]).partition("%")[0])


def shown_address(address: str) -> str:
    """Return an IP address as it can be a parameter: mapped IPv4 as IPv4, no leading colon."""
    address = address.removeprefix("::ffff:")
    return f"0{address}" if address[:1] == ":" else address


def parse_network(text: str) -> Network | None:
    """Return the network ``ADDRESS[/BITS]``, without the bits that are over; None if it is none."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


@functools.lru_cache(maxsize=8192)
def parse_address(address: str) -> tuple[int, int] | None:
    """Return the version (4 or 6) and the number of an address; None for a UNIX socket's."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return parsed.version, int(parsed)


def network_key(address: str, v4_bits: int, v6_bits: int) -> str:
    """Return what all addresses of the network of so many bits around `address` have in common."""
    parsed = parse_address(address)
    if parsed is None:
        return address
    version, number = parsed
    shift = V4_BITS - v4_bits if version == 4 else V6_BITS - v6_bits
    return f"{version}:{number >> shift:x}"


class NetworkIndex:
    """Networks, to find those that an address is in: one look-up for each length in use."""

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
        """Return the networks that `address` is in, narrowest first, as they were given."""
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
