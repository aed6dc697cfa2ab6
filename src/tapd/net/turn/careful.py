"""Finds poison input after unclean deaths, and skips it.

Poison input is still in the kernel after the kill, and would kill the next process as well,
and so on. After the first death the cause is unknown, and all goes on as usual: a kill from
outside is by far the likeliest. When the process dies again before it has run the input that
waited (the *level* is 2), that input is run one connection at a time, each announced in the
journal by a mark. The connection that was marked when the process died is run one unit at a
time by the next process, each unit with a mark of its own. A unit that kills `TRIES` times
under its own mark is skipped, its client is told, and the log names it: five deaths in all.
To be mistaken for poison input, kills from outside would have to hit the same unit that often
in a row.

A start repeats more than input. Services start, protocols hear that their connections were
lost or resumed, timers are due, connectors connect, accepted connections begin: any of these
may kill, and several may. So each of them runs `alone` then: under a mark of its own, and
committed or skipped before the next one runs. This includes the results of threads and tasks
that `connection_resumed` asks for. So each death identifies one culprit or counts against it,
and a start always ends. Only resumed connections are committed together, as there may be
thousands: should that commit kill, the next process commits them one by one. The loading of
the state has marks of its own (`host.load_trial`).

Whole units that a protocol keeps, since they came while reading was paused, are not in the
kernel any more, and the code that resumes reading (a timer, a thread's result, another
connection) would be blamed for them. So they run after that code is committed, each under a
mark of its own; the connection reads nothing else until then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

from tapd import events
from tapd.errors import StateUnwritable
from tapd.net.streams.guard import Guard
from tapd.net.streams.stream import PEEK_BYTES, Stream
from tapd.net.turn.commit import Commits
from tapd.net.turn.connections import Connections
from tapd.net.turn.ports import Ports
from tapd.net.turn.schedule import Schedule
from tapd.store.journal import records
from tapd.store.journal.history import History
from tapd.store.journal.records import Flag

_log = logging.getLogger(__name__)

TRIES = 2
SINGLE_LEVEL = 2
COMMIT_EACH_S = 0.1
_COMMIT = "commit"  # the kind of a mark
SETTLED_S = 10.0
"""A process that serves this long has survived its start, whatever input still waits."""


class Careful:
    """Runs risky work under marks after an unclean death, until the server has settled.

    Owns the list of input that waited at the start, and the marks in the journal.

    Attributes:
        level: how many processes in a row died before they had settled.
        waiting: by connection whose input waited at the start, the position of the end of
            that input. A FIN counts as a byte.
        kept: by connection whose protocol kept whole units at the start, the position
            behind them.
        awaited: how many results are outstanding that were asked for at the start.
    """

    def __init__(
        self,
        history: History,
        waiting: dict[int, int],
        kept: dict[int, int],
        *,
        schedule: Schedule,
        guard: Guard,
        connections: Connections,
        ports: Ports,
        commits: Commits,
    ) -> None:
        trial = history.trial
        self.level = history.level + 1
        self.waiting = waiting
        self.kept = kept
        self._schedule = schedule
        self._guard = guard
        self._connections = connections
        self._ports = ports
        self._commits = commits
        self.awaited = 0
        self._held: dict[Stream, None] = {}  # frozen until their kept units were run
        self._trial = trial
        self._skipped = history.skipped
        self._commits_each = trial is not None and trial.kind == _COMMIT
        self._committed_s = 0.0
        self._settled_at = time.monotonic() + SETTLED_S

    @property
    def is_single(self) -> bool:
        """Whether input is run one unit at a time."""
        return self.level >= SINGLE_LEVEL

    def may_run(self, kind: str, key: int, position: int = 0) -> bool:
        """Mark in the journal that something runs; return False where it has killed too often."""
        if not self.is_single:
            return True
        attempt = 1
        trial = self._trial
        if trial is not None and (trial.kind, trial.key, trial.position) == (kind, key, position):
            attempt = trial.attempt + 1
            if attempt > TRIES:
                return False
        self._announce(kind, key, position, attempt)
        return True

    def _announce(self, kind: str, key: int, position: int, attempt: int) -> None:
        self._append(records.render_try(kind, key, position, attempt))

    def _append(self, payload: bytes) -> None:
        """Append a mark. On a full disk there is none; the turn's own record stalls then."""
        assert self._commits.journal is not None, "a turn before there is a journal"
        try:
            self._commits.journal.append(payload)
        except StateUnwritable as error:
            _log.warning("%s (what is run now could not be announced)", error)

    def note_progress(self) -> None:
        """Journal that this process made progress, so that the next one knows."""
        self._append(records.render_progress())

    def alone(
        self,
        kind: str,
        key: int,
        run: Callable[[], object],
        what: Callable[[], str],
        skip: Callable[[], object] = lambda: None,
        *,
        may_wait: bool = False,
    ) -> None:
        """Run, under a mark, something that each start repeats, or skip it; then commit.

        Args:
            kind: its kind, in the journal.
            key: which of that kind.
            run: does it.
            what: names it in the log.
            skip: called instead where it has killed the server each time. It must not run
                authors' code.
            may_wait: it may be committed together with others, as the next process runs it
                in any case. Saves the cost of a commit for each.
        """
        if not self.is_single:
            run()
            return
        work = kind, key
        trial = self._trial
        is_suspect = trial is not None and (trial.kind, trial.key) == work
        is_skipped = work in self._skipped or not self.may_run(kind, key)
        if is_skipped:
            _log.error(
                "%s killed the server each time; skipped", what(),
                extra=events.SKIPPED(TAPD_POISON=kind),
            )  # fmt: skip
            skip()
        else:
            run()
        if is_skipped:
            self._append(records.render_progress(work))
        # A suspect is committed by itself: the commit may be what kills, and then the last
        # mark in the journal must be the suspect's.
        if not may_wait or is_suspect or self._commits_each:
            self._commits.commit()
            if not self._commits.is_stalled:
                self.note_progress()
        elif time.monotonic() >= self._committed_s + COMMIT_EACH_S:
            self.commit()

    def commit(self) -> None:
        """Commit what several have done, under a mark, and journal the progress."""
        if self.is_single:
            self._announce(_COMMIT, 0, 0, 1)
        self._commits.commit()
        self._committed_s = time.monotonic()
        if not self._commits.is_stalled:
            self.note_progress()

    def run(self, events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Run the input that waited, one unit at a time where that is due; return other events."""
        if not self.is_single:
            return events
        self._commits.commit()  # else a unit would be blamed for what ran before it
        ready = {fd for fd, _event in events}
        for run_unit in self._units(ready):
            if self._commits.is_stalled:
                return []
            run_unit()
            self._commits.commit()
        if self._commits.is_stalled:
            return []
        streams = self._connections.streams
        waiting = (streams[key] for key in self.waiting if key in streams)
        # Only unread streams are left out: the events of the others (a reset, which epoll
        # reports once, or room for output) are handled as usual.
        later_fds = {stream.fd for stream in waiting if stream.wants_input}
        later_fds.update(stream.fd for stream in self._held)
        return [(fd, event) for fd, event in events if fd not in later_fds]

    def is_over(self) -> bool:
        """Whether all input of the start was run, or the process has served long enough."""
        streams = self._connections.streams
        self.waiting = {
            key: until
            for key, until in self.waiting.items()
            if key in streams and not _is_done(streams[key], until)
        }
        self.kept = {
            key: until
            for key, until in self.kept.items()
            if key in streams
            and streams[key].taken - self._guard.count(streams[key], "kept_bytes") < until
        }
        for port in self._ports:
            port.look_whether_empty()
        ports_wait = any(not port.was_empty for port in self._ports)
        waits = self.waiting or self.kept or self._held or self.awaited
        is_all_run = not (waits or ports_wait)
        return is_all_run or time.monotonic() > self._settled_at

    def _units(self, ready: set[int]) -> Iterator[Callable[[], None]]:
        """Yield functions that each run the next unit of one connection; commit after each."""
        for stream in list(self._held):
            yield partial(self._run_kept_unit, stream)
            if not self._commits.is_stalled and stream not in self._held:
                self.note_progress()
        for port in self._ports:
            if not port.was_empty and port.wants_input:
                yield partial(port.receive, limit=1)
        for key, until in self.waiting.items():
            waiting = self._connections.streams.get(key)
            if waiting is None or waiting.fd not in ready or not waiting.wants_input:
                continue
            is_suspect = self._trial is not None and self._trial.key == key
            yield partial(self._run_unit if is_suspect else self._run_all, waiting, until)
            if not self._commits.is_stalled and _is_done(waiting, until):
                self.note_progress()

    def _run_all(self, stream: Stream, until: int) -> None:
        """Run all waiting input of one connection."""
        self._announce("stream", stream.key, stream.taken, 1)
        self._connections.receive(stream, min(until - stream.taken, PEEK_BYTES))

    def settle(self) -> list[Stream]:
        """Journal that the server has settled; return the connections that were held back."""
        self._append(records.render_settled())
        return list(self._held)

    def hold(self, stream: Stream) -> None:
        """Run what the protocol of `stream` keeps unit by unit, and read nothing before that."""
        stream.freeze()
        if stream not in self._held:
            self._held[stream] = None
            self._schedule.call(_look_again)

    def _run_kept_unit(self, stream: Stream) -> None:
        """Run or skip the first kept unit, and commit."""
        del self._held[stream]
        stream.thaw()
        if not stream.may_run_kept():
            return  # it was paused again, or is closing
        kept = self._guard.count(stream, "kept_bytes")
        position = stream.taken - kept
        if self.may_run("kept", stream.key, position):
            self._guard.call(stream, "run_kept_unit")
        else:
            _log.error(
                "connection %d: input that waited while it was not read killed the server each "
                "time it ran; skipped",
                stream.key,
                extra=events.SKIPPED(TAPD_POISON="input", TAPD_CONNECTION=stream.key),
            )  # fmt: skip
            self._guard.call(stream, "skip_kept_unit")
        # A protocol that reads nothing after the end of input would keep it for ever.
        if stream.may_run_kept() and 0 < self._guard.count(stream, "kept_bytes") < kept:
            self.hold(stream)

    def _run_unit(self, stream: Stream, until: int) -> None:
        try:
            data = stream.peek(min(until - stream.taken, PEEK_BYTES))
        except OSError as error:
            self._connections.give_up(stream, error, "read")
            return
        if data is None:
            self.waiting[stream.key] = stream.taken
            return
        if not data:
            self._run_end(stream)
            return
        size = min(self._guard.count(stream, "input_unit", data) or len(data), len(data))
        if self.may_run("input", stream.key, stream.taken):
            self._connections.receive(stream, size)
            return
        _log.error(
            "connection %d: %d bytes of input killed the server each time they ran; skipped",
            stream.key, size,
            extra=events.SKIPPED(TAPD_POISON="input", TAPD_CONNECTION=stream.key),
        )  # fmt: skip
        stream.peek(size)
        stream.peeked = size
        stream.touch()
        self._guard.call(stream, "input_skipped", data[:size])

    def _run_end(self, stream: Stream) -> None:
        if self.may_run("input", stream.key, stream.taken):
            self._connections.receive(stream, 1)
            return
        _log.error(
            "connection %d: the end of its input killed the server each time; skipped",
            stream.key,
            extra=events.SKIPPED(TAPD_POISON="input", TAPD_CONNECTION=stream.key),
        )  # fmt: skip
        stream.flags |= Flag.EOF_RECEIVED
        stream.close()


def _is_done(stream: Stream, until: int) -> bool:
    """Whether the input of `stream` up to `until` was run, or its end."""
    return stream.taken >= until or bool(stream.flags & (Flag.EOF_RECEIVED | Flag.CLOSING))


def _look_again() -> None:
    """Request another turn."""
