r"""The server of the storm: numbered lines, answered with a shared counter.

A client sends ``N TEXT\\n`` with N from 0 upwards; the answer is ``N COUNT TEXT\\n``,
where COUNT is the number of lines that the whole application has ever answered.
So a lost line, a line run twice and a line answered twice each show in a
transcript, and the counts of all clients together are 1 to their number.
``flood SIZE`` answers with that many bytes, for slow readers.
"""

from __future__ import annotations

from typing import Any

from tapd.model.application import Application
from tapd.model.protocol import Protocol
from tapd.model.service import Service


class Counter(Service):
    """Counts the lines of all connections."""

    def __init__(self) -> None:
        self.count = 0
        self.lost: list[int] = []

    def build_protocol(self, peer: Any) -> Protocol:
        return Numbered()


class Numbered(Protocol):
    """One client's dialogue; `half` is the line that is not yet complete."""

    service: Counter

    def __init__(self) -> None:
        self.half = b""
        self.lines = 0

    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello\n")

    def data_received(self, data: bytes) -> None:
        *lines, self.half = (self.half + data).split(b"\n")
        for line in lines:
            self.lines += 1
            self.service.count += 1
            number, _, text = line.partition(b" ")
            if number == b"flood":
                self.transport.write(flood_bytes(int(text)))
            else:
                self.transport.write(b"%b %d %b\n" % (number, self.service.count, text))

    def eof_received(self) -> bool:
        self.transport.write(b"bye %d\n" % self.lines)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.lost.append(self.lines)


def flood_bytes(size: int) -> bytes:
    """Return `size` bytes of which every part tells its place, and a newline."""
    numbers = b"".join(b"%08d" % index for index in range(size // 8 + 1))
    return numbers[:size] + b"\n"


def make_application(name: str, *addresses: str) -> Application:
    """Return the application, answering at `addresses`."""
    application = Application(name)
    service = application.add_service(Counter())
    for address in addresses:
        application.listen(address, service)
    return application
