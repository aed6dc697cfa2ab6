"""The servers that `bench_turn` compares: an echo on bare asyncio streams, and a durable one."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

from tapd.model.protocol import Protocol
from tapd.model.protocols.lines import LineProtocol
from tapd.model.protocols.requests import RequestProtocol
from tapd.model.service import Service


class Echo(Protocol):
    """Sends back what comes; counts it, so that its state changes with each message."""

    def __init__(self) -> None:
        self.count = 0

    def data_received(self, data: bytes) -> None:
        self.count += 1
        self.transport.write(data)


class EchoService(Service):
    """Builds `Echo` protocols."""

    def build_protocol(self, peer: Any) -> Protocol:
        return Echo()


class LineEcho(LineProtocol):
    """The same by lines."""

    delimiter = b"\n"  # so that a reply is as long as its request

    def __init__(self) -> None:
        self.count = 0

    def line_received(self, line: str) -> None:
        self.count += 1
        self.send_line(line)


class LineEchoService(Service):
    """Builds `LineEcho` protocols."""

    protocol = LineEcho


class RequestEcho(RequestProtocol):
    """The same by request and reply."""

    delimiter = b"\n"

    def __init__(self) -> None:
        self.count = 0

    def request_received(self, request: str) -> str:
        self.count += 1
        return request


class RequestEchoService(Service):
    """Builds `RequestEcho` protocols."""

    protocol = RequestEcho


async def serve_streams(port: int) -> None:
    """Echo lines on bare asyncio streams."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve_streams(int(sys.argv[1])))
