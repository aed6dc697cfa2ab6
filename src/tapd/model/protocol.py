"""A connection's state and behaviour, as a durable object.

A `Protocol` is written like an `asyncio.Protocol`, with one difference: its
attributes are its state, saved at the end of every turn, and after the process
was killed it goes on in another process with `connection_resumed` instead of
`connection_made`. Its transport is volatile: the live side (room `net`) sets it.
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
        """Queue `data` on each of `transports`, which are of this one's application.

        As their `write` does, for a part of the price: for a message to many. Of the
        very same `bytes` the journal has one copy, however many get them.

        Args:
            transports: to whom; to this one only if it is among them. Cheapest is the same
                tuple for message after message.
            data: what.
            skip: one of them that is left out.
        """

    def writelines(self, chunks: Any) -> None:
        """Queue each of `chunks`."""

    def write_eof(self) -> None:
        """Send FIN once what is queued has been sent; reading goes on."""

    def close(self) -> None:
        """Read no more; close once what is queued has been sent."""

    def abort(self) -> None:
        """Close at once; what is queued is dropped."""

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the peer is gone."""

    def pause_reading(self) -> None:
        """Leave input in the kernel until `resume_reading`. Durable."""

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""

    def set_read_limit(self, bytes_max: int | None) -> None:
        """Have `data_received` get at most `bytes_max` at once; None: as it comes.

        What is more stays in the kernel, also where reading is paused meanwhile: so
        much may a stranger have the process keep. Volatile: set it again in
        `connection_resumed`.
        """

    def is_reading(self) -> bool:
        """Whether input is taken: neither paused, nor ended, nor closing."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are queued and not yet taken by the kernel."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``peername``, ``sockname``, ``socket`` or ``key``; else `default`."""


class Protocol(Persistent):
    """Base of durable protocols: one instance a connection.

    Attributes:
        service: the service that built it, set before `connection_made`.
        transport: the connection while there is one, else None. Volatile.
    """

    service: Service
    _v_transport: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check that a subclass's callbacks are plain methods.

        Raises:
            AuthorError: one is ``async def`` or a generator.
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
        """Begin: the connection is new. Called once in its life."""

    def connection_failed(self, exc: Exception) -> None:
        """The connection that `Application.connect` was to make for it could not be made."""

    def data_received(self, data: bytes) -> None:
        """Take all of `data`; keep what is incomplete in an attribute."""
        if type(self) is Protocol and not self.service.takes_connections:
            warn_of_no_protocol(self.service)

    def eof_received(self) -> bool | None:
        """The peer will send no more. Return true to keep the sending half open."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """End: the connection is gone (in this process's life or while it was down).

        Args:
            exc: None after an orderly end, else what ended it.
        """

    def connection_ended(self) -> None:
        """Clean up after `connection_lost`: for bases, so that authors need no ``super()``."""

    def reading_resumed(self) -> None:
        """Reading goes on after a pause: for bases that kept input back meanwhile."""

    def connection_resumed(self) -> None:
        """Go on in a new process. Output already written must not be written again."""

    def input_unit(self, data: bytes) -> int:
        """Return the length of the first unit of `data` that can run by itself.

        Used after an unclean death, when input is tried piece by piece to find
        the piece that kills. The default is the first line, or all of it.
        """
        return data.find(b"\n") + 1 or len(data)

    def input_skipped(self, data: bytes) -> None:
        """`data` killed the server each time it ran; it was dropped. Tell the peer."""

    def kept_bytes(self) -> int:
        """Return how much input is kept that came while reading was paused; 0 for no whole unit.

        For bases with a `reading_resumed` that runs it. After an unclean death `run_kept_unit`
        is called in its place, unit by unit. What arrives is kept behind it.
        """
        return 0

    def run_kept_unit(self) -> None:
        """Run the first unit that is kept, and no other."""

    def skip_kept_unit(self) -> None:
        """The first unit that is kept killed the server each time: drop it and tell the peer."""

    def pause_writing(self) -> None:
        """The peer reads too slowly; write less until `resume_writing`."""

    def resume_writing(self) -> None:
        """The peer has caught up."""
