"""Framing: cuts input into units and buffers the incomplete one.

The base of the ready-made protocols. A *unit* is what such a protocol handles in one
call: a line, a frame, a block of counted bytes. Every decision depends on the bytes alone
and never on how the network cut them into reads, so a client can't tell a kill from a
pause. A unit counts as handled as soon as its handler is called: if the handler raises,
it is not called again, and the rest of the same read is buffered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tapd.model.protocols.kept import KeptInput

SKIPPED = "the server was killed each time it ran this; it was not applied"

Unit = tuple[int, Callable[..., object] | None, tuple[Any, ...]]
"""Where the next unit begins, and the call that handles this one (None: it is dropped)."""


class UnitProtocol(KeptInput):
    """Cuts input into units; not for direct use.

    Its attributes have defaults on the class, so an author's `__init__`
    needs no ``super().__init__()``.
    """

    _is_skipping: bool = False  # drop the next unit
    _is_held_back: bool = False  # reading was paused: whole units may be kept
    _is_midway: bool = False  # input is buffered, or the next unit is special

    _v_is_running: bool = False

    # --- a kind of unit defines ----------------------------------------------------------

    def _next_unit(self, data: bytes, position: int) -> Unit | None:
        """Find the unit at `position` of `data`; None if it is incomplete."""
        raise NotImplementedError

    def _missing(self, data: bytes) -> int:
        """Return how many bytes of `data` complete the buffered unit.

        More than ``len(data)`` if they do not complete it.
        """
        raise NotImplementedError

    # --- the machine ------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Cut `data` into units and handle them."""
        if (
            (self._part or self._pieces is not None)
            and not self._is_held_back
            and self._missing(data) > len(data)
        ):
            self._keep(data)
        else:
            self._run(data)

    def reading_resumed(self) -> None:
        """Handle input buffered while reading was paused."""
        if self._is_held_back and not self._v_is_running:
            self._run(b"")

    def input_unit(self, data: bytes) -> int:
        """Return how many bytes of `data` complete the first unit."""
        return min(self._missing(data), len(data))

    def input_skipped(self, data: bytes) -> None:
        """Drop the unit that `data` completes (or continues), and say so."""
        self._is_skipping = True
        self._run(data)
        self.unit_skipped()

    def kept_bytes(self) -> int:
        """Return the size of the buffered input, if it may contain whole units."""
        return self._kept() if self._is_held_back else 0

    def run_kept_unit(self) -> None:
        """Handle the first buffered unit."""
        self._run(b"", is_single=True)

    def skip_kept_unit(self) -> None:
        """Drop the first buffered unit, and say so."""
        self._is_skipping = True
        self._run(b"", is_single=True)
        self.unit_skipped()

    def unit_skipped(self) -> None:
        """Tell the peer that a unit was dropped: it killed the server each time."""

    def _run(self, data: bytes, *, is_single: bool = False) -> None:
        data = self._take(data)
        position = 0
        is_held_back = False
        self._v_is_running = True
        if self._is_held_back:
            self._is_held_back = False
        try:
            while self._is_reading():
                unit = self._next_unit(data, position)
                if unit is None:
                    break
                position, hand_on, arguments = unit
                if hand_on is not None:
                    hand_on(*arguments)
                if is_single:
                    is_held_back = True
                    break
        finally:
            self._v_is_running = False
            self._put_back(data[position:], is_held_back=is_held_back)

    def _put_back(self, data: bytes, *, is_held_back: bool = False) -> None:
        """Buffer `data`, which was not handled and may contain whole units."""
        if data and not self._is_closing():
            self._keep(data)
            if is_held_back or not self._is_reading():
                self._is_held_back = True
        is_midway = bool(self._part) or self._pieces is not None or self._is_odd()
        if is_midway is not self._is_midway:
            self._is_midway = is_midway

    def _is_odd(self) -> bool:
        """Whether the next unit is special."""
        return self._is_skipping

    def _is_reading(self) -> bool:
        transport = self._v_transport
        return transport is None or transport.is_reading()

    def _is_closing(self) -> bool:
        transport = self._v_transport
        return transport is not None and transport.is_closing()
