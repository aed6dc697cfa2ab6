"""Outbound connections survive crashes, and are made again when lost."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from by_hand import free_port
from harness import Harness, Peer

from tapd.errors import PeerError, UsageError
from tapd.model.application import Application
from tapd.model.protocol import Protocol, Transport
from tapd.model.service import Service

Serve = Callable[..., Harness]


class Caller(Protocol):
    """Says how many bytes it has had, at each piece."""

    def __init__(self) -> None:
        self.had = 0

    def connection_made(self, transport: Transport) -> None:
        transport.write(b"calling;")

    def data_received(self, data: bytes) -> None:
        self.had += len(data)
        self.transport.write(b"%d;" % self.had)


class CallerService(Service):
    protocol = Caller


@pytest.fixture(params=["tcp", "unix"])
def far_end(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """Return somebody else's listening socket."""
    if request.param == "unix":
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / "far"))
    else:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
    listening.listen()
    listening.settimeout(120)
    with listening:
        yield listening


def begin(serve: Serve, far_end: socket.socket) -> Harness:
    application = Application("a")
    name = far_end.getsockname()
    where = f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"
    application.connect(where, CallerService())
    return serve(application)


def accept(harness: Harness, far_end: socket.socket) -> Peer:
    harness.wait_for(lambda: harness.application.connections)
    peer = Peer(far_end.accept()[0], harness.pump)
    harness.peers.append(peer)
    return peer


def test_it_goes_on_through_crashes(serve: Serve, far_end: socket.socket) -> None:
    harness = begin(serve, far_end)
    peer = accept(harness, far_end)
    for size in range(1, 4):
        peer.send(b"x" * size)
        harness.crash()
    peer.expect(b"calling;1;3;6;")
    assert len(harness.application.connections) == 1


def test_it_is_made_again_when_lost(serve: Serve, far_end: socket.socket) -> None:
    harness = begin(serve, far_end)
    accept(harness, far_end).sock.close()
    harness.wait_for(lambda: not harness.application.connections)
    harness.crash()
    again = accept(harness, far_end)
    again.expect(b"calling;")


def test_it_is_made_again_when_it_ended_during_the_outage(
    serve: Serve, far_end: socket.socket
) -> None:
    harness = begin(serve, far_end)
    peer = accept(harness, far_end)
    assert harness.turn is not None
    harness.turn.stop_listening()
    for key in list(harness.vault.held):
        harness.vault.forget(key)
    harness.crash()
    peer.sock.close()
    accept(harness, far_end).expect(b"calling;")


def test_it_is_tried_until_somebody_answers(serve: Serve) -> None:
    port = free_port()
    application = Application("a")
    connector = application.connect(f"127.0.0.1:{port}", CallerService())
    assert connector.delay_s == 0.5
    harness = serve(application)
    harness.wait_for(lambda: harness.application.connectors[connector.key].failures)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
        listening.settimeout(120)
        accept(harness, listening).expect(b"calling;")
    assert harness.application.connectors[connector.key].failures == 0


class Choosy(CallerService):
    """Can't begin its first connection."""

    def __init__(self) -> None:
        self.begun = 0

    def build_protocol(self, peer: object) -> Protocol:
        self.begun += 1
        if self.begun == 1:
            raise PeerError("not now")
        return Caller()


def test_it_is_tried_again_when_a_connection_does_not_begin(
    serve: Serve, far_end: socket.socket
) -> None:
    """Refused by its service, or reset by the other end before it was looked at."""
    application = Application("a")
    name = far_end.getsockname()
    where = f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"
    application.connect(where, Choosy())
    harness = serve(application)
    harness.wait_for(lambda: next(iter(harness.application.connectors.values())).failures)
    with far_end.accept()[0] as first:
        assert first.recv(1) == b""
    accept(harness, far_end).expect(b"calling;")


def test_a_stopped_one_is_left_alone(serve: Serve, far_end: socket.socket) -> None:
    harness = begin(serve, far_end)
    peer = accept(harness, far_end)
    next(iter(harness.application.connectors.values())).stop()
    assert peer.read_end() == b"calling;"
    harness.pump()
    assert not harness.application.connectors
    assert not harness.application.delayeds


def test_a_wrong_address_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="write HOST:PORT"):
        Application("a").connect("nowhere", CallerService())


class Dialler(Protocol):
    """Opens one connection for each of its own, and tells how that went."""

    service: DiallerService
    far: Far

    def connection_made(self, transport: Transport) -> None:
        self.far = Far(self)
        name = self.service.where
        self.service.application.connect(name, self.service, self.far)


class Far(Protocol):
    def __init__(self, near: Protocol) -> None:
        self.near = near

    def connection_made(self, transport: Transport) -> None:
        self.near.transport.write(b"made;")

    def connection_failed(self, exc: Exception) -> None:
        self.near.transport.write(f"failed: {type(exc).__name__};".encode())

    def connection_lost(self, exc: Exception | None) -> None:
        self.near.transport.write(b"lost;")


class DiallerService(Service):
    protocol = Dialler
    where = ""


def test_one_connection_is_made_once_for_a_protocol(serve: Serve, far_end: socket.socket) -> None:
    service = DiallerService()
    name = far_end.getsockname()
    service.where = f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"
    application = Application("a")
    application.add_service(service)
    harness = serve(application)
    near = harness.connect()
    harness.crash()  # while it is being made
    harness.wait_for(lambda: len(harness.application.connections) == 2)
    near.expect(b"made;")
    harness.crash()
    far_end.accept()[0].close()
    near.expect(b"lost;")
    assert not harness.application.connectors
    assert not harness.application.delayeds
    assert len(harness.application.connections) == 1


def test_one_connection_that_cannot_be_made_is_told(serve: Serve, far_end: socket.socket) -> None:
    far_end.close()
    service = DiallerService()
    service.where = "127.0.0.1:1"
    application = Application("a")
    application.add_service(service)
    harness = serve(application)
    near = harness.connect()
    harness.wait_for(lambda: not harness.application.connectors)
    near.expect(b"failed: ConnectionRefusedError;")


def test_a_kill_before_the_first_commit_makes_one_connection(
    serve: Serve, far_end: socket.socket
) -> None:
    service = DiallerService()
    name = far_end.getsockname()
    service.where = f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"
    application = Application("a")
    application.add_service(service)
    harness = serve(application)

    def die(point: str) -> None:
        if point == "turn: run":
            raise Killed

    harness.fault = die
    near = harness.open()
    with pytest.raises(Killed):
        harness.pump()
    harness.fault = lambda _point: None
    harness.crash()
    harness.wait_for(lambda: len(harness.application.connections) == 2)
    near.expect(b"made;")
    far_end.accept()[0].close()
    near.expect(b"lost;")
    far_end.settimeout(0.1)
    with pytest.raises(TimeoutError):
        far_end.accept()


class Killed(KeyboardInterrupt):
    """Ends a turn in its midst; asyncio lets this one through."""
