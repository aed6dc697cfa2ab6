"""One connection: where it comes from, bursts, halves of lines, and what is closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Harness
from irc_kit import SERVER, Irc, codes, make_network

from tapd.services.irc.wire.message import safe_parameter
from tapd.wire.addresses import peer_address


@pytest.mark.parametrize(
    ("peername", "address"),
    [
        (("192.0.2.7", 5), "192.0.2.7"),
        (("2001:db8::1", 5, 0, 0), "2001:db8::1"),
        (("::1", 5, 0, 0), "0::1"),  # a parameter can't begin with a colon
        (("::ffff:192.0.2.7", 5, 0, 0), "192.0.2.7"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::1"),
        ("", "localhost"),
        ("/run/client", "localhost"),
        (None, "localhost"),
    ],
)
def test_addresses_of_peers(peername: object, address: str) -> None:
    assert peer_address(peername) == address


@pytest.mark.parametrize(
    ("text", "shown"), [("a", "a"), ("", "*"), ("a b", "a"), (" ", "*"), (":a", "*a"), (": b", "*")]
)
def test_what_a_client_sent_stands_in_the_middle_of_a_message(text: str, shown: str) -> None:
    assert safe_parameter(text) == shown


def test_over_a_unix_socket(serve: Callable[..., Harness]) -> None:
    irc = Irc(serve(make_network(), family="unix"))
    ann = irc.client("Ann", join="#a")
    irc.harness.crash()
    assert ann.ask("WHOIS Ann")[0] == f":{SERVER} 311 Ann Ann ~ann localhost * :Ann Real"


def test_lines_in_one_piece_and_lines_in_many(irc: Irc) -> None:
    ann = irc.client("Ann")
    lines = ann.ask(*(f"PING {number}" for number in range(300)))
    assert [int(line.rpartition(":")[2]) for line in lines] == list(range(300))
    for byte in b"PING half\r\n":
        ann.send_raw(bytes([byte]))
    assert ann.read() == [f":{SERVER} PONG {SERVER} :half"]


def test_a_line_without_an_end_is_kept_in_bounds(irc: Irc) -> None:
    ann = irc.client("Ann")
    for _ in range(20):
        ann.send_raw(b"x" * 4000)
    (session,) = irc.network.registered_sessions()
    assert len(session.pending) < 5000
    irc.harness.crash()
    ann.send_raw(b"\r\nPING after\r\n")
    assert codes(ann.read()) == ["417", "PONG"]


def test_a_client_that_shuts_its_half_is_closed(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    bob.send("PRIVMSG #a :last words")
    bob.peer.sock.shutdown(1)
    irc.harness.wait_for(lambda: "bob" not in irc.network.users)
    assert codes(ann.read())[-2:] == ["PRIVMSG", "QUIT"]


def test_numerics_address_a_client_without_a_nick_by_a_star(irc: Irc) -> None:
    client = irc.connect()
    assert client.ask("NICK")[0].startswith(f":{SERVER} 431 * ")
    client.send("NICK Ann")
    assert client.ask("USER")[0].startswith(f":{SERVER} 461 Ann ")
