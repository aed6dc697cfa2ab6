"""Wakes a sleeping server inside a booted Debian, and weighs it; prints JSON.

Run by root in that system: ``wake_on_systemd.py NAME PORT ROUNDS``, with a telnet
server under the unit tapd@NAME that sleeps soon.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

PYTHON = "/usr/bin/python3"
BARE = "import asyncio"


def weigh(pid: int) -> dict[str, int]:
    """Return RSS and PSS of a process, in KiB (proc_pid_smaps_rollup(5))."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.findall(r"^(Rss|Pss): +([0-9]+) kB", text, re.MULTILINE)
    return {name: int(kib) for name, kib in found}


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used (proc_pid_schedstat(5))."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def bare_s(python: str = PYTHON) -> float:
    """Return how long a bare interpreter takes."""
    started = time.perf_counter()
    subprocess.run([python, "-c", BARE], check=True)
    return time.perf_counter() - started


def bare_weight(python: str = PYTHON) -> dict[str, int]:
    """Return what a bare interpreter weighs."""
    code = f"{BARE}; print(flush=True); input()"
    with subprocess.Popen(
        [python, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        weight = weigh(process.pid)
        process.kill()
    return weight


def wake_s(port: int) -> tuple[float, socket.socket]:
    """Return the time from SYN to first byte, and the connection."""
    started = time.perf_counter()
    client = socket.create_connection(("127.0.0.1", port), timeout=120)
    assert client.recv(1)
    return time.perf_counter() - started, client


def show(unit: str, name: str) -> str:
    """Return a property of a unit."""
    command = ["systemctl", "show", "--value", f"--property={name}", unit]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Measure and print."""
    unit, port, rounds = f"tapd@{sys.argv[1]}.service", int(sys.argv[2]), int(sys.argv[3])
    woken, bare, weight = [], [], {}
    for _ in range(rounds):
        while show(unit, "ActiveState") != "inactive":
            time.sleep(0.05)
        bare.append(bare_s())
        taken_s, client = wake_s(port)
        woken.append(taken_s)
        weight = weigh(int(show(unit, "MainPID")))
        client.close()
    print(json.dumps({"woken": woken, "bare": bare, "server": weight, "weight": bare_weight()}))


if __name__ == "__main__":
    main()
