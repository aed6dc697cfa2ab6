"""Datagrams echoed exactly once, beside bare asyncio in the same run.

A client keeps 32 datagrams in flight. Prints echoes a second of both, in turn, and
their ratio (the goal: at least 0.3: each is peeked, journaled and discarded).
``python benchmarks/bench_datagrams.py [SECONDS]``.
"""

from __future__ import annotations

import asyncio
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from by_hand import free_port, serving  # noqa: E402
from datagram_service import make_application  # noqa: E402

ROUNDS = 3
WINDOW = 32


class Plain(asyncio.DatagramProtocol):
    """The same on bare asyncio."""

    def __init__(self) -> None:
        self.count = 0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.count += 1
        self.transport.sendto(b"%d %b" % (self.count, data), addr)


async def serve_plain(port: int) -> None:
    """Echo on bare asyncio."""
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Plain, ("127.0.0.1", port))
    await loop.create_future()


def load(port: int, seconds: float) -> float:
    """Return echoes a second."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.settimeout(10)
        while True:
            try:
                client.send(b"x" * 60)
                client.recv(100)
            except ConnectionRefusedError:
                time.sleep(0.05)  # it is not bound yet
            else:
                break
        for _ in range(WINDOW):
            client.send(b"x" * 60)
        count = 0
        started = time.perf_counter()
        while time.perf_counter() < started + seconds:
            for _ in range(100):
                client.recv(100)
                client.send(b"x" * 60)
            count += 100
        elapsed = time.perf_counter() - started
        for _ in range(WINDOW):
            client.recv(100)
        return count / elapsed


def bench(seconds: float) -> None:
    """Print the table."""
    plain_port, port = free_port(), free_port()
    plain = subprocess.Popen([sys.executable, __file__, "serve", str(plain_port)])
    ratios = []
    try:
        with tempfile.TemporaryDirectory() as directory:
            application = make_application(f"udp:127.0.0.1:{port}")
            with serving(pathlib.Path(directory), application):
                for _ in range(ROUNDS):
                    bare, durable = load(plain_port, seconds), load(port, seconds)
                    ratios.append(durable / bare)
                    print(f"asyncio {bare:.0f}/s, durable {durable:.0f}/s, {ratios[-1]:.2f}")
    finally:
        plain.terminate()
        plain.wait()
    print(f"durable to bare asyncio datagrams: {statistics.median(ratios):.2f} (goal: 0.3)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve_plain(int(sys.argv[2])))
    else:
        bench(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
