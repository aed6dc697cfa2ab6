"""Length-prefixed protocols: frames of bytes, however the network cut them.

`model.protocols.partial` does the framing.
"""

from __future__ import annotations

from typing import Any, Literal

from tapd.errors import AuthorError
from tapd.model.protocols.partial import Unit, UnitProtocol
from tapd.model.source_location import warn_of_no_handler

_PREFIXES = (1, 2, 4, 8)


class FrameProtocol(UnitProtocol):
    """Base of protocols that send each message's length before it.

    Override `frame_received`.

    Example:
        >>> class Echo(FrameProtocol):
        ...     def frame_received(self, frame: bytes) -> None:
        ...         self.send_frame(frame)

    Attributes:
        prefix_bytes: the size of the length: 1, 2, 4 or 8. The length does not count itself.
        byteorder: that of the length: "big" (network order) or "little".
        frame_bytes_max: the longest accepted frame.
    """

    prefix_bytes: int = 4
    byteorder: Literal["big", "little"] = "big"
    frame_bytes_max: int = 1 << 20

    _dropping: int = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class attributes that a subclass sets.

        Raises:
            AuthorError: one has an invalid value.
        """
        super().__init_subclass__(**kwargs)
        where = f"{cls.__module__}.{cls.__qualname__}"
        if cls.prefix_bytes not in _PREFIXES:
            raise AuthorError(f"{where}.prefix_bytes: {cls.prefix_bytes!r}; write 1, 2, 4 or 8")
        if cls.byteorder not in ("big", "little"):
            raise AuthorError(f"{where}.byteorder: {cls.byteorder!r}; write 'big' or 'little'")

    # --- what an author overrides ---------------------------------------------------

    def frame_received(self, frame: bytes) -> None:
        """Handle one frame, without its length."""
        if type(self).frame_received is FrameProtocol.frame_received:  # no super() of an override
            warn_of_no_handler(self, "frame_received")

    def frame_too_long(self, size: int) -> None:
        """Handle an announced frame of `size` bytes, more than `frame_bytes_max`: close.

        If it does not close, that frame is dropped and the next one follows.
        """
        self.transport.close()

    # --- what an author calls -------------------------------------------------------

    def send_frame(self, frame: bytes | bytearray | memoryview) -> None:
        """Send `frame` with its length before it. Ignored after the connection ended.

        Raises:
            AuthorError: its length does not fit into the prefix.
        """
        size = len(frame)  # of a memoryview of bytes
        try:
            prefix = size.to_bytes(self.prefix_bytes, self.byteorder)
        except OverflowError:
            raise AuthorError(
                f"a frame of {size} bytes: its length does not fit into {self.prefix_bytes} bytes; "
                "set prefix_bytes, at both ends"
            ) from None
        if self.is_connected:
            self.transport.write(prefix + frame)

    # --- what a frame is (see `model.protocols.partial`) ----------------------------------------

    def _next_unit(self, data: bytes, position: int) -> Unit | None:
        if self._dropping:
            dropped = min(self._dropping, len(data) - position)
            self._dropping -= dropped
            return (position + dropped, None, ()) if dropped else None
        begin = position + self.prefix_bytes
        if begin > len(data):
            return None
        size = int.from_bytes(data[position:begin], self.byteorder)
        if size > self.frame_bytes_max:
            self._dropping = size
            self._is_skipping = False
            return begin, self.frame_too_long, (size,)
        after = begin + size
        if after > len(data):
            return None
        if self._is_skipping:
            self._is_skipping = False
            return after, None, ()
        return after, self.frame_received, (data[begin:after],)

    def _is_odd(self) -> bool:
        return self._is_skipping or self._dropping > 0

    def _missing(self, data: bytes) -> int:
        if self._dropping:
            return min(self._dropping, len(data))
        prefix = (self._kept_start(self.prefix_bytes) + data)[: self.prefix_bytes]
        if len(prefix) < self.prefix_bytes:
            return len(data) + 1
        size = int.from_bytes(prefix, self.byteorder)
        if size > self.frame_bytes_max:  # refused at once
            return max(self.prefix_bytes - self._kept(), 0)
        return self.prefix_bytes + size - self._kept()
