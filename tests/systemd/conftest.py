"""A service manager's end of the notify protocol, small enough to trust, and connections."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tapd.systemd.notify import Notifier


class Receiver:
    """A real notify socket, read when a test says so, with a real fd store."""

    def __init__(self, path: Path, stored_max: int = 1000) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.stored: dict[str, list[int]] = {}
        self.stored_max = stored_max
        self.messages: list[bytes] = []

    def read(self) -> list[bytes]:
        """Handle every message in the queue, as a manager does; return their texts."""
        new: list[bytes] = []
        while True:
            try:
                text, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(64))
            except BlockingIOError:
                self.messages += new
                return new
            fds = array.array("i")
            for _, _, data in ancillary:
                fds.frombytes(data)
            self._handle(dict(line.split(b"=", 1) for line in text.split(b"\n")), list(fds))
            new.append(text)

    def _handle(self, fields: dict[bytes, bytes], fds: list[int]) -> None:
        name = fields.get(b"FDNAME", b"stored").decode()
        if b"FDSTORE" in fields:
            assert fields[b"FDPOLL"] == b"0"
            while fds and sum(map(len, self.stored.values())) < self.stored_max:
                self.stored.setdefault(name, []).append(fds.pop(0))
        if b"FDSTOREREMOVE" in fields:
            fds += self.stored.pop(name, [])
        for fd in fds:
            os.close(fd)

    def duplicates(self) -> dict[str, list[int]]:
        """Return what a restarted process inherits: duplicates of what is stored."""
        self.read()
        return {name: [os.dup(fd) for fd in fds] for name, fds in self.stored.items()}

    def close(self) -> None:
        """Close everything, as at a stop."""
        self.read()
        for fds in self.stored.values():
            for fd in fds:
                os.close(fd)
        self.socket.close()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path / "notify")
    yield receiver
    receiver.close()


@pytest.fixture
def notifier(receiver: Receiver) -> Iterator[Notifier]:
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": receiver.path})
    yield notifier
    notifier.close()


@pytest.fixture
def pairs() -> Iterator[Callable[[int], list[tuple[socket.socket, socket.socket]]]]:
    made: list[tuple[socket.socket, socket.socket]] = []

    def make(count: int) -> list[tuple[socket.socket, socket.socket]]:
        made.extend(socket.socketpair() for _ in range(count))
        return made[-count:]

    yield make
    for pair in made:
        for end in pair:
            end.close()
