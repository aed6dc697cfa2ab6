"""Input that a protocol keeps until it can run, and that may kill the server when it does.

Input is kept where a unit (a line, a frame) is not complete, where reading is paused, or
where something else goes on, such as the check of a password. It was taken from the
kernel, so it is durable state: a kill loses none of it. What may be secret is sealed.

After unclean deaths the host runs what is kept unit by unit, each under a mark in the
journal, and skips the poison input (`net.turn.careful`).

A turn journals the attributes that changed. Short input is one `bytes` attribute; what is
longer goes into a list that only grows, of which a turn journals the new items alone: a
peer that sends a megabyte byte by byte must not make that a megabyte a byte.
"""

from __future__ import annotations

from tapd.model.durable.tracked import TrackedList
from tapd.model.protocol import Protocol

PIECE_BYTES = 1024
"""How much is kept in the one attribute, which each change writes anew."""


class KeptInput(Protocol):
    """Keeps input and runs it later; a base of protocols, not for use by itself.

    A protocol says by `_kept_unit` what may run, by `_run_kept` how. Reading is resumed
    when it may: then all that is kept runs, in the same turn. Its attributes have
    defaults on the class, so an `__init__` of an author's own needs no
    ``super().__init__()``.
    """

    _part: bytes = b""
    _pieces: TrackedList[bytes] | None = None
    _sealed_part: bytes = b""  # all that is kept, where it may be secret

    # --- what a protocol says ---------------------------------------------------------

    def _kept_unit(self, kept: bytes) -> int:
        """Return the length of the first whole unit of `kept`; 0 where none may run now."""
        raise NotImplementedError

    def _run_kept(self, data: bytes, rest: bytes) -> None:
        """Run `data`, the beginning of what is kept, and keep `rest` alone, behind what it leaves.

        `rest` is empty, or `data` is one unit.
        """
        raise NotImplementedError

    def _skip_kept(self, data: bytes, rest: bytes) -> None:
        """Drop `data`, one unit that killed the server each time; tell the peer; keep `rest`."""
        raise NotImplementedError

    def _may_be_secret(self, data: bytes) -> bool:
        """Whether what is kept is sealed, now that `data` comes to it."""
        return False

    # --- what the host calls ----------------------------------------------------------

    def reading_resumed(self) -> None:
        """Run what was kept meanwhile."""
        kept = self._read_kept()
        if not kept:
            self._clear_kept()  # it may have been sealed with another key
        elif self._kept_unit(kept):
            self._run_kept(kept, b"")

    def kept_bytes(self) -> int:
        """Return how much is kept, where a unit of it may run."""
        kept = self._read_kept()
        return len(kept) if kept and self._kept_unit(kept) else 0

    def run_kept_unit(self) -> None:
        """Run the first unit that is kept."""
        kept = self._read_kept()
        size = self._kept_unit(kept)
        self._run_kept(kept[:size], kept[size:])

    def skip_kept_unit(self) -> None:
        """Drop the first unit that is kept, and say so."""
        kept = self._read_kept()
        size = self._kept_unit(kept)
        self._skip_kept(kept[:size], kept[size:])

    # --- the store --------------------------------------------------------------------

    def _has_kept(self) -> bool:
        """Whether anything is kept."""
        return bool(self._part or self._sealed_part) or self._pieces is not None

    def _read_kept(self) -> bytes:
        """Return all that is kept."""
        if self._sealed_part:
            return self.service.sealer.open(self._sealed_part) or b""
        if self._pieces is None:
            return self._part
        return b"".join([*self._pieces, self._part])

    def _replace_kept(self, data: bytes) -> None:
        """Keep `data` in place of what is kept."""
        is_plain = not self._sealed_part and self._pieces is None
        if is_plain and len(data) <= PIECE_BYTES and not (data and self._may_be_secret(data)):
            if data != self._part:  # as most often
                self._part = data
            return
        self._clear_kept()
        if data:
            self._keep(data)

    def _clear_kept(self) -> None:
        """Keep nothing."""
        # What is empty is not written: each write is journaled.
        if self._part:
            self._part = b""
        if self._pieces is not None:
            self._pieces = None
        if self._sealed_part:
            self._sealed_part = b""

    def _keep(self, data: bytes) -> None:
        """Keep `data` behind what is kept."""
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
        """Return all that is kept, and `data` after it; keep nothing."""
        if self._sealed_part or self._pieces is not None:
            data = self._read_kept() + data
            self._clear_kept()
        elif self._part:
            data = self._part + data
            self._part = b""
        return data

    def _kept(self) -> int:
        """Return how many bytes are kept."""
        if self._sealed_part:
            return len(self._read_kept())
        pieces = self._pieces
        return len(self._part) + (0 if pieces is None else sum(map(len, pieces)))

    def _kept_start(self, size: int) -> bytes:
        """Return the first `size` bytes that are kept, or fewer (a piece is longer)."""
        return (self._part if self._pieces is None else self._pieces[0])[:size]

    def _kept_end(self, size: int) -> bytes:
        """Return the last `size` bytes that are kept, or fewer."""
        end = self._part
        if len(end) < size and self._pieces is not None:
            end = self._pieces[-1] + end
        return end[-size:] if size else b""
