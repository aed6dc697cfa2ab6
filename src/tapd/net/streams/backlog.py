"""Limits unsent output: gives up connections whose peers do not read.

Backpressure comes first: beyond `OUTPUT_HIGH_BYTES` (`net.streams.stream`) the protocol is
asked to pause, and its input is not read. Output that piles up all the same (a channel's
messages to a peer that reads none of them) has two limits: one for each stream, and one for
all together, beyond which the stream with the most unsent output is given up first. Only
streams with unsent output are counted, so the limits cost the others nothing.
"""

from __future__ import annotations

from tapd.net.streams.stream import Stream

TOTAL_BYTES_MAX = 256 << 20
"""Unsent output of all streams beyond which the one with the most of it is given up."""


class Backlog:
    """The unsent output of all streams.

    Attributes:
        total: bytes that were unsent when each stream last sent.
        bytes_max: the limit of `total`.
    """

    def __init__(self) -> None:
        self.total = 0
        self.bytes_max = TOTAL_BYTES_MAX
        self._streams: set[Stream] = set()

    def note(self, stream: Stream) -> None:
        """Update the count of the unsent output of `stream`."""
        self.total += len(stream.pending) - stream.counted
        stream.counted = len(stream.pending)
        if stream.counted:
            self._streams.add(stream)
        else:
            self._streams.discard(stream)

    def forget(self, stream: Stream) -> None:
        """Stop counting `stream`: it ended, or is given up."""
        self.total -= stream.counted
        stream.counted = 0
        self._streams.discard(stream)

    @property
    def is_exceeded(self) -> bool:
        """Whether a stream must be given up."""
        return self.total > self.bytes_max

    def take_largest(self) -> Stream:
        """Return the stream with the most unsent output, and stop counting it."""
        stream = max(self._streams, key=lambda stream: stream.counted)
        self.forget(stream)
        return stream
