"""The turn in strict mode: every commit is compared with what it would restore."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from harness import Harness
from storm_service import flood_bytes, make_application

from tapd.errors import UntrackedChange
from tapd.model.application import Application
from tapd.model.durable.persistent import Persistent
from tapd.model.protocol import Protocol
from tapd.model.service import Service

Serve = Callable[..., Harness]


def test_a_dialogue(serve: Serve) -> None:
    harness = serve(make_application("a"))
    peer = harness.connect()
    assert peer.read() == b"hello\n"
    peer.send(b"0 one\n1 tw")
    assert peer.read() == b"0 1 one\n"
    peer.send(b"o\n")
    assert peer.read() == b"1 2 two\n"
    peer.sock.shutdown(socket.SHUT_WR)
    assert peer.read_end() == b"bye 2\n"
    harness.pump()
    assert not harness.application.connections
    assert harness.application.services["counter"].lost == [2]
    assert harness.jar.checks > 4


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_crash_after_every_byte(serve: Serve, family: str) -> None:
    harness = serve(make_application("a"), family=family)
    peer = harness.connect()
    sent = b"0 one\n1 two\n2 three\n"
    for index in range(len(sent)):
        peer.send(sent[index : index + 1])
        harness.crash()
    peer.expect(b"hello\n0 1 one\n1 2 two\n2 3 three\n")
    peer.sock.shutdown(socket.SHUT_WR)
    assert peer.read_end() == b"bye 3\n"


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("point", ["collected", "run", "committed", "externalised"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_crash_within_a_turn(serve: Serve, family: str, point: str, nth: int) -> None:
    """The process ends between two steps of its Nth turn: nothing is lost or repeated."""

    class Killed(KeyboardInterrupt):  # asyncio lets this one through
        pass

    harness = serve(make_application("a"), family=family)
    passed = 0

    def fault(name: str) -> None:
        nonlocal passed
        if name == f"turn: {point}":
            passed += 1
            if passed == nth:
                raise Killed

    harness.fault = fault
    peer = harness.open()
    for step in (b"", b"0 one\n", b"1 tw", b"o\n2 three\n", None):
        if step is None:
            peer.sock.shutdown(socket.SHUT_WR)
        else:
            peer.sock.sendall(step)
        try:
            harness.pump()
        except Killed:
            harness.crash()
    assert passed >= nth
    got = peer.read_end()
    assert got == b"hello\n0 1 one\n1 2 two\n2 3 three\nbye 3\n" or (
        # The one thing that the kernel does not tell of a UNIX socket: output that was
        # sent in the very instant of the kill may be sent again (docs, "limits").
        family == "unix" and point == "externalised" and got.count(b"bye 3\n") == 1
    )


def test_megabytes_for_a_slow_reader(serve: Serve) -> None:
    """Output that nobody reads is kept, through crashes and a checkpoint, to the byte."""
    harness = serve(make_application("a"))
    peer = harness.connect()
    size = 6_000_000
    peer.send(b"flood %d\n" % size)
    harness.crash()
    harness.save()
    harness.crash()
    expected = b"hello\n" + flood_bytes(size)
    got = b""
    while len(got) < len(expected):
        data = peer.read()
        got += data
        if len(got) % 3 == 0:
            harness.crash()
    assert got == expected


def test_half_closed_before_the_crash(serve: Serve) -> None:
    harness = serve(make_application("a"))
    peer = harness.connect()
    assert peer.read() == b"hello\n"
    harness.serving.stop_listening()  # the process is as good as dead: it reads no more
    peer.sock.sendall(b"0 a\n1 b\n2 c")
    peer.sock.shutdown(socket.SHUT_WR)
    harness.crash()
    assert peer.read_end() == b"0 1 a\n1 2 b\nbye 2\n"


def test_clients_that_vanish_during_the_outage(serve: Serve) -> None:
    harness = serve(make_application("a"))
    stays, goes, resets = harness.connect(), harness.connect(), harness.connect()
    for peer in (stays, goes, resets):
        assert peer.read() == b"hello\n"
    goes.sock.close()
    linger = b"\1\0\0\0\0\0\0\0"
    resets.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    resets.sock.close()
    harness.crash()
    harness.pump()
    assert len(harness.application.connections) == 1
    assert len(harness.application.services["counter"].lost) == 2
    stays.send(b"0 still\n")
    assert stays.read() == b"0 1 still\n"


def test_connections_without_a_socket_are_told_first(serve: Serve) -> None:
    """After a stop, a reboot or a lost store: connection_lost before anything else."""
    harness = serve(make_application("a"))
    harness.connect().send(b"0 a\n")
    harness.connect()
    for key in list(harness.vault.held):
        harness.vault.forget(key)
    harness.crash()
    assert not harness.application.connections
    assert sorted(harness.application.services["counter"].lost) == [0, 1]


class Failing(Protocol):
    def data_received(self, data: bytes) -> None:
        if data == b"exit":
            raise SystemExit(3)
        raise ValueError("of no importance")


class FailingService(Service):
    protocol = Failing


@pytest.mark.parametrize("data", [b"x", b"exit"])
def test_a_handler_that_raises_harms_no_other(
    serve: Serve, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application("a")
    application.add_service(FailingService())
    harness = serve(application)
    bad, good = harness.connect(), harness.connect()
    bad.send(data)
    assert bad.read_end() == b""
    assert "Failing failed and is closed" in caplog.text
    harness.pump()
    assert len(harness.application.connections) == 1
    assert good.read() == b""


class Hidden:
    """Mutable, and not durable."""

    def __init__(self) -> None:
        self.value = 0


class Holder(Persistent):
    def __init__(self) -> None:
        self.items: Any = []
        self.hidden = Hidden()


class Keeping(Protocol):
    """Changes all kinds of things that an author may forget to say."""

    def __init__(self) -> None:
        self.holder = Holder()
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        for command in data.split():
            match command:
                case b"append":
                    self.holder.items.append({"deep": [1]})
                case b"deepen":
                    self.holder.items[0]["deep"].append(2)
                case b"hide":
                    self.holder.hidden.value += 1
                case b"alias":
                    shared = self.holder.items = [[], []]
                    shared[0].append(3)
                case b"buffer":
                    self.buffer += b"x"
        self.transport.write(
            repr((self.holder.items, self.holder.hidden.value, bytes(self.buffer))).encode()
        )


class KeepingService(Service):
    protocol = Keeping


def test_nothing_mutable_is_missed(serve: Serve) -> None:
    application = Application("a")
    application.add_service(KeepingService())
    harness = serve(application)
    peer = harness.connect()
    for command, answer in [
        (b"append", b"([{'deep': [1]}], 0, b'')"),
        (b"deepen", b"([{'deep': [1, 2]}], 0, b'')"),
        (b"hide", b"([{'deep': [1, 2]}], 1, b'')"),
        (b"alias", b"([[3], []], 1, b'')"),
        (b"buffer", b"([[3], []], 1, b'x')"),
        (b"buffer hide", b"([[3], []], 2, b'xx')"),
    ]:
        peer.send(command)
        assert peer.read() == answer
        harness.crash()


def test_strict_mode_names_what_was_missed(serve: Serve) -> None:
    """A change behind the tracking's back (here: by a method of the base) is found and named."""
    application = Application("a")
    application.add_service(KeepingService())
    harness = serve(application)
    harness.connect().send(b"append")
    protocol = next(iter(harness.application.connections.values()))
    items = protocol.holder.items
    list.append(items, 1)
    with pytest.raises(UntrackedChange, match=r"holder\.items\[1\] was changed where"):
        harness.serving.commits.commit()
    list.pop(items)


class Lossy(Protocol):
    """Keeps what can't be kept."""

    def data_received(self, data: bytes) -> None:
        self.count = len(data)
        self.generator = (number for number in range(3))


class LossyService(Service):
    protocol = Lossy


def test_a_loss_is_told_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    application = Application("a")
    application.add_service(LossyService())
    harness = serve(application, strict=False)
    peer = harness.connect()
    for size in range(1, 4):
        peer.send(b"x" * size)
    assert caplog.text.count("not saved") == 1
    harness.crash()
    protocol = next(iter(harness.application.connections.values()))
    assert protocol.count == 3
    assert "generator" in repr(protocol.generator)
