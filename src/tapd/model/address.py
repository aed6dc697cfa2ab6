"""Parses the addresses of listening sockets.

``[HOST:]PORT`` or ``unix:PATH``, and ``udp:`` before either for datagrams. Pure:
nothing is resolved or bound here. A port without a host means loopback, over IPv4
and IPv6: two sockets. Exposing a server to the network takes an explicit address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapd.errors import UsageError
from tapd.values import Value


class Address(Value):
    """One address to bind: an IP host and port, or the path of a UNIX socket.

    Attributes:
        host: an IP address or ``localhost``-like name; "" for UNIX sockets.
        port: 1 to 65535 (0 picks a free one); 0 for UNIX sockets.
        path: the socket's path, with a leading "@" for the abstract name space;
            "" for IP sockets.
        is_datagram: a datagram socket (UDP, or UNIX of type SOCK_DGRAM), else a stream.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    is_datagram: bool = False

    def __getstate__(self) -> list[Any]:
        return list(self.__dict__.values())

    def __setstate__(self, state: Sequence[Any]) -> None:
        # TAPs of 0.1.0 hold three fields: all addresses were stream addresses.
        self.__dict__.update(zip(self.__match_args__, (*state, False), strict=False))

    @property
    def is_unix(self) -> bool:
        """Whether this is a UNIX socket's address."""
        return bool(self.path)

    @property
    def is_ipv6(self) -> bool:
        """Whether this is an IPv6 address."""
        return ":" in self.host

    def __str__(self) -> str:
        kind = "udp:" if self.is_datagram else ""
        if self.path:
            return f"{kind}unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{kind}{host}:{self.port}"


def without_twins(addresses: Sequence[Address]) -> list[Address]:
    """Return `addresses` without each ``[::1]:PORT`` that repeats a ``127.0.0.1:PORT``.

    For messages that list where a server answers.
    """
    return [
        address
        for address in addresses
        if address.host != "::1" or address.replace(host="127.0.0.1") not in addresses
    ]


def parse_address(text: str) -> tuple[Address, ...]:
    """Parse ``[udp:][HOST:]PORT`` or ``[udp:]unix:PATH`` into the addresses to bind.

    Raises:
        UsageError: `text` is neither; the message says why.
    """
    if text.startswith("udp:"):
        addresses = _parse_plain(text[len("udp:") :])
        return tuple(address.replace(is_datagram=True) for address in addresses)
    return _parse_plain(text)


def _parse_plain(text: str) -> tuple[Address, ...]:
    hint = "write PORT, HOST:PORT, [IPV6]:PORT or unix:/PATH (with udp: before it for datagrams)"
    if text.startswith("unix:"):
        path = text[len("unix:") :]
        if not path.startswith(("/", "@")) or len(path) < 2:
            raise UsageError(f"port {text!r}: a UNIX socket's path starts with / (or @); {hint}")
        if len(path.encode()) > 107 or "\0" in path or "\n" in path:
            raise UsageError(f"port {text!r}: a UNIX socket's path holds at most 107 bytes of text")
        return (Address(path=path),)
    host, colon, port_text = text.rpartition(":")
    if not port_text.isascii() or not port_text.isdigit():
        raise UsageError(f"port {text!r}: {port_text!r} is not a port number; {hint}")
    port = int(port_text)
    if not 0 <= port <= 65535:
        raise UsageError(f"port {text!r}: ports go from 1 to 65535; {hint}")
    if not colon:
        return (Address("127.0.0.1", port), Address("::1", port))
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise UsageError(f"port {text!r}: only IPv6 addresses stand in brackets; {hint}")
    elif ":" in host:
        raise UsageError(f"port {text!r}: an IPv6 address stands in brackets; {hint}")
    if host in ("*", "0.0.0.0"):  # noqa: S104 - asked for in so many words
        return (Address("0.0.0.0", port),)  # noqa: S104
    if host == "localhost":
        return (Address("127.0.0.1", port), Address("::1", port))
    import ipaddress  # noqa: PLC0415 - 1 ms, and a start parses no address

    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        raise UsageError(
            f"port {text!r}: {host!r} is not an IP address (names are not looked up); {hint}"
        ) from None
    return (Address(host, port),)
