"""Fan-out, unread output and flooding clients: limits, and which connections they close."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
from harness import Harness, Peer
from storm_service import make_application

from tapd.model.application import Application
from tapd.model.protocol import Protocol
from tapd.model.service import Service

Serve = Callable[..., Harness]


class Room(Service):
    """Everybody who is here hears everything."""

    def __init__(self) -> None:
        self.members: list[Talker] = []

    def build_protocol(self, peer: Any) -> Protocol:
        return Talker()


class Talker(Protocol):
    service: Room

    def connection_made(self, transport: Any) -> None:
        self.service.members.append(self)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"flood"):
            data = b"x" * int(data[5:])
        for member in self.service.members:
            member.transport.write(data)
            member.transport.write(b"\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.members.remove(self)


def room(serve: Serve, people: int, **options: Any) -> tuple[Harness, list[Peer]]:
    application = Application("room")
    application.add_service(Room())
    harness = serve(application, **options)
    return harness, [harness.connect() for _ in range(people)]


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("point", ["committed", "externalised"])
def test_a_message_to_many_survives_a_kill(serve: Serve, family: str, point: str) -> None:
    class Killed(KeyboardInterrupt):
        pass

    harness, peers = room(serve, 5, family=family)
    peers[0].send(b"one")

    def fault(name: str) -> None:
        if name == f"turn: {point}":
            harness.fault = lambda _name: None
            raise Killed

    harness.fault = fault
    with pytest.raises(Killed):
        peers[1].send(b"two")
    harness.crash()
    peers[2].send(b"three")
    for peer in peers:
        got = peer.read()
        assert got == b"one\ntwo\nthree\n" or (
            # The documented gap of UNIX sockets.
            family == "unix" and point == "externalised" and got == b"one\ntwo\ntwo\nthree\n"
        )


def test_a_message_to_many_is_journaled_once(serve: Serve) -> None:
    harness, peers = room(serve, 20)
    assert harness.serving.commits.journal is not None
    before = harness.serving.commits.journal.size
    peers[0].send(b"m" * 5000)
    assert harness.serving.commits.journal.size - before < 6000


def shrink(*peers: Peer) -> None:
    """Have a peer take little, so that output piles up at the server."""
    for peer in peers:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


def test_the_largest_backlog_is_given_up_first(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Not whoever wrote last, nor whoever has a little unsent."""
    harness = serve(make_application("a"))
    harness.serving.connections.backlog.bytes_max = 30_000_000
    small, large, last = (harness.connect() for _ in range(3))
    keys = list(harness.serving.streams)
    shrink(small, large, last)
    with caplog.at_level(logging.WARNING):
        small.send(b"flood 9000000\n")
        large.send(b"flood 19000000\n")
        assert not caplog.records
        last.send(b"flood 17000000\n")
    assert sorted(harness.serving.streams) == [keys[0], keys[2]]
    (record,) = caplog.records
    assert f"<connection {keys[1]}>: closed" in record.message
    assert "30000000 are allowed" in record.message
    assert harness.serving.connections.backlog.total < 27_000_000
    harness.crash()
    assert len(harness.serving.streams) == 2
    unsent = sum(len(stream.pending) for stream in harness.serving.streams.values())
    assert harness.serving.connections.backlog.total == unsent > 10_000_000, "counted anew"
    for peer in (small, last):
        peer.sock.close()
    harness.pump()
    assert harness.serving.connections.backlog.total == 0


def test_what_was_read_counts_no_more(serve: Serve) -> None:
    harness = serve(make_application("a"))
    peer = harness.connect()
    peer.send(b"flood 14000000\n")
    assert harness.serving.connections.backlog.total > 1_000_000
    size = 0
    while size < 14_000_007:
        size += len(peer.read())
    harness.pump()
    assert harness.serving.connections.backlog.total == 0


def turns_until_answered(harness: Harness, peer: Peer) -> int:
    """Run turns one by one until `peer` has an answer; return how many it took."""
    peer.sock.setblocking(False)
    for turns in range(1, 200):
        harness.serving.step()
        try:
            assert peer.sock.recv(100)
        except BlockingIOError:
            continue
        return turns
    raise AssertionError("starved")


def fill(peer: Peer) -> None:
    """Send as many lines as the kernel takes."""
    peer.sock.setblocking(False)
    number = 0
    try:
        while True:
            peer.sock.send(b"".join(b"%d x\n" % index for index in range(number, number + 500)))
            number += 500
    except BlockingIOError:
        pass


def test_a_flood_starves_nobody(serve: Serve) -> None:
    """A quiet client's line is answered in the very next turn, whatever others send."""
    harness = serve(make_application("a"), strict=False)
    quiet, *flooding = (harness.connect() for _ in range(4))
    assert quiet.read() == b"hello\n"
    for _ in range(5):
        for peer in flooding:
            fill(peer)
        quiet.sock.setblocking(True)
        quiet.sock.sendall(b"0 please\n")
        assert turns_until_answered(harness, quiet) == 1


def test_more_floods_than_a_turn_looks_at(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel hands out what is ready in turn, so all get theirs within N / EVENTS_PER_TURN."""
    monkeypatch.setattr("tapd.net.turn.turn.EVENTS_PER_TURN", 4)
    harness = serve(make_application("a"), strict=False)
    quiet, *flooding = (harness.connect() for _ in range(21))
    assert quiet.read() == b"hello\n"
    for _ in range(3):
        for peer in flooding:
            fill(peer)
        quiet.sock.setblocking(True)
        quiet.sock.sendall(b"0 please\n")
        assert turns_until_answered(harness, quiet) <= 21 // 4 + 1
