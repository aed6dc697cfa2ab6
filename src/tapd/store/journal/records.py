"""What journal records say: the payloads, and the state of streams that they add up to.

Payloads are pickles of plain tuples, numbers and bytes, and are read only after
the journal authenticated them.
"""

from __future__ import annotations

import enum
import io
import pickle
from collections.abc import Mapping
from typing import Any

from tapd.errors import BugError
from tapd.image.tracking.changes import Changes
from tapd.values import Value


class Flag(enum.IntFlag):
    """The durable part of a stream's condition."""

    NONE = 0
    PAUSED = 1  # the protocol wants no input now
    EOF_RECEIVED = 2  # the protocol was told that the peer sends no more
    EOF_QUEUED = 4  # send FIN once all output is sent
    CLOSING = 8  # read no more; close once all output is sent
    ABORTED = 16  # close at once
    FROZEN = 32  # this process does not read it (for a while, or any more); the next one does


class StreamState:
    """One connection, as the journal knows it.

    Attributes:
        key: its number within the application.
        cookie: the kernel's name of the socket, within one boot.
        is_unix: a UNIX socket, of which the kernel keeps no counters.
        sent_base: what the kernel counted as sent before the first byte.
        taken: bytes of input that the protocol has consumed.
        out_start: where in the output stream `output` begins.
        output: committed output that may not have been sent.
        flags: `Flag`.
        reads: how many records moved `taken` (their parity tells, on UNIX sockets,
            whether the last read was discarded; see `net.streams.kernel`).
        last_read: by how much the last of them did, since the journal began; 0 for none.
    """

    __slots__ = (
        "cookie", "flags", "is_unix", "key", "last_read", "out_start", "output", "reads",
        "sent_base", "taken",
    )  # fmt: skip

    def __init__(
        self,
        key: int,
        cookie: int,
        is_unix: bool,
        sent_base: int,
        taken: int = 0,
        out_start: int = 0,
        output: bytes | bytearray = b"",
        flags: int = 0,
        reads: int = 0,
    ) -> None:
        self.key = key
        self.cookie = cookie
        self.is_unix = is_unix
        self.sent_base = sent_base
        self.taken = taken
        self.out_start = out_start
        self.output = bytearray(output)
        self.flags = flags
        self.reads = reads
        self.last_read = 0


Open = tuple[int, int, bool, int]  # key, cookie, is_unix, sent_base
Move = tuple[int, int, bytes | list[bytes], int]  # key, taken, output (in pieces), flags
Share = tuple[list[bytes], list[int]]  # pieces of output, and the keys of all who got them


StreamRow = tuple[int, int, bool, int, int, int, bytes, int, int]  # the fields of a StreamState


def render_row(state: StreamState) -> StreamRow:
    """Return `state` as records hold it."""
    return (
        state.key, state.cookie, state.is_unix, state.sent_base, state.taken, state.out_start,
        bytes(state.output), state.flags, state.reads,
    )  # fmt: skip


Work = tuple[str, int]  # what the next process does again: its kind, and which of that
Identity = tuple[int, Any, bytes]  # received at (ns), sender, digest
Batch = list[tuple[Identity, int]]  # datagrams run, and how many were sent once each is answered
Datagram = tuple[bytes, Any]  # contents, to whom
PortMove = tuple[str, Batch, list[Datagram]]  # name, run, to be sent


class PortState:
    """One datagram port, as the journal knows it.

    Attributes:
        batch: the datagrams that were run last and may not be discarded yet.
        sent: how many datagrams it ever sent, before `pending`.
        pending: datagrams that may not be sent yet.
    """

    __slots__ = ("batch", "pending", "sent")

    def __init__(
        self, batch: Batch | None = None, sent: int = 0, pending: list[Datagram] | None = None
    ) -> None:
        self.batch = [] if batch is None else batch
        self.sent = sent
        self.pending = [] if pending is None else pending


def render_base(
    boot_id: str,
    level: int,
    streams: list[StreamState],
    *,
    clean: bool,
    ports: Mapping[str, PortState] | None = None,
    before: tuple[int, int] | None = None,
) -> bytes:
    """Render a journal's first record: the streams and datagram ports as they are.

    Args:
        boot_id: of the boot in which the process serves.
        level: unclean deaths in a row.
        streams: as they are.
        clean: the process stops cleanly.
        ports: the datagram ports, by name.
        before: generation and size in bytes of the journal that ends here; of the
            journal's own generation where it follows that and no other journal.
    """
    port_rows = [(name, p.batch, p.sent, p.pending) for name, p in (ports or {}).items()]
    rows = [render_row(state) for state in streams]
    return pickle.dumps(("base", boot_id, level, clean, rows, port_rows, before), 5)


class _Values(pickle.Unpickler):
    """Reads values only: root, too, asks where a journal ended."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every name; a base record has none."""
        raise pickle.UnpicklingError(f"{module}:{name} in a journal's first record")


def parse_before(payload: bytes) -> tuple[int, int] | None:
    """Return generation and size of the journal before, from a journal's first record.

    None where it does not say: journals of earlier versions don't. No code is run.
    """
    try:
        kind, *fields = _Values(io.BytesIO(payload)).load()
    except pickle.UnpicklingError:
        return None
    return fields[5] if kind == "base" and len(fields) > 5 else None


def render_turn(
    opens: list[Open],
    moves: list[Move],
    closes: list[int],
    changes: Changes,
    shares: list[Share],
    ports: list[PortMove] | None = None,
    bases: list[StreamRow] | None = None,
) -> bytes:
    """Render a turn's record.

    Args:
        opens: streams that began.
        moves: what they did.
        closes: keys of those that ended.
        changes: to objects.
        shares: output that went to several streams and nothing else moved them.
        ports: what datagram ports did.
        bases: whole states of streams, of which the journal did not know everything.

    Output that goes to many is one object in all of them, and the pickle holds it once.
    """
    return pickle.dumps(
        (
            "turn",
            opens,
            moves,
            closes,
            changes.new,
            changes.states,
            changes.deltas,
            shares,
            ports or [],
            bases or [],
            changes.classes,
            changes.joint,
        ),
        5,
    )


def render_sent(rows: list[tuple[int, int]], ports: list[tuple[str, int]]) -> bytes:
    """Render how far output was sent where the kernel does not tell.

    Args:
        rows: key and position, of UNIX streams.
        ports: name and number of datagrams ever sent, of datagram ports.
    """
    return pickle.dumps(("sent", rows, ports), 5)


def render_start(boot_id: str, level: int) -> bytes:
    """Render that a process began to serve, after `level` unclean deaths in a row."""
    return pickle.dumps(("start", boot_id, level), 5)


def render_settled() -> bytes:
    """Render that all input that waited at the start has been run."""
    return pickle.dumps(("settled",), 5)


def render_progress(skipped: Work | None = None) -> bytes:
    """Render that some of what a start has to run was run, or `skipped` for good."""
    return pickle.dumps(("progress",) if skipped is None else ("progress", skipped), 5)


def render_try(kind: str, key: int, position: int, attempt: int) -> bytes:
    """Render that something which may kill the process is about to run."""
    return pickle.dumps(("try", kind, key, position, attempt), 5)


class Trial(Value):
    """Something that was being run when the process died, and how often that happened."""

    kind: str
    key: int
    position: int
    attempt: int


class History:
    """What the records of all journals add up to, apart from the objects.

    Attributes:
        boot_id: of the boot in which the last process served.
        clean: the last process stopped cleanly.
        level: how often in a row the process died before it had settled or got on.
        streams: by key.
        ports: the datagram ports, by name.
        trial: what was being tried when the last process died, if anything.
        skipped: what killed each time and is skipped, until a process has settled.
        falls: how many processes in a row died in their start, or of what they tried, and
            had got on with nothing before. A kill from outside is none, but for chance.
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
        """Take in one record; return its changes to objects, if it has any."""
        record = pickle.loads(payload)
        kind = record[0]
        self.records += 1
        if kind == "start":
            self.falls = self.falls + 1 if self.fell else 0
        if kind != "try":
            self.trial = None
            self._is_starting = kind == "start" and record[2] > 0
        match kind:
            case "turn":
                return self._apply_turn(record)
            case "sent":
                for key, position in record[1]:
                    self._cut_output(key, position)
                for name, sent in record[2] if len(record) > 2 else ():
                    port = self.ports.setdefault(name, PortState())
                    del port.pending[: sent - port.sent]
                    port.sent = sent
            case "base":
                _, self.boot_id, self.level, self.clean, rows, *more = record
                self.streams = {row[0]: StreamState(*row) for row in rows}
                self.ports = {name: PortState(*row) for name, *row in (more[0] if more else ())}
            case "start":
                _, self.boot_id, self.level = record
                self.clean = False
            case "settled":
                self.level = self.falls = 0
                self.skipped.clear()
            case "progress":
                self.level = min(self.level, 2)  # careful still
                self.falls = 0
                self.skipped.update(record[1:])
            case "try":
                self.trial = Trial(*record[1:])
            case _:
                raise BugError(f"a journal record of unknown kind {kind!r}; was tapd downgraded?")
        return None

    @property
    def fell(self) -> bool:
        """Whether the last process died in its start, or of what it tried."""
        return self._is_starting or self.trial is not None

    def _apply_turn(self, record: tuple[Any, ...]) -> Changes:
        _, opens, moves, closes, new, states, deltas, *more = record
        self.clean = False
        streams = self.streams
        for key, cookie, is_unix, sent_base in opens:
            streams[key] = StreamState(key, cookie, is_unix, sent_base)
        for row in more[2] if len(more) > 2 else ():
            streams[row[0]] = StreamState(*row)
        for key, taken, output, flags in moves:
            stream = streams.get(key)
            if stream is None:
                continue  # it ended before: nothing of it can matter any more
            if taken != stream.taken:
                stream.last_read = taken - stream.taken
                stream.taken = taken
                stream.reads += 1
            stream.output += output if type(output) is bytes else b"".join(output)
            stream.flags = flags
        for pieces, keys in more[0] if more else ():  # journals of 0.1.0 have none
            output = b"".join(pieces)
            for key in keys:
                if key in streams:
                    streams[key].output += output
        for key in closes:
            streams.pop(key, None)
        for name, batch, datagrams in more[1] if len(more) > 1 else ():
            self._move_port(name, batch, datagrams)
        return Changes(new, states, deltas, *more[3:])

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
