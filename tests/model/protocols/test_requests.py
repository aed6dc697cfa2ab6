"""Requests: replies in order, whenever they are ready and whichever process gives them."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from harness import Harness, harnesses
from hypothesis import given
from hypothesis import strategies as st
from recording import RecordingTransport

from tapd import (
    Application,
    AuthorError,
    FrameRequestProtocol,
    Later,
    PeerError,
    RequestProtocol,
    Service,
)

Serve = Callable[..., Harness]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    yield from harnesses(tmp_path)


class Desk(Service):
    """Keeps the replies that are due, by request."""

    def __init__(self, protocol: type[Any]) -> None:
        self.kind = protocol
        self.due: dict[str, Later] = {}
        self.seen: list[str] = []

    def build_protocol(self, peer: Any) -> Any:
        return self.kind()


class Clerk(RequestProtocol):
    service: Desk
    requests_max = 3

    def request_received(self, request: str) -> str | Later | None:
        self.service.seen.append(request)
        word, _, rest = request.partition(" ")
        match word:
            case "wait":
                later = self.service.due[rest] = self.reply_later()
                return later
            case "give":
                self.service.due[rest].reply(f"given {rest}")
                return None
            case "fail":
                self.service.due[rest].fail("there is none")
                return None
            case "timer":
                later = self.reply_later()
                self.service.application.call_later(0.01, later.reply, "time")
                return later
            case "wrong":
                raise PeerError("no such\nword")
            case "bug":
                raise KeyError(word)
            case "number":
                return 5  # type: ignore[return-value]  # wrongly
        return request.upper()


class Frames(FrameRequestProtocol):
    prefix_bytes = 1

    def request_received(self, request: bytes) -> bytes:
        if request == b"no":
            raise PeerError("n\xf6")
        return request * 2


def serve_desk(serve: Serve, kind: type[Any] = Clerk) -> Harness:
    application = Application("desk")
    application.listen("127.0.0.1:0", Desk(kind))
    return serve(application)


def test_replies_leave_in_the_order_of_requests_and_survive_a_kill_at_each(serve: Serve) -> None:
    harness = serve_desk(serve)
    peer, other = harness.connect(), harness.connect()
    for line in (b"wait a\n", b"hello\n", b"wait b\n"):
        peer.send(line)
        harness.crash()
    assert peer.read() == b""
    other.send(b"give b\n")
    harness.crash()
    assert peer.read() == b""
    other.send(b"give a\n")
    harness.crash()
    peer.expect(b"given a\r\nHELLO\r\ngiven b\r\n")
    peer.send(b"now\n")
    peer.expect(b"NOW\r\n")
    assert other.read() == b""


def test_a_timer_replies(serve: Serve) -> None:
    harness = serve_desk(serve)
    peer = harness.connect()
    peer.send(b"timer\nhello\n")
    harness.crash()
    peer.expect(b"time\r\nHELLO\r\n")


def test_errors_are_replies(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    harness = serve_desk(serve)
    peer = harness.connect()
    with caplog.at_level(logging.ERROR):
        peer.send(b"wrong\nwait a\nbug\nfail a\nhello\nnumber\n")
    peer.expect(
        b"error: no such word\r\nerror: there is none\r\nerror: internal error\r\nHELLO\r\n"
        b"error: internal error\r\n"
    )
    assert "Clerk.request_received failed" in caplog.text
    assert "KeyError: 'bug'" in caplog.text
    assert "replies (or asks) 5: return a str, or override render_reply" in caplog.text


def test_a_reply_given_twice_or_to_nobody_is_dropped(serve: Serve) -> None:
    harness = serve_desk(serve)
    peer, other = harness.connect(), harness.connect()
    peer.send(b"wait a\n")
    other.send(b"give a\ngive a\nfail a\n")
    peer.expect(b"given a\r\n")
    peer.send(b"wait b\n")
    peer.sock.close()
    harness.pump()
    other.send(b"give b\nhello\n")
    other.expect(b"HELLO\r\n")


def test_too_many_unanswered_requests_pause_reading(serve: Serve) -> None:
    harness = serve_desk(serve)
    peer, other = harness.connect(), harness.connect()
    peer.send(b"wait a\nwait b\nwait c\nd\ne\n")
    desk: Any = harness.application.services["desk"]
    assert list(desk.seen) == ["wait a", "wait b", "wait c"]
    harness.crash()
    desk = harness.application.services["desk"]
    assert list(desk.seen) == ["wait a", "wait b", "wait c"]
    other.send(b"give a\n")
    # The reply that left lets one request in, whose own reply waits for "b" and "c".
    assert list(desk.seen) == ["wait a", "wait b", "wait c", "give a", "d"]
    other.send(b"give b\ngive c\n")
    peer.expect(b"given a\r\ngiven b\r\ngiven c\r\nD\r\nE\r\n")


def test_frames(serve: Serve) -> None:
    harness = serve_desk(serve, Frames)
    peer = harness.connect()
    for byte in b"\x02ab\x02no\x00":
        peer.send(bytes([byte]))
        harness.crash()
    peer.expect(b"\x04abab\x0cerror: n\\xf6\x00")


def test_the_later_of_another_connection_is_refused(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    harness = serve_desk(serve, Confused)
    first, second = harness.connect(), harness.connect()
    first.send(b"one\n")
    second.send(b"two\n")
    assert second.read_end() == b""
    assert "the reply_later() of another connection" in caplog.text
    assert first.read() == b""


def test_a_later_that_is_not_returned_is_refused(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    harness = serve_desk(serve, Forgetting)
    peer = harness.connect()
    peer.send(b"fail\nhear\n")
    peer.expect(b"error: no\r\n")  # a request that is refused needs no reply later
    peer.send(b"wait\n")
    assert peer.read_end() == b""
    assert "Forgetting.request_received called reply_later() and returned None" in caplog.text


class Forgetting(RequestProtocol):
    service: Desk

    def request_received(self, request: str) -> None:
        if request == "hear":
            return
        self.service.due[request] = self.reply_later()
        if request == "fail":
            raise PeerError("no")


class Storing(RequestProtocol):
    """Requests with a body: ``put SIZE`` and that many bytes."""

    service: Desk
    raw_bytes_max = 10
    waiting: Later | None = None

    def request_received(self, request: str) -> Later:
        self.service.seen.append(request)
        self.set_raw_mode(int(request.removeprefix("put ")))
        self.waiting = self.reply_later()
        return self.waiting

    def raw_data_received(self, data: bytes) -> None:
        assert self.waiting is not None
        self.waiting.reply(f"has {data.decode()}")


def test_a_request_with_a_body_is_answered_after_it(serve: Serve) -> None:
    harness = serve_desk(serve, Storing)
    peer = harness.connect()
    for byte in b"put 3\na\nbput 1\nc":
        peer.send(bytes([byte]))
        harness.crash()
    peer.expect(b"has a\nb\r\nhas c\r\n")


def test_a_body_that_is_too_long_is_not_taken_for_requests(serve: Serve) -> None:
    harness = serve_desk(serve, Storing)
    peer = harness.connect()
    peer.send(b"put 11\nput 1\nput 1\n")
    assert peer.read_end() == b"error: 11 bytes announced; raw_bytes_max is 10\r\n"
    assert list(harness.application.services["desk"].seen) == ["put 11"]


class Confused(RequestProtocol):
    service: Desk

    def request_received(self, request: str) -> Later:
        return self.service.due.setdefault("it", self.reply_later())


class Keeping(RequestProtocol):
    """Answers ``now ...`` at once and everything else when the test says so."""

    def __init__(self) -> None:
        self.later: list[Later] = []

    def request_received(self, request: str) -> str | Later:
        if request.startswith("now"):
            return request
        self.later.append(self.reply_later())
        return self.later[-1]


@given(st.lists(st.booleans(), max_size=12), st.randoms(use_true_random=False))
def test_any_order_of_answers_gives_replies_in_the_order_of_requests(
    at_once: list[bool], random: Random
) -> None:
    transport: Any = RecordingTransport()
    protocol = Keeping()
    protocol.transport = transport
    lines = [f"{'now' if now else 'later'} {number}" for number, now in enumerate(at_once)]
    for line in lines:
        protocol.data_received(f"{line}\n".encode())
    waiting = [number for number, now in enumerate(at_once) if not now]
    answers = list(enumerate(waiting))
    random.shuffle(answers)
    for index, number in answers:
        protocol = pickle.loads(pickle.dumps(protocol))  # the next process
        protocol.transport = transport
        protocol.later[index].reply(f"later {number}")
    assert transport.output.decode().splitlines() == lines


# --- the end that asks ----------------------------------------------------------------------


class Pair(Service):
    """Both halves in one application: a client asks over a connector."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.asker: Any = None

    def build_protocol(self, peer: Any) -> Any:
        return Asker()


class Asker(RequestProtocol):
    service: Pair

    def connection_made(self, transport: Any) -> None:
        self.service.asker = self

    def request_received(self, request: str) -> None:
        self.service.heard.append(("unasked", request))

    def answered(self, reply: str | None, number: int) -> None:
        self.service.heard.append((number, reply))


def test_answers_find_those_who_asked_in_a_later_process(serve: Serve) -> None:
    application = Application("pair")
    application.listen("127.0.0.1:0", Pair())
    harness = serve(application)
    peer = harness.connect()  # plays the server
    pair: Any = harness.application.services["pair"]

    def ask(text: str, number: int) -> None:
        pair: Any = harness.application.services["pair"]
        harness.serving.call(lambda: pair.asker.ask(text, pair.asker.answered, number))
        harness.pump()

    peer.send(b"greeting\n")
    ask("one", 1)
    ask("two", 2)
    harness.crash()
    peer.expect(b"one\r\ntwo\r\n")
    peer.send(b"first\nsec")
    harness.crash()
    peer.send(b"ond\n")
    ask("three", 3)
    harness.crash()
    peer.expect(b"three\r\n")
    peer.sock.close()
    harness.pump()
    pair = harness.application.services["pair"]
    assert list(pair.heard) == [("unasked", "greeting"), (1, "first"), (2, "second"), (3, None)]


async def suspended(reply: Any) -> None:
    raise NotImplementedError


@pytest.mark.parametrize(("then", "said"), [(suspended, "async def"), (5, "can't be called")])
def test_a_callback_that_cannot_be_called_later(then: Any, said: str) -> None:
    protocol = Asker()
    with pytest.raises(AuthorError, match=said):
        protocol.ask("x", then)
