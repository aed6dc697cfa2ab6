"""Servers that know nothing of tapd, hosted: uvicorn's HTTP protocol, asyncio's streams."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from tapd.model.application import Application
from tapd.model.hosted import AsyncioService

_LATER_S = {b"/slow": 1.0, b"/slower": 600.0}


async def web(scope: Any, _receive: Any, send: Any) -> None:
    """Answer with the path; ``/slow`` sends half, and the rest a second later; ``/slower`` not."""
    path = scope["path"].encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % (len(path) * 2))],
        }
    )
    await send({"type": "http.response.body", "body": path, "more_body": True})
    if path in _LATER_S:
        await asyncio.sleep(_LATER_S[path])
    await send({"type": "http.response.body", "body": path})


@functools.cache
def configuration() -> tuple[uvicorn.Config, ServerState]:
    """Return what uvicorn's protocols share, made when a process first needs it."""
    config = uvicorn.Config(web, log_config=None, timeout_keep_alive=600)
    config.load()
    return config, ServerState()


def http() -> H11Protocol:
    """Build uvicorn's protocol."""
    config, state = configuration()
    return H11Protocol(config, state, {}, asyncio.get_running_loop())


def is_idle(protocol: H11Protocol) -> bool:
    """Whether an HTTP connection is between two requests."""
    return protocol.cycle is None or protocol.cycle.response_complete


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer lines; ``big N`` with N bytes, and flow control."""
    while line := await reader.readline():
        if line.startswith(b"big "):
            for _ in range(int(line[4:]) // 1000):
                writer.write(b"x" * 1000)
                await writer.drain()
        writer.write(b"echo " + line)
        await writer.drain()
    writer.write(b"bye\n")
    writer.close()


def streams() -> asyncio.StreamReaderProtocol:
    """Build a protocol as `asyncio.start_server` does."""
    return asyncio.StreamReaderProtocol(asyncio.StreamReader(), talk)


class Buffered(asyncio.BufferedProtocol):
    """An echo that reads into a buffer of its own, of 5 bytes."""

    def __init__(self) -> None:
        self.buffer = bytearray(5)
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.buffer[:nbytes]))


def make_application(http_address: str, streams_address: str, buffered_address: str) -> Application:
    """Return an application that hosts all three."""
    application = Application("hosted")
    application.add_service(AsyncioService(http, idle=is_idle), "http")
    application.add_service(AsyncioService(streams), "streams")
    application.add_service(AsyncioService(Buffered), "buffered")
    application.listen(http_address, application.services["http"])
    application.listen(streams_address, application.services["streams"])
    application.listen(buffered_address, application.services["buffered"])
    return application
