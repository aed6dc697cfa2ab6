"""Base of datagram protocols: the behaviour and state of a port without connections.

Written like an `asyncio.DatagramProtocol`: one instance per port receives the datagrams
of all senders and can answer any of them. Its attributes are its state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from typing import Protocol as TypingProtocol

from tapd.model.callbacks import check_overrides
from tapd.model.durable.persistent import Persistent

if TYPE_CHECKING:
    from tapd.model.service import Service


class DatagramTransport(TypingProtocol):
    """What a protocol may do with its port: a subset of `asyncio.DatagramTransport`."""

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any) -> None:
        """Queue one datagram to `addr`, to be sent at the end of the turn."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``sockname`` or ``socket``; else `default`."""


class DatagramProtocol(Persistent):
    """Base of durable datagram protocols: one instance per port.

    Attributes:
        service: the service that built it, set before `connection_made`.
        transport: the port, while it is served. Volatile.
    """

    service: Service
    _v_transport: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check that a subclass's callbacks are plain methods.

        Raises:
            AuthorError: a callback is ``async def`` or a generator.
        """
        super().__init_subclass__(**kwargs)
        check_overrides(cls)

    @property
    def transport(self) -> DatagramTransport:
        """The port.

        Raises:
            AttributeError: it is not served now.
        """
        transport: DatagramTransport | None = self._v_transport
        if transport is None:
            raise AttributeError(f"{type(self).__name__} is not served now")
        return transport

    @transport.setter
    def transport(self, transport: DatagramTransport | None) -> None:
        self._v_transport = transport

    @property
    def is_connected(self) -> bool:
        """Whether the port is served, so that datagrams can be sent."""
        return self._v_transport is not None

    def connection_made(self, transport: DatagramTransport) -> None:
        """Start: the port is served for the first time in this application's life."""

    def connection_resumed(self) -> None:
        """Go on in a new process, which serves the port again."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Handle one datagram and its sender's socket address (None: a nameless UNIX one)."""

    def error_received(self, exc: OSError) -> None:
        """Handle a datagram that could not be sent and was dropped. `exc` says why."""

    def datagram_skipped(self, data: bytes, addr: Any) -> None:
        """`data` was dropped as poison input: it killed the server each time it was received."""
