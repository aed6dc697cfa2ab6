"""A progress bar on stderr, for work that takes over a second; on a terminal only.

A thread draws it, so the work needs no hooks. Work that holds the GIL for long makes it
jerk, nothing worse.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Self, TextIO

_BEGIN_S = 1.0
_AGAIN_S = 0.2
_CLEAR = "\r\x1b[K"
_CELLS = 30


class Progress:
    """A progress bar, to be used as a context manager."""

    def __init__(
        self,
        label: str,
        total: int = 0,
        *,
        stream: TextIO | None = None,
        begin_s: float = _BEGIN_S,
    ) -> None:
        """Prepare the bar; it appears after `begin_s` seconds.

        Args:
            label: what is being done.
            total: the amount of work; 0 where that is unknown.
            stream: where to draw, if that is a terminal; sys.stderr by default.
            begin_s: the delay; work that ends sooner shows nothing.
        """
        self._label = label
        self._total = total
        self._done = 0
        self._stream = sys.stderr if stream is None else stream
        self._begin_s = begin_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def advance(self, amount: int) -> None:
        """Add `amount` to the work done."""
        self._done += amount

    def _draw(self) -> None:
        started_s = time.monotonic()
        wait_s, is_drawn = self._begin_s, False
        while not self._ended.wait(wait_s):
            self._stream.write(_CLEAR + self._line(time.monotonic() - started_s))
            self._stream.flush()
            wait_s, is_drawn = _AGAIN_S, True
        if is_drawn:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def _line(self, passed_s: float) -> str:
        if self._total:
            share = min(1.0, self._done / self._total)
            bar = "#" * round(share * _CELLS)
            text = f"{self._label} [{bar:<{_CELLS}}] {share:4.0%}  {passed_s:.0f} s"
        else:
            text = f"{self._label} {'.' * (round(passed_s / _AGAIN_S) % 4):<3} {passed_s:.0f} s"
        return text[: self._columns() - 1]

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80
