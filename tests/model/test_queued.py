"""`Application.run_queued`: what a stranger may ask for, in a server of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Harness, harnesses

from tapd.model.application import QUEUE_GROUP_MAX, Application
from tapd.model.protocols.lines import LineProtocol
from tapd.model.service import Service

HOSTILE, HONEST = "127.0.0.66", "127.0.0.1"


class Asking(LineProtocol):
    asked = ""

    def line_received(self, line: str) -> None:
        self.transport.pause_reading()
        self.asked = line
        self.ask()

    def ask(self) -> None:
        refused = self.service.application.run_queued(
            str.upper, self.asked, then=self.done, client=self
        )
        if refused:
            self.send_line(refused)
            self.transport.close()

    def connection_resumed(self) -> None:
        if self.asked:
            self.ask()

    def done(self, result: Any, error: Any) -> None:
        assert error is None
        self.asked = ""
        self.send_line(result)
        self.transport.resume_reading()


class AskingService(Service):
    protocol = Asking


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    makers = harnesses(tmp_path)
    application = Application("a")
    application.add_service(AskingService())
    yield next(makers)(application)
    for _ in makers:
        pass


def hold(harness: Harness) -> Callable[[], None]:
    """Have threads begin nothing before what is returned is called."""
    queue = harness.serving.runtime._queue
    run, jobs = queue._run, []
    queue._run = lambda *job: jobs.append(job)
    queue._running_max = 1

    def let_go() -> None:
        queue._run = run
        for job in jobs:
            run(*job)
        harness.pump()

    return let_go


def test_it_is_done_in_a_thread_and_answered_in_a_turn(harness: Harness) -> None:
    peer = harness.connect()
    peer.send(b"a\nb\n")
    peer.expect(b"A\r\nB\r\n")


def test_it_is_bounded_fair_and_for_nobody_who_is_gone(harness: Harness) -> None:
    let_go = hold(harness)
    hostile = [harness.connect(HOSTILE) for _ in range(QUEUE_GROUP_MAX + 1)]
    for peer in hostile:
        peer.send(b"x\n")
    assert hostile[-1].read_end() == b"Too many passwords are being checked for your address\r\n"
    honest = harness.connect(HONEST)
    honest.send(b"honest\n")
    for peer in hostile[1:5]:
        peer.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
        peer.sock.close()
    harness.pump()
    let_go()
    honest.expect(b"HONEST\r\n")
    assert harness.serving.runtime._queue.dropped == 4
    for peer in (hostile[0], *hostile[5:-1]):
        peer.expect(b"X\r\n")


def test_after_deaths_nothing_that_was_dropped_is_awaited(harness: Harness) -> None:
    """A start that is careful lasts until all that it asked for has come, or will not."""
    hold(harness)
    peers = [harness.connect(HOSTILE) for _ in range(4)]
    for peer in peers:
        peer.send(b"x\n")
    harness.give_up()
    peers[1].sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
    peers[1].sock.close()
    harness.start()
    harness.start_unclean(4)
    harness.pump()
    for peer in (peers[0], *peers[2:]):
        peer.expect(b"X\r\n")
    harness.pump()
    careful = harness.serving.trials.careful
    assert careful is None or not careful.awaited


def test_a_callback_that_fails_stops_nobody(harness: Harness) -> None:
    def fail(_self: Asking, _result: Any, _error: Any) -> None:
        raise SystemExit

    let_go = hold(harness)
    bad, good = harness.connect(), harness.connect()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Asking, "done", fail)
        bad.send(b"bad\n")
    good.send(b"good\n")
    let_go()
    good.expect(b"GOOD\r\n")
    assert not harness.serving.runtime.is_waiting


def test_it_is_asked_for_again_after_a_kill(harness: Harness) -> None:
    hold(harness)
    peer = harness.connect()
    peer.send(b"x\n")
    assert harness.serving.runtime.is_waiting
    harness.crash()
    peer.expect(b"X\r\n")
    harness.pump()
    assert not harness.serving.runtime.is_waiting
