"""Three clients of a server by hand that runs what they send; each of their lines is counted."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from by_hand import Server, free_port
from typing_service import make_typing


class Client:
    """One of three; each line it sends is answered with a count that nobody else is given."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.lines = self.sock.makefile("rb")
        self.number = 0
        self.counts: list[int] = []

    def close(self) -> None:
        """End the connection."""
        self.lines.close()
        self.sock.close()

    def send(self, place: str = "-", code: str = "") -> None:
        """Send a line; `read` is for its answer."""
        self.sock.sendall(f"{self.number} {place} {code.replace(chr(10), ';;')}\n".encode())

    def read(self) -> str:
        """Return the next line that comes."""
        return self.lines.readline().decode().rstrip("\r\n")

    def ask(self, place: str = "-", code: str = "") -> str:
        """Send a line; return what its code has set."""
        self.send(place, code)
        answer = self.read()
        assert answer.count(" ") >= 2, f"{answer!r} is no answer"
        number, count, out = answer.split(" ", 2)
        assert int(number) == self.number
        self.number += 1
        self.counts.append(int(count))
        return out


class Three:
    """A server and its three clients."""

    def __init__(
        self, directory: Path, at_start: str = "", environ: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.server = Server(directory, make_typing(self.port, at_start))
        self.server.environ |= environ or {}
        self.server.start()
        self.told = 0  # characters of the log that were looked at
        self.clients = [Client(self.port) for _ in range(3)]

    def talk(self) -> None:
        """Have each say something."""
        for client in self.clients:
            client.ask()

    def close(self) -> None:
        """Have the clients go, and end the server."""
        for client in self.clients:
            client.close()
        self.server.end()

    def check(self, *, quiet: bool = True) -> None:
        """All is exact, before and after a kill; the log complains of nothing if `quiet`."""
        self.talk()
        pid = self.server.child()
        self.server.kill_and_go_on()
        assert self.server.child() != pid
        self.talk()
        counts = sorted(count for client in self.clients for count in client.counts)
        assert counts == list(range(1, len(counts) + 1))
        log, self.told = self.server.log()[self.told :], len(self.server.log())
        wrong = [line for line in log.splitlines() if "error:" in line or "Traceback" in line]
        wrong = [line for line in wrong if "times in a row" not in line]  # the kills above
        assert not quiet or wrong == []
