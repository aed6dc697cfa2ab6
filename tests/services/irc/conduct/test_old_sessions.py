"""Sessions as they were saved before `model.protocols.kept` and `model.access.check` go on.

`tests/golden/irc-sessions-0.1.0` is the graph of such a network, pickled by the code from
before, with a client for each way in which input waited.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.model.access.seal import Sealer
from tapd.services.irc.conduct import checking
from tapd.services.irc.conduct.session import Session
from tapd.testing.process import _SEAL

GOLDEN = Path(__file__).parents[3] / "golden" / "irc-sessions-0.1.0"


class Runtime:
    """Keeps what is to run in threads."""

    sealer = Sealer(_SEAL)

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[..., Any], tuple[Any, ...], Callable[..., None]]] = []

    def now_s(self) -> float:
        return 1_800_000_000.0

    def timer_added(self, timer: Any) -> None:
        """Time stands still."""

    def call(self, function: Callable[[], object]) -> None:
        function()

    def run_in_queue(
        self, function: Callable[..., Any], args: tuple[Any, ...], done: Any, **_group: Any
    ) -> str:
        self.jobs.append((function, args, done))
        return ""

    def run_job(self) -> None:
        function, args, done = self.jobs.pop()
        done(function(*args), None)


class Transport:
    """Collects output; resuming runs what was kept, as the host does."""

    def __init__(self, session: Session, *, paused: bool) -> None:
        self.session = session
        self.paused = paused
        self.output = b""

    def write(self, data: bytes) -> None:
        self.output += data

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        if self.paused:
            self.paused = False
            self.session.reading_resumed()

    def is_reading(self) -> bool:
        return not self.paused

    def is_closing(self) -> bool:
        return False


class Process:
    """A process of today that goes on with what was saved."""

    def __init__(self, data: bytes) -> None:
        self.application = load_graph(data)
        self.runtime = self.application._v_runtime = Runtime()
        self.sessions: dict[str, Any] = {}
        for session in self.application.connections.values():
            self.sessions[session.nick] = session
            paused = session.nick in ("fast", "waiting")
            session.transport = Transport(session, paused=paused)
            session.connection_resumed()

    def output(self, nick: str) -> str:
        output: bytes = self.sessions[nick].transport.output
        return output.decode()


@pytest.fixture(params=["at once", "saved again"])
def process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Process:
    monkeypatch.setattr(checking, "_accepted", {})  # no password is known already
    data = GOLDEN.read_bytes()
    if request.param == "saved again":
        data = dump_graph(load_graph(data)).data
    return Process(data)


def test_half_a_line_is_completed(process: Process) -> None:
    process.sessions["plain"].data_received(b"lo\r\n")
    assert process.output("plain").endswith(" :hallo\r\n")
    assert process.sessions["plain"].pending == b""


def test_half_a_password_is_sealed_and_completed(process: Process) -> None:
    session = process.sessions["sealed"]
    assert session.pending == b"OPER boss woo"
    assert b"boss woo" not in repr(vars(session)).encode()
    process.runtime.jobs.clear()  # that of `waiting`
    session.data_received(b"hoo\r\n")
    process.runtime.run_job()
    assert " 381 sealed " in process.output("sealed")


def test_what_waits_for_a_check_runs_behind_its_answer(process: Process) -> None:
    session = process.sessions["waiting"]
    assert session.pending == b"PING behind\nPING incom"
    assert not process.output("waiting")
    process.runtime.run_job()
    before, _, after = process.output("waiting").partition(" 381 waiting ")
    assert "PONG" not in before
    assert after.endswith(" :behind\r\n")
    assert session.pending == b"PING incom"
    assert session.check is None


def test_what_was_too_fast_runs_line_by_line(process: Process) -> None:
    session = process.sessions["fast"]
    kept = session.kept_bytes()
    assert kept == len(session.pending) == len(b"PING 30\n" * 10)
    session.transport.paused = False
    session.run_kept_unit()
    assert process.output("fast").count("PONG") == 1
    assert session.kept_bytes() == kept - len(b"PING 30\n")
    session.skip_kept_unit()
    session.reading_resumed()
    output = process.output("fast")
    assert [f" :{number}\r\n" in output for number in range(30, 40)] == [
        number != 31 for number in range(30, 40)
    ]


def test_the_file_is_of_the_layout_from_before() -> None:
    data = GOLDEN.read_bytes()
    assert b"plain_input" in data
    assert b"plain_input" not in dump_graph(load_graph(data)).data
