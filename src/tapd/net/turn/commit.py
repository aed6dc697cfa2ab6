"""The commit: writes a turn's changes to the journal as one record, then releases its output.

While the record can't be written (the disk is full) the turns stall: nothing is run or
sent, and the write of the same record is retried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from os import _exit
from typing import Protocol as Protocol_

from tapd import events
from tapd.errors import StateUnwritable
from tapd.image.loss import Loss
from tapd.image.tracking.jar import Jar
from tapd.net.streams.burst import Queue, pieces_of
from tapd.net.streams.datagrams import DatagramPort
from tapd.net.streams.stream import Stream
from tapd.net.turn.connections import Connections
from tapd.net.turn.pending import Pending
from tapd.net.turn.ports import Ports
from tapd.net.turn.schedule import Schedule
from tapd.store.journal import records
from tapd.systemd.own_memory import OwnMemory
from tapd.values import Value

_log = logging.getLogger(__name__)

RETRY_S = 1.0
POSITIONS_EACH_BYTES = 16 << 20
"""After so much output, summed over its receivers, the journal gets the positions sent.

Else a start would hold in memory all output since the generation, before it asks the kernel
how much was sent: the journal has one copy of a message to many, memory one per receiver."""


class Journal(Protocol_):
    """The journal's interface for the turn; `store.journal.file.JournalWriter` implements it."""

    size: int

    @property
    def end(self) -> tuple[int, int]:
        """The generation that it follows, and the end of its last whole record."""

    def append(self, payload: bytes) -> None:
        """Append one record, or raise `StateUnwritable`."""

    def sync(self) -> None:
        """Have all records reach the disk, or raise `StateUnwritable`."""

    def take_back(self) -> None:
        """Undo the last `append`."""

    def close(self) -> None:
        """Close it."""


class _Leaving(Value):
    """Streams and ports whose output may leave the process once a record is written."""

    streams: list[Stream]
    ports: list[DatagramPort]
    closes: list[Stream]


class Commits:
    """Commits turns to the journal, and lets their output leave.

    Owns the journal, until it is changed for the next one.

    Attributes:
        journal: takes the records; None before the first turn.
        turns: how many turns committed something.
        is_stalled: the journal can't be written; nothing is run or sent.
        on_stall: called with the error when that begins, and with None when it ends.
        on_unsynced: called when an fsync failed and serving goes on: earlier records may be
            lost, and only a new generation makes them safe.
        sync_always: have the disk confirm each record before anything leaves.
    """

    def __init__(
        self,
        jar: Jar,
        *,
        schedule: Schedule,
        pending: Pending,
        connections: Connections,
        ports: Ports,
        own_memory: OwnMemory,
        fault: Callable[[str], None],
    ) -> None:
        self.journal: Journal | None = None
        self.turns = 0
        self.is_stalled = False
        self.on_stall: Callable[[StateUnwritable | None], None] = lambda _error: None
        self.on_unsynced: Callable[[], None] = lambda: None
        self.sync_always = False
        self._jar = jar
        self._schedule = schedule
        self._pending = pending
        self._connections = connections
        self._ports = ports
        self._own_memory = own_memory
        self._fault = fault
        self._is_unsynced = False
        self._output_bytes = 0  # output journaled since the last positions were
        self._told_losses: set[Loss] = set()

    def commit(self) -> None:
        """Append the record of what was run, then let it leave the process.

        Does nothing while an earlier record can't be written: later changes wait for a turn
        after it, so that records stay in order.
        """
        if self.is_stalled:
            return
        hosting, pending = self._connections.hosting, self._pending
        if hosting.has_active:
            hosting.look()
        touched, pending.touched = pending.touched, []
        ports, self._ports.touched = self._ports.touched, []
        pending.bursts.clear()
        moves: list[records.Move] = []
        bases: list[records.StreamRow] = []
        shared: dict[object, tuple[Queue, list[int], list[bytes], bytes]] = {}
        last: Queue = []
        keys: list[int] = []
        output = b""
        for stream in touched:
            # First, so that code that writes from here on (a signal's handler, say) has the
            # stream looked at by the next commit.
            stream.touched = False
            queued = stream.queued
            if stream.is_hosted:
                moves += stream.move_hosted(bases)
            elif stream.peeked or stream.flags != stream.committed_flags:
                moves.append(stream.move())
            elif queued:
                stream.queued = []
                # Nothing but output, as in fan-out: journaled once for all streams that get
                # the same objects. All of them are alive, so their ids are unique. Mostly it
                # is the output of the stream before, and comparing lists of the same objects
                # is fast.
                if queued != last:
                    which = id(queued[0]) if len(queued) == 1 else tuple(map(id, queued))
                    known = shared.get(which)
                    if known is None:
                        pieces = pieces_of(queued)
                        joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                        known = shared[which] = (queued, [], pieces, joined)
                    last, keys, _pieces, output = known
                keys.append(stream.key)
                stream.fresh = output
        changes = self._jar.commit()
        if self._jar.losses:
            self._tell_losses()
        opens, pending.opens = pending.opens, []
        closes, pending.closes = pending.closes, []
        lost_keys, pending.lost_keys = pending.lost_keys, []
        payload = None
        port_moves = [move for port in ports if (move := port.move()) is not None]
        if moves or bases or shared or opens or closes or lost_keys or changes or port_moves:
            lost_keys += [stream.key for stream in closes]
            shares = [(pieces, keys) for _queued, keys, pieces, _output in shared.values()]
            payload = records.render_turn(
                opens, moves, lost_keys, changes, shares, port_moves, bases
            )
            self._output_bytes += len(payload) + sum(
                len(output) * len(keys) for _queued, keys, _pieces, output in shared.values()
            )
        self._append(payload, _Leaving(touched, ports, closes))

    def _tell_losses(self) -> None:
        """Log each object that can't be saved once, and not in each turn."""
        losses = set(self._jar.losses)
        for loss in losses - self._told_losses:
            _log.warning(
                "not saved: %s (%s): %s", loss.path, loss.type_name, loss.reason,
                extra=events.LOSS(TAPD_OBJECT=loss.path, TAPD_OBJECT_TYPE=loss.type_name),
            )  # fmt: skip
        self._told_losses = (self._told_losses | losses) if len(losses) < 1000 else losses

    def _append(self, payload: bytes | None, leaving: _Leaving) -> None:
        if not self._own_memory[0]:
            _exit(0)  # a copy, forked by C code in this turn: the journal is the server's
        if payload is not None:
            assert self.journal is not None, "a turn before there is a journal"
            try:
                self.journal.append(payload)
                if self.sync_always:
                    self._sync(self.journal)
            except StateUnwritable as error:
                self._stall(error, leaving, lambda: self._append(payload, leaving))
                return
            self.turns += 1
        if self.is_stalled:
            self.is_stalled = False
            self.on_stall(None)
            if self._is_unsynced:
                self._is_unsynced = False
                self.on_unsynced()
        self._fault("turn: committed")
        sent = self._connections.externalise(leaving.streams)
        ports_sent = self._ports.externalise(leaving.ports) if leaving.ports else []
        self._fault("turn: externalised")
        self._connections.close_ended(leaving.closes)
        if self._output_bytes > POSITIONS_EACH_BYTES:
            self._output_bytes = 0
            sent += self._positions()
        if sent or ports_sent:
            self._note_sent(sent, ports_sent)

    def _sync(self, journal: Journal) -> None:
        """Fsync the last record; where that fails, remove it, so that it is appended again."""
        try:
            journal.sync()
        except StateUnwritable:
            self._is_unsynced = True
            journal.take_back()
            raise

    def _positions(self) -> list[tuple[int, int]]:
        """Return key and position of the output sent, for all streams that the kernel counts."""
        return [
            (stream.key, stream.sent)
            for stream in self._connections.streams.values()
            if stream.is_journaled and not stream.is_unix
        ]

    def _note_sent(self, sent: list[tuple[int, int]], ports_sent: list[tuple[str, int]]) -> None:
        assert self.journal is not None, "output without a journal"
        try:
            self.journal.append(records.render_sent(sent, ports_sent))
        except StateUnwritable as error:
            _log.warning("%s (what was sent may be sent twice after a kill)", error)

    def _stall(self, error: StateUnwritable, leaving: _Leaving, retry: Callable[[], None]) -> None:
        """Run and send nothing until the journal can be written; clients see a pause."""
        if not self.is_stalled:
            self.is_stalled = True
            _log.error("%s; nothing is answered until it can", error, extra=events.STALLED())
            self.on_stall(error)
            self._schedule.pause()

        def again() -> None:
            if not self._schedule.is_open:
                return
            try:
                retry()
            except BaseException as another:
                self._schedule.break_off(another)
                raise
            if not self.is_stalled:
                self._schedule.go_on()

        self._schedule.loop.call_later(RETRY_S, again)

    def change_journal(self, journal: Journal, boot_id: str, level: int, *, clean: bool) -> None:
        """Commit what is due, then go on in `journal`, which begins with the streams.

        Between turns only. The old journal is synced and closed.

        Args:
            journal: the new one.
            boot_id: of this boot.
            level: the number of unclean deaths in a row (`net.turn.careful`).
            clean: the process ends, and has saved everything.

        Raises:
            StateUnwritable: the old or the new one can't be written; the old one is kept.
        """
        try:
            self._change_journal(journal, boot_id, level, clean=clean)
        except StateUnwritable:
            raise
        except BaseException as error:
            self._schedule.break_off(error)
            raise

    def _change_journal(self, journal: Journal, boot_id: str, level: int, *, clean: bool) -> None:
        self.commit()
        if self.is_stalled:
            # The stalled record is written later; a base record with its changes would
            # apply them twice.
            raise StateUnwritable("the last turn could not be committed; the journal stays")
        if self.journal is not None:
            # A power cut must not leave the new journal without the end of the old one.
            try:
                self.journal.sync()
            except StateUnwritable as error:
                _log.error("%s (a generation is being saved)", error)
        states = [stream.state() for stream in self._connections.streams.values()]
        ports = {port.name: port.state() for port in self._ports}
        old = self.journal
        before = old.end if old is not None else None  # for the check whether it was cut later
        journal.append(
            records.render_base(boot_id, level, states, clean=clean, ports=ports, before=before)
        )
        self.journal = journal
        if old is not None:
            old.close()
