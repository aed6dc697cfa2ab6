"""The API used wrongly: named early, with the line and what to write instead."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness import Harness, harnesses

from tapd import (
    Address,
    Application,
    AsyncioService,
    AuthorError,
    DatagramProtocol,
    FrameProtocol,
    LineProtocol,
    Protocol,
    RequestProtocol,
    Service,
    UsageError,
)
from tapd.model import source_location as places
from tapd.model.source_location import describe_origin
from tapd.net.slow import TurnWatch
from tapd.testing import Host

Serve = Callable[..., Harness]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    yield from harnesses(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_told", set())


class Wrong(Service):
    def __init__(self) -> None:
        self.count = 0
        self.kept: Any = None
        self.transports: list[Any] = []

    def build_protocol(self, peer: Any) -> LineProtocol:
        return Doer()


RELEASE = threading.Event()
ERRORS: list[BaseException] = []


class Doer(LineProtocol):
    """Does what the line says, wrongly."""

    service: Wrong

    def line_received(self, line: str) -> None:
        getattr(self, f"do_{line}")()
        self.send_line("done")

    def do_wait(self) -> None:
        self.wait_long()

    def wait_long(self) -> None:
        RELEASE.wait(20)

    def do_socket(self) -> None:
        sock = socket.socket()
        sock.close()  # a socket all the same, and none that the test leaves open
        self.service.kept = {"sockets": [sock]}

    def do_generator(self) -> None:
        self.service.kept = (number for number in range(3))

    def do_transport(self) -> None:
        self.service.transports.append(self.transport)

    def do_close(self) -> None:
        self.transport.close()

    def do_thread(self) -> None:
        self.in_a_thread(self.count)

    def do_write(self) -> None:
        self.in_a_thread(self.write_there)

    def do_call(self) -> None:
        application = self.service.application
        self.in_a_thread(lambda: application.call_soon_threadsafe(self.called, 5))

    def called(self, number: int) -> None:
        self.send_line(f"called with {number}")

    def count(self) -> None:
        self.service.count += 1

    def write_there(self) -> None:
        try:
            self.transport.write(b"from a thread")
        except AuthorError as error:
            ERRORS.append(error)

    def in_a_thread(self, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function, name="helper")
        # The turn is over when the thread does it.
        self.service.application.runtime.run_blocking(self.let_run, (thread,), lambda *_: None)

    @staticmethod
    def let_run(thread: threading.Thread) -> None:
        thread.start()
        thread.join()


def serve_wrong(serve: Serve) -> Harness:
    application = Application("wrong")
    application.listen("127.0.0.1:0", Wrong())
    return serve(application, strict=False)


def line_of(text: str) -> str:
    """Return where `text` is in this file, as a warning names it."""
    lines = Path(__file__).read_text().splitlines()
    [number] = [n for n, line in enumerate(lines, 1) if line.strip() == text]
    return f"{__file__}:{number}"


def test_a_long_turn_is_named_while_it_runs(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    harness = serve_wrong(serve)
    peer = harness.connect()
    RELEASE.clear()

    class Letting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            RELEASE.set()  # it was said: no need to wait longer

    logger = logging.getLogger("tapd.author")
    letting = Letting()
    logger.addHandler(letting)
    began_s = time.monotonic()
    try:
        with TurnWatch(harness.serving, limit_s=0.05):
            peer.send(b"wait\n")
    finally:
        logger.removeHandler(letting)
    assert time.monotonic() - began_s < 10
    assert f"Doer.line_received, in Doer.wait_long ({line_of('RELEASE.wait(20)')})" in caplog.text
    assert "run_blocking do what takes long" in caplog.text
    assert harness.serving.began_s == 0


class Hurrying:
    """Is in another turn whenever somebody looks, however slow the machine is."""

    def __init__(self) -> None:
        self.looks = 0
        self.was_seen = threading.Event()

    @property
    def began_s(self) -> float:
        self.looks += 1
        if self.looks == 10:
            self.was_seen.set()
        return self.looks * 1e-6


def test_short_turns_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    turn = Hurrying()
    with TurnWatch(turn, limit_s=0.001) as watch:
        assert turn.was_seen.wait(20)
    assert not watch._thread.is_alive()
    assert "a turn has taken" not in caplog.text


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "socket",
            "not saved: application.services['wrong'].kept['sockets'][0] (socket.socket): a ",
        ),
        (
            "generator",
            "not saved: application.services['wrong'].kept (generator): a generator's position",
        ),
        ("transport", "a transport belongs to one process; keep the protocol that has it"),
    ],
)
def test_what_is_no_state_is_named_at_the_first_turn(
    serve: Serve, caplog: pytest.LogCaptureFixture, what: str, said: str
) -> None:
    harness = serve_wrong(serve)
    peer = harness.connect()
    peer.send(what.encode() + b"\n")
    peer.expect(b"done\r\n")
    assert said in caplog.text
    assert len(caplog.records) == 1


def test_writing_after_close_is_named_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    harness = serve_wrong(serve)
    for _ in range(2):
        peer = harness.connect()
        peer.send(b"close\n")
        assert peer.read_end() == b""
    [record] = caplog.records
    said = record.getMessage()
    assert "Doer wrote after it had closed its transport" in said
    place = line_of('self.send_line("done")')
    assert f"Doer.line_received ({place})" in said


def test_a_message_to_one_who_has_just_closed_is_no_mistake(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    harness = serve_wrong(serve)
    harness.connect()
    [protocol] = harness.application.connections.values()

    def tell() -> None:
        protocol.transport.close()
        protocol.transport.write(b"by another")

    harness.serving.call(tell)
    harness.pump()
    assert not caplog.records


def test_state_changed_by_a_thread_is_named(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    harness = serve_wrong(serve)
    peer = harness.connect()
    service: Any = harness.application.services["wrong"]
    for count in (1, 2):
        peer.send(b"thread\n")
        harness.wait_for(lambda count=count: service.count == count)  # type: ignore[misc]
    [record] = caplog.records
    said = record.getMessage()
    assert "a Wrong was changed in the thread 'helper'" in said
    assert line_of("self.service.count += 1") in said
    assert "run_blocking" in said
    assert "application.call_soon_threadsafe" in said
    harness.crash()
    assert harness.application.services["wrong"].count == 2  # it was committed all the same


def test_a_thread_that_writes_is_told_so(serve: Serve) -> None:
    harness = serve_wrong(serve)
    peer = harness.connect()
    ERRORS.clear()
    peer.send(b"write\n")
    peer.expect(b"done\r\n")
    harness.wait_for(lambda: ERRORS)
    assert "was used in the thread 'helper': output belongs to a turn" in str(ERRORS[0])
    assert peer.read() == b""


def test_what_any_thread_may_do(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    harness = serve_wrong(serve)
    peer = harness.connect()
    peer.send(b"call\n")
    peer.expect(b"done\r\ncalled with 5\r\n")
    assert not caplog.records
    with pytest.raises(AuthorError, match="is not running"):
        Application("a").call_soon_threadsafe(print)


def test_a_protocol_without_a_connection_says_so() -> None:
    with pytest.raises(AttributeError, match="ask is_connected first"):
        Doer().transport.write(b"")


# --- classes and objects in each other's place -----------------------------------------


class AsyncioProtocol(asyncio.Protocol):
    pass


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        (
            "protocol",
            "Doer",
            "Odd.protocol is 'Doer': write the class itself, one derived from tap",
        ),
        (
            "protocol",
            Wrong,
            "is the class Wrong: write the class itself, one derived from tapd.Pro",
        ),
        ("protocol", LineProtocol(), "Odd.protocol is <.*: write the class itself"),
        ("protocol", AsyncioProtocol, r"hosted by an AsyncioService\(AsyncioProtocol\)"),
        ("datagram_protocol", Doer, "is the class Doer: .* derived from tapd.DatagramProtocol"),
    ],
)
def test_a_protocol_that_is_none_is_named_with_its_class(
    attribute: str, value: Any, said: str
) -> None:
    with pytest.raises(AuthorError, match=said):
        type("Odd", (Service,), {attribute: value})


def test_a_class_in_place_of_a_service_is_refused() -> None:
    application = Application("a")
    wrong: Any
    for wrong, said in ((Wrong, r"Wrong is a class of services; .*: Wrong\(\)"), (3, "3 is not a")):
        with pytest.raises(AuthorError, match=said):
            application.add_service(wrong)
        with pytest.raises(AuthorError, match=said):
            application.listen("udp:1", wrong)
        with pytest.raises(AuthorError, match=said):
            application.connect("localhost:1", wrong)
    assert not application.services
    assert Wrong.name == ""


class Datagrams(Service):
    datagram_protocol = DatagramProtocol


def test_a_port_of_the_other_kind_is_refused() -> None:
    application = Application("a")
    where: str | int | Address
    for where in (9000, Address("127.0.0.1", 9000)):
        with pytest.raises(UsageError, match=r"and no connections, .* 127.0.0.1:9000: put udp: be"):
            application.listen(where, Datagrams())
    for where in ("udp:9000", Address("127.0.0.1", 9000, is_datagram=True)):
        with pytest.raises(UsageError, match="takes no datagrams"):
            application.listen(where, Wrong())
    assert not application.services


def test_a_durable_object_says_what_it_is(serve: Serve) -> None:
    assert repr(Doer()).startswith(f"<{__name__}.Doer object at 0x")
    harness = serve_wrong(serve)
    harness.connect()
    [protocol] = harness.application.connections.values()
    assert repr(protocol) == f"<{__name__}.Doer object {protocol._p_oid}>"


def test_an_error_that_tapd_raises_is_told_of_the_line_that_caused_it() -> None:
    with pytest.raises(UsageError) as caught:
        Application("two words")
    place = line_of('Application("two words")')
    name = "test_an_error_that_tapd_raises_is_told_of_the_line_that_caused_it"
    assert describe_origin(caught.value) == f" ({place} in {name})"


def test_what_a_dataclass_generates_is_no_line_of_the_authors() -> None:
    with pytest.raises(ValueError, match="no topic") as caught:
        Checking("")
    place = line_of('raise ValueError("no topic")')
    origin = describe_origin(caught.value)
    assert origin.startswith(f" ({place} in __post_init__, called at {__file__}:")
    assert "<string>" not in origin


@dataclasses.dataclass(eq=False)
class Checking(Service):
    topic: str

    def __post_init__(self) -> None:
        if not self.topic:
            raise ValueError("no topic")


class Building(Service):
    """Gives a connection what a test says."""

    built: Any = None

    def build_protocol(self, peer: Any) -> Any:
        return self.built


@pytest.mark.parametrize("built", [None, Doer])
def test_what_is_built_in_place_of_a_protocol_is_named(
    serve: Serve, caplog: pytest.LogCaptureFixture, built: Any
) -> None:
    application = Application("wrong")
    service = Building()
    service.built = built
    application.listen("127.0.0.1:0", service)
    assert serve(application).connect().read_end() == b""
    assert f"Building.build_protocol returned {built!r}; return an object of a class" in caplog.text


def test_one_protocol_for_two_connections_is_refused(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application("wrong")
    service = Building()
    service.built = Echo()
    application.listen("127.0.0.1:0", service)
    harness = serve(application)
    first = harness.connect()
    assert harness.connect().read_end() == b""
    assert "the protocol of a connection that is open; make a new one for each" in caplog.text
    first.send(b"hello\n")
    first.expect(b"hello\r\n")


class Echo(LineProtocol):
    def line_received(self, line: str) -> None:
        self.send_line(line)


class Misspelt(LineProtocol):
    def line_recieved(self, line: str) -> None:
        self.send_line(line)


class MisspeltFrames(FrameProtocol):
    def frame_recieved(self, frame: bytes) -> None:
        self.send_frame(frame)


class Misnamed(Service):
    """Its `protocol` is misspelt, or that one's method is."""

    protocols = Echo


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (Misspelt, "Misspelt has no line_received, so what it gets is dropped; write that method"),
        (MisspeltFrames, "MisspeltFrames has no frame_received, so what it gets is dropped"),
        (None, "<Misnamed misnamed> has no protocol, so what its connections get is dropped"),
    ],
)
def test_input_that_nobody_takes_is_named_once(
    serve: Serve, caplog: pytest.LogCaptureFixture, protocol: Any, said: str
) -> None:
    application = Application("wrong")
    service = Misnamed() if protocol is None else Building()
    if protocol is not None:
        service.built = protocol()
    application.listen("127.0.0.1:0", service)
    peer = serve(application).connect()
    for _ in range(2):
        peer.send(b"\0\0\0\1\n")
    [record] = caplog.records
    assert said in record.getMessage()


# --- what looks like that and is right ---------------------------------------------------


class Base(Service):
    """Its subclasses say what they speak."""

    protocol: ClassVar[Any] = None


class Derived(Base):
    protocol = Echo


class Prepared(Service):
    protocol: ClassVar[Any] = functools.partial(Echo)


class Made(Service):
    def protocol(self) -> LineProtocol:  # type: ignore[override]  # as of asyncio's servers
        return Echo()


class Computed(Service):
    @property
    def protocol(self) -> Any:  # type: ignore[override]  # which one is found out while it runs
        return Echo


@dataclasses.dataclass(eq=False)
class Field(Service):
    protocol: Any = dataclasses.field(default=Echo)  # type: ignore[misc]  # one each


class Noting(LineProtocol):
    """A mixin, which hands on what it noted."""

    def line_received(self, line: str) -> None:
        self.noted = line
        super().line_received(line)


class NotingFrames(FrameProtocol):
    def frame_received(self, frame: bytes) -> None:
        self.noted = frame
        super().frame_received(frame)


class NotingEcho(Noting, Echo):
    """Noting, and a handler after it."""


class Sink(Service):
    """Drops all that it gets, and says so."""

    def build_protocol(self, peer: Any) -> Protocol:
        return Protocol()


class Promising(RequestProtocol):
    """Promises before it knows whether it will be able to answer at once."""

    def connection_made(self, transport: Any) -> None:
        self.first = self.reply_later()

    def request_received(self, request: str) -> str | None:
        if request == "nothing":
            return None
        later = self.reply_later()
        assert later.protocol is self
        return "at once"


class HostedEcho(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.write = transport.write

    def data_received(self, data: bytes) -> None:
        if b"x" in data:
            self.write(data)


class Hosting(AsyncioService):
    """Has a factory of its own, so that it needs none given."""

    idle = None

    def __init__(self) -> None:
        self.count = 0

    def factory(self) -> HostedEcho:
        return HostedEcho()


def speaking(protocol: type[Protocol]) -> type[Service]:
    return type("Speaking", (Building,), {"built": property(lambda _service: protocol())})


@pytest.mark.parametrize(
    ("service", "answer"),
    [
        (Derived, "x\r\n"),
        (Prepared, "x\r\n"),
        (Made, "x\r\n"),
        (Computed, "x\r\n"),
        (Field, "x\r\n"),
        (speaking(NotingEcho), "x\r\n"),
        (speaking(Noting), ""),
        (speaking(NotingFrames), ""),
        (Sink, ""),
        (Hosting, "x\r\n"),
        (speaking(Promising), "at once\r\n"),
    ],
)
def test_what_is_right_is_neither_refused_nor_warned_of(
    caplog: pytest.LogCaptureFixture, service: type[Service], answer: str
) -> None:
    made = service()
    application = Application("right")
    application.listen("127.0.0.1:0", made)
    with Host(application, strict=False) as host:
        peer = host.connect()
        for line in (b"nothing\r\n", b"x\r\n") if "once" in answer else (b"x\r\n",):
            peer.send(line)
        assert peer.read() == answer.encode()
        peer.send(b"\0\0\0\1\n")
    assert not caplog.records


def test_a_service_of_datagrams_alone_may_say_so() -> None:
    service = type("Alone", (Datagrams,), {"protocol": None})()
    application = Application("a")
    application.listen("udp:127.0.0.1:0", service)
    with pytest.raises(UsageError, match="and no connections"):
        application.listen("127.0.0.1:0", service)
