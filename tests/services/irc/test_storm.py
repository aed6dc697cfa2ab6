"""SIGKILLs under chatting clients: everyone sees every message once and in order.

A real server under the embedded manager. Each client says its next number when
its last one has come back to it (echo-message), in two pieces, so that kills
come between any two bytes; each checks the numbers of everyone on its channel.
"""

from __future__ import annotations

import random
import select
import signal
import socket
import time
from pathlib import Path

from by_hand import Server, free_port, serving
from irc_kit import lift_limits

from tapd.model.application import Application
from tapd.services.irc import IrcNetwork

CHANNELS = 10
MEMBERS = 20
MESSAGES_MIN = 12
KILLS = 6


class Chatter:
    """One client: what it said, and what it heard from whom."""

    def __init__(self, port: int, number: int) -> None:
        self.nick = f"c{number}"
        self.channel = f"#room{number % CHANNELS}"
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.said = 0
        self.heard: dict[str, int] = {}
        self.has_joined = False
        self.goes_on = True
        self.sock.sendall(
            b"CAP REQ :echo-message\r\nNICK %s\r\nUSER u 0 * :u\r\nCAP END\r\nJOIN %s\r\n"
            % (self.nick.encode(), self.channel.encode())
        )

    def say(self) -> None:
        """Say the next number, in two pieces."""
        line = f"PRIVMSG {self.channel} :{self.said}\r\n".encode()
        self.said += 1
        cut = random.randrange(1, len(line))
        self.sock.sendall(line[:cut])
        self.sock.sendall(line[cut:])

    def read(self) -> None:
        """Take what has come."""
        data = self.sock.recv(65536)
        assert data, f"{self.nick}: the server closed the connection"
        *lines, self.buffer = (self.buffer + data).split(b"\r\n")
        for line in lines:
            self._hear(line.decode())

    def _hear(self, line: str) -> None:
        source, _, rest = line.partition(" ")
        if rest.startswith(f"366 {self.nick} "):
            assert not self.has_joined, "joined twice"
            self.has_joined = True
        assert not rest.startswith("QUIT"), line
        if not rest.startswith("PRIVMSG "):
            return
        nick = source[1:].partition("!")[0]
        _, channel, text = rest.split(" ")
        assert channel == self.channel
        expected = self.heard.get(nick, 0)
        assert int(text[1:]) == expected, f"{self.nick} heard {text} of {nick} after {expected - 1}"
        self.heard[nick] = expected + 1
        if nick == self.nick and (self.goes_on or self.said < MESSAGES_MIN):
            self.say()

    def has_heard(self, others: list[Chatter]) -> bool:
        """Whether it has heard all that those on its channel have said."""
        said = {each.nick: each.said for each in others if each.channel == self.channel}
        return self.heard == said


def pump(chatters: list[Chatter], poll: select.epoll, seconds: float) -> None:
    """Have everyone read what comes for some time."""
    by_fd = {each.sock.fileno(): each for each in chatters}
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for fd, _event in poll.poll(left):
            by_fd[fd].read()


def strike(server: Server, seen: set[int]) -> None:
    child = server.child()
    if child is not None and child not in seen and server.kill(signal.SIGKILL):
        seen.add(child)


def test_a_storm_over_irc(tmp_path: Path) -> None:
    random.seed(7)
    port = free_port()
    application = Application("irc")
    network = IrcNetwork("Storm", "irc.storm.internal", 0.0)
    lift_limits(network)
    application.listen(f"127.0.0.1:{port}", network)
    poll = select.epoll()
    chatters: list[Chatter] = []
    with serving(tmp_path, application) as server:
        killed: set[int] = set()
        try:
            for number in range(CHANNELS * MEMBERS):
                chatters.append(Chatter(port, number))
                poll.register(chatters[-1].sock.fileno(), select.EPOLLIN)
                if number == CHANNELS * MEMBERS // 2:
                    strike(server, killed)  # while they register
            deadline = time.monotonic() + 240
            while not all(each.has_joined for each in chatters):
                assert time.monotonic() < deadline, server.log()
                pump(chatters, poll, 0.05)
            for each in chatters:
                each.say()
            while len(killed) < KILLS:
                assert time.monotonic() < deadline, server.log()
                pump(chatters, poll, random.uniform(0.05, 0.15))
                strike(server, killed)
            for each in chatters:
                each.goes_on = False
            while not all(each.has_heard(chatters) for each in chatters):
                assert time.monotonic() < deadline, server.log()
                pump(chatters, poll, 0.05)
        finally:
            poll.close()
            for each in chatters:
                each.sock.close()
