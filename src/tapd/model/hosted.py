"""Hosts ordinary asyncio protocols: their connections outlive the process while idle.

A third-party `asyncio.Protocol` (of a web server, say) keeps its state where no TAP can
see it: in parsers, tasks and coroutines. So only the connection survives into the next
process, which builds a new protocol for it. That is right between two exchanges and wrong
in the middle of one. So each connection records whether it is *busy*. The next process
closes those that were busy at a kill or at the end of draining, as if the server had
closed them.

No asyncio here: the live side is `net.streams.hosted`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tapd.errors import AuthorError
from tapd.model.callbacks import check_callback
from tapd.model.protocol import Protocol, Transport
from tapd.model.service import Service


class AsyncioService(Service):
    """Hosts the protocols that a factory builds, as `loop.create_server` would.

    Attributes:
        factory: called without arguments for each connection, and again for each that
            goes on in another process; returns an `asyncio.Protocol` or
            `asyncio.BufferedProtocol`. A function or class that can be imported.
        idle: given such a protocol, says whether it is between two exchanges, so that
            a new one can replace it; None for the rule of `is_idle`.
        quiet_s: how long a connection must be quiet before that rule takes it for idle.
        drain_timeout_s: how long a stop or restart waits for busy connections.
    """

    quiet_s: float = 0.2
    drain_timeout_s: float = 5.0

    def __init__(
        self,
        factory: Callable[[], Any],
        idle: Callable[[Any], bool] | None = None,
    ) -> None:
        """Host what `factory` builds.

        Raises:
            AuthorError: `factory` or `idle` can't be called, or is ``async def``.
        """
        check_callback("AsyncioService", factory)
        if idle is not None:
            check_callback("AsyncioService", idle)
        self.factory = factory
        self.idle = idle

    def build_protocol(self, peer: Any) -> Protocol:
        """Return the durable side of a new connection."""
        self.check_factory()
        return Hosted()

    def check_factory(self) -> None:
        """Check that the service has a factory.

        Raises:
            AuthorError: a subclass's `__init__` did not set it.
        """
        if not hasattr(self, "factory"):
            raise AuthorError(
                f"{type(self).__qualname__} has no factory of protocols; "
                "write super().__init__(FACTORY) in its __init__"
            )

    def is_idle(self, protocol: Any, quiet_s: float) -> bool:
        """Whether a new protocol could replace `protocol` now.

        Called only if output followed all that was read, or if nothing was read yet: a
        connection that has read and not written is busy.

        Args:
            protocol: the factory's.
            quiet_s: how long nothing was read or written.
        """
        if self.idle is not None:
            return self.idle(protocol)
        return quiet_s >= self.quiet_s


class Hosted(Protocol):
    """The durable side of one hosted connection.

    Attributes:
        is_busy: an exchange is under way, so the next process must close the connection.
    """

    service: AsyncioService
    is_busy: bool = False
    _v_live: Any = None

    @property
    def live(self) -> Any:
        """The factory's protocol; None if there is none in this process."""
        return self._v_live

    def set_live(self, protocol: Any) -> None:
        """Replace the live protocol (`asyncio.Transport.set_protocol`)."""
        self._v_live = protocol
        self._v_is_buffered = hasattr(protocol, "get_buffer")

    def _begin(self, transport: Transport) -> None:
        self._v_last_s = time.monotonic()
        self._v_is_answered = True
        self.set_live(self.service.factory())
        self.live.connection_made(transport)

    def note_output(self) -> None:
        """Note that the factory's protocol has written (called by the transport)."""
        self._v_is_answered = True
        self._v_last_s = time.monotonic()

    def look(self) -> bool:
        """Update `is_busy`; in a turn, before its commit."""
        is_busy = self.live is not None and not (
            self._v_is_answered
            and self.service.is_idle(self.live, time.monotonic() - self._v_last_s)
        )
        if is_busy != self.is_busy:
            self.is_busy = is_busy
        return is_busy

    # --- callbacks of the turn ------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:
        """Build the protocol."""
        self._begin(transport)

    def connection_resumed(self) -> None:
        """Build a new protocol if the last one was idle; else close the connection."""
        if self.is_busy:
            self.transport.close()
        else:
            self._begin(self.transport)

    def data_received(self, data: bytes) -> None:
        """Forward `data`."""
        live = self._v_live
        self._v_is_answered = False
        self._v_last_s = time.monotonic()
        self._v_transport.note()  # a `net.streams.hosted.HostedTransport`
        if not self._v_is_buffered:
            live.data_received(data)
            return
        view = memoryview(data)
        while view and live is self._v_live:
            buffer = memoryview(live.get_buffer(len(view)))
            count = min(len(buffer), len(view))
            buffer[:count] = view[:count]
            live.buffer_updated(count)
            view = view[count:]
        if view:  # the protocol was replaced while it handled the data
            self.data_received(bytes(view))

    def input_unit(self, data: bytes) -> int:
        """Return the length of all of `data`: only the protocol's parser knows its units."""
        return len(data)

    def input_skipped(self, data: bytes) -> None:
        """Close: later input would make no sense without the poison input."""
        self.transport.close()

    def eof_received(self) -> bool | None:
        """Forward the end of input."""
        return None if self.live is None else bool(self.live.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        """Forward the end of the connection."""
        live, self._v_live = self.live, None
        if live is not None:
            live.connection_lost(exc)

    def pause_writing(self) -> None:
        """Forward it."""
        if self.live is not None:
            self.live.pause_writing()

    def resume_writing(self) -> None:
        """Forward it."""
        if self.live is not None:
            self.live.resume_writing()
