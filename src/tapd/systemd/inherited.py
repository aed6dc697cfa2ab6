"""Takes the sockets that the service manager passes, verifies them and matches them to ports.

The protocol is sd_listen_fds(3). systemd-python's ``listen_fds_with_names`` is not used: its
import costs a waiting client 7 ms to read three variables, and it reads only the process's own
environment, while tests and the embedded manager pass theirs.

Two kinds of descriptors arrive. Those named ``tapd-*`` come from the fd store (this daemon put
them there) and are passed on as they are. All others must be listening stream sockets or bound
datagram sockets; anything else is refused before any other file is opened.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import stat
from collections.abc import MutableMapping, Sequence

from tapd.errors import SocketMismatch
from tapd.linux.sockets import SO_DOMAIN
from tapd.model.address import Address

FIRST_FD = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
STORE_PREFIX = "tapd-"  # a unit's own sockets are named tapd@NAME.socket
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


class Inherited:
    """The descriptors from the service manager. The holder owns every one.

    Attributes:
        listeners: listening stream and bound datagram sockets, non-blocking, in the
            order passed.
        stored: descriptors from the fd store, by FDNAME.
    """

    def __init__(self) -> None:
        self.listeners: list[socket.socket] = []
        self.stored: dict[str, list[int]] = {}

    def descriptors(self) -> list[int]:
        """Return those that are neither closed nor taken over yet."""
        stored = [fd for fds in self.stored.values() for fd in fds]
        return stored + [listener.fileno() for listener in self.listeners]


def take_inherited(environ: MutableMapping[str, str]) -> Inherited:
    """Take the descriptors announced in `environ`, and remove the announcement.

    Ownership: the caller gets every descriptor. Each is made close-on-exec, so that no child
    process keeps a port or a connection open by accident. Listeners are made non-blocking, also
    for anybody who shares them.

    Returns:
        The descriptors; none if LISTEN_PID is absent or another process's.

    Raises:
        SocketMismatch: the announcement is malformed, or a descriptor is neither a
            listening stream socket, a datagram socket nor from the fd store.
    """
    pid, count_text, names_text, _ = (environ.pop(name, "") for name in _VARIABLES)
    if not pid or pid != str(os.getpid()):
        return Inherited()
    if not (count_text.isascii() and count_text.isdigit()):
        raise SocketMismatch(f"LISTEN_FDS={count_text!r} is not a number; start tapd by its unit")
    count = int(count_text)
    names = names_text.split(":") if names_text else ["unknown"] * count
    if len(names) != count:
        raise SocketMismatch(
            f"LISTEN_FDS announces {count} descriptors and LISTEN_FDNAMES names {len(names)}; "
            "they are set by the service manager and must not be changed on the way"
        )
    inherited = Inherited()
    problems = []
    for fd, name in enumerate(names, FIRST_FD):
        try:
            os.set_inheritable(fd, False)
        except OSError as error:
            problems.append(f"descriptor {fd} ({name}) is not open: {error.strerror}")
            continue
        if name.startswith(STORE_PREFIX):
            inherited.stored.setdefault(name, []).append(fd)
        elif problem := _why_no_listener(fd):
            problems.append(f"descriptor {fd} ({name}) is {problem}")
        else:
            inherited.listeners.append(socket.socket(fileno=fd))
            inherited.listeners[-1].setblocking(False)
    if problems:
        raise SocketMismatch(
            f"the service manager passed what tapd can't serve: {'; '.join(problems)}. The socket "
            "unit may hold ListenStream= and ListenDatagram= lines only, with Accept=no"
        )
    return inherited


def _why_no_listener(fd: int) -> str:
    """Return what `fd` is instead of a socket to serve; "" if it is one."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return "no socket"
    # The family may be IP or UNIX; none of these calls depends on it.
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        family = probe.getsockopt(socket.SOL_SOCKET, SO_DOMAIN)
        kind = probe.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        if kind not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            return "a socket, but neither of streams nor of datagrams"
        if family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            return f"a socket of the address family {family}, which tapd does not serve"
        if kind == socket.SOCK_DGRAM and not _is_bound(fd):
            return "a datagram socket that is not bound"
        listens = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if kind == socket.SOCK_STREAM and not listens:
            return "a stream socket that does not listen (Accept=yes? It must be no)"
    finally:
        probe.detach()
    return ""


def _is_bound(fd: int) -> bool:
    with socket.socket(fileno=os.dup(fd)) as probe:
        name = probe.getsockname()
    return bool(name[1] if isinstance(name, tuple) else name)


def describe_listener(listener: socket.socket) -> str:
    """Return the address of `listener`, as people write it."""
    return str(listener_address(listener))


def listener_address(listener: socket.socket) -> Address:
    """Return the address that `listener` is bound to."""
    name = listener.getsockname()
    is_datagram = listener.type == socket.SOCK_DGRAM
    if listener.family == socket.AF_UNIX:
        path = os.fsdecode(name)
        path = "@" + path[1:] if path.startswith("\0") else path or "(unnamed)"
        return Address(path=path, is_datagram=is_datagram)
    host, port = name[:2]
    if len(name) == 4 and name[3] and "%" not in host:
        host = f"{host}%{socket.if_indextoname(name[3])}"
    return Address(host, port, is_datagram=is_datagram)


@functools.cache
def has_ipv6_loopback() -> bool:
    """Whether ::1 can be bound here; some containers have no IPv6."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def is_spare_loopback(address: Address, addresses: Sequence[Address]) -> bool:
    """Whether `address` is the IPv6 half of a loopback port on a machine without IPv6.

    A port without a host means both loopbacks; without IPv6 it can only mean one.
    """
    return (
        address.host == "::1"
        and address.replace(host="127.0.0.1") in addresses
        and not has_ipv6_loopback()
    )


def match_ports(
    ports_addresses: Sequence[Address], listeners: Sequence[socket.socket], name: str = "NAME"
) -> list[tuple[Address, socket.socket]]:
    """Pair each port with the inherited listener that is bound to it.

    Port 0 takes any listener that no other port names, one of its own host first. A dual-stack
    ``[::]`` listener serves a ``0.0.0.0`` port if none matches exactly (systemd binds a bare
    ListenStream=PORT that way).

    Args:
        ports_addresses: the addresses on which the application listens.
        listeners: the inherited ones; they stay the caller's.
        name: the instance's name, for the message.

    Returns:
        The pairs in the order of `ports_addresses`.

    Raises:
        SocketMismatch: a port has no listener or a listener no port.
    """
    left = list(listeners)
    paired: dict[int, socket.socket] = {}
    for matches in (_is_same, _is_dual_stack, _is_picked_at_host, _is_picked):
        for index, address in enumerate(ports_addresses):
            if index in paired:
                continue
            found = next(
                (entry for entry in left if _is_kind(address, entry) and matches(address, entry)),
                None,
            )
            if found is not None:
                paired[index] = found
                left.remove(found)
    missing = [
        str(address)
        for index, address in enumerate(ports_addresses)
        if index not in paired and not is_spare_loopback(address, ports_addresses)
    ]
    if missing or left:
        surplus = [describe_listener(listener) for listener in left]
        parts = [
            f"{what} {', '.join(entries)}"
            for what, entries in (
                ("no socket was passed for", missing),
                ("no port of the application answers on", surplus),
            )
            if entries
        ]
        raise SocketMismatch(
            f"the sockets of tapd@{name}.socket are not the application's ports: "
            f"{'; '.join(parts)}. Name the same addresses on both sides (tapd-mktap --port ..., or "
            f"ListenStream= or ListenDatagram= in tapd@{name}.socket.d), then: systemctl restart "
            f"tapd@{name}.socket"
        )
    return [(ports_addresses[index], paired[index]) for index in sorted(paired)]


def _is_kind(address: Address, listener: socket.socket) -> bool:
    return address.is_datagram == (listener.type == socket.SOCK_DGRAM)


def _is_same(address: Address, listener: socket.socket) -> bool:
    bound = listener_address(listener)
    if address.is_unix or bound.is_unix:
        return _unix_key(address.path) == _unix_key(bound.path)
    if address.port == 0:
        return False
    return bound.port == address.port and _same_host(address.host, bound.host)


def _unix_key(path: str) -> str:
    # systemd does not normalize paths: /var/run may be /run.
    return path if path.startswith("@") or not path else os.path.realpath(path)


def _same_host(one: str, other: str) -> bool:
    if one == other or (":" in one) != (":" in other):
        return one == other
    import ipaddress  # noqa: PLC0415 - 1 ms of a start, for addresses in several spellings

    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return one == other


def _is_dual_stack(address: Address, listener: socket.socket) -> bool:
    return (
        listener.family == socket.AF_INET6
        and _same_host(address.host, "0.0.0.0")  # noqa: S104 - compared, not bound
        and listener.getsockname()[:2] == ("::", address.port)
        and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    )


def _is_picked_at_host(address: Address, listener: socket.socket) -> bool:
    return _is_picked(address, listener) and _same_host(
        address.host, listener_address(listener).host
    )


def _is_picked(address: Address, listener: socket.socket) -> bool:
    return not address.is_unix and address.port == 0 and listener.family != socket.AF_UNIX
