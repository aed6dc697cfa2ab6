"""The servers that `bench_fanout` compares: channels on bare asyncio, and durable ones.

A client's first line names its channel; each later line goes to all members of
that channel, the sender among them.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from tapd.model.durable.persistent import Persistent
from tapd.model.protocol import Protocol
from tapd.model.service import Service


class Channel(Persistent):
    """Who is in it, and how many lines were said."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.lines = 0


class Chat(Service):
    """The channels, by name."""

    def __init__(self) -> None:
        self.channels: dict[bytes, Channel] = {}

    def build_protocol(self, peer: Any) -> Protocol:
        return Member()


class Member(Protocol):
    """A durable member of one channel."""

    service: Chat
    channel: Channel | None = None

    def __init__(self) -> None:
        self.half = b""

    def data_received(self, data: bytes) -> None:
        if self.half:
            data = self.half + data
        lines = data.split(b"\n")
        half = lines.pop()
        if half or self.half:
            self.half = half
        for line in lines:
            channel = self.channel
            if channel is None:
                channel = self.channel = self.service.channels.setdefault(line, Channel())
                channel.members.append(self)
                self.transport.write(b"joined\n")
            else:
                channel.lines += 1
                message = line + b"\n"
                for member in channel.members:
                    member.transport.write(message)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.channel is not None:
            self.channel.members.remove(self)


class PlainMember(asyncio.Protocol):
    """The same on bare asyncio."""

    channels: dict[bytes, list[PlainMember]] = {}
    lines = 0

    def __init__(self) -> None:
        self.half = b""
        self.channel: list[PlainMember] | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        lines = (self.half + data).split(b"\n")
        self.half = lines.pop()
        for line in lines:
            if self.channel is None:
                self.channel = self.channels.setdefault(line, [])
                self.channel.append(self)
                self.transport.write(b"joined\n")
            else:
                PlainMember.lines += 1
                message = line + b"\n"
                for member in self.channel:
                    member.transport.write(message)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.channel is not None:
            self.channel.remove(self)


async def serve_plain(port: int) -> None:
    """Serve channels on bare asyncio."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(PlainMember, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve_plain(int(sys.argv[1])))
