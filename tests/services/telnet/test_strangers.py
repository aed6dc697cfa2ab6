"""What one stranger can cost a telnet server; docs/strangers.md says so as a table."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest
from harness import Harness, Peer, harnesses

from tapd.model.access.accounts import Account
from tapd.model.application import QUEUE_GROUP_MAX, Application
from tapd.net.rate_limit import EACH_S
from tapd.services.telnet import ShellFactory
from tapd.services.telnet.login import INPUT_BYTES_MAX, LINES_AT_ONCE, TYPED_BYTES_MAX

HOSTILE, HONEST = "127.0.0.66", "127.0.0.1"
_CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_HASH, _DECOY = _CHEAP.hash("woohoo"), _CHEAP.hash("decoy")
_OBJECTS_BYTES = 4096
"""A session's objects, with nothing in them, as they are saved: at most."""


# --- memory: what is kept of one who is not logged in ----------------------------


def state_bytes(server: Any) -> int:
    """Return the size of the application as it is saved."""
    return len(pickle.dumps(server.application))


@pytest.mark.parametrize(
    "data",
    [
        b"admin\nwrong\n" + b"x" * 65536,
        b"admin\nwrong\n" + b"admin\nwrong\n" * 5000,
        b"\n" * 65536,
        b"\xff\xf1" * 32768,  # IAC NOP
        b"\xff\xfb\x18" * 20000,  # IAC WILL TERMINAL-TYPE
        b"\xff\xfa\x18" + b"x" * 65536,  # a subnegotiation without end
        b"\x1b[" * 32768,
        b"x\x7f" * 32768,
    ],
)
def test_of_what_a_stranger_sends_4_kib_are_read_and_kept(server: Any, data: bytes) -> None:
    before = state_bytes(server)
    client = server.connect()
    client.send(data)
    taken = len(data) - len(client.unread)
    assert taken <= INPUT_BYTES_MAX + 1
    assert client.transport.paused or client.transport.closed
    assert state_bytes(server) - before <= INPUT_BYTES_MAX + _OBJECTS_BYTES


@pytest.mark.parametrize("size", [1, 7, 500, 4096])
def test_what_is_too_much_is_said_and_closes(server: Any, size: int) -> None:
    client = server.connect()
    data = b"\xff\xf1" * (INPUT_BYTES_MAX // 2)  # IAC NOP
    for start in range(0, INPUT_BYTES_MAX, size):
        client.send(data[start : start + size])
    assert not client.transport.closed
    client.send(b"\xff")
    assert client.transport.closed
    assert client.read().endswith(b"\r\nMore than 4 KiB were sent before the login.\r\n")


def test_what_is_sent_with_the_login_is_read_after_it(server: Any) -> None:
    """A script that is piped into nc is longer than what a stranger may send."""
    client = server.connect()
    lines = b"".join(b"total = %d\n" % number for number in range(5000))
    client.send(b"admin\nwoohoo\ntotal = 0\n" + lines + b"total\n")
    client.deliver()
    assert client.read().endswith(b"4999\r\n>>> ")
    assert client.transport.read_bytes_max == 65536


def test_what_is_sent_with_a_wrong_password_is_not_read(server: Any) -> None:
    client = server.connect()
    client.send(b"admin\nwrong\n" + b"x" * 60_000)
    assert len(client.unread) >= 60_000 - INPUT_BYTES_MAX
    server.advance(1)
    assert client.transport.closed
    assert b"More than 4 KiB" in client.read()


def test_the_allowance_is_not_renewed_by_a_kill(server: Any) -> None:
    client = server.connect()
    for _ in range(8):
        client.send(b"\xff\xf1" * 256)
        server.kill()
    assert client.transport.read_bytes_max == 1
    client.send(b"\xff")
    assert client.transport.closed


# --- time: hashes ---------------------------------------------------


def verifying(server: Any, count: int, host: str) -> list[Any]:
    """Return clients whose password waits to be checked, or was refused."""
    clients = []
    for port in range(count):
        client = server.connect((host, 1000 + port))
        client.read()
        client.session.data_received(b"admin\nwrong\n")
        clients.append(client)
    return clients


def test_one_hash_is_made_at_a_time(server: Any) -> None:
    verifying(server, 10, "192.0.2.7")
    assert len(server.runtime.jobs) == 1
    assert len(server.runtime.queue) == 10


def test_an_honest_login_waits_for_two_hashes_however_many_others_wait(server: Any) -> None:
    verifying(server, 500, "192.0.2.7")
    honest = server.connect(("198.51.100.1", 1))
    honest.session.data_received(b"admin\nwoohoo\n")
    checks = 0
    while honest.session.login is not None:
        assert server.turn()
        checks += 1
    assert checks <= 3  # the one that ran, one of theirs, and its own


def test_who_has_too_many_is_told(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    clients = verifying(server, QUEUE_GROUP_MAX + 3, "192.0.2.7")
    for client in clients[:QUEUE_GROUP_MAX]:
        assert client.transport.paused
        assert not client.transport.closed
    for client in clients[QUEUE_GROUP_MAX:]:
        assert client.transport.closed
        assert client.read().endswith(
            b"\r\nToo many passwords are being checked for your address; try again later.\r\n"
        )
    assert "login failed from 192.0.2.7" in caplog.text


def test_a_check_of_a_connection_that_is_gone_is_not_made(server: Any) -> None:
    clients = verifying(server, 500, "192.0.2.7")
    for client in clients:
        client.session.connection_lost(None)
        client.session.transport = None
    server.settle()
    assert len(server.runtime.queue) == 0
    assert server.runtime.queue.dropped == QUEUE_GROUP_MAX - 1


def test_all_checks_are_asked_for_again_after_a_kill(server: Any) -> None:
    clients = verifying(server, QUEUE_GROUP_MAX, "192.0.2.7")
    server.kill()
    assert len(server.runtime.queue) == QUEUE_GROUP_MAX
    server.settle()
    server.advance(1)
    for client in clients:
        assert client.read().endswith(b"Login incorrect.\r\nusername: ")


def test_two_networks_of_ipv6_are_two_addresses(server: Any) -> None:
    for number in range(QUEUE_GROUP_MAX):
        verifying(server, 1, f"2001:db8::{number + 1:x}")
    (refused,) = verifying(server, 1, "2001:db8::ffff")
    (taken,) = verifying(server, 1, "2001:db8:0:1::1")
    assert refused.transport.closed
    assert not taken.transport.closed


# --- log lines ---------------------------------------------------


def test_failed_logins_are_a_few_lines_with_their_number(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        client = server.connect(("192.0.2.7", 4321))
        client.send(b"x" * (TYPED_BYTES_MAX + 1))
    client = server.connect(("198.51.100.9", 1))
    client.send(b"x" * (TYPED_BYTES_MAX + 1))
    assert len(caplog.records) == LINES_AT_ONCE
    server.runtime.tellings.close()
    assert len(caplog.records) == LINES_AT_ONCE + 1
    assert caplog.messages[-1] == (
        "and 98 more like it (192.0.2.7 97 times, 198.51.100.9 1 times); "
        "the last: login failed from 198.51.100.9:1: input too long"
    )
    assert caplog.records[-1].TAPD_PEER == "198.51.100.9:1"  # type: ignore[attr-defined]


# --- connections, over real sockets ---------------------------------------------------


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Harness]]:
    """Make servers; hashes are as cheap as they get."""
    monkeypatch.setattr("tapd.services.telnet.login.decoy_hash", lambda: _DECOY)
    makers = harnesses(tmp_path)
    make = next(makers)

    def serve(**options: Any) -> Harness:
        application = Application("shell")
        service = ShellFactory()
        service.connections_max = 20
        application.add_service(service)
        application.authorizer.accounts["admin"] = Account("admin", _HASH)
        return make(application, **options)

    yield serve
    for _ in makers:
        pass


def is_asked(peer: Peer) -> bool:
    return peer.read().endswith(b"username: ")


def shell_of(harness: Harness) -> ShellFactory:
    service = harness.application.services["shellfactory"]
    assert isinstance(service, ShellFactory)
    return service


def test_one_address_has_a_quarter_of_all_connections(
    harness: Callable[..., Harness], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tapd")
    server = harness()
    peers = [server.connect(HOSTILE) for _ in range(30)]
    assert [is_asked(peer) for peer in peers[:5]] == [True] * 5
    for peer in peers[5:]:
        assert peer.read_end().endswith(
            b"Too many connections from your address; try again later.\r\n"
        )
    assert is_asked(server.connect(HONEST))
    refusals = [text for text in caplog.messages if "refused a connection" in text]
    assert len(refusals) == 1
    assert f"{HOSTILE} has 5 connections, as many as one address may have" in refusals[0]
    server.clock.advance(EACH_S)
    assert "and 24 more like it" in caplog.text


def test_a_place_that_is_free_again_is_given_again(harness: Callable[..., Harness]) -> None:
    server = harness()
    peers = [server.connect(HOSTILE) for _ in range(5)]
    assert not is_asked(server.connect(HOSTILE))
    peers[0].sock.close()
    server.pump()
    assert is_asked(server.connect(HOSTILE))
    assert not is_asked(server.connect(HOSTILE))


def test_connections_count_in_the_next_process_as_well(harness: Callable[..., Harness]) -> None:
    server = harness()
    peers = [server.connect(HOSTILE) for _ in range(5)]
    server.crash()
    server.pump()
    assert not is_asked(server.connect(HOSTILE))
    assert is_asked(server.connect(HONEST))
    peers[0].sock.close()
    server.pump()
    assert is_asked(server.connect(HOSTILE))


def test_what_was_set_counts_and_0_is_no_limit(harness: Callable[..., Harness]) -> None:
    server = harness()
    shell_of(server).connections_per_address_max = 2
    assert [is_asked(server.connect(HOSTILE)) for _ in range(3)] == [True, True, False]
    shell_of(server).connections_per_address_max = 0
    assert all(is_asked(server.connect(HOSTILE)) for _ in range(18))
    assert server.connect(HONEST).read_end() == b"Too many connections; try again later.\r\n"


def test_a_unix_socket_is_not_counted(harness: Callable[..., Harness]) -> None:
    server = harness(family="unix")
    assert all(is_asked(server.connect()) for _ in range(20))


# --- the journal ---------------------------------------------------


def journal_bytes(server: Harness) -> int:
    return sum(path.stat().st_size for path in server.path.with_suffix(".d").glob("journal-*"))


# As docs/strangers.md has them.
CONNECTION_BYTES = 2048
REFUSED_BYTES = 1024
INPUT_RECORD_BYTES = 512


def test_what_a_connection_costs_the_journal(harness: Callable[..., Harness]) -> None:
    server = harness(strict=False)
    server.connect(HOSTILE)
    before = journal_bytes(server)
    server.connect(HOSTILE)
    assert journal_bytes(server) - before < CONNECTION_BYTES
    for _ in range(3):
        server.connect(HOSTILE)
    before = journal_bytes(server)
    server.connect(HOSTILE).read_end()
    assert journal_bytes(server) - before < REFUSED_BYTES


def test_what_the_dearest_input_costs_the_journal(harness: Callable[..., Harness]) -> None:
    """A name that is typed byte by byte is sealed anew with each."""
    server = harness(strict=False)
    peer = server.connect(HOSTILE)
    before = journal_bytes(server)
    for _ in range(100):
        for _ in range(TYPED_BYTES_MAX // 100):
            peer.send(b"x")
    each = (journal_bytes(server) - before) / (100 * (TYPED_BYTES_MAX // 100))
    assert each < TYPED_BYTES_MAX + INPUT_RECORD_BYTES
