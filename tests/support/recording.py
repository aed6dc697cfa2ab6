"""A transport that records, for tests of protocols without a socket."""

from __future__ import annotations

import pickle
from typing import Any

from tapd.model.protocol import Protocol


class RecordingTransport:
    """Keeps what a protocol writes, and whether it closed or paused."""

    def __init__(self) -> None:
        self.output = b""
        self.is_closed = False
        self.is_paused = False

    def write(self, data: bytes) -> None:
        if not self.is_closed:
            self.output += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def is_reading(self) -> bool:
        return not self.is_closed and not self.is_paused

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


def feed(protocol: Protocol, chunks: list[bytes], *, kill: bool = False) -> Any:
    """Give `chunks` to `protocol` as reads; return the protocol, reborn after each if `kill`."""
    transport: Any = RecordingTransport()
    protocol.transport = transport
    for chunk in chunks:
        if transport.is_closed:
            break
        protocol.data_received(chunk)
        if kill:
            protocol = pickle.loads(pickle.dumps(protocol))
            protocol.transport = transport
    return protocol


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return `data` in pieces, cut at `places` (taken modulo its length)."""
    at = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True) if a < b]
