"""A service whose clients close descriptors of the process that serves them."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

from tapd import Application, LineProtocol, Service


def descriptors(*kinds: str) -> list[int]:
    """Return those whose link in /proc names one of `kinds`."""
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - names are all we want
        try:
            link = str(Path(f"/proc/self/fd/{number}").readlink())
        except OSError:
            continue  # the directory's own
        if any(kind in link for kind in kinds):
            found.append(number)
    return found


def put_a_file_over(number: int) -> None:
    """Have `number` be another file."""
    other = os.open("/dev/null", os.O_RDWR)
    os.dup2(other, number)
    os.close(other)


def put_a_socket_over(number: int) -> None:
    """Have `number` be another socket."""
    with socket.socket() as other:
        os.dup2(other.fileno(), number)


def fd_of(protocol: Any) -> int:
    """Return the descriptor of a protocol's connection."""
    return int(protocol.transport.get_extra_info("socket").fileno())


class Closer(LineProtocol):
    """Counts its lines; one that names a deed does it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0

    def line_received(self, line: str) -> None:
        self.lines += 1
        self.service.total += 1
        self.send_line(str(self.lines))
        deed, _, when = line.partition(" ")
        if deed == "count":
            return
        if when == "now":
            DEEDS[deed](self)
        else:  # once this is committed: it will not be run again
            asyncio.get_running_loop().call_later(0.01, DEEDS[deed], self)

    def input_skipped(self, data: bytes) -> None:
        self.send_line("skipped")

    @property
    def others(self) -> list[int]:
        """The descriptors of the other clients."""
        protocols = self.service.application.connections.values()
        return [fd_of(each) for each in protocols if each is not self]


def _each(numbers: list[int], do: Any) -> None:
    assert numbers
    for number in numbers:
        do(number)


DEEDS: dict[str, Any] = {
    "everything": lambda _closer: os.closerange(3, 200),
    "journal": lambda _closer: _each(descriptors("/journal-"), os.close),
    "journal-file": lambda _closer: _each(descriptors("/journal-"), put_a_file_over),
    "journal-socket": lambda _closer: _each(descriptors("/journal-"), put_a_socket_over),
    "journal-written": lambda _closer: _each(
        descriptors("/journal-"), lambda number: os.write(number, b"junk")
    ),
    "epoll": lambda _closer: _each(descriptors("eventpoll"), os.close),
    "client": lambda closer: os.close(closer.others[0]),
    "clients-file": lambda closer: _each(closer.others, put_a_file_over),
    "clients-socket": lambda closer: _each(closer.others, put_a_socket_over),
    "own": lambda closer: os.close(fd_of(closer)),
    "sockets": lambda _closer: _each(descriptors("socket:"), os.close),
}


class Closers(Service):
    """Its protocols are closers."""

    def __init__(self) -> None:
        self.total = 0

    def build_protocol(self, peer: Any) -> Closer:
        return Closer()


def make_application(address: str) -> Application:
    """Make one."""
    application = Application("closing")
    application.listen(address, Closers())
    return application
