"""Output that peers do not read: how much of it there is, and whose connection it costs.

A protocol is asked to pause beyond `OUTPUT_HIGH_BYTES` of `net.streams.stream`, and no more
of its input is read. What piles up all the same (a channel's messages to somebody who reads
none of them) has two limits: one for each stream, and one for all together, beyond which
the stream with the most of it is given up first. Only streams with unsent output are looked
at, so that the limits cost the others nothing.
"""

from __future__ import annotations

from tapd.net.streams.stream import Stream

TOTAL_BYTES_MAX = 256 << 20
"""Unsent output of all streams beyond which the one with the most of it is given up."""


class Backlog:
    """The unsent output of all streams.

    Attributes:
        total: how many bytes were unsent when each stream last sent.
        bytes_max: how many may be.
    """

    def __init__(self) -> None:
        self.total = 0
        self.bytes_max = TOTAL_BYTES_MAX
        self._streams: set[Stream] = set()

    def note(self, stream: Stream) -> None:
        """Take note of what is unsent of `stream` now."""
        self.total += len(stream.pending) - stream.counted
        stream.counted = len(stream.pending)
        if stream.counted:
            self._streams.add(stream)
        else:
            self._streams.discard(stream)

    def forget(self, stream: Stream) -> None:
        """Count `stream` no more: it ended, or is given up."""
        self.total -= stream.counted
        stream.counted = 0
        self._streams.discard(stream)

    @property
    def is_exceeded(self) -> bool:
        """Whether a stream has to be given up."""
        return self.total > self.bytes_max

    def take_largest(self) -> Stream:
        """Return the stream with the most unsent, and count it no more."""
        stream = max(self._streams, key=lambda stream: stream.counted)
        self.forget(stream)
        return stream
