"""The formats of journal records, and the rows that they hold.

A payload is the pickle of a tuple: the number of its format, then the format's fields
(`Record`), which are plain tuples, numbers and bytes. It is unpickled only after the journal
authenticated it.
"""

from __future__ import annotations

import enum
import io
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from tapd.errors import BugError
from tapd.image.tracking.changes import Changes
from tapd.values import Value


class Flag(enum.IntFlag):
    """The durable flags of a stream."""

    NONE = 0
    PAUSED = 1  # the protocol paused reading
    EOF_RECEIVED = 2  # the protocol was told of the peer's FIN
    EOF_QUEUED = 4  # send FIN once all output is sent
    CLOSING = 8  # stop reading; close once all output is sent
    ABORTED = 16  # close at once
    FROZEN = 32  # this process does not read it (or not yet); the next one does


class StreamState:
    """One connection, as the journal knows it.

    Attributes:
        key: its number within the application.
        cookie: the kernel's name of the socket, within one boot.
        is_unix: a UNIX socket, of which the kernel keeps no counters.
        sent_base: the kernel's count of sent bytes before the first byte of output.
        taken: bytes of input that the protocol has consumed.
        out_start: the position in the output stream at which `output` begins.
        output: committed output that may not have been sent.
        flags: `Flag`.
        reads: how many records moved `taken` (on UNIX sockets their parity is needed to
            tell whether the last read was discarded; see `net.streams.kernel`).
        last_read: the bytes of the last of them, since the journal began; 0 for none.
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
Share = tuple[list[bytes], list[int]]  # pieces of output, and the keys of all streams that got them


StreamRow = tuple[int, int, bool, int, int, int, bytes, int, int]  # the fields of a StreamState


def render_row(state: StreamState) -> StreamRow:
    """Return `state` as records hold it."""
    return (
        state.key, state.cookie, state.is_unix, state.sent_base, state.taken, state.out_start,
        bytes(state.output), state.flags, state.reads,
    )  # fmt: skip


Place = tuple[int, int]  # in a journal: its generation, and an offset in bytes
Work = tuple[str, int]  # work that each start repeats: its kind, and which of that
Identity = tuple[int, Any, bytes]  # received at (ns), sender, digest
Batch = list[tuple[Identity, int]]  # datagrams run, and how many were sent once each is answered
Datagram = tuple[bytes, Any]  # contents, to whom
PortMove = tuple[str, Batch, list[Datagram]]  # name, run, to be sent
PortRow = tuple[str, Batch, int, list[Datagram]]  # name, and the fields of a PortState


class PortState:
    """One datagram port, as the journal knows it.

    Attributes:
        batch: the datagrams that were run last; perhaps not yet discarded.
        sent: how many datagrams it sent so far, before `pending`.
        pending: committed datagrams; perhaps not yet sent.
    """

    __slots__ = ("batch", "pending", "sent")

    def __init__(
        self, batch: Batch | None = None, sent: int = 0, pending: list[Datagram] | None = None
    ) -> None:
        self.batch = [] if batch is None else batch
        self.sent = sent
        self.pending = [] if pending is None else pending


class Record(Value):
    """A record of one format: its number, and its named fields in their order in the tuple.

    The fields of a number never change. A new field, or a new meaning of one, makes a new
    class with the next free number; the old class stays, for existing journals.
    """

    number = 0

    def render(self) -> bytes:
        """Return the payload."""
        return pickle.dumps((self.number, *self.__dict__.values()), 5)


class TurnRecord(Record):
    """The changes of one turn.

    Attributes:
        opens: streams that began.
        moves: input and output of streams.
        closes: keys of those that ended.
        new, states, deltas: of the `Changes` to objects.
        shares: fan-out: output of several streams that did nothing else.
        ports: input and output of datagram ports.
        bases: whole states of streams whose output was not journaled for a while.
        classes, joint: of the `Changes`, too.
    """

    number = 1
    opens: Sequence[Open]
    moves: Sequence[Move]
    closes: Sequence[int]
    new: list[tuple[int, bytes]]
    states: list[tuple[int, bytes]]
    deltas: list[tuple[int, bytes]]
    shares: Sequence[Share] = ()
    ports: Sequence[PortMove] = ()
    bases: Sequence[StreamRow] = ()
    classes: list[tuple[int, bytes]] | None = None
    joint: list[tuple[tuple[int, ...], bytes]] | None = None


class BaseRecord(Record):
    """A journal's first: the streams and datagram ports as they are.

    Attributes:
        boot_id: of the boot in which the process serves.
        level: unclean deaths in a row.
        clean: the process stops cleanly.
        streams: as they are.
        ports: the datagram ports.
        before: the end of the journal before it. Names the journal's own generation where
            it follows the TAP and no other journal; None where the end is unknown.
    """

    number = 2
    boot_id: str
    level: int
    clean: bool
    streams: Sequence[StreamRow]
    ports: Sequence[PortRow] = ()
    before: Place | None = None


class SentRecord(Record):
    """How far output was sent.

    Attributes:
        streams: key and position in the output.
        ports: name, and how many datagrams were sent so far.
    """

    number = 3
    streams: Sequence[tuple[int, int]]
    ports: Sequence[tuple[str, int]] = ()


class StartRecord(Record):
    """A process began to serve.

    Attributes:
        boot_id: of the boot.
        level: how many processes in a row died uncleanly before it.
    """

    number = 4
    boot_id: str
    level: int


class SettledRecord(Record):
    """All input that waited at the start has been run."""

    number = 5


class ProgressRecord(Record):
    """A start made progress with the work that it repeats.

    Attributes:
        skipped: the work that was skipped for good instead, if any.
    """

    number = 6
    skipped: Work | None = None


class Trial(Record):
    """Something that may kill the process is about to run.

    Attributes:
        kind: of work.
        key: which of that kind.
        position: in the input.
        attempt: the number of this try, from 1 on.
    """

    number = 7
    kind: str
    key: int
    position: int
    attempt: int


FORMATS: Mapping[int, type[Record]] = {
    each.number: each
    for each in (
        TurnRecord, BaseRecord, SentRecord, StartRecord, SettledRecord, ProgressRecord, Trial,
    )
}  # fmt: skip
"""All formats that were ever written, by number."""

_WORDS: Mapping[str, type[Record]] = {
    "turn": TurnRecord,
    "base": BaseRecord,
    "sent": SentRecord,
    "start": StartRecord,
    "settled": SettledRecord,
    "progress": ProgressRecord,
    "try": Trial,
}
"""What records began with before they had numbers. The last fields may be missing there."""


def parse_record(payload: bytes) -> Record:
    """Read the payload of a record.

    Raises:
        BugError: its format is not known.
    """
    return _name_fields(pickle.loads(payload))


def _name_fields(fields: tuple[Any, ...]) -> Record:
    which, values = fields[0], fields[1:]
    cls = FORMATS.get(which)
    if cls is not None and len(values) == len(cls.__match_args__):
        # A start reads up to millions of these: as Value does it, without its checks.
        record = cls.__new__(cls)
        record.__dict__.update(zip(cls.__match_args__, values))  # noqa: B905 - as many, see above
        return record
    if which in _WORDS:
        return _WORDS[which](*values)
    raise BugError(f"a journal record of unknown kind {which!r}; was tapd downgraded?")


class _Values(pickle.Unpickler):
    """Unpickles plain values only: root, too, reads where a journal ended."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every class and function; a base record has none."""
        raise pickle.UnpicklingError(f"{module}:{name} in a journal's first record")


def parse_before(payload: bytes) -> Place | None:
    """Return where the journal before ended, from a journal's first record.

    None where it has no such entry, as in earlier versions. No code is run.
    """
    try:
        record = _name_fields(_Values(io.BytesIO(payload)).load())
    except (pickle.UnpicklingError, BugError):
        return None
    return record.before if isinstance(record, BaseRecord) else None


def render_base(
    boot_id: str,
    level: int,
    streams: list[StreamState],
    *,
    clean: bool,
    ports: Mapping[str, PortState] | None = None,
    before: Place | None = None,
) -> bytes:
    """Render a `BaseRecord`."""
    port_rows = [(name, p.batch, p.sent, p.pending) for name, p in (ports or {}).items()]
    rows = [render_row(state) for state in streams]
    return BaseRecord(boot_id, level, clean, rows, port_rows, before).render()


def render_turn(
    opens: list[Open],
    moves: list[Move],
    closes: list[int],
    changes: Changes,
    shares: list[Share],
    ports: list[PortMove] | None = None,
    bases: list[StreamRow] | None = None,
) -> bytes:
    """Render a `TurnRecord`.

    Output to many streams is one object in all of them, and the pickle holds it once.
    """
    # Each turn runs this, so no TurnRecord is made: these are its fields, in its order.
    return pickle.dumps(
        (
            TurnRecord.number,
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
    """Render how far output was sent."""
    return SentRecord(rows, ports).render()


def render_start(boot_id: str, level: int) -> bytes:
    """Render that a process began to serve, after `level` unclean deaths in a row."""
    return StartRecord(boot_id, level).render()


def render_settled() -> bytes:
    """Render that all input that waited at the start has been run."""
    return SettledRecord().render()


def render_progress(skipped: Work | None = None) -> bytes:
    """Render that a start made progress, or `skipped` some work for good."""
    return ProgressRecord(skipped).render()


def render_try(kind: str, key: int, position: int, attempt: int) -> bytes:
    """Render that something which may kill the process is about to run."""
    return Trial(kind, key, position, attempt).render()
