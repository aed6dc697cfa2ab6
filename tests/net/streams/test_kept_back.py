"""Careful mode: units that a protocol keeps while reading is paused may be poison input, too.

They are not in the kernel any more, and run when somebody resumes reading: a timer,
a thread's result, another connection. None of these is to blame, nor the units beside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from harness import Harness

from tapd import events
from tapd.model.application import Application
from tapd.model.protocol import Protocol
from tapd.model.protocols.frames import FrameProtocol
from tapd.model.protocols.lines import LineProtocol
from tapd.model.service import Service
from tapd.store.journal.file import JournalWriter

Serve = Callable[..., Harness]


class Killed(KeyboardInterrupt):
    """The process dies here; asyncio lets this one through."""


class Deaths:
    """The process dies before the journal has another record after `strike`."""

    def __init__(self) -> None:
        self.is_dying = False
        self.count = 0

    def strike(self) -> None:
        self.is_dying = True

    def live_on(self, harness: Harness) -> None:
        """Let `harness` run and die and start again, until it stays."""
        for _ in range(20):
            try:
                if harness.process is None:
                    harness.start()
                harness.pump()
            except Killed:
                self.count += 1
                self.is_dying = False
                harness.give_up()
            else:
                return
        raise AssertionError("it dies for ever")


DEATHS = Deaths()


@pytest.fixture(autouse=True)
def deaths(monkeypatch: pytest.MonkeyPatch) -> Deaths:
    append = JournalWriter.append

    def die_first(self: JournalWriter, payload: bytes) -> None:
        if DEATHS.is_dying:
            raise Killed
        append(self, payload)

    monkeypatch.setattr(JournalWriter, "append", die_first)
    DEATHS.is_dying, DEATHS.count = False, 0
    return DEATHS


def double(number: int) -> int:
    return 2 * number


class Slow(Service):
    """Says what it is told; ``wait HOW`` pauses reading until HOW resumes it."""

    def __init__(self, kind: type[Protocol]) -> None:
        self.kind = kind
        self.paused: list[Protocol] = []
        self.has_thread = False
        self.said: list[str] = []

    def build_protocol(self, peer: Any) -> Protocol:
        return self.kind()

    def run(self, client: Protocol, text: str) -> str:
        word, _, how = text.partition(" ")
        if word == "die":
            DEATHS.strike()
        elif word == "go":
            self.resume()
        elif word == "wait":
            client.transport.pause_reading()
            self.paused.append(client)
            if how == "timer":
                self.application.call_later(0.0, self.resume)
            elif how == "thread":
                self.has_thread = True
                self.application.runtime.run_blocking(double, (2,), self.doubled)
        self.said.append(text)
        return text

    def start(self) -> None:
        if self.has_thread:
            self.application.runtime.run_blocking(double, (2,), self.doubled)

    def doubled(self, _result: Any, _error: Any) -> None:
        self.has_thread = False
        self.resume()

    def resume(self) -> None:
        paused, self.paused = list(self.paused), []
        for each in paused:
            if each.is_connected:
                each.transport.resume_reading()


class Lines(LineProtocol):
    service: Slow

    def line_received(self, line: str) -> None:
        self.send_line(self.service.run(self, line))


class Mute(LineProtocol):
    service: Slow

    def line_received(self, line: str) -> None:
        self.service.run(self, line)

    def unit_skipped(self) -> None:
        pass


class Frames(FrameProtocol):
    service: Slow

    def frame_received(self, frame: bytes) -> None:
        self.send_frame(self.service.run(self, frame.decode()).encode())

    def unit_skipped(self) -> None:
        self.send_frame(SKIPPED.encode())


def lines(*texts: str) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def replies(*texts: str) -> bytes:
    return "".join(f"{text}\r\n" for text in texts).encode()


def frames(*texts: str) -> bytes:
    return b"".join(len(text).to_bytes(4, "big") + text.encode() for text in texts)


def slow(serve: Serve, protocol: type[Protocol], family: str = "tcp") -> Harness:
    application = Application("a")
    application.add_service(Slow(protocol))
    return serve(application, family=family)


SKIPPED = "error: the server was killed each time it ran this; it was not applied"


@pytest.mark.parametrize("how", ["timer", "thread", "other"])
@pytest.mark.parametrize("protocol", [Lines, Frames])
def test_exactly_the_unit_that_kills_is_skipped(
    serve: Serve,
    deaths: Deaths,
    caplog: pytest.LogCaptureFixture,
    how: str,
    protocol: type[Protocol],
) -> None:
    units, answers = (lines, replies) if protocol is Lines else (frames, frames)
    harness = slow(serve, protocol)
    bad, good, other = (harness.connect() for _ in range(3))
    bad.sock.sendall(units(f"wait {how}", "one", "die", "two") + units("half")[:-2])
    good.sock.sendall(units(f"wait {how}", "three"))
    if how == "other":
        harness.pump()
        other.sock.sendall(units("go"))
    deaths.live_on(harness)
    bad.sock.sendall(units("half")[-2:] + units("last"))
    good.sock.sendall(units("four"))
    other.sock.sendall(units("five"))
    deaths.live_on(harness)
    bad.expect(answers(f"wait {how}", "one", SKIPPED, "two", "half", "last"))
    good.expect(answers(f"wait {how}", "three", "four"))
    other.expect(answers(*(["go"] if how == "other" else []), "five"))
    (record,) = (each for each in caplog.records if "killed the server each time" in each.message)
    assert record.__dict__["MESSAGE_ID"] == events.SKIPPED.message_id
    assert deaths.count <= 5


def test_a_kill_from_outside_skips_nothing(serve: Serve) -> None:
    harness = slow(serve, Lines)
    peer = harness.connect()
    peer.send(lines("wait nobody", "one", "two"))
    for _ in range(3):
        harness.crash()
    service = harness.application.services["slow"]
    assert isinstance(service, Slow)
    harness.serving.call(service.resume)
    peer.send(lines("three"))
    peer.expect(replies("wait nobody", "one", "two", "three"))


def test_what_pauses_again_while_its_units_are_tried(serve: Serve, deaths: Deaths) -> None:
    harness = slow(serve, Lines)
    peer = harness.connect()
    peer.sock.sendall(lines("wait timer", "one", "wait timer", "die", "wait timer", "two"))
    deaths.live_on(harness)
    peer.expect(replies("wait timer", "one", "wait timer", SKIPPED, "wait timer", "two"))


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_what_is_kept_of_a_peer_that_is_gone(serve: Serve, deaths: Deaths, family: str) -> None:
    """All of it is run, as far as no answer meets the closed connection."""
    harness = slow(serve, Mute, family)
    peer = harness.connect()
    peer.sock.sendall(lines("wait timer", "one", "die", "two", "three"))
    for _ in range(4):
        with contextlib.suppress(Killed):
            harness.pump()
        harness.give_up()
        deaths.is_dying = False
        harness.start()
    peer.sock.close()  # this process has found nothing that waits in the kernel
    deaths.live_on(harness)
    service = harness.application.services["slow"]
    assert isinstance(service, Slow)
    assert list(service.said) == ["wait timer", "one", "two", "three"]
    assert not harness.application.connections


def test_units_kept_of_a_peer_that_left_as_reading_was_resumed(serve: Serve) -> None:
    """Its end comes in the very turn in which another has reading resumed, and waits, too."""
    harness = slow(serve, Mute, "unix")
    peer, other = harness.connect(), harness.connect()
    peer.sock.sendall(lines("wait nobody", "one", "two"))
    harness.pump()
    harness.start_unclean(2)
    other.sock.sendall(lines("go"))
    peer.sock.close()
    harness.pump()
    service = harness.application.services["slow"]
    assert isinstance(service, Slow)
    assert list(service.said) == ["wait nobody", "go", "one", "two"]
    assert len(harness.application.connections) == 1


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_reading_is_resumed_in_the_turn_that_paused_it(serve: Serve, family: str) -> None:
    """What was read is counted once: else a kill would cost as much of what comes after it."""
    harness = slow(serve, Lines, family)
    peer, other = harness.connect(), harness.connect()
    peer.sock.sendall(lines("wait nobody", "one"))
    other.sock.sendall(lines("go"))
    harness.pump()
    peer.send(lines("two"))
    harness.crash()
    peer.send(lines("three"))
    peer.expect(replies("wait nobody", "one", "two", "three"))
