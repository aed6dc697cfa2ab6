"""Fake servers, for an application that connects to others.

A `Remote` listens at an address that only the host's loop knows. So
`application.connect("irc.example.org:6667")` reaches it by the real name, without any name
resolution.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from tapd.testing.failures import Unexpected
from tapd.testing.peers import Peer


class Remote:
    """A fake server that the application connects to; created by `Host.remote`.

    Attributes:
        where: the address that the application uses.
        place: the local address behind it.
    """

    def __init__(
        self, where: str, listening: socket.socket, adopt: Callable[[socket.socket, str], Peer]
    ) -> None:
        """Take over `listening`; `adopt` turns accepted sockets into peers."""
        listening.setblocking(False)
        self.where = where
        self.place: Any = listening.getsockname()
        self._listening = listening
        self._adopt = adopt
        self._waiting: list[Peer] = []
        self._count = 0
        self._is_refusing = False

    def __repr__(self) -> str:
        return f"<remote end {self.where}>"

    def accept(self) -> Peer:
        """Return the next connection by the application that it did not end at once.

        Raises:
            Unexpected: there is none.
        """
        __tracebackhide__ = True
        if not self.waiting:
            raise Unexpected(
                f"the application made no (further) connection to {self.where}; "
                "after a failure it tries again later: host.clock.advance(seconds)"
            )
        peer = self._waiting.pop(0)
        self._count += 1
        peer.name = f"{self.where} #{self._count}"
        return peer

    @property
    def waiting(self) -> int:
        """How many connections are waiting for `accept`."""
        self.take()
        self._waiting = [peer for peer in self._waiting if not peer.is_stillborn]
        return len(self._waiting)

    def refuse(self) -> None:
        """Refuse connections from now on."""
        self._is_refusing = True

    def answer(self) -> None:
        """Undo `refuse`."""
        self._is_refusing = False

    @property
    def is_refusing(self) -> bool:
        """Whether connections are refused."""
        return self._is_refusing

    def take(self) -> None:
        """Accept the connections waiting in the kernel."""
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _address = self._listening.accept()
                self._waiting.append(self._adopt(sock, self.where))
                self._waiting[-1].is_remote = True

    def close(self) -> None:
        """Close the port."""
        self._listening.close()
