"""Outbound connections that an application keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.model.durable.persistent import Persistent
from tapd.model.timer import Timer

if TYPE_CHECKING:
    from tapd.model.application import Application
    from tapd.model.protocol import Protocol
    from tapd.model.service import Service

FIRST_DELAY_S = 0.5
DELAY_S_MAX = 60.0


class Connector(Persistent):
    """Keeps a connection to one address: made again whenever it is lost.

    Made by `Application.connect`. Like an accepted connection it outlives the
    process; where it ends, or can't be made, it is tried again after a delay
    that doubles up to `DELAY_S_MAX`. With a protocol of its own it makes one
    connection, once.

    Attributes:
        key: its number within the application.
        host: where to; "" for a UNIX socket.
        port: where to; 0 for a UNIX socket.
        path: of a UNIX socket, else "".
        service: builds the protocol of each connection.
        protocol: of the only connection; None where it is kept.
        connection_key: of the connection, while there is one.
        failures: how often in a row it could not be made.
    """

    protocol: Protocol | None = None
    _v_is_connecting: bool = False

    def __init__(
        self,
        application: Application,
        key: int,
        service: Service,
        host: str,
        port: int,
        path: str,
        protocol: Protocol | None = None,
    ) -> None:
        self.application = application
        self.key = key
        self.service = service
        self.host = host
        self.port = port
        self.path = path
        self.protocol = protocol
        self.connection_key: int | None = None
        self.failures = 0
        self.timer: Timer | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether it has not been stopped."""
        return self.application.connectors.get(self.key) is self

    @property
    def delay_s(self) -> float:
        """How long to wait before the next try."""
        return float(min(FIRST_DELAY_S * 2.0**self.failures, DELAY_S_MAX))

    def stop(self) -> None:
        """Keep it no longer: close the connection, if there is one, and try no more."""
        self.application.connectors.pop(self.key, None)
        if self.timer is not None:
            self.timer.cancel()
        if self.connection_key is not None:
            protocol = self.application.connections.get(self.connection_key)
            if protocol is not None and protocol.is_connected:
                protocol.transport.close()

    def connect(self) -> None:
        """Try now."""
        self.timer = None
        if (
            self.is_wanted
            and self.connection_key is None
            and self.application.running
            and not self._v_is_connecting
        ):
            self._v_is_connecting = True
            self.application.runtime.connector_added(self)

    def attempt_ended(self) -> None:
        """Take note that no connection is being made any more (called by the runtime)."""
        self._v_is_connecting = False

    def connected(self, connection_key: int) -> None:
        """Take note of the connection (called by the runtime)."""
        self.connection_key = connection_key
        self.failures = 0

    def failed(self, error: Exception | None = None) -> None:
        """Take note that it could not be made (called by the runtime)."""
        if self.connection_key is not None:  # it was, and did not begin
            self.connection_key = None
        if self.protocol is not None:
            if self.is_wanted:
                del self.application.connectors[self.key]
                self.protocol.connection_failed(error or ConnectionError("refused by its service"))
            return
        delay_s = self.delay_s
        self.failures += 1
        self._try_again(delay_s)

    def lost(self) -> None:
        """Take note that the connection ended (called by the runtime)."""
        self.connection_key = None
        if self.protocol is not None:
            self.application.connectors.pop(self.key, None)
            return
        self._try_again(self.delay_s)

    def _try_again(self, delay_s: float) -> None:
        if self.is_wanted:
            self.timer = self.application.call_later(delay_s, self.connect)

    def __repr__(self) -> str:
        where = f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"
        return f"<Connector to {where}>"
