"""The host: what an author's test can do with a server."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tapd import Application, Protocol, Service
from tapd.errors import UsageError
from tapd.testing import AuthorMistake, Host, Unexpected, kill_everywhere
from tapd.testing.process import POINTS


class Lines(Protocol):
    """``boom`` fails, ``close`` closes, ``flood N`` writes much, all else is numbered."""

    service: Counting

    def __init__(self) -> None:
        self.half = b""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello\n")

    def data_received(self, data: bytes) -> None:
        *lines, self.half = (self.half + data).split(b"\n")
        for line in lines:
            self.service.count += 1
            if line == b"boom":
                raise ValueError("boom")
            if line == b"close":
                self.transport.close()
            elif line.startswith(b"flood"):
                self.transport.write(b"x" * int(line[6:]) + b"\n")
            else:
                self.transport.write(b"%d %s\n" % (self.service.count, line))

    def eof_received(self) -> bool | None:
        self.transport.write(b"bye\n")
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.lost += 1


class Counting(Service):
    protocol = Lines

    def __init__(self) -> None:
        self.count = 0
        self.lost = 0


@pytest.fixture
def host() -> Iterator[Host]:
    with Host(Counting) as host:
        yield host


def test_a_dialogue(host: Host) -> None:
    peer = host.connect(name="alice")
    peer.expect("hello\n")
    peer.send_line("one")
    assert peer.read() == b"1 one\n"
    peer.expect_nothing()
    peer.send("two\nthr")
    assert peer.read_line() == b"2 two\n"
    with pytest.raises(Unexpected, match="expected a line, got b''"):
        peer.read_line()
    peer.send_line(b"ee")
    peer.expect_line("3 three")
    assert host.service().count == 3
    assert not peer.eof
    peer.close()
    assert host.service("counting").lost == 1
    with pytest.raises(Unexpected, match="alice can't send"):
        peer.send("x")


def test_the_server_closes(host: Host) -> None:
    peer = host.connect()
    peer.send_line("close")
    assert not peer.eof
    with pytest.raises(Unexpected, match="expected nothing, got b'hello"):
        peer.expect_eof()
    peer.expect_eof()
    assert peer.eof
    assert not peer.has_reset


def test_half_closed_and_reset(host: Host) -> None:
    one, two = host.connect(), host.connect()
    one.send_eof()
    assert one.read_text() == "hello\nbye\n"
    assert one.eof
    two.reset()
    assert host.service().lost == 2
    three = host.connect()
    three.read()
    with pytest.raises(Unexpected, match="and it is open"):
        three.expect_eof()


def test_what_a_failed_expectation_says(host: Host) -> None:
    peer = host.connect(name="bob")
    with pytest.raises(Unexpected) as caught:
        peer.expect("hallo\n")
    assert str(caught.value) == (
        "bob got something else than it expected:\n"
        "  expected  b'hallo\\n'\n"
        "  got       b'hello\\n'\n"
        "               ^ they part at byte 1"
    )
    peer.send_line("one")
    with pytest.raises(Unexpected, match=r"bob expected 12 bytes, got 6 \(and no more comes\)"):
        peer.expect("1 one\n2 two\n")
    peer.send_line("a\nb\nc")
    with pytest.raises(Unexpected, match=r"- 3 B\\n"):
        peer.expect("2 a\n3 B\n4 c\n")


def test_kills_stops_and_starts(host: Host) -> None:
    peer = host.connect()
    peer.send("o")
    before = host.application
    host.kill()
    assert host.application is not before
    peer.send("n")
    host.restart()
    peer.send_line("e")
    assert peer.read() == b"hello\n1 one\n"
    host.reboot()
    assert peer.eof
    assert host.service().lost == 1
    other = host.connect()
    host.stop()
    assert not host.is_running
    assert other.read() == b"hello\n"
    assert other.eof
    with pytest.raises(UsageError, match="the server is stopped"):
        host.kill()
    waiting = host.connect()
    host.start()
    assert waiting.read() == b"hello\n"
    assert host.service().lost == 2
    assert host.kills == 2


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point(host: Host, point: str) -> None:
    peer = host.connect()
    host.kill(at=point)
    if point.startswith("recovery"):
        host.restart()
    elif point.startswith("checkpoint"):
        host.save()
    peer.send_line("one")
    assert host.kills == 1
    assert peer.read() == b"hello\n1 one\n"
    assert host.service().count == 1


def test_a_point_that_there_is_not(host: Host) -> None:
    with pytest.raises(UsageError, match=r"there are: 'turn: collected', "):
        host.kill(at="turn")


def test_a_failing_handler_fails_the_test(host: Host) -> None:
    with pytest.raises(ValueError, match="boom") as caught:
        host.connect().send_line("boom")
    assert "raise_errors=False" in caught.value.__notes__[0]
    with Host(Counting, raise_errors=False) as other:
        peer = other.connect()
        peer.send_line("boom")
        assert peer.read() == b"hello\n"
        assert peer.eof


def test_who_does_not_read(host: Host) -> None:
    peer = host.connect()
    peer.stop_reading()
    peer.send_line("flood 9000000")
    assert peer.read() == b"hello\n"
    host.kill()
    peer.start_reading()
    assert peer.read() == b"x" * 9000000 + b"\n"


def test_much_is_sent(host: Host) -> None:
    peer = host.connect()
    peer.send(b"flood 1\n" * 20_000)
    assert peer.read() == b"hello\n" + b"x\n" * 20_000


# --- ports ---------------------------------------------------------------------------


class Other(Service):
    protocol = Lines
    count = 10
    lost = 0


def several() -> Application:
    application = Application("several")
    application.listen(23, Counting())
    application.listen("[::1]:7000", Other())
    application.listen("unix:/run/other", application.services["other"])
    return application


def test_ports_by_name_and_number() -> None:
    """Port 23 wants a right that a test has not, and /run/other is not made either."""
    with Host(several) as host:
        for where, count in [
            (None, 1), (23, 2), ("23", 3), ("127.0.0.1:23", 4), ("counting", 5), ("[::1]:23", 6),
            (7000, 11), ("other", 12), ("unix:/run/other", 13), (host.service("other"), 14),
        ]:  # fmt: skip
            peer = host.connect(where)
            peer.send_line("x")
            assert peer.read() == b"hello\n%d x\n" % count
            host.kill()
            peer.send_line("y")
            peer.close()
            host.service("counting" if count < 10 else "other").count = count
        with pytest.raises(UsageError, match=re.escape("there are: 127.0.0.1:23, [::1]:23, ")):
            host.connect(24)
        with pytest.raises(UsageError, match="there is no service 'x'; there are: counting, other"):
            host.service("x")


def test_kills_everywhere_with_unix_sockets() -> None:
    """But for the one instant after which it can't be known what they were sent."""

    def scenario(host: Host) -> None:
        peer = host.connect("unix:/run/other")
        peer.send_line("a")
        peer.send("b")
        peer.send_line("c")

    report = kill_everywhere(several, scenario)
    assert report.kills > 3 * report.turns


@pytest.mark.parametrize("wrong", [7, "counting", lambda: None])
def test_what_is_no_application(wrong: Any) -> None:
    with pytest.raises(UsageError, match="a host serves an Application or a Service"):
        Host(wrong)


# --- time ------------------------------------------------------------------------------


class Alarm(Protocol):
    service: Alarms

    def data_received(self, data: bytes) -> None:
        self.service.application.call_later(float(data), self.ring, data)

    def ring(self, data: bytes) -> None:
        self.service.rung.append((data, self.service.application.runtime.now_s()))
        if self.is_connected:
            self.transport.write(b"ring " + data + b"\n")


class Alarms(Service):
    protocol = Alarm

    def __init__(self) -> None:
        self.rung: list[tuple[bytes, float]] = []


def alarms(host: Host) -> None:
    peer = host.connect()
    peer.send("60")
    peer.send("3600.5")
    host.clock.advance(59)
    peer.expect_nothing()
    host.clock.advance(1)
    peer.expect("ring 60\n")
    host.clock.advance(86400)
    peer.expect("ring 3600.5\n")


def test_time_passes_when_it_is_told_to() -> None:
    with Host(Alarms, clock_start_s=1000.0) as host:
        alarms(host)
        assert host.clock.now_s == 1000 + 60 + 86400
        assert host.service().rung == [(b"60", 1060.0), (b"3600.5", 4600.5)]
        with pytest.raises(ValueError, match="time does not go back"):
            host.clock.advance(-1)


def test_timers_are_killed_everywhere() -> None:
    assert kill_everywhere(Alarms, alarms).kills > 20


class Sleepy(Protocol):
    """Answers from a task and from a thread, and asks again after a kill."""

    service: Any

    def __init__(self) -> None:
        self.asked = b""

    def data_received(self, data: bytes) -> None:
        self.asked += data
        self.ask()

    def connection_resumed(self) -> None:
        if self.asked:
            self.ask()

    def ask(self) -> None:
        self.service.application.runtime.run_coroutine(self.sleep(), self.answer)

    async def sleep(self) -> tuple[bytes, str]:
        async with asyncio.timeout(30):
            await asyncio.sleep(20)
        name = await asyncio.get_running_loop().run_in_executor(
            None, lambda: threading.current_thread().name
        )
        return self.asked, name

    def answer(self, result: Any, error: Any) -> None:
        asked, name = result
        self.asked = b""
        self.transport.write(asked + name.encode())


class Sleeping(Service):
    protocol = Sleepy


def doze(host: Host) -> None:
    peer = host.connect()
    peer.send("from ")
    host.clock.advance(19)
    peer.expect_nothing()
    host.clock.advance(30)
    peer.expect("from MainThread")


def test_tasks_and_threads_go_by_the_clock() -> None:
    """In one thread, so that every run is like every other."""
    with Host(Sleeping) as host:
        doze(host)
    kill_everywhere(Sleeping, doze)


class Restless(Service):
    def start(self) -> None:
        self.application.call_later(0, self.start)


def test_what_never_comes_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapd.testing.host._PASSES_MAX", 50)
    with pytest.raises(AuthorMistake, match=r"does not come to rest: .*Restless\.start"):
        Host(Restless)


# --- the other way round ------------------------------------------------------------------


class Caller(Protocol):
    service: Calling

    def connection_made(self, transport: Any) -> None:
        transport.write(b"calling\n")

    def data_received(self, data: bytes) -> None:
        self.service.heard += data
        self.transport.write(b"%d\n" % len(self.service.heard))


class Calling(Service):
    protocol = Caller

    def __init__(self) -> None:
        self.heard = b""

    def start(self) -> None:
        if not self.application.connectors:
            self.application.connect("irc.example.org:6667", self)


def call(host: Host) -> None:
    remote = host.remote("irc.example.org:6667")
    host.clock.advance(1)  # it was refused before the test had made the remote end
    peer = remote.accept()
    peer.expect("calling\n")
    peer.send("ab")
    peer.send("c")
    peer.expect("2\n3\n")
    peer.close()
    host.clock.advance(2)
    remote.accept().expect("calling\n")


def test_it_connects_to_a_remote_end() -> None:
    with Host(Calling) as host:
        remote = host.remote("irc.example.org:6667")
        with pytest.raises(Unexpected, match=r"host.clock.advance\(seconds\)"):
            remote.accept()
        call(host)
        remote.refuse()
        host.reboot()
        host.clock.advance(100)
        assert remote.waiting == 0
        remote.answer()
        host.clock.advance(100)
        assert remote.waiting == 1


def test_connectors_are_killed_everywhere() -> None:
    assert kill_everywhere(Calling, call).kills > 20


def call_and_be_called(host: Host) -> None:
    host.remote("irc.example.org:6667")
    host.clock.advance(1)
    client = host.connect()
    client.expect("calling\n")
    host.remote("irc.example.org:6667").accept().expect("calling\n")


def test_a_connection_made_anew_by_the_application_renames_no_client() -> None:
    """A kill before it was committed: the next process makes it once more."""
    assert kill_everywhere(Calling, call_and_be_called).kills > 10


class CallingPath(Calling):
    def start(self) -> None:
        if not self.application.connectors:
            self.application.connect("unix:/run/far", self)


def test_it_connects_to_a_path() -> None:
    with Host(CallingPath) as host:
        remote = host.remote("unix:/run/far")
        host.clock.advance(1)
        peer = remote.accept()
        host.kill()
        peer.send("a")
        assert peer.read() == b"calling\n1\n"


# --- saving ---------------------------------------------------------------------------------


def test_a_tap_brings_everything_back(host: Host) -> None:
    peer = host.connect()
    peer.send_line("a")
    host.save_and_load()
    host.kill()
    peer.send_line("b")
    assert peer.read() == b"hello\n1 a\n2 b\n"


def test_nothing_is_left_behind(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapd.testing.host._SHARED_MEMORY", tmp_path)
    with Host(Counting) as host:
        host.connect()
        host.kill()
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_from_within_a_loop() -> None:
    async def test() -> None:
        Host(Counting)

    with pytest.raises(UsageError, match="event loop"):
        asyncio.run(test())
