"""A sleeping telnet server: how long its waking client waits, and what it weighs when idle.

Both are ratios to a bare ``python3 -c 'import asyncio'`` in the same run: from the
client's SYN to its first byte (the goal: at most 2.0), and the resident memory of an
idle server (the goal: at most 1.6; RSS, and PSS for what is not shared). The server
sleeps under the embedded manager, which starts it as systemd would; with ``--systemd``
it is measured in booted Debians instead, and 100 sleeping servers are counted.
``python benchmarks/bench_wake.py [ROUNDS] [--systemd] [--profile]``.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(TOP / "tests" / "support")]

GOAL_WAKE = 2.0
GOAL_MEMORY = 1.6
BARE = "import asyncio"


def weigh(pid: int) -> dict[str, int]:
    """Return RSS and PSS of a process, in KiB (proc_pid_smaps_rollup(5))."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(kib) for name, kib in re.findall(r"^(Rss|Pss): +([0-9]+) kB", text, re.M)}


def bare_s(python: str) -> float:
    """Return how long a bare interpreter takes."""
    started = time.perf_counter()
    subprocess.run([python, "-c", BARE], check=True)
    return time.perf_counter() - started


def bare_weight(python: str) -> dict[str, int]:
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


def wake_s(address: tuple[str, int]) -> tuple[float, socket.socket]:
    """Return the time from SYN to first byte, and the connection."""
    started = time.perf_counter()
    client = socket.create_connection(address, timeout=30)
    assert client.recv(1)
    return time.perf_counter() - started, client


def tell(what: str, woken: list[float], bare: list[float]) -> None:
    """Print times as a ratio."""
    ratio = statistics.median(woken) / statistics.median(bare)
    print(
        f"{what}: {statistics.median(woken) * 1000:.0f} ms from SYN to first byte, "
        f"import asyncio {statistics.median(bare) * 1000:.0f} ms: "
        f"{ratio:.2f} (goal: {GOAL_WAKE})",
        flush=True,
    )


def tell_weight(what: str, server: dict[str, int], bare: dict[str, int]) -> None:
    """Print memory as ratios."""
    for name in ("Rss", "Pss"):
        print(
            f"{what}: {name.upper()} {server[name] / 1024:.1f} MiB, bare {bare[name] / 1024:.1f}: "
            f"{server[name] / bare[name]:.2f} (goal: {GOAL_MEMORY})",
            flush=True,
        )


def bench_by_hand(rounds: int) -> None:
    """Measure under the embedded manager."""
    from by_hand import Server, free_port, wait_for

    from tapd.model.application import Application
    from tapd.services.telnet import ShellFactory

    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        application = Application("telnet")
        application.authorizer.add_account("admin", "woohoo")
        application.listen(f"127.0.0.1:{port}", ShellFactory())
        server = Server(pathlib.Path(directory), application, "--idle-exit=0.3")
        server.environ.pop("PYTHONUNBUFFERED")
        server.start()
        try:
            woken, bare = [], []
            for number in range(rounds):
                wait_for(lambda: server.log().count("sleeps;") > number, "sleeping server")
                bare.append(bare_s(sys.executable))
                taken_s, client = wake_s(("127.0.0.1", port))
                woken.append(taken_s)
                if number == rounds - 1:
                    child = server.child()
                    assert child is not None
                    weight = weigh(child)
                client.close()
            tell("embedded manager", woken, bare)
            tell_weight("embedded manager", weight, bare_weight(sys.executable))
        finally:
            server.end()


def profile(top: int = 25) -> None:
    """Print what the daemon's start imports, the slowest first."""
    with tempfile.TemporaryDirectory() as directory:
        code = (
            "from tapd.host.daemon import Daemon; import tapd.services.telnet; import tapd.cli.tapd"
        )
        said = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", f"{BARE}; {code}"],
            check=True, capture_output=True, text=True, cwd=directory,
        ).stderr  # fmt: skip
    rows = re.findall(r"import time: +([0-9]+) \| +([0-9]+) \| +(\S+)", said)
    after = [name for _own, _all, name in rows].index("asyncio") + 1
    own = sorted(((int(mine), name) for mine, _all, name in rows[after:]), reverse=True)
    print(f"{sum(mine for mine, _ in own) / 1000:.1f} ms in {len(own)} modules beyond asyncio:")
    for mine, name in own[:top]:
        print(f"  {mine / 1000:6.2f} ms  {name}")


def main() -> None:
    """Measure what was asked for."""
    arguments = sys.argv[1:]
    rounds = next((int(word) for word in arguments if word.isdigit()), 11)
    if "--profile" in arguments:
        profile()
        return
    bench_by_hand(rounds)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
