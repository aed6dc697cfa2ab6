"""Recovery in every state of TCP, with every order of FIN, data and RST, and each kill point.

A row of the table brings one connection into a state; then the server runs and is killed
before or after each system call that it makes, and at each fault point. What the protocol was
told and what the peer got must be as in the run without a kill. `tapd.net.streams.kernel` has the
theory of the counts.
"""

from __future__ import annotations

import dataclasses
import re
import select
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE_S, Harness
from kill_calls import KillCalls

from tapd.model.application import Application
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.net.streams import kernel

ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING = 1, 4, 5, 7, 8, 9, 11
BIG = b"z" * 60_000
"""More than the peer's window, less than the server's send buffer."""
MUCH = 100_000
"""More than is peeked at once."""


class Puppet(Protocol):
    """Does what its input says, and notes what it is told."""

    def __init__(self, number: int) -> None:
        self.number = number

    def note(self, what: str) -> None:
        self.service.told.setdefault(self.number, []).append(what)

    def data_received(self, data: bytes) -> None:
        for byte in data.replace(b".", b""):
            match chr(byte):
                case "B":
                    self.transport.write(BIG)
                case "W":
                    self.transport.write_eof()
                case "P":
                    self.transport.pause_reading()
                case "C":
                    self.transport.close()
                case "A":
                    self.transport.abort()
                case other:
                    self.transport.write(other.upper().encode())
        self.note(data.decode())

    def eof_received(self) -> bool:
        self.note("<eof>")
        return bool(self.service.is_kept_open)

    def connection_lost(self, exc: Exception | None) -> None:
        self.note(f"<lost {type(exc).__name__ if exc else ''}>")


class Puppets(Service):
    """Its protocols are puppets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.built = 0
        self.told: dict[int, list[str]] = {}
        self.is_kept_open = False

    def build_protocol(self, peer: Any) -> Protocol:
        self.built += 1
        return Puppet(self.built)


@dataclasses.dataclass
class Row:
    """How a connection comes into a state.

    Attributes:
        steps: what the peer and the server do, separated by blanks: `send:`, `fin`, `rst`,
            `read` and `much` are the peer's, `call:` makes the server do something, `run` lets
            it run. `|` stands where the kills begin.
        state: of the server's socket when they do.
        told: what the protocol is told, with chunks of input joined.
        is_kept_open: a peer's FIN leaves the connection half open.
        is_cut: the peer gets what the kernel took before the abort, and not all.
    """

    name: str
    steps: str
    state: int
    told: str
    is_kept_open: bool = False
    is_cut: bool = False


RESET = "<lost ConnectionResetError>"
ROWS = [
    Row("data", "| send:abc", ESTABLISHED, "abc<lost >"),
    Row("nothing", "|", ESTABLISHED, "<lost >"),
    Row("data, FIN", "| send:abc fin", CLOSE_WAIT, "abc<eof><lost >"),
    Row("FIN", "| fin", CLOSE_WAIT, "<eof><lost >"),
    Row("data, FIN, half open", "| send:abc fin", CLOSE_WAIT, "abc<eof><lost >", True),
    Row("much data, FIN", "| much fin", CLOSE_WAIT, "<much><eof><lost >"),
    Row("write_eof in answer", "| send:abW", ESTABLISHED, "abW<lost >"),
    Row("write_eof in answer, FIN", "| send:abW fin", CLOSE_WAIT, "abW<eof><lost >", True),
    Row("our FIN", "send:W run |", FIN_WAIT2, "W<lost >"),
    Row("our FIN, data", "send:W run | send:...", FIN_WAIT2, "W...<lost >"),
    Row("our FIN unacknowledged", "send:BW run | send:...", FIN_WAIT1, "BW...<lost >"),
    Row("our FIN unacknowledged, FIN", "send:BW run | send:... fin", CLOSING, "BW...<eof><lost >"),
    Row("FIN, our FIN unacknowledged", "send:BP run send:... fin call:write_eof run | call:resume",
        LAST_ACK, "BP...<eof><lost >"),
    Row("our FIN, data, FIN", "send:W run | send:... fin", CLOSE, "W...<eof><lost >"),
    Row("our FIN, one byte, FIN", "send:W run | send:. fin", CLOSE, "W.<eof><lost >"),
    Row("our FIN, FIN", "send:W run | fin", CLOSE, "W<eof><lost >"),
    Row("our FIN, much data, FIN", "send:W run | much fin", CLOSE, "W<much><eof><lost >"),
    Row("output, our FIN, data, FIN", "send:abW run read | send:... fin", CLOSE,
        "abW...<eof><lost >"),
    Row("paused: FIN, our FIN", "send:P run send:... fin call:write_eof run | call:resume",
        CLOSE, "P...<eof><lost >"),
    Row("RST", "| rst", CLOSE, RESET),
    Row("data, RST", "| send:... rst", CLOSE, "..." + RESET),
    Row("one byte, RST", "| send:. rst", CLOSE, "." + RESET),
    Row("much data, RST", "| much rst", CLOSE, "<much>" + RESET),
    Row("data that is answered, RST", "| send:abc rst", CLOSE, "abc" + RESET),
    Row("our FIN, data, RST", "send:W run | send:... rst", CLOSE, "W..." + RESET),
    Row("unread output, data, RST", "send:B run | send:... rst", CLOSE, "B..." + RESET),
    Row("data, FIN, RST", "send:B run | send:... fin rst", CLOSE, "B...<eof><lost >"),
    Row("data that is answered, FIN, RST", "send:B run | send:ab fin rst", CLOSE,
        "Bab<lost BrokenPipeError>"),
    Row("FIN, our FIN, RST", "send:BP run send:... fin call:write_eof run | rst call:resume",
        CLOSE, "BP...<eof><lost >"),
    Row("paused: RST", "send:P run send:... | rst", CLOSE, "P" + RESET),
    Row("close", "| send:abC", ESTABLISHED, "abC<lost >"),
    Row("close with input unread", "| send:aC much", ESTABLISHED, "aC<part><lost >"),
    Row("close, FIN", "| send:abC fin", CLOSE_WAIT, "abC<lost >"),
    Row("close, RST", "| send:abC rst", CLOSE, "abC" + RESET),
    Row("abort", "| send:abA", ESTABLISHED, "abA<lost >"),
    Row("abort with output unsent", "send:B run | send:A", ESTABLISHED,
        "BA<lost >", is_cut=True),
    Row("abort, FIN", "| send:abA fin", CLOSE_WAIT, "abA<lost >"),
]  # fmt: skip


class Case:
    """One connection that goes through a row."""

    def __init__(self, harness: Harness, kills: KillCalls | None, row: Row) -> None:
        self.harness = harness
        self.kills = kills
        self.row = row
        self.service.is_kept_open = row.is_kept_open
        self.sock = socket.socket(harness.listening.family)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.connect(harness.listening.getsockname())
        harness.pump()
        (self.stream_key,) = harness.serving.streams
        self.number = self.service.built
        if row.is_cut:
            stream = harness.serving.streams[self.stream_key]
            stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(BIG) // 2)
        self.calls: list[str] = []
        self.got = b""
        self.unread = 0

    @property
    def service(self) -> Puppets:
        service = self.harness.application.services["puppets"]
        assert isinstance(service, Puppets)
        return service

    def run(self, at: int) -> tuple[str, bytes, bool]:
        """Return what the protocol was told, what the peer got, and whether there was a kill."""
        assert self.kills is not None
        self.come_into_state()
        sent = self.harness.serving.streams[self.stream_key].sent
        self.kills.aim(at)
        was_killed = self.kills.pump(self.harness)
        self.kills.aim(0)
        if was_killed:
            self.harness.start()
            for name in self.calls:  # it was no input, and may be gone
                self.call(name)
            self.harness.pump()
        self.finish()
        told = "".join(self.service.told.pop(self.number)).replace("." * MUCH, "<much>")
        told = re.sub(r"\.{1000,}", "<part>", told)
        if self.row.is_cut:
            assert sent <= len(self.got) < len(BIG), self.kills.where
            return told, b"<cut>", was_killed
        return told, self.got, was_killed

    def run_after(self, deaths: int) -> str:
        """Return what the protocol is told by a process before which others died."""
        self.come_into_state()
        self.harness.start_unclean(deaths)
        for name in self.calls:
            self.call(name)
        self.harness.pump()
        self.finish()
        return "".join(self.service.told.pop(self.number)).replace("." * MUCH, "<much>")

    def come_into_state(self) -> None:
        """Take the steps of the row."""
        for step in self.row.steps.replace("|", " ").split():
            self.take(step)
        self.wait_for_state()

    def take(self, step: str) -> None:
        name, _, argument = step.partition(":")
        match name:
            case "send":
                self.sock.sendall(argument.encode())
                self.unread += len(argument)
            case "much":
                self.sock.sendall(b"." * MUCH)
                self.unread += MUCH
            case "fin":
                self.sock.shutdown(socket.SHUT_WR)
            case "rst":
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.sock.close()
            case "read":
                self.got += self.sock.recv(1 << 20)
            case "run":
                self.wait_for_input()
                self.harness.pump()
                self.unread, self.calls = 0, []
            case "timeout":
                sock = self.harness.serving.streams[self.stream_key].sock
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20)
            case "call":
                self.calls.append(argument)
                self.call(argument)

    def call(self, name: str) -> None:
        stream = self.harness.serving.streams.get(self.stream_key)
        if stream is not None:
            does = {"resume": stream.resume_reading, "write_eof": stream.write_eof}[name]
            self.harness.serving.call(does)
            if not self.calls:
                self.harness.pump()

    def wait_for_input(self) -> None:
        sock = self.harness.serving.streams[self.stream_key].sock
        self.wait_until(lambda: kernel.input_waiting(sock) >= self.unread)

    def wait_for_state(self) -> None:
        sock = self.harness.serving.streams[self.stream_key].sock
        self.wait_until(
            lambda: state_of(sock) == self.row.state and kernel.input_waiting(sock) >= self.unread
        )

    def wait_until(self, condition: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.row.name
            time.sleep(0.0005)  # nothing tells when the kernel has delivered

    def finish(self) -> None:
        """Have the server close what is still open, and the peer read to the end."""
        self.harness.pump()
        stream = self.harness.serving.streams.get(self.stream_key)
        if stream is not None:
            self.harness.serving.call(stream.close)
        deadline = time.monotonic() + PATIENCE_S
        while self.sock.fileno() >= 0:
            assert time.monotonic() < deadline, self.row.name
            self.harness.pump()
            if not select.select([self.sock], [], [], 0.001)[0]:
                continue
            try:
                data = self.sock.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            self.got += data
            if not data:
                self.sock.close()
        self.harness.pump()
        assert not self.harness.application.connections


def state_of(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


@pytest.mark.parametrize("family", ["tcp", "tcp6"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_state(
    row: Row, family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kills = KillCalls(monkeypatch)
    application = Application("a")
    application.listen("127.0.0.1:0", Puppets("puppets"))
    harness = Harness(tmp_path, application, family=family, strict=False)
    try:
        told, got, _was_killed = Case(harness, kills, row).run(0)
        assert told == row.told
        for at in range(1, 1000):
            result = Case(harness, kills, row).run(at)
            assert result[:2] == (told, got), f"killed at {at}, {kills.where}"
            if not result[2]:
                break
        assert at > 2
    finally:
        harness.close()


TIMEOUT = Row("timeout", "send:B run | send:... timeout", CLOSE, "B...<lost TimeoutError>")
"""The peer reads nothing, and has no room for what it is sent (tcp(7), TCP_USER_TIMEOUT)."""


@pytest.mark.parametrize("deaths", [0, 1, 3])
@pytest.mark.parametrize(
    "row", [*(row for row in ROWS if row.state == CLOSE), TIMEOUT], ids=lambda row: row.name
)
def test_the_end_came_before_the_server_looked(row: Row, deaths: int, tmp_path: Path) -> None:
    """After three deaths the input is run one unit at a time, under marks."""
    application = Application("a")
    application.listen("127.0.0.1:0", Puppets("puppets"))
    harness = Harness(tmp_path, application)
    try:
        case = Case(harness, None, row)
        assert case.run_after(deaths) == row.told
    finally:
        harness.close()
