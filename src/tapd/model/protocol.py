"""Base of connection protocols: a connection's behaviour and state, as a durable object.

A `Protocol` is written like an `asyncio.Protocol`, with one difference: its
attributes are its state and are saved at the end of every turn. After a kill it goes
on in another process with `connection_resumed` instead of `connection_made`. Its
transport is volatile: the live side (`net`) sets it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from typing import Protocol as TypingProtocol

from tapd.model.callbacks import check_overrides
from tapd.model.durable.persistent import Persistent
from tapd.model.source_location import warn_of_no_protocol

if TYPE_CHECKING:
    from tapd.model.service import Service


class Transport(TypingProtocol):
    """What a protocol may do with its connection: a subset of `asyncio.Transport`.

    Nothing leaves the process before the turn is committed: `write` queues.
    """

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data` to be sent at the end of the turn. Ignored once closing."""

    def write_many(
        self, transports: Iterable[Transport], data: bytes, skip: Transport | None = None
    ) -> None:
        """Queue `data` on each of `transports`, which belong to this one's application.

        Does what `write` does on each, but cheaper: for a message to many. The journal
        has one copy of the same `bytes` object, however many connections get it.

        Args:
            transports: the receivers; this one is included only if it is in there. Cheapest
                is the same tuple for each message.
            data: the bytes to send.
            skip: one of them that is left out.
        """

    def writelines(self, chunks: Any) -> None:
        """Queue each of `chunks`."""

    def write_eof(self) -> None:
        """Send FIN once the queued output is sent; reading goes on."""

    def close(self) -> None:
        """Stop reading; close once the queued output is sent."""

    def abort(self) -> None:
        """Close at once; queued output is dropped."""

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the peer is gone."""

    def pause_reading(self) -> None:
        """Leave input in the kernel until `resume_reading`. Durable."""

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""

    def set_read_limit(self, bytes_max: int | None) -> None:
        """Limit `data_received` to `bytes_max` at once; None: no limit.

        The rest stays in the kernel, also while reading is paused. This bounds what an
        unauthenticated client can make the process buffer. Volatile: set it again in
        `connection_resumed`.
        """

    def is_reading(self) -> bool:
        """Whether input is read: not paused, not at its end, not closing."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are queued that the kernel has not taken yet."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``peername``, ``sockname``, ``socket`` or ``key``; else `default`."""


class Protocol(Persistent):
    """Base of durable protocols: one instance per connection.

    Attributes:
        service: the service that built it, set before `connection_made`.
        transport: the connection while there is one, else None. Volatile.
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
    def transport(self) -> Transport:
        """The live connection, from `connection_made` to the end of `connection_lost`.

        Raises:
            AttributeError: the protocol has no connection (it ended).
        """
        transport: Transport | None = self._v_transport
        if transport is None:
            raise AttributeError(
                f"{type(self).__qualname__} has no connection: it ended, or is not made yet; "
                "ask is_connected first where others write to it"
            )
        return transport

    @transport.setter
    def transport(self, transport: Transport | None) -> None:
        self._v_transport = transport

    @property
    def is_connected(self) -> bool:
        """Whether there is a live connection to write to."""
        return self._v_transport is not None

    def connection_made(self, transport: Transport) -> None:
        """Start a new connection. Called once per connection."""

    def connection_failed(self, exc: Exception) -> None:
        """Handle that the connection of `Application.connect` could not be made."""

    def data_received(self, data: bytes) -> None:
        """Handle all of `data`; keep an incomplete rest in an attribute."""
        if type(self) is Protocol and not self.service.takes_connections:
            warn_of_no_protocol(self.service)

    def eof_received(self) -> bool | None:
        """Handle the end of input. Return true to keep the sending half open."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection, which may have come while the server was down.

        Args:
            exc: None after an orderly end, else the error that ended it.
        """

    def connection_ended(self) -> None:
        """Clean up after `connection_lost`: for bases, so that authors need no ``super()``."""

    def reading_resumed(self) -> None:
        """Reading goes on after a pause: a hook for base classes that buffered input meanwhile."""

    def connection_resumed(self) -> None:
        """Go on in a new process. Output already written must not be written again."""

    def input_unit(self, data: bytes) -> int:
        """Return the length of the first unit of `data` that can run by itself.

        Used after an unclean death, when input runs unit by unit to find the poison input.
        The default is the first line, or all of it.
        """
        return data.find(b"\n") + 1 or len(data)

    def input_skipped(self, data: bytes) -> None:
        """Tell the peer that `data` was dropped as poison input: it killed the server each time."""

    def kept_bytes(self) -> int:
        """Return the length of the input buffered while reading was paused; 0 for no whole unit.

        For base classes whose `reading_resumed` runs it. After an unclean death the host
        calls `run_kept_unit` instead, unit by unit. New input is buffered behind it.
        """
        return 0

    def run_kept_unit(self) -> None:
        """Run only the first buffered unit."""

    def skip_kept_unit(self) -> None:
        """Drop the first buffered unit, which is poison input, and tell the peer."""

    def pause_writing(self) -> None:
        """Write less until `resume_writing`: the peer reads too slowly (backpressure)."""

    def resume_writing(self) -> None:
        """Write again: the peer has caught up."""
