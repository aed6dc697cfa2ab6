"""Thousands of connections inside a booted Debian, across a restart and a SIGKILL.

Run by root in that system: ``many_on_systemd.py NAME PORT CONNECTIONS``, with the
storm's server under the unit tapd@NAME. Prints what the connections cost PID 1
and how long it took until every one of them had been answered again.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(unit: str, name: str) -> int:
    """Return a numeric property of a unit."""
    command = ["systemctl", "show", "--value", f"--property={name}", unit]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Crowd:
    """All the connections, each with its number of lines so far."""

    def __init__(self, port: int, count: int) -> None:
        self.socks = []
        self.lines = 0
        for index in range(count):
            sock = socket.create_connection((f"127.0.0.{index % 8 + 1}", port))
            assert sock.recv(100) == b"hello\n"
            self.socks.append(sock)

    def answer_all(self) -> float:
        """Send a line on each and check each answer; return the seconds it took."""
        line = b"%d crowd\n" % self.lines
        started = time.perf_counter()
        for sock in self.socks:
            sock.send(line)
        poll = select.epoll()
        waiting = {sock.fileno(): sock for sock in self.socks}
        for fd in waiting:
            poll.register(fd, select.EPOLLIN)
        counts = []
        while waiting:
            ready = poll.poll(60)
            assert ready, f"{len(waiting)} connections are never answered"
            for fd, _event in ready:
                number, count, text = waiting.pop(fd).recv(100).split()
                assert (int(number), text) == (self.lines, b"crowd")
                counts.append(int(count))
                poll.unregister(fd)
        poll.close()
        size = len(self.socks)
        assert sorted(counts) == list(range(self.lines * size + 1, (self.lines + 1) * size + 1))
        self.lines += 1
        return time.perf_counter() - started


def outage_s(crowd: Crowd, unit: str, strike: Callable[[int], object]) -> float:
    """Return the longest time to answer all, from the strike until the next process has."""
    before = show(unit, "MainPID")
    strike(before)
    longest_s = crowd.answer_all()
    while show(unit, "MainPID") in (before, 0):
        longest_s = max(longest_s, crowd.answer_all())
    return max(longest_s, crowd.answer_all())


def main() -> None:
    """Measure and print."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    unit, port, count = f"tapd@{sys.argv[1]}.service", int(sys.argv[2]), int(sys.argv[3])
    before_s = cpu_s(1)
    started = time.perf_counter()
    crowd = Crowd(port, count)
    opened_s = time.perf_counter() - started
    print(
        f"{count} connections opened in {opened_s:.2f} s; "
        f"PID 1 spent {(cpu_s(1) - before_s) / count * 1e6:.1f} us on each; "
        f"{show(unit, 'NFileDescriptorStore')} descriptors stored"
    )
    print(f"all answered, undisturbed: {crowd.answer_all():.2f} s")
    for what, strike in (
        ("systemctl restart", lambda _pid: subprocess.Popen(["systemctl", "restart", unit])),
        ("SIGKILL", lambda pid: os.kill(pid, signal.SIGKILL)),
        ("SIGKILL", lambda pid: os.kill(pid, signal.SIGKILL)),
    ):
        print(f"{what}: all answered again after {outage_s(crowd, unit, strike):.2f} s (goal: 1)")


if __name__ == "__main__":
    main()
