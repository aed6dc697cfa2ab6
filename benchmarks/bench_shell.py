"""Evaluations at the telnet prompt, beside Twisted's manhole, in one run.

Prints evaluations a second, the 99th percentile of their latency and the memory
of one logged-in connection, of both, and the ratios. The goals: at least twice
the evaluations, at most the memory. Both are driven in character mode over real
sockets; tapd with its journal, under the embedded manager.
Twisted is installed by pip into a virtual environment of its own, in the user's cache.
``python benchmarks/bench_shell.py [SECONDS]``.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import argon2

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from by_hand import free_port, serving  # noqa: E402
from load import percentile  # noqa: E402

from tapd.model.accounts import Account  # noqa: E402
from tapd.model.application import Application  # noqa: E402
from tapd.services.telnet import ShellFactory  # noqa: E402

CONNECTIONS = 20
IDLE_CONNECTIONS = 300
ROUNDS = 3
LINE = b"1+1\r\0"
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


def measure(port: int, seconds: float, *, logs_in: bool) -> tuple[float, float]:
    """Return evaluations a second and the 99th percentile of latency in seconds."""
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
            assert b"2" in tails[fd]
            now = time.perf_counter()
            latencies.append(now - sent_at[fd])
            sent_at[fd], tails[fd] = now, b""
            socks[fd].send(LINE)
    for sock in socks.values():
        sock.close()
    return len(latencies) / (now - started), percentile(latencies, 0.99)


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
        application.listen(f"127.0.0.1:{port}", ShellFactory())
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
    rates: list[tuple[float, float]] = []
    with tapd_shell() as (port, pid), manhole(python) as (other_port, other_pid):
        for _ in range(ROUNDS):
            rate, p99 = measure(port, seconds, logs_in=True)
            other_rate, other_p99 = measure(other_port, seconds, logs_in=False)
            rates.append((rate, other_rate))
            print(
                f"tapd {rate:7.0f}/s, p99 {p99 * 1e3:5.2f} ms   "
                f"manhole {other_rate:7.0f}/s, p99 {other_p99 * 1e3:5.2f} ms   "
                f"ratio {rate / other_rate:.2f}"
            )
        kib = memory_kib(port, pid, logs_in=True)
        other_kib = memory_kib(other_port, other_pid, logs_in=False)
    middle = sorted(rate / other_rate for rate, other_rate in rates)[ROUNDS // 2]
    print(f"evaluations: {middle:.2f} times manhole's (the goal: 2)")
    print(
        f"a connection: tapd {kib:.1f} KiB, manhole {other_kib:.1f} KiB, "
        f"ratio {kib / other_kib:.2f} (the goal: 1)"
    )


if __name__ == "__main__":
    bench(twisted_python(), float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
