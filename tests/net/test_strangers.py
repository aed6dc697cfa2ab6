"""The cost of one hostile client to a server; docs/strangers.md has it as a table."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
from harness import Harness, Peer

from tapd.model.application import Application
from tapd.model.datagram import DatagramProtocol
from tapd.model.protocol import Protocol, Transport
from tapd.model.protocols.frames import FrameProtocol
from tapd.model.protocols.kept import PIECE_BYTES
from tapd.model.protocols.lines import LineProtocol
from tapd.model.protocols.partial import UnitProtocol
from tapd.model.service import Service
from tapd.net.rate_limit import EACH_S, FAILURES_AT_ONCE
from tapd.net.streams.stream import PEEK_BYTES

DATAGRAM_RECORD_BYTES = 256
Serve = Callable[..., Harness]

HOSTILE, HONEST = "127.0.0.66", "127.0.0.1"
RECORD_BYTES = 1024
"""What a piece of input costs the journal beside what is kept of it, at most."""


class Lines(LineProtocol):
    line_bytes_max = 10_000


class Frames(FrameProtocol):
    frame_bytes_max = 10_000


class LineService(Service):
    protocol = Lines


class FrameService(Service):
    protocol = Frames


class Few(Service):
    """One address may have two connections; who is one too many is told nothing."""

    protocol = Lines
    connections_per_address_max = 2


class Sorry(Protocol):
    why = ""

    def connection_made(self, transport: Transport) -> None:
        transport.write(f"{self.why}, sorry\n".encode())
        transport.close()


class Polite(Few):
    def build_refusal(self, why: str) -> Protocol:
        refusal = Sorry()
        refusal.why = why
        return refusal


def serve_one(serve: Serve, service: Service, **options: Any) -> Harness:
    application = Application("app")
    application.add_service(service)
    return serve(application, **options)


def kept_bytes(harness: Harness) -> int:
    protocols = harness.application.connections.values()
    return sum(each._kept() for each in protocols if isinstance(each, UnitProtocol))


def journal_bytes(harness: Harness) -> int:
    return sum(path.stat().st_size for path in harness.path.with_suffix(".d").glob("journal-*"))


# --- memory and the journal ---------------------------------------------------


@pytest.mark.parametrize(("service", "head"), [(LineService, b""), (FrameService, b"\0\0\x27\x10")])
def test_of_an_unfinished_line_or_frame_its_limit_is_kept(
    serve: Serve, service: type[Service], head: bytes
) -> None:
    harness = serve_one(serve, service())
    peer = harness.connect()
    peer.send(head)
    for _ in range(15):
        with contextlib.suppress(OSError):
            peer.send(b"x" * 997)
        assert kept_bytes(harness) <= 10_000 + 4


def test_a_byte_of_a_long_line_costs_the_journal_a_kib(serve: Serve) -> None:
    harness = serve_one(serve, LineService(), strict=False)
    peer = harness.connect()
    peer.send(b"x" * 9000)
    before = journal_bytes(harness)
    for _ in range(100):
        peer.send(b"x")
    assert journal_bytes(harness) - before <= 100 * (PIECE_BYTES + RECORD_BYTES)


class Paused(Protocol):
    """Takes 10 bytes at a time, and no more after the first."""

    taken = b""

    def connection_made(self, transport: Transport) -> None:
        transport.set_read_limit(10)

    def connection_resumed(self) -> None:
        self.transport.set_read_limit(10)

    def data_received(self, data: bytes) -> None:
        self.taken += data
        self.transport.pause_reading()


class PausedService(Service):
    protocol = Paused


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_what_is_over_the_read_limit_stays_in_the_kernel(serve: Serve, family: str) -> None:
    harness = serve_one(serve, PausedService(), family=family)
    peer = harness.connect()
    data = bytes(range(256)) * 16
    peer.send(data)
    for count in range(1, 5):
        (protocol,) = harness.application.connections.values()
        assert isinstance(protocol, Paused)
        assert protocol.taken == data[: 10 * count]
        if count == 2:
            harness.crash()
            harness.pump()
            (protocol,) = harness.application.connections.values()
            assert isinstance(protocol, Paused)
        if count == 4:
            protocol.transport.set_read_limit(None)
        protocol.transport.resume_reading()
        harness.pump()
    assert protocol.taken == data[: 40 + PEEK_BYTES]


class Silent(DatagramProtocol):
    def datagram_received(self, data: bytes, addr: Any) -> None:
        pass


class SilentService(Service):
    datagram_protocol = Silent


def test_a_datagram_costs_the_journal_a_few_bytes(serve: Serve) -> None:
    application = Application("udp")
    with (
        socket.socket(type=socket.SOCK_DGRAM) as port,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        port.bind(("127.0.0.1", 0))
        application.listen(f"udp:127.0.0.1:{port.getsockname()[1]}", SilentService())
        harness = serve(application, datagrams=port, strict=False)
        client.sendto(b"x", port.getsockname())
        harness.pump()
        before = journal_bytes(harness)
        for _ in range(50):
            client.sendto(b"x" * 1400, port.getsockname())
            harness.pump()
        assert journal_bytes(harness) - before <= 50 * DATAGRAM_RECORD_BYTES
        harness.give_up()


# --- connections of one address ---------------------------------------------------


def is_served(harness: Harness, peer: Peer) -> bool:
    harness.pump()
    name = peer.sock.getsockname()
    streams = list(harness.serving.streams.values())
    return any(stream.get_extra_info("peername") == name for stream in streams)


@pytest.mark.parametrize("service", [Few, Polite])
def test_an_address_has_as_many_connections_as_the_service_says(
    serve: Serve, service: type[Service], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tapd.net")
    harness = serve_one(serve, service())
    peers = [harness.connect(HOSTILE) for _ in range(5)]
    assert [is_served(harness, peer) for peer in peers] == [True, True, False, False, False]
    said = b"" if service is Few else b"Too many connections from your address, sorry\n"
    assert [peer.read_end() for peer in peers[2:]] == [said] * 3
    assert is_served(harness, harness.connect(HONEST))
    harness.crash()
    assert not is_served(harness, harness.connect(HOSTILE))
    peers[0].sock.close()
    harness.pump()
    assert is_served(harness, harness.connect(HOSTILE))
    assert "has 2 connections, as many as one address may have" in caplog.messages[0]


class Quitting(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.close()


class FewQuitting(Few):
    protocol = Quitting


def test_who_has_ended_and_is_not_forgotten_yet_counts_no_more(serve: Serve) -> None:
    harness = serve_one(serve, FewQuitting())
    peers = [harness.connect(HOSTILE) for _ in range(2)]
    harness.crash()  # so that nobody was counted yet
    peers[0].sock.sendall(b"quit")
    harness.serving.step()
    for _ in range(2):
        newest = harness.connect(HOSTILE)
        assert is_served(harness, newest)
        newest.sock.sendall(b"quit")
        harness.pump()
        assert newest.read_end() == b""


def test_a_thread_that_can_not_be_made_is_an_error_and_no_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = serve_one(serve, LineService())
    harness.connect(HONEST)
    (client,) = harness.application.connections.values()
    assert harness.process is not None
    loop = harness.process.loop
    errors: list[BaseException | None] = []

    def ask() -> None:
        harness.application.run_queued(
            int, client=client, then=lambda _result, error: errors.append(error)
        )
        harness.wait_for(lambda: not harness.serving.runtime.is_waiting)
        harness.pump()

    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_in_executor", _no_thread)
        for _ in range(3):
            ask()
    ask()
    assert [type(error) for error in errors] == [RuntimeError] * 3 + [type(None)]


def _no_thread(*_args: Any) -> Any:
    raise RuntimeError("can't start new thread")


def test_a_limit_that_is_set_later_counts_those_that_are_there(serve: Serve) -> None:
    harness = serve_one(serve, LineService())
    peers = [harness.connect(HOSTILE) for _ in range(5)]
    (service,) = harness.application.services.values()
    service.connections_per_address_max = 5
    assert all(is_served(harness, peer) for peer in peers)
    assert not is_served(harness, harness.connect(HOSTILE))


# --- log lines ---------------------------------------------------


class Failing(Protocol):
    def data_received(self, data: bytes) -> None:
        raise ValueError(data)


class FailingService(Service):
    protocol = Failing


class Unbuilt(Service):
    def build_protocol(self, peer: Any) -> Protocol:
        raise ValueError


@pytest.mark.parametrize("service", [FailingService, Unbuilt])
def test_a_failure_that_a_stranger_can_repeat_does_not_fill_the_log(
    serve: Serve, service: type[Service], caplog: pytest.LogCaptureFixture
) -> None:
    harness = serve_one(serve, service())
    for _ in range(FAILURES_AT_ONCE + 10):
        peer = harness.connect()
        with contextlib.suppress(OSError):
            peer.send(b"x")
    assert len(caplog.records) == FAILURES_AT_ONCE
    assert all(record.exc_info for record in caplog.records)
    harness.clock.advance(EACH_S)
    assert len(caplog.records) == FAILURES_AT_ONCE + 1
    assert caplog.messages[-1].startswith("and 10 more like it")


class FailingDatagrams(DatagramProtocol):
    def datagram_received(self, data: bytes, addr: Any) -> None:
        raise ValueError(data)


class FailingDatagramService(Service):
    datagram_protocol = FailingDatagrams


def test_datagrams_that_fail_do_not_fill_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application("udp")
    with (
        socket.socket(type=socket.SOCK_DGRAM) as port,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        port.bind(("127.0.0.1", 0))
        application.listen(f"udp:127.0.0.1:{port.getsockname()[1]}", FailingDatagramService())
        harness = serve(application, datagrams=port)
        for _ in range(FAILURES_AT_ONCE + 10):
            client.sendto(b"x", port.getsockname())
            harness.pump()
        assert len(caplog.records) == FAILURES_AT_ONCE
        harness.clock.advance(EACH_S)
        assert caplog.messages[-1].startswith("and 10 more like it")
        harness.give_up()  # before its port goes
