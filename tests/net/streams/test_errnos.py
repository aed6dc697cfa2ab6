"""A table of system calls and errnos: what each one costs. `tapd.errnos` has the theory.

Failures are injected here, into each call of a server that talks, is killed and recovers.
Descriptors that are really gone are in `tests/host/test_closed_descriptors.py`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Harness, Peer
from storm_service import make_application

from tapd.errors import DescriptorLost

Serve = Callable[..., Harness]


class Failures:
    """Lets one call of the server's fail.

    Attributes:
        at: which of the calls of that name fails, counted from 1; 0 for none.
        times: how many in a row fail.
        error: with what.
        passed: how many there were.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, error: int) -> None:
        self.at = 0
        self.times = 1
        self.error = error
        self.passed = 0
        self._is_counting = False
        holder: Any = fcntl if name == "ioctl" else socket.socket
        call = getattr(holder, name)

        def wrapper(*arguments: Any) -> Any:
            if self._is_counting:
                self.passed += 1
                if self.at <= self.passed < self.at + self.times:
                    raise OSError(self.error, os.strerror(self.error))
            return call(*arguments)

        monkeypatch.setattr(holder, name, wrapper)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count what the server does."""
        self._is_counting = True
        try:
            yield
        finally:
            self._is_counting = False


def play(harness: Harness, failures: Failures) -> None:
    """Connect, talk, half-close, with a kill in between; all of it has to be exact."""
    peer, other = harness.open(), harness.open()
    with failures.counted():
        harness.wait_for(lambda: turn_and_count(harness) == 2)
        peer.sock.sendall(b"0 one\n1 tw")
        other.sock.sendall(b"0 other\n")
        harness.pump()
        harness.crash()
        peer.sock.sendall(b"o\n")
        harness.pump()
    peer.sock.shutdown(socket.SHUT_WR)
    with failures.counted():
        harness.wait_for(lambda: turn_and_count(harness) == 1)
    lines = read_end(peer)
    assert [line.split(b" ")[-1] for line in lines] == [b"hello", b"one", b"two", b"2"]
    other.sock.shutdown(socket.SHUT_WR)
    harness.wait_for(lambda: turn_and_count(harness) == 0)
    assert [line.split(b" ")[-1] for line in read_end(other)] == [b"hello", b"other", b"1"]


def turn_and_count(harness: Harness) -> int:
    harness.pump()
    return len(harness.application.connections)


def read_end(peer: Peer) -> list[bytes]:
    return peer.read_end().splitlines()


CALLS = ("recv_into", "send", "setsockopt", "getsockopt", "shutdown", "accept", "getpeername",
         "ioctl")  # fmt: skip


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ENOBUFS], ids=["ENOMEM", "ENOBUFS"])
@pytest.mark.parametrize("call", CALLS)
def test_want_of_memory_costs_nobody(
    call: str, error: int, family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each call of the server's fails once, one after the other, and the streams are exact."""
    failures = Failures(monkeypatch, call, error)
    for at in range(1, 1000):
        directory = tmp_path / str(at)
        directory.mkdir()
        failures.at, failures.passed = at, 0
        harness = Harness(directory, make_application("a"), family=family, strict=False)
        try:
            play(harness, failures)
        finally:
            harness.close()
        if failures.passed < at:
            break
    assert at > 1 or (call == "ioctl" and family == "unix")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("recv_into", errno.EAGAIN), ("recv_into", errno.EINTR),
        ("send", errno.EAGAIN), ("send", errno.EINTR),
    ],
    ids=str,
)  # fmt: skip
def test_what_passes_costs_nobody(
    call: str, error: int, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = serve(make_application("a"))
    peer = harness.connect()
    peer.expect(b"hello\n")
    failures = Failures(monkeypatch, call, error)
    failures.at = 1
    peer.sock.sendall(b"0 one\n")
    with failures.counted():
        harness.pump()
    harness.pump()
    assert failures.passed > 1
    peer.expect(b"0 1 one\n")


@pytest.mark.parametrize("call", ["recv_into", "send"])
@pytest.mark.parametrize(
    "error",
    [errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EPERM, errno.EIO],
    ids=errno.errorcode.get,
)
def test_a_peer_that_is_gone_costs_its_connection(
    call: str, error: int, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = serve(make_application("a"))
    peer, other = harness.connect(), harness.connect()
    failures = Failures(monkeypatch, call, error)
    failures.at = 1
    peer.sock.sendall(b"0 one\n")
    with failures.counted():
        harness.pump()
    assert len(harness.application.connections) == 1
    other.expect(b"hello\n")
    other.send(b"0 other\n")
    assert other.read().endswith(b" other\n")


@pytest.mark.parametrize("call", ["setsockopt", "getsockopt"])
def test_lasting_want_of_memory_ends_the_process_and_no_connection(
    call: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = serve(make_application("a"), family="unix")
    peer = harness.connect()
    peer.expect(b"hello\n")
    failures = Failures(monkeypatch, call, errno.ENOMEM)
    failures.at, failures.times = (2, 1000) if call == "setsockopt" else (1, 1000)
    peer.sock.sendall(b"0 one\n")
    if call == "setsockopt":  # the first is that of the peek, which waits
        with failures.counted(), pytest.raises(MemoryError):
            harness.pump()
        harness.crash()
    else:
        with failures.counted(), pytest.raises(MemoryError):
            harness.crash()
        harness.start()
    peer.expect(b"0 1 one\n")


class FaultyEpoll:
    """An epoll set that has no room for a while."""

    def __init__(self, epoll: Any, error: int) -> None:
        self.epoll = epoll
        self.error = error
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.epoll, name)

    def register(self, fd: int, events: int) -> None:
        if self.failures < 2:
            self.failures += 1
            raise OSError(self.error, os.strerror(self.error))
        self.epoll.register(fd, events)


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ENOSPC], ids=["ENOMEM", "ENOSPC"])
def test_no_room_in_epoll_is_a_pause(error: int, serve: Serve) -> None:
    harness = serve(make_application("a"))
    epoll = harness.serving.sockets.epoll = FaultyEpoll(harness.serving.sockets.epoll, error)  # type: ignore[assignment]
    peer = harness.connect()
    peer.sock.sendall(b"0 one\n")
    peer.expect(b"hello\n0 1 one\n")
    assert epoll.failures == 2


@pytest.mark.parametrize("error", [errno.EBADF, errno.EPERM, errno.EEXIST], ids=errno.errorcode.get)
def test_an_epoll_set_that_does_not_know_the_descriptor(error: int, serve: Serve) -> None:
    harness = serve(make_application("a"))
    broken: list[BaseException] = []
    harness.serving.schedule.on_broken = broken.append
    harness.serving.sockets.epoll = FaultyEpoll(harness.serving.sockets.epoll, error)  # type: ignore[assignment]
    peer = harness.open()
    with pytest.raises(DescriptorLost):
        harness.pump()
    assert len(broken) == 1
    harness.crash()
    peer.expect(b"hello\n")


# The new connection's socket is nobody's, and ends with the process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_new_connection_with_the_number_of_one_that_was_closed(serve: Serve) -> None:
    harness = serve(make_application("a"))
    first = harness.connect()
    (stream,) = harness.serving.streams.values()
    second = harness.open()
    os.close(stream.sock.detach())
    with pytest.raises(DescriptorLost):
        harness.pump()
    harness.crash()
    first.expect(b"hello\n")
    second.expect(b"hello\n")
