"""Datagram ports: each datagram is run once and answered, whenever the process is killed."""

from __future__ import annotations

import logging
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Harness, harnesses

from tapd import events
from tapd.errors import StartFailed, UsageError
from tapd.model.address import Address
from tapd.model.application import Application
from tapd.model.datagram import DatagramProtocol
from tapd.model.service import Service
from tapd.net.streams.datagrams import DATAGRAM_BYTES_MAX, DATAGRAMS_PER_TURN, DatagramPort
from tapd.testing import Host


class Killed(KeyboardInterrupt):
    """The process dies here; asyncio lets this one through."""


class Tally(DatagramProtocol):
    """Counts what comes, and says so to whom it came from."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.life: list[str] = []
        self.errors: list[int] = []
        self.skipped: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.life.append("made")

    def connection_resumed(self) -> None:
        self.life.append("resumed")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.seen.append(data)
        if data == b"raise":
            raise ValueError("of no importance")
        if data == b"far":
            self.transport.sendto(b"x" * 70000, addr)
        elif addr is not None:
            self.transport.sendto(b"%d %b" % (len(self.seen), data), addr)
            if data == b"twice":
                self.transport.sendto(b"again", addr)

    def error_received(self, exc: OSError) -> None:
        self.errors.append(exc.errno or 0)

    def datagram_skipped(self, data: bytes, addr: Any) -> None:
        self.skipped.append(data)
        self.transport.sendto(b"skipped", addr)


class TallyService(Service):
    datagram_protocol = Tally


class Udp:
    """A datagram port under the harness, and a client."""

    def __init__(
        self, directory: Path, make: Callable[..., Harness], family: str, *, strict: bool
    ) -> None:
        application = Application("udp")
        if family == "unix":
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.sock.bind(str(directory / "datagrams"))
            self.client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.client.bind(str(directory / "client"))
            application.listen(f"udp:unix:{directory}/datagrams", TallyService())
        else:
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.sock.bind(("127.0.0.1", 0))
            self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.client.bind(("127.0.0.1", 0))
            application.listen(f"udp:127.0.0.1:{self.sock.getsockname()[1]}", TallyService())
        self.client.setblocking(False)
        self.harness = make(application, datagrams=self.sock, strict=strict)

    @property
    def tally(self) -> Any:
        return self.harness.application.ports[0].protocol

    def send(self, *datagrams: bytes) -> None:
        for data in datagrams:
            self.client.sendto(data, self.sock.getsockname())

    def answers(self) -> list[bytes]:
        got = []
        while True:
            try:
                got.append(self.client.recv(100_000))
            except BlockingIOError:
                return got

    def kill_at(self, point: str, nth: int = 1) -> None:
        passed = 0

        def fault(name: str) -> None:
            nonlocal passed
            if name == f"turn: {point}":
                passed += 1
                if passed == nth:
                    raise Killed

        self.harness.fault = fault

    def pump_through_kills(self) -> None:
        """Pump, and start the next process where one dies."""
        for _ in range(20):
            try:
                self.harness.pump()
            except Killed:
                self.crash()
            else:
                return

    def crash(self) -> None:
        while True:
            try:
                self.harness.crash()
            except Killed:
                continue
            return

    def close(self) -> None:
        self.sock.close()
        self.client.close()


Open = Callable[..., Udp]


@pytest.fixture
def udp(tmp_path: Path) -> Iterator[Open]:
    """Return a function that serves a datagram port in this process."""
    made: list[Udp] = []
    serving = harnesses(tmp_path)
    make = next(serving)

    def open_port(family: str = "udp", *, strict: bool = True) -> Udp:
        made.append(Udp(tmp_path, make, family, strict=strict))
        return made[-1]

    yield open_port
    for _ in serving:
        pass
    for each in made:
        each.close()


FAMILIES = pytest.mark.parametrize("family", ["udp", "unix"])


@FAMILIES
def test_a_port_answers(udp: Open, family: str) -> None:
    port = udp(family)
    port.send(b"a", b"", b"b", b"a")
    port.harness.pump()
    assert port.answers() == [b"1 a", b"2 ", b"3 b", b"4 a"]
    assert port.tally.life == ["made"]
    port.harness.crash()
    assert port.tally.life == ["made", "resumed"]
    port.send(b"c")
    port.harness.pump()
    assert port.answers() == [b"5 c"]


@FAMILIES
@pytest.mark.parametrize("point", ["collected", "run", "committed", "externalised"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_killed_within_a_turn(udp: Open, family: str, point: str, nth: int) -> None:
    """Each datagram runs once; retransmissions, alike to the byte, are datagrams of their own."""
    port = udp(family)
    port.kill_at(point, nth)
    sent = [b"same", b"same", b"", b"same", b"", b"twice", b"end"]
    port.send(*sent[:4])
    port.pump_through_kills()
    port.send(*sent[4:])
    port.pump_through_kills()
    port.harness.pump()
    assert list(port.tally.seen) == sent
    expected = [b"%d %b" % (number, data) for number, data in enumerate(sent, 1)]
    expected.insert(6, b"again")
    assert port.answers() == expected


@pytest.mark.parametrize("discarded", range(5))
@FAMILIES
def test_killed_between_two_discards(
    udp: Open, family: str, discarded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is gone from the queue was answered: only the first that is not is answered again."""
    port = udp(family)
    for _ in range(DATAGRAMS_PER_TURN):  # these are peeked one by one
        port.send(b"warm")
        port.harness.pump()
        port.answers()
    (served,) = port.harness.serving.ports
    discard = served._discard
    count = 0

    def die() -> None:
        nonlocal count
        if count == discarded:
            raise Killed
        count += 1
        discard()

    monkeypatch.setattr(served, "_discard", die)
    sent = [b"0", b"1", b"2", b"3", b"4"]
    port.send(*sent)
    with pytest.raises(Killed):
        port.harness.pump()
    port.crash()
    port.harness.pump()
    assert list(port.tally.seen[DATAGRAMS_PER_TURN:]) == sent
    expected = [b"%d %b" % (DATAGRAMS_PER_TURN + 1 + n, data) for n, data in enumerate(sent)]
    expected.insert(discarded, expected[discarded])
    assert port.answers() == expected


@FAMILIES
def test_the_order_is_kept_and_a_turn_is_bounded(udp: Open, family: str) -> None:
    port = udp(family)
    count = 5 if family == "unix" else DATAGRAMS_PER_TURN * 3  # net.unix.max_dgram_qlen is 10
    for start in range(0, 40 if family == "unix" else count * 2, count):
        port.send(*(b"%d" % number for number in range(start, start + count)))
        before = len(port.tally.seen)
        port.harness.serving.run()
        assert len(port.tally.seen) - before <= DATAGRAMS_PER_TURN
        port.harness.pump()
        port.answers()
    assert list(port.tally.seen) == [b"%d" % number for number in range(len(port.tally.seen))]
    assert len(port.tally.seen) >= 40


def test_what_a_timer_sends_is_sent_once_or_again(udp: Open) -> None:
    """Not brought about by a datagram, so only a note of the journal tells that it was sent."""
    port = udp()
    address = port.client.getsockname()
    port.harness.serving.call(lambda: port.tally.transport.sendto(b"tick", address))
    port.harness.pump()
    port.harness.crash()
    port.harness.pump()
    assert port.answers() == [b"tick"]
    port.kill_at("externalised")
    port.harness.serving.call(lambda: port.tally.transport.sendto(b"tock", address))
    port.pump_through_kills()
    assert port.answers() == [b"tock", b"tock"], "the documented gap"


@pytest.mark.parametrize("saves", [False, True])
def test_a_checkpoint_between_commit_and_kill(udp: Open, saves: bool) -> None:
    port = udp()
    port.send(b"a")
    port.harness.pump()
    if saves:
        port.harness.save()
    port.kill_at("committed")
    port.send(b"b")
    port.pump_through_kills()
    port.harness.save()
    port.send(b"c")
    port.harness.pump()
    port.harness.crash()
    assert port.answers() == [b"1 a", b"2 b", b"3 c"]


def test_after_a_reboot_nothing_old_is_sent(udp: Open) -> None:
    port = udp()
    port.kill_at("committed")
    address = port.client.getsockname()
    port.harness.serving.call(lambda: port.tally.transport.sendto(b"old", address))
    port.harness.home.boot_id = "another"
    port.pump_through_kills()
    port.send(b"new")
    port.harness.pump()
    port.harness.crash()
    assert port.answers() == [b"1 new"]


def test_what_cannot_be_sent_is_told(udp: Open) -> None:
    port = udp()
    port.send(b"far", b"near")
    port.harness.pump()
    assert port.answers() == [b"2 near"]
    assert list(port.tally.errors) == [90]  # EMSGSIZE


def test_a_unix_client_that_is_gone_or_full_stops_nobody(udp: Open, tmp_path: Path) -> None:
    port = udp("unix")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "other"))
        other.sendto(b"gone", port.sock.getsockname())
    port.harness.pump()
    assert list(port.tally.errors) == [111]  # ECONNREFUSED
    for _ in range(30):
        port.send(b"full")
        port.harness.pump()
    assert set(port.tally.errors) == {111, 11}  # and EAGAIN
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        nameless.sendto(b"hello", port.sock.getsockname())
        port.harness.pump()
    assert port.tally.seen[-1] == b"hello"


def test_a_datagram_that_is_too_long_is_dropped(
    udp: Open, caplog: pytest.LogCaptureFixture
) -> None:
    port = udp("unix")
    port.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    if port.client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < DATAGRAM_BYTES_MAX * 2:
        port.client.setsockopt(socket.SOL_SOCKET, 32, 1 << 20)  # SO_SNDBUFFORCE, root's
    port.send(b"x" * (DATAGRAM_BYTES_MAX + 1))
    port.send(b"short")
    port.harness.pump()
    assert port.answers() == [b"1 short"]
    assert "is dropped" in caplog.text


def test_a_handler_that_raises_stops_no_port(udp: Open, caplog: pytest.LogCaptureFixture) -> None:
    port = udp()
    port.send(b"raise", b"on")
    port.harness.pump()
    assert port.answers() == [b"2 on"]
    assert "failed" in caplog.text


def test_a_datagram_that_kills_is_skipped(
    udp: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    give = DatagramPort._give

    def die(self: DatagramPort, data: bytes, sender: Any) -> None:
        if data == b"poison":
            raise Killed
        give(self, data, sender)

    monkeypatch.setattr(DatagramPort, "_give", die)
    port = udp()
    port.send(b"before", b"poison", b"after")
    with caplog.at_level(logging.ERROR):
        for _ in range(8):
            try:
                port.harness.pump()
            except Killed:
                port.crash()
    assert port.answers() == [b"1 before", b"skipped", b"2 after"]
    assert list(port.tally.skipped) == [b"poison"]
    assert list(port.tally.seen) == [b"before", b"after"]
    (told,) = (each for each in caplog.records if "killed the server each time" in each.message)
    assert told.__dict__["MESSAGE_ID"] == events.SKIPPED.message_id


def test_a_service_without_datagrams_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="takes no datagrams"):
        Application("a").listen("udp:5353", Service())


def test_a_full_disk_leaves_datagrams_in_the_kernel(udp: Open) -> None:
    port = udp()
    journal = port.harness.serving.commits.journal
    assert journal is not None
    real = journal._operations  # type: ignore[attr-defined]  # a JournalWriter

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, _fd: int, _data: Any) -> int:
            raise OSError(28, "No space left on device")

    journal._operations = Full()  # type: ignore[attr-defined]
    port.send(b"a", b"b")
    port.harness.pump()
    assert port.harness.serving.commits.is_stalled
    assert port.answers() == []
    journal._operations = real  # type: ignore[attr-defined]
    port.harness.wait_for(lambda: not port.harness.serving.commits.is_stalled)
    assert port.answers() == [b"1 a", b"2 b"]


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_of_kills(udp: Open, seed: int) -> None:
    """Datagrams, timers, checkpoints and kills at random: each runs once, and is answered."""
    chance = random.Random(seed)
    port = udp(strict=False)
    sent: list[bytes] = []
    ticks = 0
    answers: list[bytes] = []
    address = port.client.getsockname()
    for _ in range(60):
        match chance.randrange(6):
            case 0 | 1:
                some = [chance.choice([b"a", b"", b"twice", b"b" * 2000])] * chance.randrange(1, 9)
                port.send(*some)
                sent += some
            case 2:
                ticks += 1
                text = b"tick %d" % ticks
                port.harness.serving.call(
                    lambda text=text: port.tally.transport.sendto(text, address)  # type: ignore[misc]
                )
            case 3:
                point = chance.choice(["collected", "run", "committed", "externalised"])
                port.kill_at(point, chance.randrange(1, 3))
            case 4:
                port.pump_through_kills()
                port.harness.fault = lambda _name: None
                port.harness.save()
            case 5:
                port.pump_through_kills()
        answers += port.answers()
    port.pump_through_kills()
    port.harness.fault = lambda _name: None
    port.harness.pump()
    answers += port.answers()
    assert list(port.tally.seen) == sent
    plain = [answer for answer in answers if not answer.startswith((b"tick", b"again"))]
    assert plain == [b"%d %b" % (number, data) for number, data in enumerate(sent, 1)]
    assert answers.count(b"again") == sent.count(b"twice")


class Building(Service):
    """Gives its ports what a test says."""

    built: Any = None

    def build_datagram_protocol(self, address: Address) -> Any:
        if isinstance(self.built, Exception):
            raise self.built
        return self.built


@pytest.mark.parametrize(
    ("built", "said"),
    [
        (ValueError("no luck"), r"the service 'building' raised ValueError: no luck \("),
        (None, "build_datagram_protocol returned None; return an object of a class derived"),
        (Tally(), "returned the protocol of another port; make a new one for each"),
    ],
)
def test_a_port_without_a_protocol_of_its_own_fails_the_start(built: Any, said: str) -> None:
    """Else the first datagram would end the process, again and again."""
    application = Application("wrong")
    service = Building()
    service.built = built
    for port in (9000, 9001):
        application.listen(f"udp:127.0.0.1:{port}", service)
    with pytest.raises(StartFailed, match=said), Host(application):
        pass
