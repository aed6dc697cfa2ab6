"""9,000 connections on real systemd, of Debian 12 and 13: a restart and a SIGKILL.

Boots both in systemd-nspawn with the package built from this tree, as the tests
do (root only). Prints what each connection costs PID 1 (the goal: with all else
at most 20 us), and the time until all are answered again (the goal: 1 s).
``python benchmarks/bench_on_systemd.py [N]``.
"""

from __future__ import annotations

import pathlib
import sys

TOP = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(TOP / "tests" / "support")]

import booted  # noqa: E402
from packaged import packaged_debians  # noqa: E402
from storm_server import start_storm_server  # noqa: E402


def bench(count: int) -> None:
    """Print the table."""
    if why_not := booted.why_not():
        print(f"not measured: {why_not}")
        return
    for debian in packaged_debians():
        start_storm_server(debian, "crowd", "0.0.0.0:4161")
        print(f"{debian.suite}:", flush=True)
        words = ("python3", "-m", "many_on_systemd", "crowd", "4161", str(count))
        print(debian.output(*words, timeout_s=300))


if __name__ == "__main__":
    bench(int(sys.argv[1]) if len(sys.argv) > 1 else 9000)
