"""A port forwarder. Both connections of a pair survive the process, with the data in flight.

tapd-mktap app forward:Forwarder -o target=192.0.2.7:80 --port 9000
"""

from __future__ import annotations

from tapd import Protocol, Service, Transport


class Leg(Protocol):
    """One of the two connections of a pair; what it receives, the other sends."""

    other: Leg
    ended = False

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Forward the end of input; the other direction stays open (RFC 9293, 3.9.1)."""
        self.ended = True
        self.other.transport.write_eof()
        return not self.other.ended

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other.is_connected:
            self.other.transport.close()

    def pause_writing(self) -> None:
        """This leg's peer reads slowly: stop reading from the other's (backpressure)."""
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()


class Inbound(Leg):
    """The leg of a client. It is not read before the other leg is connected."""

    service: Forwarder

    def connection_made(self, transport: Transport) -> None:
        transport.pause_reading()
        self.other = Outbound(self)
        self.service.application.connect(self.service.target, self.service, self.other)


class Outbound(Leg):
    """The leg to the target."""

    def __init__(self, inbound: Inbound) -> None:
        self.other = inbound

    def connection_made(self, transport: Transport) -> None:
        if self.other.is_connected:
            self.other.transport.resume_reading()
        else:
            transport.close()

    def connection_failed(self, exc: Exception) -> None:
        self.connection_lost(exc)


class Forwarder(Service):
    """Forwards to `target`: HOST:PORT."""

    protocol = Inbound

    def __init__(self, target: str) -> None:
        self.target = target
