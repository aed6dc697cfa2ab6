"""9,000 connections held: what one costs, and how long all wait at a restart and at a SIGKILL.

Under the embedded manager. Prints the time to accept and answer all, the
process's own memory for each idle connection (the goal: at most 8 KiB), and the
time from a reload for new code and from SIGKILL until every connection has been
answered again (the goal: 1 s each). ``python benchmarks/bench_connections.py [N]``.
"""

from __future__ import annotations

import pathlib
import resource
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from by_hand import Server, free_port, serving  # noqa: E402
from echo_servers import EchoService  # noqa: E402

from tapd.model.application import Application  # noqa: E402

LINE = b"ping\n"


def private_kib(pid: int) -> int:
    """Return the memory of a process's own, in KiB (proc_pid_smaps_rollup)."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def answer_all(socks: list[socket.socket]) -> float:
    """Send a line on each connection and wait for all answers; return the seconds."""
    started = time.perf_counter()
    for sock in socks:
        sock.send(LINE)
    poll = select.epoll()
    waiting = {sock.fileno(): sock for sock in socks}
    for fd in waiting:
        poll.register(fd, select.EPOLLIN)
    while waiting:
        for fd, _event in poll.poll(30):
            answer = waiting.pop(fd).recv(100)
            assert answer == LINE, answer
            poll.unregister(fd)
    poll.close()
    return time.perf_counter() - started


def outage(server: Server, socks: list[socket.socket], strike: Callable[[], object]) -> float:
    """Return the longest time in which all were answered, from the strike to the next process."""
    before = server.child()
    strike()
    longest_s = answer_all(socks)
    while server.child() in (before, None):
        longest_s = max(longest_s, answer_all(socks))
    return max(longest_s, answer_all(socks))


def bench(count: int, server: Server, port: int) -> None:
    """Print the table for `count` connections."""
    before_kib = private_kib(server.child() or 0)
    started = time.perf_counter()
    socks = [socket.create_connection((f"127.0.0.{index % 8 + 1}", port)) for index in range(count)]
    answer_all(socks)
    opened_s = time.perf_counter() - started
    own_kib = private_kib(server.child() or 0) - before_kib
    print(
        f"{count} connections: opened and answered in {opened_s:.2f} s "
        f"({opened_s / count * 1e6:.0f} us each); {own_kib / count:.2f} KiB each (goal: 8)"
    )
    again_s = answer_all(socks)
    print(f"all answered, undisturbed: {again_s:.2f} s")
    for what, strike in (
        ("restart", server.restart),
        ("SIGKILL", server.kill),
        ("SIGKILL", server.kill),
    ):
        print(f"{what}: all answered again after {outage(server, socks, strike):.2f} s (goal: 1)")
    for sock in socks:
        sock.close()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        application = Application("echo")
        application.listen(f"0.0.0.0:{port}", EchoService())
        path = pathlib.Path(directory)
        with serving(path, application, python_path=str(HERE)) as server:
            try:
                bench(int(sys.argv[1]) if len(sys.argv) > 1 else 9000, server, port)
            except BaseException:
                print(server.log()[-3000:])
                raise
