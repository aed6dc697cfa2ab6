"""A fake client of a datagram port.

Sends and receives whole datagrams; there is no connection to close.
"""

from __future__ import annotations

import contextlib
import select
import socket

from tapd.testing.failures import Unexpected, show
from tapd.testing.peers import Surroundings, as_bytes

_DATAGRAM_BYTES_MAX = 1 << 18
_PATIENCE_MS = 1000


class DatagramPeer:
    """Sends datagrams to one port and receives the answers; created by `Host.connect_datagram`.

    Attributes:
        name: for messages.
        transcript: every datagram it has received.
    """

    def __init__(
        self, sock: socket.socket, name: str, surroundings: Surroundings, port: socket.socket
    ) -> None:
        """Take over `sock`, which is connected to the server's `port`."""
        sock.setblocking(False)
        self.sock = sock
        self.name = name
        self.transcript: list[bytes] = []
        self._surroundings = surroundings
        self._port = port
        self._seen = 0

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def send(self, data: str | bytes) -> None:
        """Send one datagram, then run the server until it has nothing left to do."""
        self._surroundings.sending_whole(self.name, as_bytes(data))
        self.sock.send(as_bytes(data))
        arrived = select.poll()
        arrived.register(self._port, select.POLLIN)
        arrived.poll(_PATIENCE_MS)
        self._surroundings.pump()

    def read(self) -> list[bytes]:
        """Return received datagrams that were not read before."""
        self._surroundings.pump()
        new = self.transcript[self._seen :]
        self._seen = len(self.transcript)
        return new

    def expect(self, *datagrams: str | bytes) -> None:
        """Check that these datagrams come next; later ones are kept.

        Raises:
            Unexpected: others come, or fewer.
        """
        __tracebackhide__ = True
        self._surroundings.pump()
        expected = [as_bytes(data) for data in datagrams]
        got = self.transcript[self._seen : self._seen + len(expected)]
        if got != expected:
            raise Unexpected(
                f"{self.name} did not get the datagrams that it expected:\n"
                f"  expected  {show(expected)}\n  got       {show(got)}"
            )
        self._seen += len(expected)

    def exchange(self) -> bool:
        """Receive what has arrived; return whether anything has."""
        before = len(self.transcript)
        with contextlib.suppress(OSError):  # nothing has arrived, or the port is closed
            while True:
                self.transcript.append(self.sock.recv(_DATAGRAM_BYTES_MAX))
        return len(self.transcript) > before

    def end(self) -> None:
        """Close the socket."""
        self.sock.close()
