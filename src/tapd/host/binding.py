"""Bind listening sockets where no service manager has done so.

Used by the embedded manager. A failure says who has the port, where that can be
found out. May import `errors`, `model` and `systemd`.
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

_BACKLOG = 4096  # the kernel caps it at net.core.somaxconn; clients wait here during a restart


@dataclasses.dataclass
class Bound:
    """A listening socket, and what to remove when it is closed for good.

    Attributes:
        listener: non-blocking and close-on-exec.
        path: the UNIX socket's path; None for others.
        identity: device and inode of that path, so that only our own is removed.
    """

    listener: socket.socket
    path: Path | None = None
    identity: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the listener and remove its path, if it is still ours."""
        self.listener.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                if _identity(self.path) == self.identity:
                    self.path.unlink()


def bind_all(addresses: Sequence[Address], unix_mode: int = 0o600) -> list[Bound]:
    """Bind every address, or none.

    A port 0 for both loopbacks gets one number for both where it is free.
    Where the machine has no IPv6, ``[::1]:PORT`` beside ``127.0.0.1:PORT`` is
    left out.

    Args:
        addresses: what to bind.
        unix_mode: permissions of UNIX sockets.

    Raises:
        AddressUnusable: an address can't be bound; it says why.
    """
    bound: list[Bound] = []
    picked: dict[str, int] = {}
    try:
        for address in addresses:
            if is_spare_loopback(address, addresses):
                continue
            if address.is_unix:
                bound.append(_bind_unix(address, unix_mode))
                continue
            wish = address
            if address == Address("::1", 0) and "127.0.0.1" in picked:
                wish = dataclasses.replace(address, port=picked.pop("127.0.0.1"))
            try:
                listener = _bind_ip(wish)
            except AddressUnusable:
                if wish is address:
                    raise
                listener = _bind_ip(address)
            bound.append(Bound(listener))
            if address.port == 0:
                picked[address.host] = listener.getsockname()[1]
    except BaseException:
        for entry in bound:
            entry.close()
        raise
    return bound


def _bind_ip(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            address.host,
            address.port,
            type=socket.SOCK_STREAM,
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
        # Connections of the last run may linger in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(name)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressUnusable(f"can't listen on {address}: {_reason(address, error)}") from None
    listener.setblocking(False)
    return listener


def _reason(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = find_holder(address.port)
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


def _bind_unix(address: Address, mode: int) -> Bound:
    name: str | bytes = address.path
    if address.path.startswith("@"):
        path = None
        name = b"\0" + os.fsencode(address.path[1:])
    else:
        path = Path(address.path)
        _remove_stale(address, path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o777 & ~mode)  # from the first instant, not by a chmod afterwards
    try:
        listener.bind(name)
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


def _remove_stale(address: Address, path: Path) -> None:
    """Remove the socket of a process that is gone.

    Raises:
        AddressUnusable: something else is there, or somebody answers.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # not there, or bind says what is wrong
    if not stat.S_ISSOCK(mode):
        raise AddressUnusable(
            f"can't listen on {address}: {path} is there and is no socket. Move it away"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EPROTOTYPE):
                raise AddressUnusable(f"can't listen on {address}: {error.strerror}") from None
    raise AddressUnusable(f"can't listen on {address}: another process listens there")


# --- who has it --------------------------------------------------------------------------


def find_holder(port: int) -> str:
    """Return who listens on TCP `port`, as "name (process 12)"; "" if it can't be seen.

    Reads /proc, where other users' processes hide theirs.
    """
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not inodes:
        return ""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if any(str(entry.readlink()) in inodes for entry in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


def _listening_inodes(port: int) -> Iterator[str]:
    """Yield the inodes of listening sockets on `port` (proc_pid_net(5))."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                is_listening = fields[3] == "0A"
                if is_listening and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
