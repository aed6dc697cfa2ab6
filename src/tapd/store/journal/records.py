"""The formats of journal records, and the rows that they hold.

A payload is the pickle of a tuple: the number of its format, then the fields that the
format names (`Record`), which are plain tuples, numbers and bytes. It is read only after
the journal authenticated it.
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


Place = tuple[int, int]  # of a journal: its generation, and its size in bytes
Work = tuple[str, int]  # what the next process does again: its kind, and which of that
Identity = tuple[int, Any, bytes]  # received at (ns), sender, digest
Batch = list[tuple[Identity, int]]  # datagrams run, and how many were sent once each is answered
Datagram = tuple[bytes, Any]  # contents, to whom
PortMove = tuple[str, Batch, list[Datagram]]  # name, run, to be sent
PortRow = tuple[str, Batch, int, list[Datagram]]  # name, and the fields of a PortState


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


class Record(Value):
    """A record of one format: its number, and its named fields in the order in which they lie.

    A number stands for the same fields for ever. A format that gets another field, or
    another meaning of one, is a new class with the next number that nobody had; the class
    before stays, for journals that are there.
    """

    number = 0

    def render(self) -> bytes:
        """Return the payload."""
        return pickle.dumps((self.number, *self.__dict__.values()), 5)


class TurnRecord(Record):
    """What a turn did.

    Attributes:
        opens: streams that began.
        moves: what they did.
        closes: keys of those that ended.
        new, states, deltas: of the `Changes` to objects.
        shares: output that went to several streams, where nothing else moved them.
        ports: what datagram ports did.
        bases: whole states of streams, of which the journal did not know everything.
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
        before: where the journal before it ends; of the journal's own generation where it
            follows that and no other journal; None where nobody saw that.
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
        ports: name, and how many datagrams were ever sent.
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
    """Some of what a start has to run was run.

    Attributes:
        skipped: what was skipped for good instead, if anything.
    """

    number = 6
    skipped: Work | None = None


class Trial(Record):
    """Something that may kill the process is about to run.

    Attributes:
        kind: of work.
        key: which of that kind.
        position: in the input.
        attempt: how often it was tried, with this one.
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
"""Every format that was ever written, by its number."""

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
        # A start reads up to millions of these: what Value does, without its checks.
        record = cls.__new__(cls)
        record.__dict__.update(zip(cls.__match_args__, values))  # noqa: B905 - as many, see above
        return record
    if which in _WORDS:
        return _WORDS[which](*values)
    raise BugError(f"a journal record of unknown kind {which!r}; was tapd downgraded?")


class _Values(pickle.Unpickler):
    """Reads values only: root, too, asks where a journal ended."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every name; a base record has none."""
        raise pickle.UnpicklingError(f"{module}:{name} in a journal's first record")


def parse_before(payload: bytes) -> Place | None:
    """Return where the journal before ended, from a journal's first record.

    None where it does not say: journals of earlier versions don't. No code is run.
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

    Output that goes to many is one object in all of them, and the pickle holds it once.
    """
    # Each turn does this, so no TurnRecord is made: these are its fields, in its order.
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
    """Render how far output was sent where the kernel does not tell."""
    return SentRecord(rows, ports).render()


def render_start(boot_id: str, level: int) -> bytes:
    """Render that a process began to serve, after `level` unclean deaths in a row."""
    return StartRecord(boot_id, level).render()


def render_settled() -> bytes:
    """Render that all input that waited at the start has been run."""
    return SettledRecord().render()


def render_progress(skipped: Work | None = None) -> bytes:
    """Render that some of what a start has to run was run, or `skipped` for good."""
    return ProgressRecord(skipped).render()


def render_try(kind: str, key: int, position: int, attempt: int) -> bytes:
    """Render that something which may kill the process is about to run."""
    return Trial(kind, key, position, attempt).render()
