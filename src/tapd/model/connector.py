"""Outbound connections that an application maintains."""

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
    """Maintains a connection to one address: reconnects whenever it is lost.

    Made by `Application.connect`. Like an accepted connection it outlives the
    process. When it ends or can't be made, the connector retries after a delay
    that doubles up to `DELAY_S_MAX`. With a protocol of its own it makes one
    connection, once.

    Attributes:
        key: its number within the application.
        host: of the address; "" for a UNIX socket.
        port: of the address; 0 for a UNIX socket.
        path: of a UNIX socket, else "".
        service: builds the protocol of each connection.
        protocol: of the only connection; None if it reconnects.
        connection_key: of the connection, while there is one.
        failures: failed attempts in a row.
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
        """The delay before the next attempt."""
        return float(min(FIRST_DELAY_S * 2.0**self.failures, DELAY_S_MAX))

    def stop(self) -> None:
        """Stop: close the connection, if there is one, and don't reconnect."""
        self.application.connectors.pop(self.key, None)
        if self.timer is not None:
            self.timer.cancel()
        if self.connection_key is not None:
            protocol = self.application.connections.get(self.connection_key)
            if protocol is not None and protocol.is_connected:
                protocol.transport.close()

    def connect(self) -> None:
        """Connect now."""
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
        """Note that no attempt is under way any more (called by the runtime)."""
        self._v_is_connecting = False

    def connected(self, connection_key: int) -> None:
        """Note the connection (called by the runtime)."""
        self.connection_key = connection_key
        self.failures = 0

    def failed(self, error: Exception | None = None) -> None:
        """Note a failed attempt (called by the runtime)."""
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
        """Note that the connection ended (called by the runtime)."""
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
