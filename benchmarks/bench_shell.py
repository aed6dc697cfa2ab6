"""Evaluations at the telnet prompt, beside Twisted's manhole, in one run.

Prints evaluations a second, the server's own processor time for one, the 99th
percentile of their latency and the memory of one logged-in connection, of both,
and the ratios. The goals: at least twice the evaluations, at most the memory and
the latency. Both are driven in character mode over real sockets; tapd with its
journal, under the embedded manager.

For the rate all connections send a line, then the answers are awaited, last
first: so the generator, which shares the processors with the server, is seldom
woken. Once each line is the same (tapd keeps the code of what is repeated), once
each is another. The latency is measured apart: each connection sends its next
line once it has the answer.
Twisted is installed by pip into a virtual environment of its own, in the user's cache.
``python benchmarks/bench_shell.py [SECONDS]``.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

import argon2

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from by_hand import free_port, serving  # noqa: E402
from load import percentile  # noqa: E402

from tapd.model.access.accounts import Account  # noqa: E402
from tapd.model.application import Application  # noqa: E402
from tapd.services.telnet import ShellFactory  # noqa: E402

CONNECTIONS = 20
IDLE_CONNECTIONS = 300
ROUNDS = 5
LINE = b"1+1\r\0"
LOADS = {"the same line": LINE, "new lines": b"1+%d\r\0"}
PROMPT = b">>> "
_ACCEPT = b"\xff\xfd\x01\xff\xfd\x03"  # DO ECHO, DO SGA


def private_kib(pid: int) -> int:
    """Return the memory of a process's own, in KiB (proc_pid_smaps_rollup)."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def read_until(sock: socket.socket, end: bytes) -> None:
    """Read until `end` came; what stands behind it is negotiation."""
    data = b""
    while end not in data:
        chunk = sock.recv(65536)
        assert chunk, data
        data += chunk


def connect(port: int, *, logs_in: bool) -> socket.socket:
    """Return a connection at its prompt, in character mode."""
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port), timeout=30)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(_ACCEPT)
    if logs_in:
        read_until(sock, b"username: ")
        sock.sendall(b"admin\r\0woohoo\r\0")
    read_until(sock, PROMPT)
    sock.sendall(b"0\r\0")  # so that nothing but evaluations is in flight from here on
    read_until(sock, PROMPT)
    return sock


class Rate(NamedTuple):
    """What one load on one server found: evaluations a second, and its time for one in us."""

    per_second: float
    processor_us: float


def processor_s(pid: int) -> float:
    """Return how long a process of one thread was on a processor (proc_pid_schedstat)."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def measure_rate(port: int, pid: int, seconds: float, line: bytes, *, logs_in: bool) -> Rate:
    """Send `line`, with a number in it where it has a place for one, by all connections at once."""
    socks = [connect(port, logs_in=logs_in) for _ in range(CONNECTIONS)]
    answers = socks[::-1]
    count = 0
    before = processor_s(pid)
    started = now = time.perf_counter()
    while now < started + seconds:
        for sock in socks:
            count += 1
            sock.send(line % count if line is not LINE else line)
        for sock in answers:
            answer = sock.recv(4096)
            while not answer.endswith(PROMPT):
                answer += sock.recv(4096)
        # The first to send was the last to be read.
        number = 2 if line is LINE else count - CONNECTIONS + 2
        assert b"\n%d\r" % number in answer, answer
        now = time.perf_counter()
    used = processor_s(pid) - before
    for sock in socks:
        sock.close()
    return Rate(count / (now - started), used / count * 1e6)


def measure_latency(port: int, seconds: float, *, logs_in: bool) -> float:
    """Return the 99th percentile of latency in ms, with one line in flight by connection."""
    socks = {}
    poll = select.epoll()
    for _ in range(CONNECTIONS):
        sock = connect(port, logs_in=logs_in)
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    latencies = []
    tails = dict.fromkeys(socks, b"")
    sent_at = {}
    started = now = time.perf_counter()
    for fd, sock in socks.items():
        sock.send(LINE)
        sent_at[fd] = now
    while now < started + seconds:
        for fd, _event in poll.poll(1):
            tails[fd] += socks[fd].recv(65536)
            if not tails[fd].endswith(PROMPT):
                continue
            now = time.perf_counter()
            latencies.append(now - sent_at[fd])
            sent_at[fd], tails[fd] = now, b""
            socks[fd].send(LINE)
    for sock in socks.values():
        sock.close()
    return float(percentile(latencies, 0.99)) * 1e3


def memory_kib(port: int, pid: int, *, logs_in: bool) -> float:
    """Return what one connection that has evaluated a line costs, in KiB."""
    connect(port, logs_in=logs_in).close()
    before = private_kib(pid)
    socks = []
    for _ in range(IDLE_CONNECTIONS):
        sock = connect(port, logs_in=logs_in)
        sock.sendall(LINE)
        read_until(sock, PROMPT)
        socks.append(sock)
    used = private_kib(pid) - before
    for sock in socks:
        sock.close()
    return used / IDLE_CONNECTIONS


@contextlib.contextmanager
def tapd_shell() -> Iterator[tuple[int, int]]:
    """Serve a shell; yield its port and its process."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        application = Application("telnet")
        cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        application.authorizer.accounts["admin"] = Account("admin", cheap.hash("woohoo"))
        service = ShellFactory()
        service.connections_per_address_max = 0  # all people come from one address here
        application.listen(f"127.0.0.1:{port}", service)
        with serving(pathlib.Path(directory), application) as server:
            child = server.child()
            assert child is not None
            yield port, child


def twisted_python() -> str:
    """Return a Python that has Twisted, made at the first time."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    directory = cache / "tapd" / "bench-twisted"
    python = directory / "bin" / "python"
    ready = directory / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "twisted"], check=True)
        ready.touch()
    return str(python)


@contextlib.contextmanager
def manhole(python: str) -> Iterator[tuple[int, int]]:
    """Serve a manhole; yield its port and its process."""
    port = free_port()
    process = subprocess.Popen(
        [python, HERE / "manhole_server.py", str(port)], stderr=subprocess.DEVNULL
    )  # it logs each lost connection
    try:
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def bench(python: str, seconds: float) -> None:
    """Print the table."""
    with tapd_shell() as (port, pid), manhole(python) as (other_port, other_pid):
        for name, line in LOADS.items():
            rates, times = [], []
            for _ in range(ROUNDS):
                own = measure_rate(port, pid, seconds, line, logs_in=True)
                other = measure_rate(other_port, other_pid, seconds, line, logs_in=False)
                rates.append(own.per_second / other.per_second)
                times.append(other.processor_us / own.processor_us)
                print(
                    f"{name}: tapd {own.per_second:6.0f}/s, {own.processor_us:4.1f} us each   "
                    f"manhole {other.per_second:6.0f}/s, {other.processor_us:4.1f} us each   "
                    f"ratio {rates[-1]:.2f}, by processor time {times[-1]:.2f}"
                )
            print(
                f"evaluations, {name}: {statistics.median(rates):.2f} times manhole's, "
                f"by processor time {statistics.median(times):.2f} (the goal: 2)"
            )
        tails = [
            (
                measure_latency(port, seconds, logs_in=True),
                measure_latency(other_port, seconds, logs_in=False),
            )
            for _ in range(ROUNDS)
        ]
        p99, other_p99 = (statistics.median(column) for column in zip(*tails, strict=True))
    # Servers that are new: what closed connections left would be used again.
    with tapd_shell() as (port, pid), manhole(python) as (other_port, other_pid):
        kib = memory_kib(port, pid, logs_in=True)
        other_kib = memory_kib(other_port, other_pid, logs_in=False)
    print(
        f"p99: tapd {p99:.2f} ms, manhole {other_p99:.2f} ms, "
        f"ratio {p99 / other_p99:.2f} (the goal: 1)"
    )
    print(
        f"a connection: tapd {kib:.1f} KiB, manhole {other_kib:.1f} KiB, "
        f"ratio {kib / other_kib:.2f} (the goal: 1)"
    )


if __name__ == "__main__":
    bench(twisted_python(), float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
