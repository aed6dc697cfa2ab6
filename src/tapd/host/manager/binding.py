"""Binds listening sockets, where no service manager has done so.

For the embedded manager, and for `tapd-mktap` to check whether a service manager could bind
them. An error names the process that has the port, if that can be found out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from tapd.errors import AddressUnusable
from tapd.model.address import Address
from tapd.systemd.inherited import is_spare_loopback

_BACKLOG = 4096  # clients wait here during a restart; the kernel caps it at net.core.somaxconn
_ACCEPTS = 1 << 16  # __SO_ACCEPTCON of the flags in /proc/net/unix


@dataclasses.dataclass
class Bound:
    """A listening or datagram socket, and what to remove after it.

    Attributes:
        listener: the socket, non-blocking and close-on-exec.
        path: the path of a UNIX socket; None for others.
        identity: device and inode of that path, so that only our own is removed.
    """

    listener: socket.socket
    path: Path | None = None
    identity: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the socket and remove its path, if that is still ours."""
        self.listener.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                if _identity(self.path) == self.identity:
                    self.path.unlink()


def bind_all(
    addresses: Sequence[Address], unix_mode: int = 0o600, unix_group: int = -1
) -> list[Bound]:
    """Bind every address, or none.

    A port 0 for both loopbacks gets the same free number for both. On a machine without IPv6
    ``[::1]:PORT`` beside ``127.0.0.1:PORT`` is left out.

    Args:
        addresses: what to bind.
        unix_mode: permissions of UNIX sockets.
        unix_group: their group ID; -1 for that of this process.

    Raises:
        AddressUnusable: an address can't be bound; the message says why.
    """
    bound: list[Bound] = []
    picked: dict[Address, int] = {}  # the chosen number, by address with port 0
    try:
        for address in addresses:
            if is_spare_loopback(address, addresses):
                continue
            if address.is_unix:
                bound.append(_bind_unix(address, unix_mode, unix_group))
                continue
            wish = address
            other = address.replace(host="127.0.0.1")
            if address.host == "::1" and not address.port and other in picked:
                wish = address.replace(port=picked.pop(other))
            try:
                listener = _bind_ip(wish)
            except AddressUnusable:
                if wish is address:
                    raise
                listener = _bind_ip(address)
            bound.append(Bound(listener))
            if address.port == 0:
                picked[address] = listener.getsockname()[1]
    except BaseException:
        for entry in bound:
            entry.close()
        raise
    return bound


def why_not_free(address: Address) -> str:
    """Return why nothing could listen on `address` now; "" if a service manager could.

    Tries it, and leaves nothing behind.
    """
    try:
        if not address.is_unix:
            _bind_ip(address).close()
        elif address.path.startswith("@"):
            _bind_unix(address, 0o600, -1).close()
        else:
            _is_stale(address, Path(address.path))
    except AddressUnusable as error:
        return str(error)
    return ""


def is_open(address: Address) -> bool:
    """Whether some process listens on `address` or its port number; without trying to bind."""
    if not address.is_unix:
        return any(_bound_inodes(address.port, address.is_datagram))
    with contextlib.suppress(OSError):
        for line in os.fsdecode(Path("/proc/net/unix").read_bytes()).splitlines()[1:]:
            fields = line.split(maxsplit=7)  # accepted sockets have the name too, but not the flag
            has_flag = int(fields[3], 16) & _ACCEPTS or address.is_datagram
            if has_flag and fields[7:] == [address.path]:
                return True
    return False


def _bind_ip(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            address.host,
            address.port,
            type=_kind(address),
            flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE,
        )[0]
    except OSError:
        raise AddressUnusable(
            f"can't listen on {address}: {address.host!r} is not an IP address"
        ) from None
    try:
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressUnusable(f"can't listen on {address}: {error.strerror}") from None
    try:
        if not address.is_datagram:
            # Connections of the last run may linger in TIME_WAIT. On a datagram port
            # SO_REUSEADDR would let others share it.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(name)
        if not address.is_datagram:
            listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressUnusable(f"can't listen on {address}: {_reason(address, error)}") from None
    listener.setblocking(False)
    return listener


def _kind(address: Address) -> socket.SocketKind:
    return socket.SOCK_DGRAM if address.is_datagram else socket.SOCK_STREAM


def _reason(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = find_holder(address.port, is_datagram=address.is_datagram)
        held = f"it is in use by {holder}" if holder else "it is in use"
        return f"{held}. Stop that, or choose another with tapd-mktap --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            "permission denied. Ports below 1024 are root's: choose another with tapd-mktap "
            "--port, or let systemd bind it (tapd-mktap as root, then systemctl start tapd@NAME)"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address. `ip address` lists those it has"
    return error.strerror or str(error)


def _bind_unix(address: Address, mode: int, group: int) -> Bound:
    name: str | bytes = address.path
    if address.path.startswith("@"):
        path = None
        name = b"\0" + os.fsencode(address.path[1:])
    else:
        path = Path(address.path)
        if _is_stale(address, path):
            path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, _kind(address))
    # The umask, not a later chmod: the mode is right from the first instant. The group
    # gets its permissions only after the chown.
    umask = os.umask(0o777 & ~(mode if group < 0 else mode & 0o707))
    try:
        listener.bind(name)
        if path is not None and group >= 0:
            os.chown(path, -1, group, follow_symlinks=False)
            path.chmod(mode)
        if not address.is_datagram:
            listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressUnusable(f"can't listen on {address}: {error.strerror}") from None
    finally:
        os.umask(umask)
    listener.setblocking(False)
    return Bound(listener, path, _identity(path) if path else None)


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _is_stale(address: Address, path: Path) -> bool:
    """Whether `path` is the socket of a process that has ended.

    Raises:
        AddressUnusable: it is something else, or a process answers.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False  # missing; or bind will report the problem
    if not stat.S_ISSOCK(mode):
        raise AddressUnusable(
            f"can't listen on {address}: {path} is there and is no socket. Move it away"
        )
    with socket.socket(socket.AF_UNIX, _kind(address)) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EPROTOTYPE):
                raise AddressUnusable(f"can't listen on {address}: {error.strerror}") from None
    raise AddressUnusable(f"can't listen on {address}: another process listens there")


# --- who has a port --------------------------------------------------------------------------


def find_holder(port: int, *, is_datagram: bool = False) -> str:
    """Return the process that has the TCP or UDP `port`, as "name (process 12)"; "" if unknown.

    Reads /proc, where other users' processes may be hidden.
    """
    inodes = {f"socket:[{inode}]" for inode in _bound_inodes(port, is_datagram)}
    if not inodes:
        return ""
    # PID 1 last: it shares the sockets of the services that it started.
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    numbers.sort(key=lambda number: (number == 1, number))
    for process in (Path(f"/proc/{number}") for number in numbers):
        with contextlib.suppress(OSError):
            if any(str(entry.readlink()) in inodes for entry in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


def _bound_inodes(port: int, is_datagram: bool) -> Iterator[str]:
    """Yield the inodes of sockets that listen on `port` (proc_pid_net(5))."""
    kind, state = ("udp", "07") if is_datagram else ("tcp", "0A")
    for table in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == state and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
