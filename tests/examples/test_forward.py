"""The port forwarder: both legs go on, with what is in them, when it is killed."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_play import load_example, playing

from tapd.model.application import Application
from tapd.testing import Host


@pytest.fixture
def target() -> Iterator[socket.socket]:
    """Return where it forwards to: a listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(120)
        yield listening


def forwarder(port: int) -> Application:
    return load_example("forward", "Forwarder", f"127.0.0.1:{port}")


def accept(target: socket.socket) -> socket.socket:
    """Accept the connection of the forwarder.

    One that was only just made when the process was killed ends without a byte, and
    is made again: nobody had seen anything of it.
    """
    while True:
        far, _ = target.accept()
        far.settimeout(120)
        if far.recv(1, socket.MSG_PEEK):
            return far
        far.close()


def test_both_ways_and_half_closed(tmp_path: Path, target: socket.socket) -> None:
    application = forwarder(target.getsockname()[1])
    with playing(tmp_path / "server", application, kills=True) as play:
        client = play.connect()
        client.type("to the target")
        with accept(target) as far:
            assert far.makefile("rb").readline() == b"to the target\r\n"
            play.interrupt()
            far.sendall(b"and back\r\n")
            client.expect("and back")
            client.sock.shutdown(socket.SHUT_WR)
            play.interrupt()
            assert far.recv(100) == b""  # that end has come, and this direction goes on
            far.sendall(b"late words\r\n")
            client.expect("late words")
            play.interrupt()
        client.expect_end()


def test_a_slow_reader_gets_every_byte(tmp_path: Path, target: socket.socket) -> None:
    data = random.Random(5).randbytes(8 << 20)
    application = forwarder(target.getsockname()[1])
    with playing(tmp_path / "server", application, kills=True) as play:
        client = play.connect()
        sending = threading.Thread(target=lambda: client.sock.sendall(data))
        sending.start()
        got = hashlib.sha256()
        with accept(target) as far:
            left = len(data)
            next_kill = left
            while left:
                if left <= next_kill:
                    play.interrupt()
                    next_kill -= len(data) // 5
                piece = far.recv(65536)
                assert piece, f"the end, {left} bytes before it is due"
                got.update(piece)
                left -= len(piece)
        sending.join()
        assert got.digest() == hashlib.sha256(data).digest()


def test_with_the_kit() -> None:
    """Kills between all steps; within one, a connection that is being made is made anew."""
    transcripts = []
    for is_killed in (False, True):
        with Host(load_example("forward", "Forwarder", "192.0.2.7:80")) as host:

            def interrupt(host: Host = host, *, kill: bool = is_killed) -> None:
                if kill:
                    host.kill()

            target = host.remote("192.0.2.7:80")
            client = host.connect()
            far = target.accept()
            interrupt()
            for near_words, far_words in (("a\r\n", "b\r\n"), ("c", "d"), ("e" * 100_000, "f")):
                client.send(near_words)
                interrupt()
                far.expect(near_words)
                far.send(far_words)
                interrupt()
                client.expect(far_words)
            client.send_eof()
            interrupt()
            far.expect_eof()
            far.send("late words\r\n")
            interrupt()
            client.expect("late words\r\n")
            far.close()
            interrupt()
            client.expect_eof()
            transcripts.append((bytes(client.transcript), bytes(far.transcript)))
    assert transcripts[0] == transcripts[1]


def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    application = forwarder(1)
    with playing(tmp_path / "server", application, kills=False) as play:
        play.connect().expect_end()
