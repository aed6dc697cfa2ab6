"""What stands in front of the server: TLS terminators, load balancers, web gateways.

Imports `addresses`; durable settings. See the chapter "TLS" of docs/irc.md.
"""

from __future__ import annotations

from typing import Any

from tapd.model.durable.persistent import Persistent
from tapd.wire.addresses import NetworkIndex, peer_address


class Fronts(Persistent):
    """Who may say for a client where it is.

    Attributes:
        proxies: networks (and ``localhost``, for UNIX sockets) from which every
            connection begins with a PROXY header.
        proxy_port: of those by TCP only connections to this port of ours do; 0 for any.
        are_tls: their clients came to them by TLS.
        gateways: networks from which WEBIRC is taken.
        webirc_hash: argon2, of its password; "" for none, then nobody can use it.
        sts_port: where TLS is offered (IRCv3 sts); 0 for nowhere.
        sts_duration_s: how long clients shall remember that.
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
        """Whether a connection comes from where a proxy is."""
        if not self.proxies:
            return False
        known = self._v_index
        if known is None or known[0] is not self.proxies:
            known = self._v_index = (self.proxies, NetworkIndex(self.proxies))
        return peer_address(peername) in known[1]

    def begins_with_header(self, peername: Any, sockname: Any) -> bool:
        """Whether a connection is a proxy's, which says first who is behind it."""
        is_here = not (self.proxy_port and isinstance(sockname, tuple)) or (
            sockname[1] == self.proxy_port
        )
        return is_here and self.is_proxy(peername)

    def is_gateway(self, address: str) -> bool:
        """Whether WEBIRC is taken from `address`."""
        return address in NetworkIndex(self.gateways)

    @property
    def sts(self) -> str:
        """The value of the capability sts; clients ignore the part that isn't theirs."""
        return f"port={self.sts_port},duration={self.sts_duration_s}"
