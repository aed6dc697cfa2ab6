"""UNIX streams: input exactly once, at kills between any two system calls, also repeated ones.

The kernel keeps no counters of them; `tapd.net.streams.kernel.mark_discard` has the theory.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from harness import Harness
from kill_calls import KillCalls

from tapd.linux.sockets import SO_PEEK_OFF
from tapd.model.application import Application
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.net.streams import kernel


class Scribe(Protocol):
    """Writes down each byte, and answers it."""

    def __init__(self) -> None:
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.transport.write(data.upper())


class Scribes(Service):
    """Its protocols are scribes."""

    def build_protocol(self, peer: Any) -> Protocol:
        return Scribe()


def make_application() -> Application:
    application = Application("a")
    application.listen("127.0.0.1:0", Scribes("scribes"))
    return application


CHUNKS = (b"a", b"bc", b"d", b"efg", b"h")
"""Odd and even reads of one byte and of more, in both orders."""


class Dialogue:
    """One connection, on which the chunks are sent, a kill in between."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.peer = self.harness.connect()
        self.sent = b""
        self.got = b""

    def send(self, chunk: bytes) -> None:
        self.peer.sock.sendall(chunk)
        self.sent += chunk

    def hear(self) -> bytes:
        """Return all that the protocol was ever given."""
        (protocol,) = self.harness.application.connections.values()
        assert isinstance(protocol, Scribe)
        return bytes(protocol.heard)

    def reads(self) -> int:
        """Return how many reads were committed."""
        (stream,) = self.harness.serving.streams.values()
        return stream.reads

    def read(self) -> None:
        self.peer.sock.setblocking(False)
        try:
            while data := self.peer.sock.recv(1000):
                self.got += data
        except BlockingIOError:
            self.peer.sock.setblocking(True)


def serve_in(directory: Path) -> Harness:
    directory.mkdir()
    return Harness(directory, make_application(), family="unix")


def test_a_kill_at_every_instant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The input is run once; of the output, what was sent just before its note comes twice."""
    kills = KillCalls(monkeypatch)
    killed_at: set[str] = set()
    for at in range(1, 1000):
        kills.aim(0)
        dialogue = Dialogue(serve_in(tmp_path / str(at)))
        kills.aim(at)
        was_killed = False
        for chunk in CHUNKS:
            dialogue.send(chunk)
            was_killed |= kills.pump_to_rest(dialogue.harness)
            assert dialogue.hear() == dialogue.sent, f"killed at {at}: {kills.where}"
            dialogue.read()
        check_output(dialogue, kills.where)
        dialogue.harness.close()
        if not was_killed:
            break
        killed_at.add(kills.where)
    assert at > len(CHUNKS) * 10
    assert {"after recv_into", "before setsockopt", "after setsockopt", "after send"} <= killed_at


def check_output(dialogue: Dialogue, where: str) -> None:
    expected = dialogue.sent.upper()
    if dialogue.got == expected:
        return
    twice = [
        b"".join(c * (2 if i == j else 1) for j, c in enumerate(CHUNKS)).upper()
        for i in range(len(CHUNKS))
    ]
    assert dialogue.got in twice, (where, dialogue.got)
    assert where in {"after send", "turn: externalised", "before write"}, where


@pytest.mark.parametrize("reads_before", [0, 1])
def test_a_second_kill_at_every_instant(
    reads_before: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process that recovers is killed as well, at each of its instants."""
    kills = KillCalls(monkeypatch, ("recv_into", "setsockopt"))
    dialogue = Dialogue(serve_in(tmp_path / "a"))
    reads = 0
    for first in range(1, 1000):
        was_first_killed = False
        for second in range(1, 1000):
            while reads % 2 != reads_before:
                dialogue.send(b"x")
                dialogue.harness.pump()
                reads = dialogue.reads()
            dialogue.send(b"ab")
            kills.aim(first)
            was_second_killed = False
            if kills.pump(dialogue.harness):
                was_first_killed = True
                dialogue.send(b"c")  # more has come until the next process looks
                kills.aim(second)
                was_second_killed = kills.pump_to_rest(dialogue.harness)
                kills.aim(0)
            assert dialogue.hear() == dialogue.sent, (first, second)
            dialogue.read()
            reads = dialogue.reads()
            if not was_second_killed:
                break
        if not was_first_killed:
            break
    # Before and after each call: setsockopt, recv, recv; and the mark of an odd read.
    assert first - 1 == (6 if reads_before else 8)
    dialogue.harness.close()


def test_what_an_earlier_version_left_is_understood() -> None:
    """It put the parity of a read that was peeked into bit 30, committed or not."""
    near, far = socket.socketpair()
    with near, far:
        for offset, reads, due in [
            (-1, 0, 0), (0, 0, 0), (0, 2, 0), (1 << 30, 1, 0), (0, 1, 0),
            (1 << 30 | 5, 1, 5), (5, 2, 5), (1 << 30 | 5, 2, 0), (5, 1, 0),
        ]:  # fmt: skip
            near.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, offset)
            assert kernel.discard_due(near, reads, 5) == due
