"""The start of a real server whose journal was damaged or cut while it was down."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import Server, free_port, wait_for
from storm_service import make_application

from tapd.store.journal.aside import kept_copies
from tapd.store.journal.file import MAGIC

LINES = 6


def ask(port: int, first: int, count: int) -> list[int]:
    """Send lines, each once the one before is answered; return what they were counted as."""
    counted = []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        answers = peer.makefile("rb")
        assert answers.readline() == b"hello\n"
        for number in range(first, first + count):
            peer.sendall(b"%d x\n" % number)
            counted.append(int(answers.readline().split()[1]))
        answers.close()
    return counted


def power_off(server: Server) -> None:
    """Kill the manager, so that nothing is started again, and the server."""
    assert server.process is not None
    child = server.child()
    if child is not None:
        os.kill(child, signal.SIGSTOP)  # else it sees its manager go, and begins to save
    server.process.kill()
    server.process.wait()
    if child is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    with (server.tap.with_suffix(".d") / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held until the server is gone


class Answered:
    """A server by hand that has answered some lines, each of them synced, and is down now."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        application = make_application("a", f"127.0.0.1:{self.port}")
        self.server = Server(directory, application, "--sync", "always")
        self.server.start()
        assert ask(self.port, 0, LINES) == list(range(1, LINES + 1))
        power_off(self.server)
        self.directory = self.server.tap.with_suffix(".d")
        self.journal = self.directory / "journal-00000001"

    def turns(self) -> list[int]:
        """Return where the records end that answer a line."""
        data, ends, at = self.journal.read_bytes(), [], len(MAGIC)
        while at < len(data):
            begin, at = at, at + 20 + int.from_bytes(data[at : at + 4], "little")
            if b" x\n" in data[begin:at]:
                ends.append(at)
        return ends

    def go_on(self) -> list[int]:
        """Start it again, and return what two more lines are counted as."""
        self.server.start()
        counted = ask(self.port, 0, 2)
        wait_for(self.server.can_be_asked, "control socket")
        return counted


@pytest.fixture
def answered(tmp_path: Path) -> Iterator[Answered]:
    there = Answered(tmp_path)
    try:
        yield there
    finally:
        there.server.end()


def test_what_was_answered_and_synced_is_missed_where_it_is_cut(answered: Answered) -> None:
    ends = answered.turns()
    assert len(ends) == LINES
    os.truncate(answered.journal, ends[3])
    assert answered.go_on() == [5, 6]
    assert (
        f"whole records up to byte {ends[3]}, and the disk had confirmed" in answered.server.log()
    )
    answered.server.stop()
    assert answered.server.log().count("had confirmed") == 1


def test_a_sector_that_the_disk_lost(answered: Answered) -> None:
    ends = answered.turns()
    with answered.journal.open("r+b") as file:
        file.seek(ends[1] + 10)
        file.write(bytes(ends[3] - ends[1]))
    damaged = answered.journal.read_bytes()
    assert answered.go_on() == [3, 4]
    log = answered.server.log()
    assert f"journal-00000001 is damaged at byte {ends[1]}" in log
    assert "whole records follow the damage" in log
    assert "kept as journal-00000001.damaged" in log
    copies = {copy.name: copy.read_bytes() for copy in kept_copies(answered.directory)}
    assert copies == {"journal-00000001.damaged": damaged}, log
    answered.server.kill_and_go_on()
    assert ask(answered.port, 0, 1) == [5]
    assert answered.server.log().count("is damaged at byte") == 1


def test_a_torn_record(answered: Answered) -> None:
    with answered.journal.open("ab") as file:
        file.write(b"\x50\0\0\0 begun")
    assert answered.go_on() == [LINES + 1, LINES + 2]
    assert "a torn last record (10 bytes), as after a power cut" in answered.server.log()
    (copy,) = kept_copies(answered.directory)
    assert copy.read_bytes() == b"\x50\0\0\0 begun"
