"""A message to many: what the journal, and a start that reads it, make of it."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import pytest
from harness import Harness
from storm_service import flood_bytes

from tapd.errors import AuthorError
from tapd.model.application import Application
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.net import commit

Serve = Callable[..., Harness]


class Everybody(Service):
    """Tells everybody what anybody says."""

    def build_protocol(self, peer: Any) -> Protocol:
        """Return one of them."""
        return Anybody()


class Anybody(Protocol):
    """Says something to all, or gets a flood for itself."""

    service: Everybody

    def data_received(self, data: bytes) -> None:
        if data == b"flood":
            self.transport.write(flood_bytes(16 << 20))
            return
        for protocol in list(self.service.application.connections.values()):
            protocol.transport.write(data)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_start_does_not_build_up_all_that_was_ever_sent(
    serve: Serve, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 messages to 2,000 would be 2 GB, out of a journal of 60 MB."""
    monkeypatch.setattr(commit, "POSITIONS_EACH_BYTES", 20_000)
    application = Application("a")
    application.add_service(Everybody())
    harness = serve(application, family=family)
    slow, *peers = [harness.connect() for _ in range(11)]
    slow.send(b"flood")  # more than the kernel takes from one who does not read
    said = b""
    for number in range(60):
        message = b"%03d" % number * 30
        peers[0].send(message)
        said += message
    harness.give_up()
    state = harness.home.state()
    with state.store.lock():
        history = state.restore().history
    outputs = {key: len(stream.output) for key, stream in history.streams.items()}
    unsent = outputs.pop(next(iter(history.streams)))
    assert unsent > 1 << 20
    assert sum(outputs.values()) < 30_000 < len(said) * len(outputs)
    harness.start()
    for peer in peers:
        peer.expect(said)
    slow.expect(flood_bytes(16 << 20) + said)
    peers[0].send(b"on")
    for peer in (slow, *peers):
        peer.expect(b"on")


class Herald(Protocol):
    """Tells all but itself, and closes whoever says so, by `Transport.write_many`."""

    service: Everybody

    def data_received(self, data: bytes) -> None:
        if data == b"close":
            self.transport.write(b"bye")
            self.transport.close()
        everybody = [each.transport for each in self.service.application.connections.values()]
        for part in (data, b"", bytearray(b";")):
            self.transport.write_many(everybody, bytes(part), self.transport)


class Heralds(Everybody):
    """A service of heralds."""

    protocol = Herald

    def build_protocol(self, peer: Any) -> Protocol:
        """Return one of them."""
        return Herald()


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_write_many(serve: Serve, family: str) -> None:
    """It leaves one out, writes nothing to who is closing, and survives kills."""
    application = Application("a")
    application.add_service(Heralds())
    harness = serve(application, family=family)
    one, two, three = (harness.connect() for _ in range(3))
    one.send(b"hello")
    two.send(b"good day")
    harness.crash()
    three.send(b"close")
    three.expect(b"hello;good day;bye")
    one.send(b"on")
    two.expect(b"hello;close;on;")
    one.expect(b"good day;close;")
    assert three.read_end() == b""


def test_write_many_in_a_thread_is_refused(serve: Serve) -> None:
    """As `write` is: output belongs to a turn."""
    application = Application("a")
    application.add_service(Heralds())
    harness = serve(application)
    harness.connect()
    (herald,) = harness.application.connections.values()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        future = pool.submit(herald.transport.write_many, [herald.transport], b"x")
        with pytest.raises(AuthorError, match="in the thread"):
            future.result()
