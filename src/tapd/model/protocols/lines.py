"""Line-based protocols: text in, text out, however the network cut it.

`model.protocols.partial` does the framing. Input is a sequence of lines and of blocks of
counted bytes (`set_raw_mode`); which of them comes next is durable state.
"""

from __future__ import annotations

import codecs
from typing import Any

from tapd.errors import AuthorError, InputTooLong
from tapd.model.protocols.partial import SKIPPED, Unit, UnitProtocol
from tapd.model.source_location import warn_of_no_handler


class LineProtocol(UnitProtocol):
    r"""Base of protocols that speak in lines of text.

    Override `line_received`. A line ends with ``\n`` or ``\r\n``; `send_line` ends
    it with ``\r\n``, as the text protocols of the Internet do and as telnet needs
    to begin a new line; nc in a terminal shows both alike. An unterminated last line is
    dropped when the peer closes.

    Example:
        >>> class Echo(LineProtocol):
        ...     def line_received(self, line: str) -> None:
        ...         self.send_line(line)

    Attributes:
        encoding: of the text; one in which ASCII is itself, so not UTF-16.
        errors: how undecodable bytes are handled, as for `bytes.decode`.
        line_bytes_max: the longest accepted line, without its end.
        raw_bytes_max: the largest count that `set_raw_mode` accepts.
        delimiter: what ends a line that is sent. If it is ``\r\n`` or ``\n``, both
            of them end one that is received; any other must be met exactly.
    """

    encoding: str = "utf-8"
    errors: str = "replace"
    line_bytes_max: int = 65536
    raw_bytes_max: int = 1 << 20
    delimiter: bytes = b"\r\n"

    _raw_count: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class attributes that a subclass sets.

        Raises:
            AuthorError: one has an invalid value.
        """
        super().__init_subclass__(**kwargs)
        where = f"{cls.__module__}.{cls.__qualname__}"
        if not isinstance(cls.delimiter, bytes) or not cls.delimiter:
            raise AuthorError(f"{where}.delimiter: {cls.delimiter!r} is not bytes; write b'\\r\\n'")
        try:
            is_ascii = "a\n".encode(cls.encoding) == b"a\n"
            codecs.lookup_error(cls.errors)
        except LookupError as error:
            raise AuthorError(
                f"{where}: {error}; see encoding and errors of bytes.decode"
            ) from None
        if not is_ascii:
            raise AuthorError(
                f"{where}.encoding: a line's end is looked for byte by byte, which {cls.encoding} "
                "does not allow; use utf-8, or FrameProtocol"
            )

    # --- what an author overrides ---------------------------------------------------

    def line_received(self, line: str) -> None:
        """Handle one line, without its end."""
        if type(self).line_received is LineProtocol.line_received:  # no super() of an override
            warn_of_no_handler(self, "line_received")

    def raw_line_received(self, line: bytes) -> None:
        """Handle one line as bytes, without its end; the default calls `line_received`."""
        self.line_received(line.decode(self.encoding, self.errors))

    def raw_data_received(self, data: bytes) -> None:
        """Handle the bytes that `set_raw_mode` asked for: all of them, in one call."""

    def line_too_long(self) -> None:
        """Handle a line longer than `line_bytes_max`: tell the peer and close.

        Called once for each such line. If it does not close, the next line follows.
        """
        self.send_line(f"error: the line is longer than {self.line_bytes_max} bytes")
        self.transport.close()

    def unit_skipped(self) -> None:
        """Tell the peer that a line was dropped: it killed the server each time."""
        self.send_line(f"error: {SKIPPED}")

    # --- what an author calls -------------------------------------------------------

    def send_line(self, text: str) -> None:
        """Send `text` and the end of a line; characters that can't be encoded become ``?``.

        A newline in `text` is sent as it is, so the peer sees several lines. Ignored
        after the connection ended, so that callers with many peers need no check.
        """
        transport = self._v_transport
        if transport is not None:
            transport.write(text.encode(self.encoding, "replace") + self.delimiter)

    def set_raw_mode(self, count: int) -> None:
        """Have the next `count` bytes given to `raw_data_received`, then read lines again.

        Raises:
            InputTooLong: `count` is more than `raw_bytes_max`; not caught, it closes
                the connection.
            AuthorError: `count` is negative.
        """
        if count < 0:
            raise AuthorError(f"set_raw_mode({count}): no number of bytes; give 0 or more")
        if count > self.raw_bytes_max:
            raise InputTooLong(f"{count} bytes announced; raw_bytes_max is {self.raw_bytes_max}")
        self._raw_count = count
        self._is_midway = True

    # --- what a line is (see `model.protocols.partial`) -----------------------------------------

    def data_received(self, data: bytes) -> None:
        """Cut `data` into lines and handle them."""
        if self._is_midway or self.delimiter not in _NEWLINES:
            super().data_received(data)
            return
        # Fast path for whole lines: what `UnitProtocol` would do, in fewer steps.
        lines = data.split(b"\n")
        handed_on = 0
        limit = self.line_bytes_max
        transport = self._v_transport
        try:
            for line in lines[:-1]:
                content = line[:-1] if line[-1:] == b"\r" else line
                if len(content) > limit:
                    break
                handed_on += 1
                self.raw_line_received(content)
                if self._is_midway or (transport is not None and not transport.is_reading()):
                    break
        except BaseException:
            self._put_back(b"\n".join(lines[handed_on:]))
            raise
        if handed_on < len(lines) - 1 or lines[-1] or self._is_midway:
            self._run(b"\n".join(lines[handed_on:]))

    def _next_unit(self, data: bytes, position: int) -> Unit | None:
        if self._raw_count is not None:
            return self._next_block(data, position)
        any_newline = self.delimiter in _NEWLINES
        delimiter = b"\n" if any_newline else self.delimiter
        end = data.find(delimiter, position)
        after = end + len(delimiter)
        if end < 0:
            return self._overlong(data, position, len(delimiter) - 1)
        if self._is_skipping:
            self._is_skipping = False
            return after, None, ()
        if any_newline and end > position and data[end - 1] == 13:
            end -= 1
        if end - position > self.line_bytes_max:
            return after, self.line_too_long, ()
        return after, self.raw_line_received, (data[position:end],)

    def _overlong(self, data: bytes, position: int, overlap: int) -> Unit | None:
        """Drop the beginning of an unterminated line that is too long already."""
        rest = len(data) - position
        if self._is_skipping:
            # Its end may have begun, so that much is kept.
            return None if rest <= overlap else (len(data) - overlap, None, ())
        # One more byte may be the \r of its end.
        if rest <= self.line_bytes_max + max(overlap, 1):
            return None
        self._is_skipping = True
        return len(data) - overlap, self.line_too_long, ()

    def _is_odd(self) -> bool:
        return self._is_skipping or self._raw_count is not None

    def _next_block(self, data: bytes, position: int) -> Unit | None:
        assert self._raw_count is not None
        after = position + self._raw_count
        if after > len(data):
            return None
        self._raw_count = None
        if self._is_skipping:
            self._is_skipping = False
            return after, None, ()
        return after, self.raw_data_received, (data[position:after],)

    def _missing(self, data: bytes) -> int:
        kept = self._kept()
        if self._raw_count is not None:
            return self._raw_count - kept
        delimiter = b"\n" if self.delimiter in _NEWLINES else self.delimiter
        before = self._kept_end(len(delimiter) - 1)
        end = (before + data).find(delimiter)
        if end >= 0:
            return end + len(delimiter) - len(before)
        # Too long already: `UnitProtocol` decides that, too.
        is_overlong = kept + len(data) > self.line_bytes_max + max(len(delimiter) - 1, 1)
        return len(data) if is_overlong or self._is_skipping else len(data) + 1


_NEWLINES = (b"\r\n", b"\n")
