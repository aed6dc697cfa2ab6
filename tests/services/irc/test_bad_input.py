"""What the specifications forbid and clients send: an answer as the references say, and no harm."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from irc_kit import Client, Irc, codes, make_network

from tapd.services.irc.conduct.command_table import COMMANDS
from tapd.services.irc.wire.message import BODY_BYTES_MAX, CLIENT_TAGS_BYTES_MAX
from tapd.testing import Host


def answer(client: Client, data: bytes) -> list[str]:
    client.read()
    client.send_raw(data)
    return client.read()


@pytest.fixture
def ann(irc: Irc) -> Client:
    return irc.client("Ann", "message-tags standard-replies")


def test_every_command_misses_its_parameters(ann: Client) -> None:
    """461 (modern, ERR_NEEDMOREPARAMS), or what the command's own section says in its place."""
    for name, each in COMMANDS.items():
        if each.params and not each.only_before_registration:
            assert codes(ann.ask(name))[0] in ("461", "481", "411"), name
            short = " ".join([name, *["x"] * (each.params - 1)])
            assert codes(ann.ask(short))[0] in ("461", "481", "411"), short


def test_every_command_before_registration(irc: Irc) -> None:
    """451 (modern, ERR_NOTREGISTERED)."""
    client = irc.connect()
    for name, each in COMMANDS.items():
        if not each.before_registration:
            assert codes(client.ask(f"{name} a b c d")) == ["451"], name
    assert codes(client.ask("NONSENSE")) == ["451"]


def test_what_belongs_before_registration(ann: Client) -> None:
    """462 (modern, ERR_ALREADYREGISTERED)."""
    for name, each in COMMANDS.items():
        if each.only_before_registration:
            assert codes(ann.ask(f"{name} a b c d")) == ["462"], name


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\r\n\r\n\n\r", []),  # empty messages are ignored (RFC 1459 section 2.3.1)
        (b"PING a\rPING b\nPING c\r\n", ["PONG"] * 3),  # bare CR and LF end a line
        (b"PING " + b"x" * BODY_BYTES_MAX + b"\r\n", ["417"]),  # message-tags, 417
        (b"@+a=" + b"x" * CLIENT_TAGS_BYTES_MAX + b" PING x\r\n", ["417"]),
        (b"PING x\0y\r\n", ["FAIL"]),  # RFC 2812 section 2.3.1: no NUL
        (b"PRIVMSG Ann :\xff\xfe\r\n", ["FAIL"]),  # UTF8ONLY: FAIL INVALID_UTF8
        (b"\xff\xff\r\n", ["FAIL"]),
        (b":ann!x@y PING x\r\n", ["PONG"]),  # a source is ignored
        (b":onlyasource\r\n", ["FAIL"]),
        (b"@only=tags\r\n", ["FAIL"]),
        (b"   PING   x   \r\n", ["PONG"]),
        (b"NONSENSE\r\n", ["421"]),
        (b"1234 x\r\n", ["FAIL"]),
        (b"PRIVMSG\r\n", ["411"]),
        (b"PRIVMSG Ann\r\n", ["412"]),
        (b"PRIVMSG nobody :x\r\n", ["401"]),
        (b"NOTICE nobody :x\r\nNOTICE\r\n", []),  # never answered (RFC 1459 section 4.4.2)
        (b"JOIN :#a b\r\n", ["403"]),
        (b"JOIN #" + b"x" * 64 + b"\r\n", ["403"]),
        (b"NICK 1ann\r\n", ["432"]),
        (b"NICK " + b"x" * 33 + b"\r\n", ["432"]),
        (b"NICK\r\n", ["431"]),
        (b"MODE Ann +%\r\n", ["501"]),
        (b"MODE #nowhere +o Ann\r\n", ["403"]),
        (b"PING " + b" ".join([b"x"] * 40) + b"\r\n", ["PONG"]),
        (b"GET / HTTP/1.1\r\n", ["421"]),
    ],
)
def test_bad_lines(ann: Client, data: bytes, expected: list[str]) -> None:
    got = codes(answer(ann, data))
    assert got == expected
    assert codes(ann.ask("PING still")) == ["PONG"]


def test_a_line_without_an_end_costs_no_more_than_its_limit(irc: Irc, ann: Client) -> None:
    session = irc.network.users["ann"].sessions[0]
    for _ in range(30):
        ann.send_raw(b"y" * 4096)
    assert len(session.pending) <= 5000
    assert codes(answer(ann, b"\r\nPING x\r\n")) == ["417", "PONG"]


def test_half_registrations_end(irc: Irc) -> None:
    """What never says enough goes after `registration_s`, whatever it says meanwhile."""
    halves = [irc.connect() for _ in range(4)]
    for client, line in zip(halves, ("", "NICK Half", "USER a 0 * :A", "CAP LS 302"), strict=True):
        if line:
            client.send(line)
    for _ in range(8):
        irc.harness.clock.advance(10)
        for client in halves:
            if irc.network.half_registered:
                client.send("PING x")
    for client in halves:
        assert client.read_end()[-1] == "ERROR :Closing link: (Registration timed out)"
    assert not irc.network.half_registered


pieces = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b"\0", b"PRIVMSG Ann :", b"JOIN #a", b"@label=1 ", b":", b" ",
         b"\xe2\x82", b"CAP LS 302", b"x" * 600, b"AUTHENTICATE ", b"BATCH +1 draft/multiline #a",
         b"@batch=1 PRIVMSG #a :x", b"y" * 5000]
    ),
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(pieces, max_size=30))
def test_nothing_that_is_sent_is_kept_without_a_limit(sent: list[bytes]) -> None:
    with Host(make_network(limits=True), raise_errors=True) as host:
        peer = host.connect()
        peer.send("NICK Ann\r\nUSER u 0 * :Ann\r\nCAP REQ :batch draft/multiline\r\n")
        for piece in sent:
            if not peer.has_ended:
                peer.send(piece)
        network = host.service("irc")
        for user in network.users.values():
            for session in user.sessions:
                assert len(session.pending) <= network.limits.flood_bytes + 5000
                assert len(session.sasl_input) < 10_000
