"""Fan-out: several messages to the same streams share one queue entry, a burst.

Twenty lines to a channel of a hundred members add one entry to each stream's queue: to
touch a hundred queues twenty times would cost more than all the rest, since they do not
fit into the processor's cache. The entry is one object for all streams, and grows as long
as it is the last in each of their queues.

Code that adds to a stream's queue, or changes what may be sent to it, first calls
`close_last`, so that the order of a stream's output is the order of the writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapd.model.protocol import Transport

Queue = list["bytes | Burst"]
"""The output of a stream in a turn, in order."""


class Burst:
    """Pieces of output to the same streams.

    Attributes:
        transports: the streams that get it, except `skip`.
        is_open: it is the last entry in each of their queues.
    """

    __slots__ = ("_joined", "_pieces", "add", "is_open", "skip", "transports")

    def __init__(
        self, transports: tuple[Transport, ...], data: bytes, skip: Transport | None
    ) -> None:
        self.transports = transports
        self.skip = skip
        self.is_open = True
        self._pieces = [data]
        self.add = self._pieces.append
        self._joined: bytes | None = None

    def __len__(self) -> int:
        return sum(map(len, self._pieces))

    def joined(self) -> bytes:
        """Return all of it; the same object each time. Nothing can be added after that."""
        if self._joined is None:
            self.is_open = False
            pieces = self._pieces
            self._joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._joined


def close_last(queue: Queue) -> None:
    """Close the last entry of `queue`: it grows no more."""
    if queue:
        last = queue[-1]
        if last.__class__ is Burst:
            last.is_open = False


def pieces_of(queue: Queue) -> list[bytes]:
    """Return the output in `queue`; that of a burst is one object for all its streams."""
    return [each if each.__class__ is bytes else each.joined() for each in queue]  # type: ignore[union-attr]
