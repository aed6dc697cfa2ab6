"""Clients that play a script with a server; somebody kills it under their hands.

The script is a function of a `Play`. It is played twice, by `play_twice`: with a
server that is left alone, and with one that gets SIGKILL in the middle of every
line that is typed. What each client got has to be the same, to the byte.
"""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from by_hand import Server, free_port

from tapd.model.application import Application

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 30.0


class Client:
    """One client; keeps all that it got."""

    def __init__(self, port: int, interrupt: Callable[[], None]) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.interrupt = interrupt
        self.got = b""
        self.expected = 0

    def type(self, line: str) -> None:
        """Send a line; in its middle, what interrupts does so."""
        data = line.encode() + b"\r\n"
        self.sock.sendall(data[: len(data) // 2])
        self.interrupt()
        self.sock.sendall(data[len(data) // 2 :])

    def expect(self, *lines: str) -> None:
        """Check that these lines come next."""
        for line in lines:
            wanted = line.encode() + b"\r\n"
            while len(self.got) < self.expected + len(wanted):
                data = self.sock.recv(65536)
                assert data, f"the end, instead of {line!r}"
                self.got += data
            received = self.got[self.expected : self.expected + len(wanted)]
            assert received == wanted, f"{received!r}, instead of {wanted!r}"
            self.expected += len(wanted)

    def expect_end(self) -> None:
        """Check that nothing comes but the end."""
        data = self.sock.recv(65536)
        assert not data, f"{data!r}, instead of the end"

    def leave(self) -> None:
        """Close the connection."""
        self.sock.close()


class Play:
    """The clients of one server."""

    def __init__(self, server: Server, port: int, *, kills: bool) -> None:
        self.server = server
        self.port = port
        self.kills = kills
        self.clients: list[Client] = []

    def connect(self) -> Client:
        """Open one more connection."""
        self.clients.append(Client(self.port, self.interrupt))
        return self.clients[-1]

    def interrupt(self) -> None:
        """Kill the server, if this is the play in which that is done."""
        if self.kills:
            self.server.kill()


def load_example(name: str, service: str, *arguments: Any) -> Application:
    """Return an application named `name`, of one service of the example of that name."""
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    application = Application(name)
    application.add_service(getattr(importlib.import_module(name), service)(*arguments))
    return application


@contextmanager
def playing(directory: Path, application: Application, *, kills: bool) -> Iterator[Play]:
    """Serve `application` on a port of its own, with `tapd` by hand, and end it."""
    port = free_port()
    application.listen(f"127.0.0.1:{port}", next(iter(application.services.values())))
    directory.mkdir()
    server = Server(directory, application, python_path=str(EXAMPLES))
    server.start()
    play = Play(server, port, kills=kills)
    try:
        yield play
        for client in play.clients:
            assert len(client.got) == client.expected, client.got[client.expected :]
    finally:
        for client in play.clients:
            client.sock.close()
        server.end()


def play_twice(
    directory: Path, make_application: Callable[[], Application], script: Callable[[Play], None]
) -> None:
    """Play `script` with a server that is left alone and with one that is killed."""
    transcripts = []
    for kills in (False, True):
        with playing(directory / str(kills), make_application(), kills=kills) as play:
            script(play)
            transcripts.append([client.got for client in play.clients])
            deaths = play.server.log().count("the process before was killed")
        assert bool(deaths) == kills, "the play without kills had one, or the other had none"
    assert transcripts[0] == transcripts[1]
