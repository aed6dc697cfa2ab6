"""What the ready-made protocols add to a bare `Protocol`: echo by each, in turn.

Prints the server's own CPU time for a reply over 100 connections, of an echo by
`Protocol` (what bench_turn measures), `LineProtocol` and `RequestProtocol`, and
how many replies each gives in the time of one by the first (the goal for lines:
at least 0.9). CPU time, since that says the same on a machine that is busy. Before
that, the time for one line of a read of a thousand, without a socket.
``python benchmarks/bench_api.py [SECONDS]``.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import time
from typing import Any

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from bench_turn import load  # noqa: E402
from by_hand import free_port, serving  # noqa: E402
from echo_servers import EchoService, LineEchoService, RequestEchoService  # noqa: E402
from recording import RecordingTransport  # noqa: E402

from tapd.model.application import Application  # noqa: E402

ROUNDS = 5
LINES = 1000


def bench(seconds: float) -> None:
    """Print the table."""
    services = {"Protocol": EchoService, "Line": LineEchoService, "Request": RequestEchoService}
    ports = {name: free_port() for name in services}
    application = Application("echo")
    for name, service in services.items():
        application.listen(f"127.0.0.1:{ports[name]}", service())
    costs: dict[str, list[float]] = {name: [] for name in services}
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(pathlib.Path(directory), application, python_path=str(HERE)) as server,
    ):
        pid = server.child()
        assert pid is not None
        for _ in range(ROUNDS):
            for name, port in ports.items():
                before_s = cpu_s(pid)
                rate, _median, _p99 = load(port, 100, seconds)
                costs[name].append((cpu_s(pid) - before_s) / (rate * seconds))
            print("  ".join(f"{name} {found[-1] * 1e6:5.1f} us" for name, found in costs.items()))
    base = min(costs["Protocol"])
    for name, found in costs.items():
        print(f"echo by {name}: {min(found) * 1e6:.1f} us, {base / min(found):.2f} of Protocol's")


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used (proc_pid_stat(5))."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bench_many_lines() -> None:
    """Print the time for one of many lines in a read."""
    data = b"hello world\r\n" * LINES
    for service in (EchoService, LineEchoService, RequestEchoService):
        protocol = service().build_protocol(None)
        transport: Any = RecordingTransport()
        protocol.transport = transport
        best = min(_time_of(protocol, transport, data) for _ in range(20))
        print(f"{type(protocol).__name__}: {best / LINES * 1e9:5.0f} ns a line, of {LINES} at once")


def _time_of(protocol: Any, transport: Any, data: bytes) -> float:
    transport.write = [].append
    began = time.perf_counter()
    protocol.data_received(data)
    return time.perf_counter() - began


if __name__ == "__main__":
    bench_many_lines()
    bench(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
