"""Trusted front ends: TLS terminators, load balancers, web gateways.

Durable settings. See the chapter "TLS" of docs/irc.md.
"""

from __future__ import annotations

from typing import Any

from tapd.model.durable.persistent import Persistent
from tapd.wire.addresses import NetworkIndex, peer_address


class Fronts(Persistent):
    """Front ends that may declare a client's address.

    Attributes:
        proxies: networks (and ``localhost``, for UNIX sockets) from which every
            connection begins with a PROXY header.
        proxy_port: only TCP connections to this port of ours do; 0 for any.
        are_tls: their clients connected to them by TLS.
        gateways: networks from which WEBIRC is accepted.
        webirc_hash: argon2, of its password; "" disables WEBIRC.
        sts_port: the port that offers TLS (IRCv3 sts); 0 for none.
        sts_duration_s: how long clients should remember that.
    """

    proxies: tuple[str, ...] = ()
    proxy_port = 0
    are_tls = True
    gateways: tuple[str, ...] = ()
    webirc_hash = ""
    sts_port = 0
    sts_duration_s = 300
    _v_index: tuple[tuple[str, ...], NetworkIndex] | None = None

    def is_proxy(self, peername: Any) -> bool:
        """Whether a connection comes from a proxy's network."""
        if not self.proxies:
            return False
        known = self._v_index
        if known is None or known[0] is not self.proxies:
            known = self._v_index = (self.proxies, NetworkIndex(self.proxies))
        return peer_address(peername) in known[1]

    def begins_with_header(self, peername: Any, sockname: Any) -> bool:
        """Whether a connection is a proxy's and begins with a PROXY header."""
        is_here = not (self.proxy_port and isinstance(sockname, tuple)) or (
            sockname[1] == self.proxy_port
        )
        return is_here and self.is_proxy(peername)

    def is_gateway(self, address: str) -> bool:
        """Whether WEBIRC is accepted from `address`."""
        return address in NetworkIndex(self.gateways)

    @property
    def sts(self) -> str:
        """The value of the capability sts; clients ignore the part for other connections."""
        return f"port={self.sts_port},duration={self.sts_duration_s}"
