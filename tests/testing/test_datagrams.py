"""Datagram ports in the kit."""

from __future__ import annotations

from typing import Any

import pytest

from tapd import Application, DatagramProtocol, Service
from tapd.errors import UsageError
from tapd.testing import Host, Unexpected, kill_everywhere


class Tally(DatagramProtocol):
    """Numbers the datagrams of all, and answers twice."""

    def __init__(self) -> None:
        self.count = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.count += 1
        self.transport.sendto(b"%d %s" % (self.count, data), addr)
        self.transport.sendto(b"bye", addr)


class Tallying(Service):
    datagram_protocol = Tally


def make_application() -> Application:
    application = Application("tally")
    service = Tallying()
    application.listen("udp:127.0.0.1:53", service)
    application.listen("udp:unix:/run/tally", service)
    return application


def scenario(host: Host) -> None:
    one, other = host.connect_datagram(53), host.connect_datagram("udp:127.0.0.1:53", name="bob")
    one.send("a")
    other.send(b"b")
    one.send("a")
    one.expect("1 a", "bye", "3 a")
    assert one.read() == [b"bye"]
    assert other.read() == [b"2 b", b"bye"]


def test_datagrams() -> None:
    with Host(make_application) as host:
        scenario(host)
        peer = host.connect_datagram("udp:unix:/run/tally")
        host.kill()
        peer.send("x")
        host.restart()
        with pytest.raises(Unexpected, match=r"expected  \[b'2 x'\]\n  got       \[b'1 x'\]"):
            peer.expect("2 x")
        with pytest.raises(UsageError, match="there are: none"):
            host.connect()


def test_datagrams_are_killed_everywhere() -> None:
    report = kill_everywhere(make_application, scenario, splits=True)
    assert report.kills > 10
    assert report.splits == 1, "a datagram is never cut"
