"""Hostile clients, broken handlers and clocks that jump."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from harness import Harness
from storm_service import make_application

from tapd.errors import AuthorError, PeerError
from tapd.image.tracking.jar import Jar
from tapd.model.application import Application
from tapd.model.durable.persistent import Persistent
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.net.turn.listener import Listener

Serve = Callable[..., Harness]


def only_stream(harness: Harness) -> Any:
    (stream,) = harness.serving.streams.values()
    return stream


# --- urgent data ------------------------------------------------------------------------


@pytest.mark.parametrize("crash_after", range(5))
def test_urgent_data_is_input_like_any_other(serve: Serve, crash_after: int) -> None:
    harness = serve(make_application("a"))
    peer = harness.connect()
    steps = [(b"0 a\n", 0), (b"1 b\n", socket.MSG_OOB), (b"2 c\n", 0), (b"3 d\n4 ", socket.MSG_OOB)]
    for index, (data, flags) in enumerate(steps):
        peer.sock.send(data, flags)
        if index % 2 == 1:
            harness.pump()
        if index == crash_after:
            harness.crash()
    if crash_after == len(steps):
        harness.crash()
    peer.send(b"e\n")
    peer.expect(b"hello\n0 1 a\n1 2 b\n2 3 c\n3 4 d\n4 5 e\n")


# --- connections that have ended -----------------------------------------------------------


def test_a_write_to_an_ended_connection_reaches_nobody(serve: Serve) -> None:
    """Neither the journal, which knows it no more, nor who got its descriptor's number."""
    harness = serve(make_application("a"))
    peer = harness.connect()
    stream = only_stream(harness)
    peer.sock.close()
    harness.pump()
    assert not harness.serving.streams
    other = harness.connect()
    assert only_stream(harness).fd == stream.fd, "the test needs the number to come again"
    for act in (lambda: stream.write(b"late\n"), stream.write_eof, stream.close, stream.abort):
        act()
        harness.pump()
    assert stream.get_write_buffer_size() == 0
    other.send(b"0 a\n")
    other.expect(b"hello\n0 1 a\n")
    harness.crash()
    other.send(b"1 b\n")
    other.expect(b"1 2 b\n")


class Odd(Protocol):
    """Does in `connection_made` what `how` says."""

    service: OddService

    def __init__(self) -> None:
        self.seen = b""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello\n")
        for name in self.service.how:
            getattr(transport, name)()

    def data_received(self, data: bytes) -> None:
        self.seen += data

    def eof_received(self) -> bool:
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.lost.append((self.seen, type(exc).__name__))


class OddService(Service):
    protocol = Odd

    def __init__(self, *how: str) -> None:
        self.how = how
        self.lost: list[Any] = []


def odd(serve: Serve, *how: str) -> tuple[Harness, OddService]:
    application = Application("a")
    application.add_service(OddService(*how))
    harness = serve(application)
    service = harness.application.services["oddservice"]
    assert isinstance(service, OddService)
    return harness, service


def test_closed_in_connection_made(serve: Serve) -> None:
    harness, service = odd(serve, "close")
    assert harness.connect().read_end() == b"hello\n"
    harness.pump()
    assert service.lost == [(b"", "NoneType")]


def test_aborted_with_pending_output(serve: Serve) -> None:
    harness, service = odd(serve, "abort")
    assert harness.connect().read_end() == b""
    harness.pump()
    assert service.lost == [(b"", "NoneType")]


def test_half_closed_by_us_first_then_by_the_peer(serve: Serve) -> None:
    harness, service = odd(serve, "write_eof")
    peer = harness.connect()
    assert peer.read_end() == b"hello\n"
    peer.send(b"more")
    peer.send(b" input")
    peer.sock.shutdown(socket.SHUT_WR)
    harness.wait_for(lambda: service.lost)
    assert service.lost == [(b"more input", "NoneType")]


def test_a_reset_while_reading_is_paused(serve: Serve) -> None:
    harness, service = odd(serve, "pause_reading")
    peer = harness.connect()
    assert peer.read() == b"hello\n"
    peer.send(b"unread")
    harness.crash()
    service = harness.application.services["oddservice"]
    assert service.lost == []
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.sock.close()
    harness.wait_for(lambda: service.lost)
    assert service.lost == [(b"", "ConnectionResetError")]


# --- listeners ------------------------------------------------------------------------------


class Unwilling(Listener):
    """A listener at which accept(2) fails."""

    error = errno.EMFILE

    class Socket:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

        def accept(self) -> Any:
            raise OSError(Unwilling.error, "unwilling")

    def accept(self) -> socket.socket:
        willing = self.sock
        self.sock = self.Socket(willing)  # type: ignore[assignment]
        try:
            return super().accept()
        finally:
            self.sock = willing


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENETDOWN, errno.EPERM])
def test_what_accept_says_harms_no_connection(serve: Serve, error: int) -> None:
    harness = serve(make_application("a"))
    peer = harness.connect()
    peer.expect(b"hello\n")
    (listener,) = harness.serving.listeners
    listener.__class__, Unwilling.error = Unwilling, error
    waits = harness.open()
    for index in range(3):
        peer.send(b"%d x\n" % index)
        peer.expect(b"%d %d x\n" % (index, index + 1))
    listener.__class__ = Listener
    harness.wait_for(lambda: len(harness.serving.streams) == 2)
    waits.expect(b"hello\n")


def test_a_stop_while_accepting_pauses(serve: Serve) -> None:
    harness = serve(make_application("a"))
    (listener,) = harness.serving.listeners
    harness.serving.listeners.pause(listener, 0.01)
    harness.serving.stop_listening()
    deadline = time.monotonic() + 0.05
    harness.wait_for(lambda: time.monotonic() > deadline)
    waits = harness.connect()
    assert waits.read() == b""


class Senseless(Service):
    def build_protocol(self, peer: Any) -> Any:
        return None


def test_a_service_that_builds_nothing(serve: Serve) -> None:
    application = Application("a")
    application.add_service(Senseless())
    harness = serve(application)
    assert harness.connect().read_end() == b""
    assert not harness.vault.held


class Refusing(Service):
    def build_protocol(self, peer: Any) -> Protocol:
        raise PeerError("too many")


def test_who_is_refused_and_says_nothing_stops_nobody(serve: Serve) -> None:
    """The accepted socket blocked, and the server waited for a byte of this very client."""
    application = Application("a")
    application.add_service(Refusing())
    harness = serve(application)
    assert harness.connect().read_end() == b""
    assert not harness.vault.held


class Strict(Protocol):
    def data_received(self, data: bytes) -> None:
        raise PeerError("that is no hello")


class StrictService(Service):
    protocol = Strict


@pytest.mark.parametrize("service", [Refusing, StrictService])
def test_a_flood_of_refused_clients_does_not_flood_the_journal(
    serve: Serve, caplog: pytest.LogCaptureFixture, service: type[Service]
) -> None:
    application = Application("a")
    application.add_service(service())
    caplog.set_level(logging.INFO, "tapd.net")
    harness = serve(application)
    for _ in range(40):
        peer = harness.connect()
        with contextlib.suppress(OSError):
            peer.send(b"x")
        assert peer.read_end() == b""
    assert len(caplog.records) == 1
    harness.clock.advance(60.0)
    first, more = (record.getMessage() for record in caplog.records)
    assert "too many" in first or "that is no hello" in first
    assert more.startswith("and 39 more like it")
    harness.connect().sock.sendall(b"x")
    harness.pump()
    assert len(caplog.records) == 3, "after a while each is told again"


# --- more clients than files ----------------------------------------------------------------


def test_who_is_too_many_waits_and_is_told_of_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the last file is open: a save needs some as well."""
    harness = serve(make_application("a"))
    harness.serving.listeners.connections_max = 2
    peers = [harness.connect() for _ in range(4)]
    assert len(harness.serving.streams) == 2
    for peer in peers[:2]:
        peer.expect(b"hello\n")
    harness.clock.advance(3.0)
    assert len(harness.serving.streams) == 2
    (record,) = caplog.records
    assert "Raise LimitNOFILE=" in record.message
    for peer in peers[:2]:
        peer.sock.close()
    for peer in peers[2:]:
        peer.expect(b"hello\n")


def test_who_could_not_be_protected_is_later(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fd store was full, or the service manager busy, when it was accepted."""
    harness = serve(make_application("a"))
    with monkeypatch.context() as full:
        full.setattr(type(harness.vault), "put", lambda *_args: False)
        peers = [harness.connect() for _ in range(3)]
        harness.serving.connections.protect_again()
        assert not any(each.is_protected for each in harness.serving.streams.values())
    harness.serving.connections.protect_again()
    assert all(each.is_protected for each in harness.serving.streams.values())
    harness.crash()
    for peer in peers:
        peer.send(b"0 a\n")
        assert peer.read().startswith(b"hello\n0 ")


# --- timers -----------------------------------------------------------------------------------


class Bell(Service):
    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, text: str) -> None:
        self.rung.append(text)


def test_senseless_delays_stop_no_other_timer(serve: Serve) -> None:
    application = Application("a")
    application.add_service(Bell())
    harness = serve(application)
    bell = harness.application.services["bell"]
    with pytest.raises(AuthorError):
        harness.application.call_later(math.nan, bell.ring, "never")
    assert not harness.application.delayeds
    harness.application.call_later(math.inf, bell.ring, "never")
    harness.application.call_later(1e300, bell.ring, "never")
    broken = harness.application.call_later(60, bell.ring, "never")
    broken.due_s = None  # type: ignore[assignment]  # as nobody can be kept from doing
    harness.pump()
    harness.crash()
    bell = harness.application.services["bell"]
    harness.application.call_later(-math.inf, bell.ring, "now")
    harness.wait_for(lambda: bell.rung)
    assert bell.rung == ["now"]
    assert len(harness.application.delayeds) == 3


# --- what can't be committed --------------------------------------------------------------------


class Hoard(Persistent):
    def __init__(self) -> None:
        self.count = 0
        self.deep: Any = None


class Miswriting(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(5)  # type: ignore[arg-type]  # the mistake itself


class MiswritingService(Service):
    protocol = Miswriting


def test_a_number_is_not_so_many_zeros(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """``bytes(5)`` would be five of them."""
    application = Application("a")
    application.add_service(MiswritingService())
    peer = serve(application).connect()
    peer.send(b"x")
    assert peer.read_end() == b""
    assert "a bytes-like object is required" in caplog.text


class Unsavable(Hoard):
    def __getstate__(self) -> Any:
        if self.deep:
            raise ValueError("not now")
        return super().__getstate__()


def test_what_cannot_be_dumped_costs_nothing_else_and_is_tried_again() -> None:
    jar = Jar()
    root, bad, good = Hoard(), Unsavable(), Hoard()
    root.deep = [bad, good]
    jar.adopt(root)
    for each in (bad, good):
        each.count = 1
    bad.deep = "yes"
    changes = jar.commit()
    assert [oid for oid, _state in changes.states] == [good._p_oid]
    assert [loss.type_name for loss in jar.losses] == ["tests.net.test_hostile.Unsavable"]
    assert not jar.has_changes, "nothing to do until something changes"
    good.count = 2
    assert [oid for oid, _state in jar.commit().states] == [good._p_oid]
    assert jar.losses == [], "it is named once"
    bad.deep = None
    good.count = 3
    assert {oid for oid, _state in jar.commit().states} == {good._p_oid, bad._p_oid}
    bad.count = 4
    assert [oid for oid, _state in jar.commit().states] == [bad._p_oid]
