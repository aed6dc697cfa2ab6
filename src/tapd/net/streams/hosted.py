"""Hosted connections: the asyncio transport of hosted protocols, and which of them are busy.

The output of a hosted protocol is committed and then sent, as all output is. The next
process must know whether an exchange is under way (`model.hosted`). So this is checked
before each commit, for the connections that read or wrote since they were last idle. While
an exchange is under way its output is not journaled: a download of a gigabyte costs the
journal nothing. The output of an exchange that begins and ends in one turn is journaled as
any other, and delivered whole in spite of a kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from tapd.model.hosted import Hosted
from tapd.model.protocol import Transport
from tapd.net import authors
from tapd.net.streams.burst import Queue
from tapd.net.streams.stream import OUTPUT_HIGH_BYTES, Stream

CHECK_S = 0.05
"""How often busy connections are checked while no turn runs."""


class HostedTransport(asyncio.Transport):
    """A stream as a full `asyncio.Transport`."""

    def __init__(self, stream: Stream, hosted: Hosted, hosting: Hosting) -> None:
        super().__init__()
        self._stream = stream
        self._hosted = hosted
        self._hosting = hosting
        self._high = OUTPUT_HIGH_BYTES
        self._low = OUTPUT_HIGH_BYTES // 4
        self._counted: Queue = []
        self._counted_bytes = 0

    def __repr__(self) -> str:
        return f"<transport of {self._stream!r}>"

    # --- writing ----------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data`; `pause_writing` is called at once beyond the limit."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data: expecting a bytes-like object, got {type(data).__name__}")
        stream = self._stream
        stream.write(data)
        self._hosted.note_output()
        self.note()
        if stream.queued is not self._counted:  # another turn's
            self._counted, self._counted_bytes = stream.queued, 0
        self._counted_bytes += len(data)
        if not stream.wants_pause and self._unsent() > self._high:
            stream.wants_pause = True
            self._hosted.pause_writing()

    def _unsent(self) -> int:
        return len(self._stream.pending) + len(self._stream.fresh) + self._counted_bytes

    def write_many(
        self, transports: Iterable[Transport], data: bytes, skip: Transport | None = None
    ) -> None:
        """Queue `data` on each of `transports` but `skip`."""
        self._stream.write_many(transports, data, skip)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Queue all of it as one."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Send FIN once what is queued has been sent."""
        self._stream.write_eof()

    def can_write_eof(self) -> bool:
        """Whether `write_eof` works: always."""
        return True

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the kernel has not yet taken."""
        return self._stream.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the sizes at which writing is resumed and paused."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits as in asyncio: by default `low` is a quarter of `high`."""
        if high is None:
            high = OUTPUT_HIGH_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low

    # --- reading and ending -------------------------------------------------------

    def pause_reading(self) -> None:
        """Leave input in the kernel."""
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        self._stream.resume_reading()

    def is_reading(self) -> bool:
        """Whether input is being read."""
        return self._stream.is_reading()

    def close(self) -> None:
        """Stop reading; close once what is queued has been sent."""
        self._stream.close()

    def abort(self) -> None:
        """Close at once."""
        self._stream.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._stream.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what asyncio's own transports tell of a socket."""
        return self._stream.get_extra_info(name, default)

    def get_protocol(self) -> Any:
        """Return the protocol."""
        return self._hosted.live

    def set_protocol(self, protocol: Any) -> None:
        """Have another protocol take over."""
        self._hosted.set_live(protocol)

    def note(self) -> None:
        """Have the connection looked at before the next commit (called by its protocol)."""
        self._hosting.note(self)

    def look(self) -> bool:
        """Find out whether the connection is busy; the journal knows of idle ones."""
        try:
            if self._hosted.look():
                return True
        except BaseException as error:  # `idle` is its author's
            authors.failed(f"{self._stream!r} is closed: asking whether it is idle failed", error)
            self._stream.close()
            return False
        if not self._stream.is_journaled:
            self._stream.touch()
        return False


def _tell_unless_cancelled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Ignore tasks that end with the loop: asyncio's streams (3.11) log them as errors."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


class Hosting:
    """The hosted connections of a turn that may be busy."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._wake = wake
        self._active: set[HostedTransport] = set()
        self._handle: asyncio.TimerHandle | None = None

    def note(self, transport: HostedTransport) -> None:
        """Have the connection of `transport` looked at before the next commit."""
        self._active.add(transport)

    @property
    def has_active(self) -> bool:
        """Whether any connection must be checked."""
        return bool(self._active)

    def look(self) -> None:
        """Find out which connections are busy; the first step of a commit."""
        self._active = {transport for transport in self._active if transport.look()}
        if self._active and self._handle is None:
            self._handle = self._loop.call_later(CHECK_S, self._ring)

    def _ring(self) -> None:
        self._handle = None
        self._wake()

    def close(self) -> None:
        """Stop the timer."""
        if self._handle is not None:
            self._handle.cancel()
        self._loop.set_exception_handler(_tell_unless_cancelled)

    async def drain(self, streams: list[Stream]) -> int:
        """Give busy connections the time that their services allow to become idle.

        Idle ones stop reading, so that no new exchange begins in this process.

        Args:
            streams: hosted ones.

        Returns:
            How many were still busy in the end.
        """
        started_s = self._loop.time()
        while True:
            waited_s = self._loop.time() - started_s
            busy = []
            for stream in streams:
                hosted = stream.protocol
                if isinstance(hosted, Hosted) and hosted.is_connected and hosted.is_busy:
                    busy.append((stream, hosted.service.drain_timeout_s))
                else:
                    stream.freeze()
            streams = [stream for stream, timeout_s in busy if timeout_s > waited_s]
            if not streams:
                return len(busy)
            await asyncio.sleep(CHECK_S)
