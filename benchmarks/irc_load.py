"""Clients of an IRC server, for `bench_irc`: one process, epoll, raw sockets.

It parses nothing: it counts line ends, and looks for a mark while clients
register. So its own ceiling is far above what a server of one thread delivers
(`measure_ceiling`).
"""

from __future__ import annotations

import dataclasses
import select
import socket
import time

TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."


@dataclasses.dataclass(slots=True)
class Client:
    """One connection."""

    sock: socket.socket
    nick: str
    channel: str
    tail: bytes = b""
    has_nick: bool = False


class Load:
    """The clients of one server."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._poll = select.epoll()
        self._by_fd: dict[int, Client] = {}
        self._members: list[list[Client]] = []
        self._buffer = bytearray(1 << 20)

    def join(self, prefix: str, channels: int, members: int, at_once: int) -> float:
        """Connect, register and join `members` clients to each channel; return the seconds.

        A client says JOIN when it was welcomed, and has joined at the end of the names.

        Args:
            prefix: of the nicks and the channels.
            channels: how many.
            members: of each.
            at_once: clients that register at the same time.
        """
        self._members = [[] for _ in range(channels)]
        waiting: set[int] = set()
        started = time.perf_counter()
        for number in range(channels * members):
            nick = f"{prefix}{number}"
            sock = socket.create_connection(self._address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(f"NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n".encode())
            sock.setblocking(False)
            client = Client(sock, nick, f"#{prefix}{number % channels}")
            self._members[number % channels].append(client)
            self._by_fd[sock.fileno()] = client
            self._poll.register(sock, select.EPOLLIN)
            waiting.add(sock.fileno())
            while len(waiting) >= at_once:
                self._go_on(waiting)
        while waiting:
            self._go_on(waiting)
        return time.perf_counter() - started

    def _go_on(self, waiting: set[int]) -> None:
        events = self._poll.poll(30)
        assert events, f"{len(waiting)} clients wait in vain"
        for fd, _event in events:
            client = self._by_fd[fd]
            data = client.sock.recv(1 << 20)
            assert data, f"the server closed a connection: {client.tail!r}"
            if fd not in waiting:
                continue
            data = client.tail + data
            if not client.has_nick:
                if b"PING " in data:  # a question that some servers ask first
                    token = data.rpartition(b"PING ")[2].partition(b"\r\n")[0]
                    client.sock.send(b"PONG " + token + b"\r\n")
                    data = b""
                if b" 001 " in data:
                    client.has_nick = True
                    client.sock.send(f"JOIN {client.channel}\r\n".encode())
            if client.has_nick and b" 366 " in data:
                waiting.discard(fd)
            client.tail = data[-16:]

    def settle(self, quiet_s: float = 0.3) -> None:
        """Read until nothing has come for `quiet_s`."""
        while events := self._poll.poll(quiet_s):
            for fd, _event in events:
                self._by_fd[fd].sock.recv_into(self._buffer)

    def talk(self, seconds: float, window: int) -> tuple[int, float]:
        """Have one client of each channel talk; return how much was delivered, in how long.

        Args:
            seconds: how long.
            window: messages that it says before it waits until all members have them.
        """
        missing = {}  # line ends that each channel is still to get, by each member's fd
        talkers = {}
        expected = []
        for index, clients in enumerate(self._members):
            expected.append(window * (len(clients) - 1))
            burst = f"PRIVMSG {clients[0].channel} :{TEXT}\r\n".encode() * window
            talkers[index] = (clients[0].sock, burst)
            missing.update((each.sock.fileno(), index) for each in clients)
        left = list(expected)
        socks = {fd: client.sock for fd, client in self._by_fd.items()}
        buffer = self._buffer
        delivered = running = 0
        started = time.perf_counter()
        deadline = started + seconds
        for sock, burst in talkers.values():
            sock.sendall(burst)
            running += 1
        while running:
            events = self._poll.poll(30, 4096)
            assert events, f"{sum(left)} deliveries are missing"
            goes_on = time.perf_counter() < deadline
            for fd, _event in events:
                size = socks[fd].recv_into(buffer)
                assert size, "the server closed a connection"
                count = buffer.count(b"\n", 0, size)
                delivered += count
                index = missing[fd]
                left[index] -= count
                if left[index] <= 0:
                    if goes_on:
                        sock, burst = talkers[index]
                        left[index] += expected[index]
                        sock.sendall(burst)
                    else:
                        running -= 1
        return delivered, time.perf_counter() - started

    def close(self) -> None:
        """Close all connections."""
        for client in self._by_fd.values():
            client.sock.close()
        self._by_fd.clear()


def measure_ceiling(members: int, window: int, seconds: float = 1.0) -> float:
    """Return the lines a second that a `Load` can count where the server costs nothing.

    The lines are put into socket pairs beforehand, and the time of that is not counted.
    """
    line = f":somebody!somebody@127.0.0.1 PRIVMSG #channel :{TEXT}\r\n".encode()
    poll = select.epoll()
    pairs = [socket.socketpair() for _ in range(members)]
    socks = {}
    for _near, far in pairs:
        poll.register(far, select.EPOLLIN)
        socks[far.fileno()] = far
    buffer = bytearray(1 << 20)
    counted, busy_s = 0, 0.0
    while busy_s < seconds:
        for near, _far in pairs:
            near.sendall(line * window)
        due = members * window
        started = time.perf_counter()
        while due:
            for fd, _event in poll.poll(1, 4096):
                size = socks[fd].recv_into(buffer)
                due -= buffer.count(b"\n", 0, size)
        busy_s += time.perf_counter() - started
        counted += members * window
    for near, far in pairs:
        near.close()
        far.close()
    return counted / busy_s
