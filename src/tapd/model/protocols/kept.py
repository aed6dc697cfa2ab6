"""Durable buffering of input that can't be processed yet, and poison input within it.

Input is buffered if a unit (a line, a frame) is incomplete, if reading is paused, or
while something else runs, such as a password check. It was read from the kernel, so it is
durable state: a kill loses none of it. Possible secrets are sealed.

After unclean deaths the host runs buffered input unit by unit, each under a mark in the
journal, and skips the poison input (`net.turn.careful`).

A turn journals the attributes that changed. Short input is one `bytes` attribute. Longer
input goes into an append-only list, of which a turn journals only the new items: so a
peer that sends a megabyte byte by byte does not cause a megabyte of journal per byte.
"""

from __future__ import annotations

from tapd.model.durable.tracked import TrackedList
from tapd.model.protocol import Protocol

PIECE_BYTES = 1024
"""The most that is kept in the one attribute, which each change writes anew."""


class KeptInput(Protocol):
    """Buffers input and runs it later; a base of protocols, not for direct use.

    A protocol defines in `_kept_unit` which unit may run, and in `_run_kept` how. When it
    may run, reading is resumed, and all buffered input runs in the same turn. The
    attributes have defaults on the class, so an author's `__init__` needs no
    ``super().__init__()``.
    """

    _part: bytes = b""
    _pieces: TrackedList[bytes] | None = None
    _sealed_part: bytes = b""  # all buffered input, if it may be secret

    # --- a protocol defines -----------------------------------------------------------

    def _kept_unit(self, kept: bytes) -> int:
        """Return the length of the first whole unit of `kept`; 0 if none may run now."""
        raise NotImplementedError

    def _run_kept(self, data: bytes, rest: bytes) -> None:
        """Run `data`, the start of the buffered input; buffer `rest` behind what it leaves.

        `rest` is empty, or `data` is one unit.
        """
        raise NotImplementedError

    def _skip_kept(self, data: bytes, rest: bytes) -> None:
        """Drop `data`, one unit of poison input; tell the peer; buffer `rest`."""
        raise NotImplementedError

    def _may_be_secret(self, data: bytes) -> bool:
        """Whether to seal the buffered input, now that `data` is added."""
        return False

    # --- calls by the host ------------------------------------------------------------

    def reading_resumed(self) -> None:
        """Run the buffered input."""
        kept = self._read_kept()
        if not kept:
            self._clear_kept()  # it may have been sealed with another key
        elif self._kept_unit(kept):
            self._run_kept(kept, b"")

    def kept_bytes(self) -> int:
        """Return the size of the buffered input, if a unit of it may run."""
        kept = self._read_kept()
        return len(kept) if kept and self._kept_unit(kept) else 0

    def run_kept_unit(self) -> None:
        """Run the first buffered unit."""
        kept = self._read_kept()
        size = self._kept_unit(kept)
        self._run_kept(kept[:size], kept[size:])

    def skip_kept_unit(self) -> None:
        """Drop the first buffered unit, and say so."""
        kept = self._read_kept()
        size = self._kept_unit(kept)
        self._skip_kept(kept[:size], kept[size:])

    # --- the store --------------------------------------------------------------------

    def _has_kept(self) -> bool:
        """Whether any input is buffered."""
        return bool(self._part or self._sealed_part) or self._pieces is not None

    def _read_kept(self) -> bytes:
        """Return all buffered input."""
        if self._sealed_part:
            return self.service.sealer.open(self._sealed_part) or b""
        if self._pieces is None:
            return self._part
        return b"".join([*self._pieces, self._part])

    def _replace_kept(self, data: bytes) -> None:
        """Replace the buffered input with `data`."""
        is_plain = not self._sealed_part and self._pieces is None
        if is_plain and len(data) <= PIECE_BYTES and not (data and self._may_be_secret(data)):
            if data != self._part:  # the usual case
                self._part = data
            return
        self._clear_kept()
        if data:
            self._keep(data)

    def _clear_kept(self) -> None:
        """Clear the buffer."""
        # Only non-empty attributes are cleared: each write is journaled.
        if self._part:
            self._part = b""
        if self._pieces is not None:
            self._pieces = None
        if self._sealed_part:
            self._sealed_part = b""

    def _keep(self, data: bytes) -> None:
        """Append `data` to the buffered input."""
        if self._sealed_part:
            data = self._take(data)
        if self._may_be_secret(data):
            self._sealed_part = self.service.sealer.seal(self._take(data))
            return
        part = self._part + data if self._part else data
        if len(part) <= PIECE_BYTES:
            self._part = part
            return
        if self._part:
            self._part = b""
        if self._pieces is None:
            self._pieces = TrackedList()
        self._pieces.append(part)

    def _take(self, data: bytes) -> bytes:
        """Return all buffered input followed by `data`; clear the buffer."""
        if self._sealed_part or self._pieces is not None:
            data = self._read_kept() + data
            self._clear_kept()
        elif self._part:
            data = self._part + data
            self._part = b""
        return data

    def _kept(self) -> int:
        """Return how many bytes are buffered."""
        if self._sealed_part:
            return len(self._read_kept())
        pieces = self._pieces
        return len(self._part) + (0 if pieces is None else sum(map(len, pieces)))

    def _kept_start(self, size: int) -> bytes:
        """Return the first `size` buffered bytes, or fewer (a piece is longer)."""
        return (self._part if self._pieces is None else self._pieces[0])[:size]

    def _kept_end(self, size: int) -> bytes:
        """Return the last `size` buffered bytes, or fewer."""
        end = self._part
        if len(end) < size and self._pieces is not None:
            end = self._pieces[-1] + end
        return end[-size:] if size else b""
