"""One live connection: the socket, and the transport that its protocol sees.

Only the turn (see `net.turn.turn`) reads and sends, in this order:

* `peek` returns the input, which stays in the kernel;
* the protocol runs, and its output is queued;
* `move` returns the entry for the journal;
* `externalise` discards the input, sends the output, closes.

The kernel keeps no counters for a UNIX socket, so there are two substitutes. For input,
SO_PEEK_OFF (`kernel.mark_discard`). For output, the turn appends a record of what was
sent; a kill in the microseconds between the send and that record may send those bytes
again (see the documentation's limits).

**Ownership.** A `Stream` owns its socket; the vault holds a duplicate, so a
connection is ended with shutdown(2), never by close(2) alone.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any
from typing import Protocol as TypingProtocol

from tapd.errnos import AGAIN, insist
from tapd.linux.sockets import SO_PEEK_OFF
from tapd.model.hosted import Hosted
from tapd.model.protocol import Protocol, Transport
from tapd.model.source_location import callback_frame, describe_place, warn_once
from tapd.net.streams import kernel
from tapd.net.streams.burst import Queue, close_last, pieces_of
from tapd.store.journal.records import Flag, Move, StreamRow, StreamState, render_row

PEEK_BYTES = 1 << 16
OUTPUT_HIGH_BYTES = 1 << 16
"""Unsent output beyond which the protocol is asked to pause and no input is read."""
OUTPUT_BYTES_MAX = 64 << 20
"""Unsent output beyond which the connection is given up: its peer doesn't read."""

_PAUSED = int(Flag.PAUSED)
_EOF_RECEIVED = int(Flag.EOF_RECEIVED)
_EOF_QUEUED = int(Flag.EOF_QUEUED)
_CLOSING = int(Flag.CLOSING)
_ABORTED = int(Flag.ABORTED)
NOT_WRITING = _CLOSING | _EOF_QUEUED
_FROZEN = int(Flag.FROZEN)
_NOT_READING = _PAUSED | _EOF_RECEIVED | _CLOSING | _FROZEN

_MSG_PEEK = int(socket.MSG_PEEK)
_SOL_SOCKET = int(socket.SOL_SOCKET)
_peek_buffer = bytearray(PEEK_BYTES)
_peek_view = memoryview(_peek_buffer)


class StreamTurn(TypingProtocol):
    """The turn's interface for streams; `net.turn.pending.Pending` implements it."""

    @property
    def go_on_reading(self) -> Callable[[Stream], None]:
        """At the end of a pause: run the units that the stream's protocol kept back meanwhile."""

    def touch(self, stream: Stream) -> None:
        """Have this turn (or the next) look at `stream`."""

    def write_many(
        self, transports: Iterable[Transport], data: bytes, skip: Transport | None = None
    ) -> None:
        """Queue `data` on each of `transports` but `skip`."""


class Stream:
    """A connection of a durable protocol; also its transport (`model.protocol.Transport`)."""

    __slots__ = (
        "_eof_sent",
        "_peek_offset",
        "_turn",
        "committed_flags",
        "cookie",
        "counted",
        "fd",
        "flags",
        "fresh",
        "interest",
        "is_hosted",
        "is_journaled",
        "is_protected",
        "is_unix",
        "key",
        "peeked",
        "pending",
        "protocol",
        "queued",
        "read_bytes_max",
        "reads",
        "sent",
        "sent_base",
        "sock",
        "taken",
        "touched",
        "wants_pause",
    )

    def __init__(
        self, turn: StreamTurn, sock: socket.socket, protocol: Protocol, state: StreamState
    ) -> None:
        self._turn = turn
        self.sock = sock
        self.fd = sock.fileno()
        self.protocol = protocol
        self.key = state.key
        self.cookie = state.cookie
        self.is_unix = state.is_unix
        self.sent_base = state.sent_base
        self.taken = state.taken
        self.reads = state.reads
        self.flags = self.committed_flags = state.flags & ~_FROZEN
        self.sent = state.out_start
        self.pending = state.output  # committed and not yet taken by the kernel
        self.fresh = b""  # committed in this turn, to be sent after `pending`
        self.counted = 0  # how much of `pending` is counted in `Backlog`
        self.queued: Queue = []  # written in this turn, not yet committed
        self.read_bytes_max = PEEK_BYTES  # given to the protocol at once
        self.peeked = 0  # bytes run in this turn, not yet discarded
        self.is_protected = False  # the vault holds a duplicate
        self.touched = False  # the turn must look at it again
        self.interest = -1  # the epoll event mask; -1: not registered
        self.is_hosted = isinstance(protocol, Hosted)
        self.is_journaled = True  # the journal knows how far its streams got
        self._eof_sent = False
        self._peek_offset: int | None = None  # value of SO_PEEK_OFF of a UNIX socket, where known
        self.wants_pause = False  # the protocol was told to pause writing

    def __repr__(self) -> str:
        return f"<connection {self.key}>"

    def freeze(self) -> None:
        """Stop reading in this process, or until `thaw`; input waits for the next process."""
        self._set(_FROZEN)

    def thaw(self) -> None:
        """Read again."""
        self.flags &= ~_FROZEN
        self.touch()

    def touch(self) -> None:
        """Have the turn look at it."""
        if not self.touched:
            self._turn.touch(self)

    def state(self) -> StreamState:
        """Return its state for a journal's first record. Only between turns."""
        return StreamState(
            self.key, self.cookie, self.is_unix, self.sent_base, self.taken, self.sent,
            self.pending + self.fresh if self.fresh else self.pending, self.flags, self.reads,
        )  # fmt: skip

    # --- what the protocol may do (asyncio.Transport) -----------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data`; it is sent when the turn is committed."""
        if data and not self.flags & NOT_WRITING:
            close_last(self.queued)
            # A `bytes` stays the same object, so that output to many is journaled once.
            self.queued.append(data if data.__class__ is bytes else bytes(memoryview(data)))
            if not self.touched:
                self._turn.touch(self)
        elif data and self.flags & NOT_WRITING:
            self._warn_of_late_output()

    def _warn_of_late_output(self) -> None:
        """Warn that output after `close` or `write_eof` is dropped, once for each place in code.

        Only where the protocol itself writes: other writers (of a message to many) can't
        know yet.
        """
        frame = callback_frame(sys._getframe(2))
        if frame is not None and frame.f_locals.get("self") is self.protocol:
            name = type(self.protocol).__qualname__
            warn_once(
                f"{name} wrote after it had closed its transport, which sends nothing: {{place}}. "
                "Write first, then close",
                place=describe_place(sys._getframe(2)),
            )

    def write_many(
        self, transports: Iterable[Transport], data: bytes, skip: Transport | None = None
    ) -> None:
        """Queue `data` on each of `transports` but `skip`."""
        self._turn.write_many(transports, data, skip)

    def writelines(self, chunks: Iterable[bytes]) -> None:
        """Queue each of `chunks`."""
        self.write(b"".join(chunks))

    def write_eof(self) -> None:
        """Send FIN once what is queued has been sent; reading goes on."""
        self._set(_EOF_QUEUED)

    def can_write_eof(self) -> bool:
        """Whether `write_eof` works: always."""
        return True

    def close(self) -> None:
        """Stop reading; close once what is queued has been sent."""
        self._set(_CLOSING)

    def abort(self) -> None:
        """Close at once; what is queued is dropped."""
        self._set(_CLOSING | _ABORTED)

    def is_closing(self) -> bool:
        """Whether the connection is closing or closed."""
        return bool(self.flags & _CLOSING)

    def pause_reading(self) -> None:
        """Leave input in the kernel until `resume_reading`."""
        self._set(_PAUSED)

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        if self.flags & _PAUSED:
            self.flags &= ~_PAUSED
            self._turn.touch(self)
            if not self.flags & _CLOSING:
                self._turn.go_on_reading(self)

    def set_read_limit(self, bytes_max: int | None) -> None:
        """Read at most `bytes_max` at once; the rest stays in the kernel. None: no limit."""
        self.read_bytes_max = PEEK_BYTES if bytes_max is None else min(bytes_max, PEEK_BYTES)

    def is_reading(self) -> bool:
        """Whether input is being read."""
        return not self.flags & _NOT_READING

    def may_run_kept(self) -> bool:
        """Whether input that the protocol kept may run, also after the peer's FIN."""
        return not self.flags & (_PAUSED | _CLOSING | _FROZEN)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the kernel has not yet taken."""
        return len(self.pending) + len(self.fresh) + sum(map(len, self.queued))

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the sizes at which writing is resumed and paused."""
        return OUTPUT_HIGH_BYTES // 4, OUTPUT_HIGH_BYTES

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: the limits are fixed. asyncio's protocols may call it."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``peername``, ``sockname``, ``socket``, ``key`` or ``protected``."""
        with contextlib.suppress(OSError):
            match name:
                case "peername":
                    return self.sock.getpeername()
                case "sockname":
                    return self.sock.getsockname()
                case "socket":
                    return self.sock
                case "key":
                    return self.key
                case "protected":
                    return self.is_protected
        return default

    def get_protocol(self) -> Protocol:
        """Return the protocol."""
        return self.protocol

    def _set(self, flags: int) -> None:
        if self.flags | flags != self.flags:
            close_last(self.queued)
            self.flags |= flags
            if not self.touched:
                self._turn.touch(self)

    # --- what the turn does ---------------------------------------------------

    @property
    def wants_input(self) -> bool:
        """Whether the turn should read now."""
        return not self.flags & _NOT_READING and len(self.pending) < OUTPUT_HIGH_BYTES

    def peek(self, limit: int | None = None) -> bytes | None:
        """Return the input that waits; b"" at its end, None where none waits.

        Raises:
            OSError: the connection is gone.
        """
        size = self.read_bytes_max
        if limit is not None and limit < size:
            size = limit
        try:
            if self.is_unix:
                self._set_peek_offset()
            count = self.sock.recv_into(_peek_buffer, size, _MSG_PEEK)
        except OSError as error:
            if error.errno not in AGAIN:
                raise
            return None
        return bytes(_peek_view[:count])

    def _set_peek_offset(self) -> None:
        offset = 0 if self.reads & 1 else -1
        if offset != self._peek_offset:
            self._peek_offset = None
            self.sock.setsockopt(_SOL_SOCKET, SO_PEEK_OFF, offset)
            if offset < 0:
                self._peek_offset = offset  # a peek does not move -1

    def move(self) -> Move:
        """Return this turn's entry for the journal, and count it as committed."""
        if self.peeked:
            self.taken += self.peeked
            self.reads += 1
        flags = self.committed_flags = self.flags
        output: bytes | list[bytes] = b""
        queued = self.queued
        if queued:
            self.queued = []
            output = pieces_of(queued)
            if len(output) == 1:
                output = self.fresh = output[0]
            else:
                self.fresh = b"".join(output)
        if flags & _ABORTED:
            self.pending.clear()
            output = self.fresh = b""
        return self.key, self.taken, output, flags

    def move_hosted(self, bases: list[StreamRow]) -> list[Move]:
        """Return the entry of a hosted connection for the journal, or None.

        While an exchange is under way its output is not journaled, large as it may be: the
        next process would end the connection anyway. Once the exchange is over, the whole
        state of the stream goes into `bases`.
        """
        has_moved = bool(self.queued or self.peeked or self.flags != self.committed_flags)
        if self.protocol.is_busy:  # a `Hosted`
            if not has_moved:
                return []
            self.is_journaled = False
            key, taken, _output, flags = self.move()
            return [(key, taken, b"", flags)]
        if not self.is_journaled:
            self.is_journaled = True
            bases.append(render_row(self.state()))
        return [self.move()] if has_moved else []

    def externalise(self) -> bool:
        """Discard the input that was run, send what is unsent; return whether it ended.

        Raises:
            OSError: the connection is gone.
        """
        if self.peeked:
            count, self.peeked = self.peeked, 0
            if self.is_unix:
                # First: after a kill the mark is all that tells whether a discard is due.
                self._peek_offset = None
                kernel.mark_discard(self.sock, self.reads, count)
            kernel.discard_input(self.sock, count)
        fresh = self.fresh
        if fresh:
            self.fresh = b""
            if self.pending:
                self.pending += fresh
            else:
                try:
                    sent = self.sock.send(fresh)
                except OSError as error:
                    if error.errno not in AGAIN:
                        raise
                    sent = 0
                self.sent += sent
                if sent != len(fresh):
                    self.pending += memoryview(fresh)[sent:]
                    return False
        if self.pending and not self._send_pending():
            return False
        # Flags that were set after the commit (which may have stalled) must wait for the next.
        flags = self.committed_flags
        if flags & _CLOSING:
            self.shutdown()
            return True
        if flags & _EOF_QUEUED:
            if not self._eof_sent:
                insist(lambda: self.sock.shutdown(socket.SHUT_WR))
                self._eof_sent = True
            return bool(flags & _EOF_RECEIVED)
        return False

    def _send_pending(self) -> bool:
        """Send what an earlier turn could not; return whether all of it was sent."""
        try:
            sent = self.sock.send(self.pending)
        except OSError as error:
            if error.errno not in AGAIN:
                raise
            sent = 0
        self.sent += sent
        del self.pending[:sent]
        return not self.pending

    def note_backlog(self) -> str:
        """Note that the unsent output crossed a limit; return the protocol's method to call.

        Call it where `backlog_changed`.
        """
        self.wants_pause = not self.wants_pause
        return "pause_writing" if self.wants_pause else "resume_writing"

    @property
    def backlog_changed(self) -> bool:
        """Whether the protocol must pause or resume writing, or the connection be given up."""
        backlog = len(self.pending)
        if self.wants_pause:
            return backlog < OUTPUT_HIGH_BYTES // 4 or backlog > OUTPUT_BYTES_MAX
        return backlog > OUTPUT_HIGH_BYTES

    @property
    def backlog_exceeded(self) -> bool:
        """Whether so much output is unsent that the connection must be given up."""
        return len(self.pending) > OUTPUT_BYTES_MAX

    def note_eof_sent(self) -> None:
        """Note that the process before has sent our FIN."""
        self._eof_sent = True

    def shutdown(self) -> None:
        """Shut the connection down, even where other processes hold duplicates of its fd.

        Raises:
            DescriptorLost: the descriptor is not the connection's any more.
        """
        if not self.flags & _ABORTED:
            kernel.drain_input(self.sock)
        try:
            insist(lambda: self.sock.shutdown(socket.SHUT_RDWR))
        except OSError as error:  # mostly it is over already
            kernel.check_socket(self.sock, self.cookie, error, self)
