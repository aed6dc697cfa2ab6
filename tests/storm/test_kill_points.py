"""Killed at every named step: of the turn, the vault, a compaction, a checkpoint, a recovery.

One server life passes all named points and writes them down. Then each of them
is made fatal in turn, at its first and at a later passing, while clients talk;
the next process must go on so that no client can tell.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
from by_hand import SUPPORT, Server, free_port, wait_for
from storm_service import make_application


class Dialogue:
    """A client that sends numbered lines and checks each byte of the answers."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.buffer = b""
        self.number = 0
        self.counts: list[int] = []
        assert self._line() == b"hello"

    def _line(self) -> bytes:
        while b"\n" not in self.buffer:
            data = self.sock.recv(4096)
            assert data, "the server closed the connection"
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def talk(self, lines: int) -> None:
        """Send lines in two pieces each, and check the answers."""
        for _ in range(lines):
            text = b"%d text of line\n" % self.number
            self.sock.sendall(text[:5])
            self.sock.sendall(text[5:])
            number, count, rest = self._line().split(b" ", 2)
            assert (int(number), rest) == (self.number, b"text of line")
            self.counts.append(int(count))
            self.number += 1

    def finish(self) -> None:
        """End as a client does: half-close, and read to the end."""
        self.sock.shutdown(socket.SHUT_WR)
        assert self._line() == b"bye %d" % self.number
        assert self.sock.recv(100) == b""
        self.sock.close()


class Life:
    """One server with a fault in it, under the embedded manager."""

    def __init__(self, directory: Path, point: str | None, hit: int) -> None:
        self.port = free_port()
        address = f"127.0.0.1:{self.port}"
        self.once = directory / "once"
        self.once.touch()
        self.trace = directory / "trace"
        program = [str(SUPPORT / "faulty.py")]
        self.server = Server(directory, make_application("faulty", address), program=program)
        self.server.environ |= {
            "FAULT_ADDRESS": address,
            "FAULT_ONCE": str(self.once),
            "FAULT_TRACE": str(self.trace),
            "FAULT_HIT": str(hit),
        }
        if point is not None:
            self.server.environ["FAULT_POINT"] = point

    def scenario(self) -> list[int]:
        """Talk through connects, ends, a checkpoint, a kill and compactions."""
        server = self.server
        early = Dialogue(self.port)
        early.talk(3)
        others = [Dialogue(self.port) for _ in range(6)]
        for other in others[:4]:
            other.talk(1)
            other.finish()
        wait_for(lambda: server.child() is not None, "server process")
        child, saved = server.child(), server.log().count(" bytes in ")
        server.kill(signal.SIGHUP)  # a checkpoint
        early.talk(2)
        others[5].talk(2)
        wait_for(
            lambda: server.log().count(" bytes in ") > saved or server.child() != child,
            "checkpoint, or the kill in it",
        )
        wait_for(lambda: server.kill(signal.SIGKILL), "server process")
        early.talk(2)
        late = Dialogue(self.port)
        everyone = [early, *others[4:], late]
        for dialogue in everyone:
            dialogue.talk(3)
            dialogue.finish()
        return sorted(count for entry in [*everyone, *others[:4]] for count in entry.counts)


def points_passed(directory: Path) -> list[str]:
    """Return the fault points that one life passes."""
    life = Life(directory, None, 0)
    life.server.start()
    try:
        counts = life.scenario()
        assert counts == list(range(1, len(counts) + 1))
        assert life.server.stop() == 0
    finally:
        life.server.end()
    return list(dict.fromkeys(life.trace.read_text().splitlines()))


def test_the_scenario_passes_every_point(tmp_path: Path) -> None:
    """Else a point would go untested without a word."""
    passed = set(points_passed(tmp_path))
    assert passed == set(POINTS), passed ^ set(POINTS)


POINTS = [
    "checkpoint: journal begun",
    "checkpoint: journal changed",
    "checkpoint: old journals removed",
    "checkpoint: saved",
    "compact:move",
    "compact:moved",
    "compact:removed",
    "put:send",
    "put:sent",
    "recover:done",
    "recover:held",
    "recover:segment",
    "recovery: adopted",
    "recovery: begin",
    "recovery: first turn",
    "segment:barrier",
    "segment:made",
    "segment:sent",
    "segment:stored",
    "turn: collected",
    "turn: committed",
    "turn: externalised",
    "turn: run",
]


@pytest.mark.parametrize("hit", [1, 3])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at(point: str, hit: int, tmp_path: Path) -> None:
    life = Life(tmp_path, point, hit)
    life.server.start()
    try:
        counts = life.scenario()
        assert counts == list(range(1, len(counts) + 1)), "a line was lost or run twice"
        if hit > 1:
            life.once.unlink(missing_ok=True)  # who dies while it stops is not started again
        assert life.server.stop() == 0
        if hit == 1:
            assert not life.once.exists(), f"{point} was never passed"
    except BaseException:
        print(life.server.log())
        raise
    finally:
        life.server.end()
