"""A name service over UDP: "ann=192.0.2.1" sets a name for an hour, "ann?" asks for it.

tapd-mktap app names:Names --port udp:9000
"""

from __future__ import annotations

from typing import Any

from tapd import DatagramProtocol, Service, Timer

LIFE_S = 3600.0


class Queries(DatagramProtocol):
    """The port: one object hears everybody, and answers whom it likes."""

    service: Names

    def datagram_received(self, data: bytes, addr: Any) -> None:
        text = data.decode("utf-8", "replace").strip()
        name, equals, value = text.partition("=")
        if equals:
            self.service.set(name, value)
            answer = "ok"
        else:
            answer = self.service.values.get(text.removesuffix("?"), "unknown")
        self.transport.sendto(answer.encode(), addr)


class Names(Service):
    datagram_protocol = Queries

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.expiries: dict[str, Timer] = {}

    def set(self, name: str, value: str) -> None:
        if timer := self.expiries.get(name):
            timer.cancel()
        self.values[name] = value
        self.expiries[name] = self.application.call_later(LIFE_S, self.forget, name)

    def forget(self, name: str) -> None:
        del self.values[name], self.expiries[name]
