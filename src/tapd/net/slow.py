"""Watches for slow turns, and logs which callback blocks, and at which line.

While a turn runs, no other client is served: a callback that waits (for a database, a
lock, `time.sleep`) stops all of them. A thread checks once a second whether the same turn
is still running, and samples the main thread's stack if so. It costs the turn two reads of
the clock.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol, Self

from tapd.model.source_location import describe_place, warn_once

LIMIT_S = 1.0


class Turning(Protocol):
    """The watched object: `net.turn.turn.Turn`."""

    @property
    def began_s(self) -> float:
        """When the turn that is under way began (`time.monotonic`); 0 for none."""


class TurnWatch:
    """Watches the turns of the thread that makes it, for the length of a ``with`` block."""

    def __init__(
        self,
        turn: Turning,
        limit_s: float = LIMIT_S,
        on_look: Callable[[], object] = lambda: None,
    ) -> None:
        """Watch `turn`; call `on_look`, in the watch's thread, as long as one takes too long."""
        self._turn = turn
        self._limit_s = limit_s
        self._on_look = on_look
        self._watched = threading.get_ident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="tapd turn watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        told_s = 0.0
        while not self._done.wait(self._limit_s):
            began_s = self._turn.began_s
            if not began_s or time.monotonic() - began_s < self._limit_s:
                continue
            self._on_look()
            if began_s == told_s:
                continue
            place = describe_place(sys._current_frames().get(self._watched))
            if place and self._turn.began_s == began_s:
                told_s = began_s
                warn_once(
                    f"a turn has taken more than {self._limit_s:g} s, and all other clients wait "
                    "for it: {place}. Have application.run_blocking do what takes long, "
                    "or do it in parts, with call_later",
                    place=place,
                )
