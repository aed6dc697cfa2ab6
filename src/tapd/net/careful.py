"""After unclean deaths: find what kills the server, and skip it.

Input that kills the process is still in the kernel and would kill the next one
too, for ever. After the first death nothing is known, and all goes on as usual:
a kill from outside is by far the likeliest. When the process dies again before
it has run the input that waited (the *level* is 2), that input is run one
connection at a time, each announced in the journal by a mark. The connection that
was marked when the process died is run one unit at a time by the next, each with
a mark of its own. What dies under its own mark `TRIES` times is skipped, its
person is told, and the log names it: five deaths in all. A kill from outside would
have to hit one and the same unit of input that often in a row to be mistaken for it.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from tapd import events
from tapd.errors import StateUnwritable
from tapd.net import records
from tapd.net.records import Flag
from tapd.net.stream import PEEK_BYTES

if TYPE_CHECKING:
    from tapd.model.timer import Timer
    from tapd.net.stream import Stream
    from tapd.net.turn import Turn

log = logging.getLogger(__name__)

TRIES = 2
SINGLE_LEVEL = 2
SETTLED_S = 10.0
"""What serves this long has survived its start, whatever input still waits."""


class Careful:
    """How a server goes on after an unclean death, until it has settled.

    Attributes:
        level: how many deaths in a row came before the server had settled.
        waiting: for each connection whose input waited at the start: up to which
            position. Its end counts as a byte.
    """

    def __init__(self, level: int, trial: records.Trial | None, waiting: dict[int, int]) -> None:
        self.level = level
        self.waiting = waiting
        self._trial = trial
        self._has_progressed = False
        self._settled_at = time.monotonic() + SETTLED_S

    @property
    def is_single(self) -> bool:
        """Whether input is run one unit at a time."""
        return self.level >= SINGLE_LEVEL

    def may_run(self, turn: Turn, kind: str, key: int, position: int = 0) -> bool:
        """Announce in the journal that something runs; False where it has killed too often."""
        if not self.is_single:
            return True
        attempt = 1
        trial = self._trial
        if trial is not None and (trial.kind, trial.key, trial.position) == (kind, key, position):
            attempt = trial.attempt + 1
            if attempt > TRIES:
                return False
        self._announce(turn, kind, key, position, attempt)
        return True

    def _announce(self, turn: Turn, kind: str, key: int, position: int, attempt: int) -> None:
        self._append(turn, records.render_try(kind, key, position, attempt))

    def _append(self, turn: Turn, payload: bytes) -> None:
        """Append a mark. On a full disk there is none; the turn's own record stalls then."""
        assert turn.journal is not None, "a turn before there is a journal"
        try:
            turn.journal.append(payload)
        except StateUnwritable as error:
            log.warning("%s (what is run now could not be announced)", error)

    def _note_progress(self, turn: Turn, stream: Stream, until: int) -> None:
        """Have the next process know that this one got on, should it die as well."""
        if not self._has_progressed and _is_done(stream, until):
            self._has_progressed = True
            self._append(turn, records.render_progress())

    def may_run_timer(self, turn: Turn, timer: Timer) -> bool:
        """As `may_run`, for a timer; one that has killed too often is dropped and named."""
        if self.may_run(turn, "timer", timer.key):
            return True
        log.error(
            "%r killed the server each time it ran; it was dropped", timer,
            extra=events.SKIPPED(TAPD_POISON="timer"),
        )  # fmt: skip
        return False

    def run(self, turn: Turn, events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Run what waits, one unit at a time where that is due; return the other events."""
        streams = turn.streams
        self.waiting = {
            key: until
            for key, until in self.waiting.items()
            if key in streams and not _is_done(streams[key], until)
        }
        for port in turn.ports:
            port.look_whether_empty()
        ports_wait = any(not port.was_empty for port in turn.ports)
        if not (self.waiting or ports_wait) or time.monotonic() > self._settled_at:
            self._settle(turn)
            return events
        if not self.is_single:
            return events
        turn.commit()  # what ran before this is not to be blamed on a unit
        if turn.is_stalled:
            return []
        ready = {fd for fd, _event in events}
        for port in turn.ports:
            if not port.was_empty and port.wants_input:
                port.receive(limit=1)
                turn.commit()
                if turn.is_stalled:
                    return []
        for key, until in self.waiting.items():
            stream = streams.get(key)
            if stream is not None and stream.fd in ready and stream.wants_input:
                if self._trial is not None and self._trial.key == key:
                    self._run_unit(turn, stream, until)
                else:
                    self._announce(turn, "stream", key, stream.taken, 1)
                    turn.receive(stream, min(until - stream.taken, PEEK_BYTES))
                turn.commit()
                if turn.is_stalled:
                    return []
                self._note_progress(turn, stream, until)
        waiting_fds = {streams[key].fd for key in self.waiting if key in streams}
        return [(fd, event) for fd, event in events if fd not in waiting_fds]

    def _settle(self, turn: Turn) -> None:
        self._append(turn, records.render_settled())
        turn.careful = None

    def _run_unit(self, turn: Turn, stream: Stream, until: int) -> None:
        data = stream.peek(min(until - stream.taken, PEEK_BYTES))
        if data is None:
            self.waiting[stream.key] = stream.taken
            return
        if not data:
            self._run_end(turn, stream)
            return
        size = turn.guard(stream, lambda: stream.protocol.input_unit(data)) or len(data)
        size = max(1, min(size, len(data)))
        if self.may_run(turn, "input", stream.key, stream.taken):
            turn.receive(stream, size)
            return
        log.error(
            "connection %d: %d bytes of input killed the server each time they ran; skipped",
            stream.key, size,
            extra=events.SKIPPED(TAPD_POISON="input", TAPD_CONNECTION=stream.key),
        )  # fmt: skip
        stream.peek(size)
        stream.peeked = size
        turn.touch(stream)
        turn.guard(stream, lambda: stream.protocol.input_skipped(data[:size]))

    def _run_end(self, turn: Turn, stream: Stream) -> None:
        if self.may_run(turn, "input", stream.key, stream.taken):
            turn.receive(stream, 1)
            return
        log.error(
            "connection %d: the end of its input killed the server each time; skipped",
            stream.key,
            extra=events.SKIPPED(TAPD_POISON="input", TAPD_CONNECTION=stream.key),
        )  # fmt: skip
        stream.flags |= Flag.EOF_RECEIVED
        stream.close()


def _is_done(stream: Stream, until: int) -> bool:
    """Whether the input of `stream` up to `until` was run, or its end."""
    return stream.taken >= until or bool(stream.flags & (Flag.EOF_RECEIVED | Flag.CLOSING))
