"""The server of the datagram storm: each datagram is answered with a count of all."""

from __future__ import annotations

from typing import Any

from tapd.model.application import Application
from tapd.model.datagram import DatagramProtocol
from tapd.model.service import Service


class Counting(DatagramProtocol):
    """Answers ``COUNT DATA``, where COUNT is the number of datagrams ever received."""

    def __init__(self) -> None:
        self.count = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.count += 1
        self.transport.sendto(b"%d %b" % (self.count, data), addr)


class CountingService(Service):
    """Builds `Counting`."""

    datagram_protocol = Counting


def make_application(address: str) -> Application:
    """Return the application, answering at ``udp:HOST:PORT``."""
    application = Application("datagrams")
    application.listen(address, CountingService())
    return application
