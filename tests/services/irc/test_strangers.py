"""What one who is not registered can cost an IRC network; docs/strangers.md has the table."""

from __future__ import annotations

import base64
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
from harness import Harness
from irc_kit import Irc, cheap_hash, codes, make_network

from tapd.model.application import QUEUE_GROUP_MAX
from tapd.net.rate_limit import EACH_S
from tapd.net.turn.fair_queue import FULL_FOR_GROUP
from tapd.services.irc.conduct.admission import BYTES_MAX, LINE_BYTES_MAX
from tapd.services.irc.conduct.login import LINES_AT_ONCE
from tapd.services.irc.conduct.session import Session
from tapd.services.irc.state.accounts import Proof, derive_scram_keys
from tapd.services.irc.state.bans import Ban, Kind

DECOY = cheap_hash("decoy")
TOO_MUCH = "ERROR :Closing link: (More than 4 KiB of input before registration)"


def only_session(irc: Irc) -> Session:
    (session,) = irc.network.half_registered
    assert isinstance(session, Session)
    return session


# --- memory ---------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 65536,
        b"CAP LS 302\r\n" * 5000,
        b"PING x\r\n" * 8000,
        b"PASS " + b"x" * 65536,
        b"@" + b"x" * 65536,
        b"\r\n" * 32768,
        b"AUTHENTICATE PLAIN\r\n" + b"AUTHENTICATE " + b"A" * 65536,
    ],
    ids=lambda data: data[:12].decode().strip(),
)
def test_who_sends_more_than_4_kib_is_told_and_closed(irc: Irc, data: bytes) -> None:
    client = irc.connect()
    with contextlib.suppress(OSError):
        client.send_raw(data)
    assert client.read_end()[-1] == TOO_MUCH
    assert not irc.network.half_registered


def test_what_is_kept_of_a_line_is_a_kib(irc: Irc) -> None:
    client = irc.connect()
    for _ in range(40):
        client.send_raw(b"x" * 100)
        assert len(only_session(irc).pending) <= LINE_BYTES_MAX + 1
    client.send_raw(b"\r\n")
    assert codes(client.read()) == ["417"]


def test_what_stands_behind_the_registration_is_read_after_it(irc: Irc) -> None:
    """A bot may send all that it has to say in one piece."""
    client = irc.connect()
    lines = "".join(f"PING {number}\r\n" for number in range(2000))
    client.send_raw(f"NICK bot\r\nUSER bot 0 * :Bot\r\n{lines}PING end\r\n".encode())
    assert client.read()[-1].endswith("end")


def test_the_allowance_is_not_renewed_by_a_kill(irc: Irc) -> None:
    client = irc.connect()
    for _ in range(BYTES_MAX // 128):
        client.send_raw(b"PING x" + b"x" * 120 + b"\r\n")
        irc.harness.crash()
    assert only_session(irc).input_bytes == BYTES_MAX
    client.send_raw(b"x")
    assert client.read_end()[-1] == TOO_MUCH


def test_a_registered_client_has_no_such_limit(irc: Irc) -> None:
    client = irc.client("al")
    for _ in range(50):
        assert len(client.ask(f"PING {'x' * 200}")) == 1
    irc.harness.crash()
    for _ in range(50):
        assert len(client.ask(f"PING {'x' * 200}")) == 1


def journal_bytes(irc: Irc) -> int:
    directory = irc.harness.path.with_suffix(".d")
    return sum(path.stat().st_size for path in directory.glob("journal-*"))


def test_what_a_connection_and_its_input_cost_the_journal(serve: Callable[..., Harness]) -> None:
    """The dearest input is a line without end, byte by byte: what is kept is journaled anew."""
    irc = Irc(serve(make_network(), strict=False))
    irc.connect()
    before = journal_bytes(irc)
    client = irc.connect()
    assert journal_bytes(irc) - before <= 1024
    client.send_raw(b"PASS " + b"x" * LINE_BYTES_MAX)
    before = journal_bytes(irc)
    for _ in range(50):
        client.send_raw(b"x")
    assert journal_bytes(irc) - before <= 50 * 2048


# --- time ---------------------------------------------------


@pytest.fixture
def proof() -> Proof:
    return Proof(cheap_hash("sesame sesame"), derive_scram_keys("sesame sesame", b"salt", 4096))


def plain(name: str, password: str) -> str:
    return base64.b64encode(f"\0{name}\0{password}".encode()).decode()


class HeldThreads:
    """Threads that begin nothing before they are let go."""

    def __init__(self, harness: Harness) -> None:
        self.jobs: list[Any] = []
        self.queue = harness.serving.runtime._queue
        self._run = self.queue._run
        self.queue._run = lambda *job: self.jobs.append(job)
        self.queue._running_max = 1

    def let_go(self) -> None:
        self.queue._run = self._run
        for job in self.jobs:
            self._run(*job)


def waiting(irc: Irc, address: str, password: str) -> Any:
    """Return a client from `address` whose password waits to be checked."""
    client = irc.connect()
    session = next(reversed(irc.network.half_registered))
    session.ip = session.user.ip = address
    client.ask("CAP LS 302", "CAP REQ :sasl", "AUTHENTICATE PLAIN")
    client.send(f"AUTHENTICATE {plain('al', password)}")
    return client


def test_an_address_has_so_many_checks_and_the_others_go_on(irc: Irc, proof: Proof) -> None:
    irc.network.accounts.add("al", proof, 0.0)
    threads = HeldThreads(irc.harness)
    hostile = [waiting(irc, "192.0.2.7", "wrong") for _ in range(QUEUE_GROUP_MAX)]
    assert len(threads.jobs) == 1
    refused = waiting(irc, "192.0.2.7", "wrong")
    assert refused.read_end()[-1] == (f"ERROR :Closing link: ({FULL_FOR_GROUP}; try again later)")
    honest = waiting(irc, "198.51.100.1", "sesame sesame")
    order: list[str] = []
    for client in (*hostile, honest):
        client.read()
    threads.let_go()
    irc.harness.pump()
    for client in (*hostile, honest):
        order += [code for code in codes(client.read()) if code in ("903", "904")]
    assert order == ["904"] * QUEUE_GROUP_MAX + ["903"]


def test_a_check_of_a_client_who_is_gone_is_not_made(irc: Irc, proof: Proof) -> None:
    irc.network.accounts.add("al", proof, 0.0)
    threads = HeldThreads(irc.harness)
    clients = [waiting(irc, "192.0.2.7", "wrong") for _ in range(5)]
    for client in clients:
        client.read()
        client.peer.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
        client.peer.sock.close()
    irc.harness.pump()
    threads.let_go()
    irc.harness.pump()
    assert threads.queue.dropped == len(clients) - 1
    assert len(threads.queue) == 0


def test_a_password_that_was_right_before_does_not_wait(irc: Irc, proof: Proof) -> None:
    """When all come back at once, they are not told that too many do."""
    irc.network.accounts.add("al", proof, 0.0)
    assert "903" in codes(waiting(irc, "198.51.100.1", "sesame sesame").read())
    HeldThreads(irc.harness)
    for _ in range(QUEUE_GROUP_MAX):
        waiting(irc, "198.51.100.1", "wrong")
    assert "903" in codes(waiting(irc, "198.51.100.1", "sesame sesame").read())


def test_a_name_that_is_nobodys_is_hashed_in_a_thread(
    irc: Irc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of them made the turn wait for a hash."""
    made = []

    def decoy_hash() -> str:
        made.append(1)
        return DECOY

    monkeypatch.setattr("tapd.model.access.accounts.decoy_hash", decoy_hash)
    threads = HeldThreads(irc.harness)
    client = waiting(irc, "192.0.2.7", "wrong")
    assert not made
    threads.let_go()
    assert "904" in codes(client.read())
    assert made


def test_checks_go_on_after_a_kill(irc: Irc, proof: Proof) -> None:
    irc.network.accounts.add("al", proof, 0.0)
    irc.harness.pump()
    HeldThreads(irc.harness)
    clients = [waiting(irc, "192.0.2.7", "sesame sesame") for _ in range(QUEUE_GROUP_MAX)]
    irc.harness.crash()
    irc.harness.pump()
    for client in clients:
        assert "903" in codes(client.read())


# --- log lines ---------------------------------------------------


def test_failed_logins_are_a_few_lines_with_their_number(
    irc: Irc, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        client = irc.connect()
        client.ask("CAP LS 302", "CAP REQ :sasl", "AUTHENTICATE PLAIN", "AUTHENTICATE !")
    failed = [text for text in caplog.messages if "failed" in text]
    assert len(failed) == LINES_AT_ONCE
    irc.harness.clock.advance(EACH_S)
    assert "and 17 more like it (127.0.0.1 17 times)" in caplog.text


def test_who_is_banned_is_told_of_in_one_line(irc: Irc, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tapd.services.irc")
    network = irc.network
    network.bans.add(Ban(Kind.MASK, "bad!*@*", "no spam", "", "boss", network.now_s()))
    for _ in range(10):
        irc.connect().send("NICK bad", "USER b 0 * :b")
    assert len(caplog.messages) == 1
    assert "is banned" in caplog.text
    irc.harness.clock.advance(EACH_S)
    assert "and 9 more like it (127.0.0.1 9 times)" in caplog.text
