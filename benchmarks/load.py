"""Load generators for the benchmarks: raw sockets and epoll, in a process of their own."""

from __future__ import annotations

import select
import socket
import sys
import time

MESSAGE = b"x" * 31 + b"\n"


def ping_pong(
    port: int, connections: int, seconds: float, message: bytes = MESSAGE
) -> tuple[float, list[float]]:
    """Keep one request in flight on each connection; return replies a second and latencies."""
    poll = select.epoll()
    by_fd: dict[int, socket.socket] = {}
    sent_at: dict[int, float] = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        by_fd[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    size = len(message)
    for sock in by_fd.values():  # the first round is not counted: it warms up
        sock.sendall(message)
    for sock in by_fd.values():
        got = 0
        while got < size:
            got += len(sock.recv(size - got))
    latencies: list[float] = []
    replies = 0
    started = now = time.perf_counter()
    for fd, sock in by_fd.items():
        sock.send(message)
        sent_at[fd] = now
    deadline = started + seconds
    while now < deadline:
        for fd, _event in poll.poll(1):
            sock = by_fd[fd]
            data = sock.recv(65536)
            while len(data) % size:
                data += sock.recv(65536)
            now = time.perf_counter()
            latencies.append(now - sent_at[fd])
            sent_at[fd] = now
            replies += 1
            sock.send(message)
    elapsed = now - started
    for sock in by_fd.values():
        sock.close()
    return replies / elapsed, latencies


def percentile(values: list[float], part: float) -> float:
    """Return the value below which `part` of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


if __name__ == "__main__":
    rate, latencies = ping_pong(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    print(f"{rate} {percentile(latencies, 0.5)} {percentile(latencies, 0.99)}")
