"""A network in this process, over real sockets, and scripted clients.

The turns, the journal and the sockets are real (`harness`), in strict mode.
"""

from __future__ import annotations

import re
import socket
from typing import Any

import argon2
from harness import Harness, Peer

from tapd.model.application import Application
from tapd.services.irc import IrcNetwork

SERVER = "irc.test.internal"
_CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def cheap_hash(password: str) -> str:
    """Return a hash as cheap as argon2 gets; the hash says so itself."""
    return str(_CHEAP.hash(password))


class Client:
    """One connection, line by line."""

    def __init__(self, irc: Irc, peer: Peer) -> None:
        self.irc = irc
        self.peer = peer
        self.received = b""  # all of it, for transcripts
        self._unread = b""

    def send(self, *lines: str) -> None:
        """Send lines; the server runs them at once."""
        self.send_raw("".join(f"{line}\r\n" for line in lines).encode())

    def send_raw(self, data: bytes) -> None:
        self.peer.send(data)

    def read(self) -> list[str]:
        """Return the lines that have come since the last time."""
        data = self.peer.read()
        self.received += data
        *lines, self._unread = (self._unread + data).split(b"\r\n")
        return [line.decode() for line in lines]

    def ask(self, *lines: str) -> list[str]:
        """Send lines; return what comes back, without what waited before."""
        self.read()
        self.send(*lines)
        return self.read()

    def read_end(self) -> list[str]:
        """Return what comes up to the connection's end."""
        data = self.peer.read_end()
        self.received += data
        return (self._unread + data).decode().split("\r\n")[:-1]

    def register(self, nick: str, caps: str = "") -> Client:
        """Register, with capabilities; what the server says is dropped."""
        if caps:
            self.send("CAP LS 302", f"CAP REQ :{caps}")
        self.send(f"NICK {nick}", f"USER {nick.lower()} 0 * :{nick} Real")
        if caps:
            self.send("CAP END")
        assert any(f" 001 {nick} " in line for line in self.read())
        return self


class Irc:
    """A network and its clients."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness

    @property
    def network(self) -> IrcNetwork:
        """The live network; another object after a crash."""
        network = self.harness.application.services["irc"]
        assert isinstance(network, IrcNetwork)
        return network

    def connect(self) -> Client:
        peer = self.harness.connect()
        if peer.sock.family != socket.AF_UNIX:
            # Else the kernel holds a second line back until it hears that the first arrived.
            peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(self, peer)

    def client(self, nick: str, caps: str = "", *, join: str = "") -> Client:
        """Return a registered client, on the channel `join`."""
        client = self.connect().register(nick, caps)
        if join:
            client.ask(f"JOIN {join}")
        return client


def make_network(*, limits: bool = False, cloaks: bool = False) -> Application:
    """Make a network: without limits, since time stands still in tests, and without cloaks."""
    application = Application("irc")
    network = IrcNetwork("Test", SERVER, 1_700_000_000.0)
    if not limits:
        lift_limits(network)
    network.cloaks = cloaks
    application.add_service(network)
    return application


def lift_limits(network: IrcNetwork) -> None:
    """Let everybody write as fast, and come as often, as they like."""
    for name in ("lines_per_s", "nick_changes_per_minute", "new_targets_per_minute",
                 "connections_per_minute", "accounts_per_hour"):  # fmt: skip
        setattr(network.limits, name, 0)


def codes(lines: list[str]) -> list[str]:
    """Return the commands or numerics of lines."""
    return [command_of(line) for line in lines]


def command_of(line: str) -> str:
    words = line.split(" ")
    if words[0].startswith("@"):
        del words[0]
    if words[0].startswith(":"):
        del words[0]
    return words[0]


def untagged(line: str) -> str:
    return line.partition(" ")[2] if line.startswith("@") else line


def tags_of(line: str) -> dict[str, str]:
    if not line.startswith("@"):
        return {}
    section = line[1:].partition(" ")[0]
    return {key: value for key, _, value in (each.partition("=") for each in section.split(";"))}


_VARYING = re.compile(r"(time=[^; ]*|msgid=[^; ]*|batch=[^; ]*|BATCH [-+]\w+)")


def steady(text: Any) -> Any:
    """Return `text` without what differs from run to run: times and ids."""
    return _VARYING.sub("<varies>", text)
