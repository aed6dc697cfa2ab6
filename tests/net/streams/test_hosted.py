"""Hosted asyncio protocols in this process: all transport methods, and kills at every step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from harness import Harness

from tapd.errors import AuthorError
from tapd.model.application import Application
from tapd.model.hosted import AsyncioService, Hosted
from tapd.net.streams.stream import PEEK_BYTES, Stream
from tapd.net.turn.connections import Connections

Serve = Callable[..., Harness]


class Killed(KeyboardInterrupt):
    """The process dies here; asyncio lets this one through."""


class Upper(asyncio.Protocol):
    """Answers lines at once; some lines try the transport."""

    made = 0

    def __init__(self) -> None:
        self.half = b""
        self.transport: Any = None
        self.paused = 0
        self.told: list[str] = []
        Upper.made += 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.half = (self.half + data).split(b"\n")
        for line in lines:
            self.line_received(line)

    def line_received(self, line: bytes) -> None:
        transport = self.transport
        match line:
            case b"never":
                return
            case b"eof":
                assert transport.can_write_eof()
                transport.write_eof()
            case b"close":
                transport.close()
                assert transport.is_closing()
                transport.write(b"nobody gets this")
            case b"abort":
                transport.write(b"nobody gets this")
                transport.abort()
            case b"switch":
                transport.set_protocol(Reversing(transport))
            case b"big":
                transport.write(BIG)
                return
            case b"wrong":
                transport.write(5)
            case b"pause":
                transport.pause_reading()
                assert not transport.is_reading()
            case b"flood":
                transport.set_write_buffer_limits(high=1000)
                assert transport.get_write_buffer_limits() == (250, 1000)
                written = 0
                while not self.paused:
                    transport.write(b"x" * 300)
                    written += 300
                assert written == 1200 == transport.get_write_buffer_size()
        transport.write(line.upper() + b"\n")

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.transport.write(b"RESUMED\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(f"lost {exc!r}")
        LOST.append(self)


class Reversing(asyncio.BufferedProtocol):
    """Answers each 4 bytes backwards, from a buffer of its own."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.buffer = bytearray(4)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.buffer[nbytes - 1 :: -1]))


LOST: list[Upper] = []
BIG = b"".join(b"%07d\n" % number for number in range(1_000_000))


def always(protocol: Any) -> bool:
    return isinstance(protocol, Upper) and not protocol.half


def hosted(serve: Serve, family: str = "tcp", **options: Any) -> Harness:
    LOST.clear()
    application = Application("hosted")
    application.add_service(AsyncioService(Upper, **options))
    return serve(application, family=family)


def test_the_transport_is_a_whole_one(serve: Serve) -> None:
    harness = hosted(serve, idle=always)
    peer = harness.connect()
    peer.send(b"one\nt")
    assert peer.read() == b"ONE\n"
    peer.send(b"wo\npause\nthree\n")
    assert peer.read() == b"TWO\nPAUSE\nTHREE\n"
    (stream,) = harness.serving.streams.values()
    assert isinstance(stream.protocol, Hosted)
    transport: Any = stream.protocol.transport
    assert transport.get_extra_info("peername") == peer.sock.getsockname()
    assert transport.get_extra_info("sslcontext") is None
    assert transport.get_protocol() is stream.protocol.live
    peer.send(b"four\n")
    assert peer.read() == b""
    transport.resume_reading()
    assert transport.is_reading()
    assert peer.read() == b"FOUR\n"
    peer.send(b"flood\n")
    assert peer.read() == b"x" * 1200 + b"FLOOD\nRESUMED\n"
    peer.send(b"switch\nabcdefghij")
    assert peer.read() == b"SWITCH\n"
    peer.send(b"abcdefghij")
    assert peer.read() == b"dcbahgfeji"


@pytest.mark.parametrize(
    ("line", "answer"), [(b"eof", b""), (b"close", b""), (b"abort", b""), (b"wrong", b"")]
)
def test_ends(serve: Serve, line: bytes, answer: bytes) -> None:
    harness = hosted(serve)
    peer = harness.connect()
    peer.send(line + b"\n")
    assert peer.read_end() == answer
    peer.sock.close()
    harness.pump()
    assert [entry.told for entry in LOST] == [["lost None"]]
    assert not harness.application.connections


@pytest.mark.parametrize("point", ["collected", "run", "committed", "externalised"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_killed_within_a_turn(serve: Serve, point: str, nth: int) -> None:
    """What is answered in the turn in which it comes is exact, as of a durable protocol."""
    harness = hosted(serve, idle=always)
    passed = 0

    def fault(name: str) -> None:
        nonlocal passed
        passed += name == f"turn: {point}"
        if passed == nth:
            passed += 1
            raise Killed

    harness.fault = fault
    peer = harness.open()
    for line in (b"", b"one\n", b"two\nthree\n", b"four\n"):
        peer.sock.sendall(line)
        try:
            harness.pump()
        except Killed:
            harness.crash()
    peer.expect(b"ONE\nTWO\nTHREE\nFOUR\n")


def test_input_that_kills_costs_its_connection_and_no_other(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    receive = Connections.receive

    def die(self: Connections, stream: Stream, limit: int | None = None) -> bool:
        if b"poison" in (stream.peek(limit or PEEK_BYTES) or b""):
            raise Killed
        return receive(self, stream, limit)

    monkeypatch.setattr(Connections, "receive", die)
    harness = hosted(serve, idle=always)
    bad, good = harness.connect(), harness.connect()
    bad.sock.sendall(b"POST /\nX: poison\n\none\n")
    good.sock.sendall(b"one\n")
    for _death in range(8):
        try:
            harness.pump()
        except Killed:
            harness.crash()
    assert bad.read_end() == b"", "half a request was handed on"
    good.expect(b"ONE\n")
    good.send(b"two\n")
    good.expect(b"TWO\n")
    assert "killed the server each time" in caplog.text


def test_in_the_midst_of_an_exchange_it_is_closed(serve: Serve) -> None:
    harness = hosted(serve, idle=always)
    idle, unanswered, half = (harness.connect() for _ in range(3))
    idle.send(b"one\n")
    unanswered.send(b"one\nnever\n")
    unanswered.send(b"never\n")
    half.send(b"one\ntw")
    harness.crash()
    idle.send(b"two\n")
    assert idle.read() == b"ONE\nTWO\n"
    assert unanswered.read_end() == b"ONE\n"
    assert half.read_end() == b"ONE\n"
    assert len(harness.application.connections) == 1


def test_without_a_hook_silence_after_output_is_idle(serve: Serve) -> None:
    harness = hosted(serve)
    harness.application.services["asyncioservice"].quiet_s = 0.05
    peer = harness.connect()
    (connection,) = harness.application.connections.values()
    assert isinstance(connection, Hosted)
    assert not connection.is_busy, "nothing was read yet"
    peer.send(b"one\n")
    assert connection.is_busy, "more output may come"
    harness.wait_for(lambda: not connection.is_busy)
    harness.crash()
    peer.send(b"two\n")
    assert peer.read() == b"ONE\nTWO\n"


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_download_is_not_journaled_while_it_lasts(
    serve: Serve, family: str, checkpoint: bool
) -> None:
    """Once the exchange is over the journal knows the rest, which a slow reader still gets."""
    harness = hosted(serve, family)
    harness.application.services["asyncioservice"].quiet_s = 0.2
    peer = harness.connect()
    (connection,) = harness.application.connections.values()
    assert isinstance(connection, Hosted)
    peer.send(b"one\n")
    harness.wait_for(lambda: not connection.is_busy)
    journal = harness.serving.commits.journal
    assert journal is not None
    before = journal.size
    peer.send(b"big\n")
    assert connection.is_busy
    assert journal.size - before < 1000
    if checkpoint:
        harness.save()
    harness.wait_for(lambda: not connection.is_busy)
    harness.crash()
    got = b""
    while len(got) < len(BIG) + 4:
        got += peer.read()
    peer.send(b"two\n")
    got += peer.read()
    # The new protocol, too, was told of the backlog, and says when it is gone.
    assert got == b"ONE\n" + BIG + b"RESUMED\nTWO\n"


def test_what_cannot_be_kept_is_no_factory() -> None:
    async def build() -> Upper:
        return Upper()

    with pytest.raises(AuthorError, match="AsyncioService"):
        AsyncioService(build)
    with pytest.raises(AuthorError, match="can't be called"):
        AsyncioService(Upper())  # type: ignore[arg-type]  # the mistake itself
