"""Fake clients, and other remote ends of an application's connections.

A `Peer` reads everything as soon as it arrives, like a client with a large buffer, so `read`
and `expect` look at bytes that are there. It counts the bytes it sent, so that the host can
tell when all of them have arrived (`net.streams.kernel`). Nothing waits for a time.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable
from typing import Protocol

from tapd.net.streams import kernel
from tapd.testing.failures import Unexpected, show_expectation

_READ_BYTES = 1 << 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger, socket(7)


class Surroundings(Protocol):
    """What a peer needs of the host."""

    def pump(self) -> None:
        """Run turns until nothing is left to do."""

    def sending(self, peer: Peer, data: bytes) -> Iterable[bytes]:
        """Record that `data` is about to be sent; yield the pieces to send it in."""

    def sending_whole(self, name: str, data: bytes) -> None:
        """Record that `name` is about to send `data`, which is never split."""


def socket_names(sock: socket.socket) -> tuple[object, object]:
    """Return both addresses of a TCP connection, own first; () for other sockets."""
    try:
        return sock.getsockname()[:2], sock.getpeername()[:2]
    except OSError:
        return (), ()


def as_bytes(data: str | bytes) -> bytes:
    """Return a test's data as bytes."""
    return data.encode() if isinstance(data, str) else bytes(data)


class Peer:
    """A client of the application, or (see `Remote`) a server that it connected to.

    Attributes:
        name: for messages.
        line_end: appended by `send_line`.
        transcript: every byte it has received.
        is_remote: the application connected to it, not the other way round.
        has_reset: the connection was reset, not closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        surroundings: Surroundings,
        line_end: str | bytes = b"\n",
    ) -> None:
        """Take over `sock`, which is connected."""
        sock.setblocking(False)
        self.sock = sock
        self.name = name
        self.line_end = as_bytes(line_end)
        self.transcript = bytearray()
        self.has_reset = False
        self.is_remote = False
        self.sent_bytes = 0  # accepted by the kernel
        self.wants_eof = False
        self.key: int | None = None  # the connection's key, once the host knows it
        self._surroundings = surroundings
        self._seen = 0
        self._outgoing = bytearray()
        self._is_reading = True
        self._has_ended = False
        self.is_unix = sock.family == socket.AF_UNIX
        if not self.is_unix:  # send each piece by itself, and at once
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.names = socket_names(sock)
        self.has_sent_eof = False

    def __repr__(self) -> str:
        return f"<{self.name}>"

    # --- for tests -------------------------------------------------------------

    def send(self, data: str | bytes) -> None:
        """Send `data` (text as UTF-8), then run the server until it has nothing left to do."""
        __tracebackhide__ = True
        for piece in self._surroundings.sending(self, as_bytes(data)):
            if self.is_closed:
                raise Unexpected(f"{self.name} can't send: it closed its connection before")
            self._outgoing += piece
            self.exchange()
            self._surroundings.pump()

    def send_line(self, line: str | bytes = b"") -> None:
        """Send `line` and a line end."""
        __tracebackhide__ = True
        self.send(as_bytes(line) + self.line_end)

    def read(self) -> bytes:
        """Return received bytes that were not read before; b"" if there are none."""
        self._surroundings.pump()
        data = bytes(self.transcript[self._seen :])
        self._seen = len(self.transcript)
        return data

    def read_text(self) -> str:
        """Like `read`, as text (UTF-8)."""
        return self.read().decode()

    def read_line(self) -> bytes:
        r"""Return the next line with its end (``\n``).

        Raises:
            Unexpected: no whole line has come.
        """
        __tracebackhide__ = True
        self._surroundings.pump()
        end = self.transcript.find(b"\n", self._seen)
        if end < 0:
            rest = bytes(self.transcript[self._seen :])
            raise Unexpected(f"{self.name} expected a line, got {rest!r} and no line's end")
        line = bytes(self.transcript[self._seen : end + 1])
        self._seen = end + 1
        return line

    def expect(self, data: str | bytes) -> None:
        """Check that `data` comes next; later bytes are kept.

        Raises:
            Unexpected: something else comes; the message shows the first difference.
        """
        __tracebackhide__ = True
        expected = as_bytes(data)
        self._surroundings.pump()
        got = bytes(self.transcript[self._seen : self._seen + len(expected)])
        if got != expected:
            shown = bytes(self.transcript[self._seen : self._seen + len(expected) + 200])
            self._seen = len(self.transcript)
            raise Unexpected(show_expectation(self.name, expected, shown, ended=self._has_ended))
        self._seen += len(expected)

    def expect_line(self, line: str | bytes) -> None:
        r"""Check that the next line is `line`, whether it ends with ``\n`` or ``\r\n``.

        Raises:
            Unexpected: it is another, or no whole line has come.
        """
        __tracebackhide__ = True
        self._surroundings.pump()
        end = self.transcript.find(b"\n", self._seen) + 1
        is_crlf = end and self.transcript[end - 2 : end] == b"\r\n"
        self.expect(as_bytes(line) + (b"\r\n" if is_crlf else b"\n"))

    def expect_nothing(self) -> None:
        """Check that nothing unread has arrived.

        Raises:
            Unexpected: something has.
        """
        __tracebackhide__ = True
        data = self.read()
        if data:
            raise Unexpected(f"{self.name} expected nothing, got {data!r}")

    def expect_eof(self) -> None:
        """Check that the server closed the connection, and that everything was read.

        Raises:
            Unexpected: it is open, or something came before its end.
        """
        __tracebackhide__ = True
        self.expect_nothing()
        if not self._has_ended:
            raise Unexpected(f"{self.name} expected the end of its connection, and it is open")

    @property
    def eof(self) -> bool:
        """Whether the server closed the connection and everything was read."""
        self._surroundings.pump()
        return self._has_ended and self._seen == len(self.transcript)

    def send_eof(self) -> None:
        """Send no more, but go on reading (a half-closed connection)."""
        self.wants_eof = True
        self.exchange()
        self._surroundings.pump()

    def close(self) -> None:
        """Close the connection as an ending client does."""
        self.end()
        self._surroundings.pump()

    def reset(self) -> None:
        """Reset the connection (TCP only), as a crash does."""
        if not self.is_closed:
            if not self.is_unix:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.end()
        self._surroundings.pump()

    def stop_reading(self) -> None:
        """Stop reading: the server's output fills the kernel's buffers, then its own."""
        self._is_reading = False

    def start_reading(self) -> None:
        """Undo `stop_reading`."""
        self._is_reading = True
        self._surroundings.pump()

    @property
    def is_closed(self) -> bool:
        """Whether this end closed the connection."""
        return self.sock.fileno() < 0

    # --- for the host -----------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """Whether the end of the server's output was read."""
        return self._has_ended

    @property
    def is_stillborn(self) -> bool:
        """Whether the application connected and was killed before it knew of the connection.

        It connects again then, so the remote end sees one more connection, which ends at once.
        (For accepted connections the kernel keeps early input.)
        """
        nothing = not self.transcript and not self.sent_bytes
        return self.is_remote and self._has_ended and nothing

    @property
    def is_reading(self) -> bool:
        """Whether input is read at once."""
        return self._is_reading and not self.is_closed and not self._has_ended

    def end(self) -> None:
        """Close the socket, without running anything."""
        self.has_sent_eof = True
        self.sock.close()

    def exchange(self) -> bool:
        """Send and receive what is possible; return whether any byte moved."""
        if self.is_closed:
            return False
        moved = self._push()
        return self._pull() or moved

    def _push(self) -> bool:
        moved = False
        while self._outgoing:
            try:
                sent = self.sock.send(self._outgoing)
            except BlockingIOError:
                return moved
            except OSError:  # the server is gone; reading will show it
                self._outgoing.clear()
                return moved
            self.sent_bytes += sent
            del self._outgoing[:sent]
            moved = True
        if self.wants_eof:
            self.wants_eof = False
            self.has_sent_eof = True
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
            moved = True
        return moved

    def _pull(self) -> bool:
        moved = False
        while self.is_reading:
            try:
                data = self.sock.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                self.has_reset = self._has_ended = True
                return True
            moved = True
            if not data:
                self._has_ended = True
                break
            self.transcript += data
        return moved

    def unread_in_kernel(self) -> int:
        """Return how many bytes for this end are waiting in the kernel."""
        return kernel.input_waiting(self.sock)
