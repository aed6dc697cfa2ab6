"""Folds journal records into the state of streams, ports and the last process."""

from __future__ import annotations

from tapd.image.tracking.changes import Changes
from tapd.store.journal.records import (
    BaseRecord,
    Batch,
    Datagram,
    PortState,
    ProgressRecord,
    SentRecord,
    SettledRecord,
    StartRecord,
    StreamState,
    Trial,
    TurnRecord,
    Work,
    parse_record,
)


class History:
    """The sum of the records of all journals, without the objects.

    Attributes:
        boot_id: of the boot in which the last process served.
        clean: the last process stopped cleanly.
        level: how many processes in a row died before they settled or made progress.
        streams: by key.
        ports: the datagram ports, by name.
        trial: the mark under which the last process died, if any.
        skipped: work that killed each time and is skipped, until a process has settled.
        falls: how many processes in a row died in their start or under a mark, without
            any progress. A kill from outside counts only by chance.
        records: how many there were.
    """

    def __init__(self) -> None:
        self.boot_id = ""
        self.clean = True
        self.level = 0
        self.streams: dict[int, StreamState] = {}
        self.ports: dict[str, PortState] = {}
        self.trial: Trial | None = None
        self.skipped: set[Work] = set()
        self.falls = 0
        self.records = 0
        self._is_starting = False

    def apply(self, payload: bytes) -> Changes | None:
        """Apply one record; return its changes to objects, if it has any."""
        record = parse_record(payload)
        self.records += 1
        if isinstance(record, TurnRecord):  # nearly all are
            self.trial = None
            self._is_starting = False
            return self._apply_turn(record)
        if isinstance(record, StartRecord):
            self.falls = self.falls + 1 if self.fell else 0
        if not isinstance(record, Trial):
            self.trial = None
            self._is_starting = isinstance(record, StartRecord) and record.level > 0
        match record:
            case SentRecord():
                for key, position in record.streams:
                    self._cut_output(key, position)
                for name, sent in record.ports:
                    port = self.ports.setdefault(name, PortState())
                    del port.pending[: sent - port.sent]
                    port.sent = sent
            case BaseRecord():
                self.boot_id, self.level, self.clean = record.boot_id, record.level, record.clean
                self.streams = {row[0]: StreamState(*row) for row in record.streams}
                self.ports = {
                    name: PortState(batch, sent, pending)
                    for name, batch, sent, pending in record.ports
                }
            case StartRecord():
                self.boot_id, self.level = record.boot_id, record.level
                self.clean = False
            case SettledRecord():
                self.level = self.falls = 0
                self.skipped.clear()
            case ProgressRecord():
                self.level = min(self.level, 2)  # still careful
                self.falls = 0
                if record.skipped is not None:
                    self.skipped.add(record.skipped)
            case Trial():
                self.trial = record
        return None

    @property
    def fell(self) -> bool:
        """Whether the last process died in its start or under a mark."""
        return self._is_starting or self.trial is not None

    def _apply_turn(self, record: TurnRecord) -> Changes:
        self.clean = False
        streams = self.streams
        for key, cookie, is_unix, sent_base in record.opens:
            streams[key] = StreamState(key, cookie, is_unix, sent_base)
        for row in record.bases:
            streams[row[0]] = StreamState(*row)
        for key, taken, output, flags in record.moves:
            stream = streams.get(key)
            if stream is None:
                continue  # it ended before: its moves don't matter any more
            if taken != stream.taken:
                stream.last_read = taken - stream.taken
                stream.taken = taken
                stream.reads += 1
            stream.output += output if isinstance(output, bytes) else b"".join(output)
            stream.flags = flags
        for pieces, keys in record.shares:
            joined = b"".join(pieces)
            for key in keys:
                if key in streams:
                    streams[key].output += joined
        for key in record.closes:
            streams.pop(key, None)
        for name, batch, datagrams in record.ports:
            self._move_port(name, batch, datagrams)
        return Changes(record.new, record.states, record.deltas, record.classes, record.joint)

    def _move_port(self, name: str, batch: Batch, datagrams: list[Datagram]) -> None:
        port = self.ports.setdefault(name, PortState())
        if batch:  # it was peeked once all before it had been answered
            port.batch = batch
            port.sent += len(port.pending)
            port.pending = []
        port.pending += datagrams

    def _cut_output(self, key: int, position: int) -> None:
        stream = self.streams.get(key)
        if stream is not None:
            del stream.output[: position - stream.out_start]
            stream.out_start = position
