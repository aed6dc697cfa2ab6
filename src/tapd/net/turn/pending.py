"""The uncommitted part of a turn: what the next commit writes to the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import current_thread, get_ident

from tapd.errors import AuthorError
from tapd.model.protocol import Transport
from tapd.net.streams.burst import Burst, close_last
from tapd.net.streams.stream import NOT_WRITING, Stream
from tapd.net.turn.schedule import Schedule
from tapd.net.turn.sockets import Sockets
from tapd.store.journal import records


class Pending:
    """Which streams the next commit looks at, and which began and ended.

    Owns these lists; `net.turn.commit` takes them and leaves empty ones. It is also the
    streams' view of the turn (`net.streams.stream.StreamTurn`).

    Attributes:
        touched: streams that read, wrote or changed their flags.
        bursts: output to many streams, by the id of the tuple of their transports.
        opens: connections that began.
        closes: connections that ended.
        lost_keys: connections of the process before whose socket is gone.
        go_on_reading: called with a stream whose pause has ended.
    """

    def __init__(
        self, schedule: Schedule, sockets: Sockets, go_on_reading: Callable[[Stream], None]
    ) -> None:
        self.touched: list[Stream] = []
        self.bursts: dict[int, Burst] = {}
        self.opens: list[records.Open] = []
        self.closes: list[Stream] = []
        self.lost_keys: list[int] = []
        self.go_on_reading = go_on_reading
        self._schedule = schedule
        self._by_fd = sockets.by_fd
        self._thread = schedule.thread

    def touch(self, stream: Stream) -> None:
        """Have this turn (or the next) look at `stream`.

        Raises:
            AuthorError: a thread that runs no turns wrote to it (or closed it, or paused it).
        """
        if get_ident() != self._thread:
            raise AuthorError(
                f"the transport of {stream.protocol!r} was used in the thread "
                f"{current_thread().name!r}: output belongs to a turn; use application."
                "run_blocking and write in what it calls, or application.call_soon_threadsafe"
            )
        if stream.touched or self._by_fd.get(stream.fd) is not stream:
            return  # noted already; or ended: its close is journaled, its fd may be another's
        stream.touched = True
        self.touched.append(stream)
        if not self._schedule.is_running:
            self._schedule.wake()

    def write_many(
        self, transports: Iterable[Transport], data: bytes, skip: Transport | None = None
    ) -> None:
        """Queue `data` on each of `transports` but `skip`, as `Stream.write` does.

        This takes one step, whatever their number, where the last output to all of them
        came with the same tuple (see `net.streams.burst`).
        """
        if data.__class__ is not bytes or not data or get_ident() != self._thread:
            for transport in transports:
                if transport is not skip:
                    transport.write(data)  # which raises for what can't be written
            return
        burst = self.bursts.get(id(transports))
        if burst is not None and burst.is_open and burst.skip is skip:
            burst.add(data)
        else:
            self._begin_burst(tuple(transports), data, skip)

    def _begin_burst(
        self, transports: tuple[Transport, ...], data: bytes, skip: Transport | None
    ) -> None:
        burst = Burst(transports, data, skip)
        by_fd, touched = self._by_fd, self.touched
        for stream in transports:
            if stream is skip:
                continue
            if stream.__class__ is not Stream:
                stream.write(data)
                burst.is_open = False  # such a transport must see each piece
                continue
            if stream.flags and stream.flags & NOT_WRITING:
                stream.write(data)  # which tells who should know
                continue
            queued = stream.queued
            if queued:
                close_last(queued)
            queued.append(burst)
            if not stream.touched and by_fd.get(stream.fd) is stream:
                stream.touched = True
                touched.append(stream)
        # Known only now: one that broke off has not come to all of them. It keeps the
        # tuple, so that the id is no other's.
        self.bursts[id(transports)] = burst
        if touched and not self._schedule.is_running:
            self._schedule.wake()
