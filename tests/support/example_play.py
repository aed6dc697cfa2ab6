"""Clients that play a script with a server; somebody kills it under their hands.

The script is a function of a `Stage`. `play_twice` plays it with a real process that
is left alone, and with one that gets SIGKILL in the middle of every line that is
typed. What each client got has to be the same, to the byte. `play_everywhere` plays
it with the testing kit, and kills at every place where there can be a kill.
"""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from by_hand import Server, free_port

from tapd.model.application import Application
from tapd.testing import Host, KillReport, Peer, kill_everywhere

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 120.0


class Actor(Protocol):
    """A client, as a script sees it."""

    def type(self, line: str) -> None:
        """Send a line."""

    def expect(self, *lines: str) -> None:
        """Check that these lines come next."""

    def skip_to(self, line: str) -> None:
        """Read up to this line."""

    def expect_end(self) -> None:
        """Check that nothing comes but the end."""

    def leave(self) -> None:
        """Close the connection."""


class Stage(Protocol):
    """What a script is given."""

    def connect(self) -> Actor:
        """Open one more connection."""


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

    def skip_to(self, line: str) -> None:
        """Read up to this line."""
        end = line.encode() + b"\r\n"
        while not self.got[self.expected :].endswith(end):
            data = self.sock.recv(65536)
            assert data, f"the end, instead of {line!r}"
            self.got += data
        self.expected = len(self.got)

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
    directory: Path, make_application: Callable[[], Application], script: Callable[[Stage], None]
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


class KitClient:
    """A client of the testing kit."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def type(self, line: str) -> None:
        """Send a line."""
        self.peer.send(line + "\r\n")

    def expect(self, *lines: str) -> None:
        """Check that these lines come next."""
        for line in lines:
            self.peer.expect(line + "\r\n")

    def skip_to(self, line: str) -> None:
        """Read up to this line."""
        while self.peer.read_line().rstrip(b"\r\n") != line.encode():
            pass

    def expect_end(self) -> None:
        """Check that nothing comes but the end."""
        self.peer.expect_eof()

    def leave(self) -> None:
        """Close the connection."""
        self.peer.close()


class KitStage:
    """The clients of a server of the testing kit."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def connect(self) -> KitClient:
        """Open one more connection."""
        return KitClient(self.host.connect())


def play_everywhere(
    make_application: Callable[[], Application], script: Callable[[Stage], None]
) -> KillReport:
    """Play `script` with a kill at every place where there can be one."""
    return kill_everywhere(make_application, lambda host: script(KitStage(host)), splits=False)
