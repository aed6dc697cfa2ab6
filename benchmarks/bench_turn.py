"""Durable request and reply through the full turn, beside bare asyncio streams.

Prints replies a second of both, in turn, and their ratio (the goal: at least
0.5), and the durable one's with ``--sync always`` over 500 connections (the
goal: at least 10,000). ``python benchmarks/bench_turn.py [SECONDS]``.
"""

from __future__ import annotations

import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from by_hand import free_port, serving  # noqa: E402
from echo_servers import EchoService  # noqa: E402

from tapd.model.application import Application  # noqa: E402

ROUNDS = 3


def load(port: int, connections: int, seconds: float) -> tuple[float, float, float]:
    """Run the load generator in a process of its own."""
    output = subprocess.run(
        [sys.executable, HERE / "load.py", str(port), str(connections), str(seconds)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    rate, median, p99 = map(float, output.split())
    return rate, median, p99


def wait_for_port(port: int) -> None:
    """Wait until something answers at `port`."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return


def bench(seconds: float) -> None:
    """Print the table."""
    ratios = []
    plain_port, port = free_port(), free_port()
    plain = subprocess.Popen([sys.executable, HERE / "echo_servers.py", str(plain_port)])
    try:
        wait_for_port(plain_port)
        with tempfile.TemporaryDirectory() as directory:
            application = Application("echo")
            application.listen(f"127.0.0.1:{port}", EchoService())
            with serving(pathlib.Path(directory), application, python_path=str(HERE)):
                for _ in range(ROUNDS):
                    streams = load(plain_port, 100, seconds)
                    durable = load(port, 100, seconds)
                    ratios.append(durable[0] / streams[0])
                    print(
                        f"100 connections: asyncio streams {streams[0]:8.0f}/s "
                        f"(p99 {streams[2] * 1e3:.2f} ms), durable {durable[0]:8.0f}/s "
                        f"(p99 {durable[2] * 1e3:.2f} ms), ratio {ratios[-1]:.2f}"
                    )
    finally:
        plain.terminate()
        plain.wait()
    print(f"durable to bare asyncio streams: {statistics.median(ratios):.2f} (goal: 0.5)")
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        application = Application("echo")
        application.listen(f"127.0.0.1:{port}", EchoService())
        path = pathlib.Path(directory)
        with serving(path, application, "--sync", "always", python_path=str(HERE)):
            rate, median, p99 = load(port, 500, seconds)
    print(
        f"--sync always, 500 connections: {rate:.0f}/s (goal: 10000), "
        f"median {median * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    bench(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
