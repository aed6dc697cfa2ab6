"""A sleeping telnet server: how long its waking client waits, and what it weighs when idle.

Both are ratios to a bare ``python3 -c 'import asyncio'`` in the same run: from the
client's SYN to its first byte (the goal: at most 2.0), and the resident memory of an
idle server (the goal: at most 1.6; RSS, and PSS for what is not shared). First under
the embedded manager, then, as root, on booted Debians, where 100 sleeping servers are
counted as well. ``python benchmarks/bench_wake.py [ROUNDS] [--profile]``, where the
latter tells what a start imports.
"""

from __future__ import annotations

import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
from typing import Any

TOP = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(TOP / "tests" / "support")]

import booted  # noqa: E402
from by_hand import Server, free_port, wait_for  # noqa: E402
from packaged import packaged_debians  # noqa: E402
from wake_on_systemd import BARE, bare_s, bare_weight, wake_s, weigh  # noqa: E402

from tapd.model.application import Application  # noqa: E402
from tapd.services.telnet import ShellFactory  # noqa: E402

GOAL_WAKE = 2.0
GOAL_MEMORY = 1.6
SLEEPING = 100
PORT = 4170


def tell(what: str, measured: dict[str, Any]) -> None:
    """Print what was measured, as ratios."""
    woken, bare = (statistics.median(measured[name]) for name in ("woken", "bare"))
    print(
        f"{what}: {woken * 1000:.0f} ms from SYN to first byte, import asyncio "
        f"{bare * 1000:.0f} ms: {woken / bare:.2f} (goal: {GOAL_WAKE})"
    )
    for name in ("Rss", "Pss"):
        server, plain = measured["server"][name], measured["weight"][name]
        print(
            f"{what}: {name.upper()} of an idle server {server / 1024:.1f} MiB, bare "
            f"{plain / 1024:.1f} MiB: {server / plain:.2f} (goal: {GOAL_MEMORY})",
            flush=True,
        )


def bench_by_hand(rounds: int) -> None:
    """Measure under the embedded manager."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        application = Application("telnet")
        application.authorizer.add_account("admin", "woohoo")
        application.listen(f"127.0.0.1:{port}", ShellFactory())
        server = Server(pathlib.Path(directory), application, "--idle-exit=0.3")
        server.environ.pop("PYTHONUNBUFFERED")
        server.start()
        woken, bare, weight = [], [], {}
        try:
            for number in range(rounds):
                wait_for(
                    lambda past=number: server.log().count("sleeps;") > past, "sleeping server"
                )
                bare.append(bare_s(sys.executable))
                taken_s, client = wake_s(port)
                woken.append(taken_s)
                child = server.child()
                assert child is not None
                weight = weigh(child)
                client.close()
        finally:
            server.end()
    plain = bare_weight(sys.executable)
    tell("embedded manager", {"woken": woken, "bare": bare, "server": weight, "weight": plain})


def bench_on_systemd(rounds: int) -> None:
    """Measure on booted Debians."""
    if why_not := booted.why_not():
        print(f"not measured on systemd: {why_not}")
        return
    measure = (TOP / "tests" / "support" / "wake_on_systemd.py").read_bytes()
    for debian in packaged_debians():
        debian.write("/root/wake_on_systemd.py", measure)
        before = count_processes(debian)
        make_sleepers(debian)
        more = count_processes(debian) - before
        print(f"{debian.suite}: {SLEEPING} sleeping servers are {more} processes more")
        debian.run("systemctl", "start", "tapd@sleeper0")
        words = ("/root/wake_on_systemd.py", "sleeper0", str(PORT), str(rounds))
        tell(debian.suite, json.loads(debian.output("python3", *words, timeout_s=300)))


def make_sleepers(debian: booted.Booted) -> None:
    """Make the servers, start and let go to sleep the first of them, open all ports."""
    script = (
        "for n in $(seq 0 $(($1 - 1))); do tapd-mktap telnet --name sleeper$n --idle-exit 0.3 "
        "--port $(($2 + n)) --password-file - <<<secret >/dev/null || exit 1; done; "
        "systemctl start $(seq --format='tapd@sleeper%g.socket' 0 $(($1 - 1)))"
    )
    debian.run("bash", "-c", script, "bash", str(SLEEPING), str(PORT), timeout_s=600)


def count_processes(debian: booted.Booted) -> int:
    """Return how many processes there are, without those that count."""
    return len(debian.output("sh", "-c", "ls -d /proc/[0-9]*").split())


def profile(top: int = 25) -> None:
    """Print what the daemon's start imports beyond asyncio, the slowest first."""
    modules = "tapd.cli.tapd.command, tapd.host.daemon, tapd.services.telnet"
    code = f"import {modules}"
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"{BARE}; {code}"],
        check=True, capture_output=True, text=True,
    ).stderr  # fmt: skip
    rows = re.findall(r"import time: +([0-9]+) \| +[0-9]+ \| +(\S+)", said)
    after = [name for _own, name in rows].index("asyncio") + 1
    own = sorted(((int(mine), name) for mine, name in rows[after:]), reverse=True)
    print(f"{sum(mine for mine, _ in own) / 1000:.1f} ms in {len(own)} modules beyond asyncio:")
    for mine, name in own[:top]:
        print(f"  {mine / 1000:6.2f} ms  {name}")


def main() -> None:
    """Measure what was asked for."""
    rounds = next((int(word) for word in sys.argv[1:] if word.isdigit()), 11)
    if "--profile" in sys.argv[1:]:
        profile()
        return
    bench_by_hand(rounds)
    bench_on_systemd(rounds)


if __name__ == "__main__":
    main()
