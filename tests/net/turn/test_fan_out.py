"""Fan-out: journaled once, and restored for each receiver."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from harness import Harness
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storm_service import flood_bytes

from tapd.errors import AuthorError
from tapd.model.application import Application
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.net.turn import commit

Serve = Callable[..., Harness]


class Everybody(Service):
    """Tells everybody what anybody says."""

    def build_protocol(self, peer: Any) -> Protocol:
        """Return one of them."""
        return Anybody()


class Anybody(Protocol):
    """Says something to all, or gets a flood for itself."""

    service: Everybody

    def data_received(self, data: bytes) -> None:
        if data == b"flood":
            self.transport.write(flood_bytes(16 << 20))
            return
        for protocol in list(self.service.application.connections.values()):
            protocol.transport.write(data)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_start_does_not_build_up_all_that_was_ever_sent(
    serve: Serve, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 messages to 2,000 would be 2 GB, out of a journal of 60 MB."""
    monkeypatch.setattr(commit, "POSITIONS_EACH_BYTES", 20_000)
    application = Application("a")
    application.add_service(Everybody())
    harness = serve(application, family=family)
    slow, *peers = [harness.connect() for _ in range(11)]
    slow.send(b"flood")  # more than the kernel takes from one who does not read
    said = b""
    for number in range(60):
        message = b"%03d" % number * 30
        peers[0].send(message)
        said += message
    harness.give_up()
    state = harness.home.state()
    with state.store.lock():
        history = state.restore().history
    outputs = {key: len(stream.output) for key, stream in history.streams.items()}
    unsent = outputs.pop(next(iter(history.streams)))
    assert unsent > 1 << 20
    assert sum(outputs.values()) < 30_000 < len(said) * len(outputs)
    harness.start()
    for peer in peers:
        peer.expect(said)
    slow.expect(flood_bytes(16 << 20) + said)
    peers[0].send(b"on")
    for peer in (slow, *peers):
        peer.expect(b"on")


class Herald(Protocol):
    """Tells all but itself, and closes whoever says so, by `Transport.write_many`."""

    service: Everybody

    def data_received(self, data: bytes) -> None:
        if data == b"close":
            self.transport.write(b"bye")
            self.transport.close()
        everybody = [each.transport for each in self.service.application.connections.values()]
        for part in (data, b"", bytearray(b";")):
            self.transport.write_many(everybody, bytes(part), self.transport)


class Heralds(Everybody):
    """A service of heralds."""

    protocol = Herald

    def build_protocol(self, peer: Any) -> Protocol:
        """Return one of them."""
        return Herald()


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_write_many(serve: Serve, family: str) -> None:
    """It leaves one out, writes nothing to who is closing, and survives kills."""
    application = Application("a")
    application.add_service(Heralds())
    harness = serve(application, family=family)
    one, two, three = (harness.connect() for _ in range(3))
    one.send(b"hello")
    two.send(b"good day")
    harness.crash()
    three.send(b"close")
    three.expect(b"hello;good day;bye")
    one.send(b"on")
    two.expect(b"hello;close;on;")
    one.expect(b"good day;close;")
    assert three.read_end() == b""


def test_write_many_in_a_thread_is_refused(serve: Serve) -> None:
    """As `write` is: output belongs to a turn."""
    application = Application("a")
    application.add_service(Heralds())
    harness = serve(application)
    harness.connect()
    (herald,) = harness.application.connections.values()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        future = pool.submit(herald.transport.write_many, [herald.transport], b"x")
        with pytest.raises(AuthorError, match="in the thread"):
            future.result()


_ONE = st.integers(0, 3)
_STEP = st.one_of(
    st.just(("many", 0, None, False)),  # mostly a burst
    st.tuples(st.just("write"), _ONE),
    st.just(("many", 1, None, False)),
    st.tuples(st.just("many"), _ONE, st.none() | _ONE, st.booleans()),
    st.tuples(st.just("close"), _ONE),
)
_TO = ((0, 1, 2, 3), (0, 2), (1, 3), (2, 3, 2))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_STEP, min_size=4, max_size=20), st.booleans())
def test_what_is_written_to_many_and_to_one_keeps_its_order(
    serve: Serve, steps: list[Any], is_killed: bool
) -> None:
    """Whatever comes between the pieces of a burst, and out of the journal, too."""
    application = Application(f"a{next(_numbers)}")
    application.add_service(Everybody())
    harness = serve(application)
    peers = [harness.connect() for _ in range(4)]
    transports = [each.transport for each in harness.application.connections.values()]
    tuples = [tuple(transports[each] for each in group) for group in _TO]
    expected = [b""] * 4
    closed = set()

    def run() -> None:
        for number, (kind, *arguments) in enumerate(steps):
            data = b"%d;" % number
            if kind == "close":
                transports[arguments[0]].close()
                closed.add(arguments[0])
                continue
            if kind == "write":
                receivers: tuple[int, ...] = (arguments[0],)
                transports[arguments[0]].write(data)
            else:
                group, skip, is_fresh = arguments
                receivers = tuple(each for each in _TO[group] if each != skip)
                transports[0].write_many(
                    list(tuples[group]) if is_fresh else tuples[group],
                    data,
                    None if skip is None else transports[skip],
                )
            for each in receivers:
                if each not in closed:
                    expected[each] += data

    harness.serving.call(run)
    if is_killed:

        def kill(name: str) -> None:
            if name == "turn: committed":
                raise KeyboardInterrupt

        harness.fault = kill
        with pytest.raises(KeyboardInterrupt):
            harness.serving.step()
        harness.fault = lambda _name: None
        harness.crash()
    harness.pump()
    for index, peer in enumerate(peers):
        if index in closed:
            assert peer.read_end() == expected[index]
        else:
            peer.expect(expected[index])


_numbers = itertools.count()


def test_a_burst_is_told_to_each_stream_once(serve: Serve) -> None:
    """That is what it is for: of twenty messages to many each queue has one entry."""
    application = Application("a")
    application.add_service(Everybody())
    harness = serve(application)
    peers = [harness.connect() for _ in range(3)]
    streams = tuple(harness.serving.streams.values())

    def run() -> None:
        for number in range(20):
            streams[0].write_many(streams, b"%d;" % number, streams[1])
        assert [len(each.queued) for each in streams] == [1, 0, 1]
        assert streams[0].queued[0] is streams[2].queued[0]
        streams[2].write(b"own;")
        streams[0].write_many(streams, b"20;", streams[1])
        assert [len(each.queued) for each in streams] == [2, 0, 3]
        sizes.extend(each.get_write_buffer_size() for each in streams)

    sizes: list[int] = []
    harness.serving.call(run)
    harness.pump()
    whole = b"".join(b"%d;" % number for number in range(20))
    peers[0].expect(whole + b"20;")
    peers[2].expect(whole + b"own;20;")
    assert sizes == [len(whole) + 3, 0, len(whole) + 7]


def test_a_burst_that_broke_off_does_not_grow(serve: Serve) -> None:
    """Ctrl-C, or what is no transport: those behind it get what is written after that."""
    application = Application("a")
    application.add_service(Everybody())
    harness = serve(application)
    peers = [harness.connect() for _ in range(2)]
    first, last = harness.serving.streams.values()
    broken: Any = (first, "no transport", last)
    errors = []

    def run() -> None:
        for number in range(2):
            try:
                first.write_many(broken, b"%d;" % number)
            except AttributeError as error:
                errors.append(error)

    harness.serving.call(run)
    peers[0].expect(b"0;1;")
    assert len(errors) == 2


def test_who_writes_in_pause_writing_finds_no_half_of_a_burst(serve: Serve) -> None:
    """Protocols of asyncio's own are told at once, in the midst of a message to many."""

    class Full:
        """A transport that says so while it is written to."""

        def __init__(self) -> None:
            self.got = b""

        def write(self, data: bytes) -> None:
            self.got += data
            if data == b"0;":
                first.write_many(transports, b"1;")

    application = Application("a")
    application.add_service(Everybody())
    harness = serve(application)
    peers = [harness.connect() for _ in range(2)]
    first, last = harness.serving.streams.values()
    full: Any = Full()
    transports = (first, full, last)
    harness.serving.call(lambda: first.write_many(transports, b"0;"))
    harness.pump()
    assert full.got == b"0;1;"
    peers[0].expect(b"0;1;")
    peers[1].expect(b"1;0;")
