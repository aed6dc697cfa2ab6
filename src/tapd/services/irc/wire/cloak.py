"""Cloaked hosts, which others see instead of an address.

Pure. A cloak consists of three keyed digests, of the address
itself and of the two networks around it, so a ban on a network is a mask:
``*!*@*.SECOND.THIRD.ip`` is everybody of one /24. IPv6 begins with the /64, since
that is the least that one customer has.
"""

from __future__ import annotations

import base64
import hmac

from tapd.wire.addresses import network_key

PREFIXES = ((32, 64), (24, 48), (16, 32))
"""The prefix lengths of IPv4 and IPv6 for each part, narrowest first."""
SUFFIX = "ip"
_PART_CHARACTERS = 10  # of 5 bits each
ACCOUNT_NETWORK_CHARACTERS_MAX = 30


def cloak_address(key: bytes, address: str) -> str:
    """Return the cloak of an IP address; that of ``localhost`` is always the same."""
    parts = []
    for v4_bits, v6_bits in PREFIXES:
        network = network_key(address, v4_bits, v6_bits)
        if network == address:
            return address
        digest = hmac.digest(key, f"{v4_bits} {network}".encode(), "sha256")
        parts.append(base64.b32encode(digest)[:_PART_CHARACTERS].decode().lower())
    return ".".join((*parts, SUFFIX))


def cloak_account(account: str, network_name: str) -> str:
    """Return the cloak of a client that is logged in to `account`: ``ACCOUNT.NETWORK``.

    It has one dot and an address's has three, so neither can be made to look like
    the other.
    """
    label = "".join(each for each in network_name.lower() if each.isalnum() or each == "-")
    return f"{account}.{label[:ACCOUNT_NETWORK_CHARACTERS_MAX] or 'network'}"
