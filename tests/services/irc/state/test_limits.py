"""Limits: pace of commands, floods, numbers and pace of connections, half registrations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Harness
from hypothesis import given
from hypothesis import strategies as st
from irc_kit import Client, Irc, codes, make_network

from tapd.model.application import Application
from tapd.services.irc import IrcNetwork
from tapd.services.irc.conduct.flood import COSTS, cost_of
from tapd.services.irc.state.bans import Ban, Kind
from tapd.services.irc.state.limits import KEYS_MAX, WAKE_S, Pace, next_due
from tapd.services.irc.state.opers import Oper
from tapd.services.irc.wire.message import Message
from tapd.testing import Host, kill_everywhere
from tapd.testing.peers import Peer
from tapd.wire.addresses import LOCAL, NetworkIndex, network_key, peer_address


@pytest.fixture
def irc(serve: Callable[..., Harness]) -> Irc:
    return Irc(serve(make_network(limits=True)))


def strict_network() -> Application:
    """A network where loopback is no exempt."""
    application = make_network(limits=True)
    network = application.services["irc"]
    assert isinstance(network, IrcNetwork)
    network.limits.exempt = ()
    return application


@pytest.fixture
def strict(serve: Callable[..., Harness]) -> Irc:
    return Irc(serve(strict_network()))


# --- pace -----------------------------------------------------------------------------


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 10))
def test_never_more_than_twice_the_count_in_a_window(gaps: list[float], count: int) -> None:
    """So many at once, and as many again while the window lasts: no more."""
    now_s, due_s, taken = 1000.0, 0.0, []
    for gap in gaps:
        now_s += gap
        due = next_due(due_s, now_s, count, 60.0)
        if due is not None:
            due_s = due
            taken.append(now_s)
    for start in taken:
        assert sum(start <= each < start + 60 for each in taken) <= 2 * count


def test_a_clock_that_is_put_back_stops_nobody_for_long() -> None:
    pace = Pace()
    assert pace.take("a", 10_000.0, 2, 60.0)
    assert pace.take("a", 10_000.0, 2, 60.0)
    assert not pace.take("a", 10_000.0, 2, 60.0)
    assert not pace.take("a", 5_000.0, 2, 60.0)
    assert pace.take("b", 5_000.0, 2, 60.0)
    assert pace.take("a", 10_031.0, 2, 60.0)


def test_costs() -> None:
    assert cost_of(Message("PRIVMSG", ("a", "x"))) == 1
    assert cost_of(Message("PRIVMSG", ("a,b,c", "x"))) == 3
    assert cost_of(Message("JOIN", ("#a,#b",))) == 2 * COSTS["JOIN"]
    assert cost_of(Message("PRIVMSG", ("#a", "x"), {"batch": "1"}), "1") < 0.5
    assert cost_of(Message("WHO", ())) > cost_of(Message("PONG", ()))


def test_who_is_too_fast_waits(irc: Irc) -> None:
    """What is over the pace is run when its time has come, in order, and nothing is lost."""
    ann, bob = irc.client("Ann", join="#c"), irc.client("Bob", join="#c")
    irc.harness.clock.advance(60)
    bob.read()
    ann.send(*(f"PRIVMSG #c :{number}" for number in range(30)))
    heard = [line.rpartition(":")[2] for line in bob.read()]
    assert heard == [str(number) for number in range(20)]
    assert codes(bob.ask("PING x")) == ["PONG"]  # others don't wait
    ann.send("PRIVMSG #c :30")
    assert bob.read() == []
    irc.harness.clock.advance(6)
    heard += [line.rpartition(":")[2] for line in bob.read()]
    assert heard == [str(number) for number in range(31)]
    irc.harness.clock.advance(60)
    assert irc.network.waiting_room.timer is None


def test_many_who_wait_share_one_timer(irc: Irc) -> None:
    clients = [irc.client(f"c{number}") for number in range(5)]
    timers = len(irc.harness.application.delayeds)
    for client in clients:
        client.send(*["VERSION"] * 30)
    assert len(irc.harness.application.delayeds) == timers + 1


def test_what_waits_outlives_a_kill(irc: Irc) -> None:
    ann = irc.client("Ann")
    ann.send(*(f"PING {number}" for number in range(100)))
    got = [line.rpartition(":")[2] for line in ann.read()]
    assert 0 < len(got) < 100
    irc.harness.crash()
    for _ in range(60):
        irc.harness.clock.advance(WAKE_S)
        got += [line.rpartition(":")[2] for line in ann.read()]
    assert got == [str(number) for number in range(100)]


def test_an_excess_of_input_ends_a_connection(irc: Irc) -> None:
    """What one that is over its pace sends on is bounded."""
    ann = irc.client("Ann")
    ann.send_raw(b"PRIVMSG Ann :x\r\n" * 3000)
    assert ann.read_end()[-1] == "ERROR :Closing link: (Excess flood)"
    assert irc.network.find_user("Ann") is None


def test_half_registered_clients_have_a_pace_too(irc: Irc) -> None:
    client = irc.connect()
    client.send_raw(b"CAP LS\r\n" * 100)
    got = len(client.read())
    assert 0 < got < 100
    for _ in range(60):
        irc.harness.clock.advance(WAKE_S)
        got += len(client.read())
    assert got == 100


def test_memory_of_a_session_is_bounded(irc: Irc) -> None:
    """Neither a line without an end nor lines that wait are kept without a limit."""
    client = irc.client("Ann")
    session = irc.network.users["ann"].sessions[0]
    for _ in range(10):
        client.send_raw(b"x" * 60_000)
        assert len(session.pending) <= 5000
    client.send_raw(b"\r\n" + b"PING x\r\n" * 1500)
    assert 0 < len(session.pending) <= irc.network.limits.flood_bytes
    client.send_raw(b"PING x\r\n" * 1500)  # stays in the kernel
    assert 0 < len(session.pending) <= irc.network.limits.flood_bytes


def test_operators_with_the_privilege_do_not_wait(irc: Irc) -> None:
    ann = irc.client("Ann")
    user = irc.network.users["ann"]
    irc.network.opers["boss"] = Oper("boss", "", ("flood",))
    user.oper = "boss"
    irc.network.set_user_mode(user, "o", on=True)
    assert codes(ann.ask(*["PING x"] * 200)) == ["PONG"] * 200


def test_changes_of_nick(irc: Irc) -> None:
    """438 as most servers have it."""
    ann = irc.client("Ann")
    answers = codes(ann.ask(*(f"NICK Ann{number}" for number in range(8))))
    assert answers == ["NICK"] * 6 + ["438"] * 2
    irc.harness.clock.advance(30)
    assert codes(ann.ask("NICK Other")) == ["NICK"]


def test_people_one_begins_to_write_to(irc: Irc) -> None:
    """439, as most servers have it; who wrote first is answered freely."""
    irc.network.limits.lines_per_s = 0
    irc.network.limits.new_targets_per_minute = 3
    ann, eve = irc.client("Ann"), irc.client("Eve")
    for number in range(5):
        irc.client(f"c{number}")
    lines = [f"PRIVMSG c{number} :buy" for number in range(5)]
    assert codes(ann.ask(*lines)) == ["439", "439"]
    assert codes(ann.ask("PRIVMSG c0 :again", "PRIVMSG Ann :self")) == ["PRIVMSG"]
    eve.send("PRIVMSG Ann :hello")
    assert codes(ann.ask("PRIVMSG Eve :hello")) == []
    assert codes(ann.ask("NOTICE c4 :buy")) == []  # a NOTICE is never answered
    irc.harness.clock.advance(60)
    assert codes(ann.ask("PRIVMSG c4 :sorry")) == []


# --- connections ----------------------------------------------------------------------


def ends(client: Client) -> str:
    return client.read_end()[-1]


def test_connections_of_one_address(strict: Irc) -> None:
    strict.network.limits.connections_per_address = 2
    first, _second = strict.client("A"), strict.client("B")
    assert ends(strict.connect()) == "ERROR :Closing link: (Too many connections from your address)"
    first.send("QUIT")
    first.read_end()
    strict.harness.crash()  # counted anew, from what there is
    strict.client("C")
    assert "your address" in ends(strict.connect())


def test_connections_of_one_network_and_of_all(strict: Irc) -> None:
    limits = strict.network.limits
    limits.connections_per_network = 1
    strict.client("A")
    assert "your network" in ends(strict.connect())
    limits.connections_per_network, limits.connections = 0, 1
    assert "Too many connections)" in ends(strict.connect())
    network = strict.network
    network.bans.add(Ban(Kind.ADDRESS, "127.0.0.1", "", "", "", 0.0, is_exempt=True))
    strict.client("B")


def test_pace_of_connections(strict: Irc) -> None:
    """Who connects again and again is refused without a word: that costs least."""
    strict.network.limits.connections_per_minute = 3
    for _ in range(3):
        strict.connect().peer.sock.close()
    assert strict.connect().read_end() == []
    strict.harness.clock.advance(21)
    strict.client("Ann")


def test_loopback_is_exempt(irc: Irc) -> None:
    limits = irc.network.limits
    limits.connections_per_address = limits.connections_per_minute = 1
    for nick in ("A", "B", "C"):
        irc.client(nick)
    assert limits.is_exempt(LOCAL)
    assert limits.is_exempt("0::1")
    assert not limits.is_exempt("192.0.2.1")


def test_the_oldest_half_registration_goes(irc: Irc) -> None:
    irc.network.limits.half_registered = 2
    clients = [irc.connect() for _ in range(3)]
    assert ends(clients[0]) == "ERROR :Closing link: (Too many registrations at once)"
    for number, client in enumerate(clients[1:]):
        client.register(f"n{number}")


def test_accounts_of_one_address(strict: Irc) -> None:
    strict.network.limits.accounts_per_hour = 1
    strict.network.ping_s = 1e6
    network = strict.network
    client = strict.client("Ann", "draft/account-registration standard-replies")
    client.send("REGISTER * * correct-horse")
    strict.harness.wait_for(lambda: network.accounts.find("Ann"))
    client.read()
    other = strict.client("Bob", "draft/account-registration standard-replies")
    assert "TEMPORARILY_UNAVAILABLE" in other.ask("REGISTER * * correct-horse")[0]
    strict.harness.clock.advance(3600)
    other.send("REGISTER * * correct-horse")
    strict.harness.wait_for(lambda: network.accounts.find("Bob"))


def test_keys_of_networks() -> None:
    assert network_key("192.0.2.1", 24, 64) == network_key("192.0.2.255", 24, 64)
    assert network_key("192.0.2.1", 24, 64) != network_key("192.0.3.1", 24, 64)
    assert network_key("2001:db8::1", 24, 64) == network_key("2001:db8::ffff", 24, 64)
    assert network_key(LOCAL, 24, 64) == LOCAL
    index = NetworkIndex(["192.0.2.0/24", "192.0.2.128/25", LOCAL])
    assert index.find("192.0.2.200") == ["192.0.2.128/25", "192.0.2.0/24"]
    assert LOCAL in index
    assert peer_address(("::ffff:192.0.2.1", 1, 0, 0)) == "192.0.2.1"


# --- kills ----------------------------------------------------------------------------


@pytest.fixture
def fixed_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IrcNetwork, "next_reference", lambda _self: "id")


def say(peer: Peer, *lines: str) -> None:
    peer.send("".join(f"{line}\r\n" for line in lines))


def crowd(host: Host) -> None:
    """Two who write too fast; nobody else is disturbed, and each gets all that is theirs."""
    ann, bob = host.connect(), host.connect()
    say(ann, "NICK Ann", "USER a 0 * :A")
    say(bob, "NICK Bob", "USER b 0 * :B")
    host.clock.advance(60)
    say(ann, *(f"PING a{number}" for number in range(70)))
    say(bob, *(f"PING b{number}" for number in range(60)), "QUI")
    bob.send("T\r\n")
    host.clock.advance(40)


@pytest.mark.usefixtures("fixed_ids")
def test_nobody_notices_a_kill_while_some_wait() -> None:
    report = kill_everywhere(make_network(limits=True), crowd)
    assert report.kills > 20


def test_a_flood_of_addresses_is_not_looked_through_for_each() -> None:
    """Tens of thousands of networks that all connect now: none of them can be forgotten yet."""
    pace = Pace()
    tables = [pace._due_s]
    for number in range(3 * KEYS_MAX):
        assert pace.take(str(number), 0.0, 1, 60.0)
        if pace._due_s is not tables[-1]:
            tables.append(pace._due_s)
    assert len(tables) <= 3
    pace.take("later", 100.0, 1, 60.0)
    for number in range(2 * KEYS_MAX):
        pace.take(str(number), 200.0 + number, 1, 60.0)
    assert len(pace._due_s) <= 4 * KEYS_MAX


def test_lines_that_are_alike_count_each(strict: Irc) -> None:
    """What is pasted into a channel is counted as what is typed."""
    ann, bob = strict.client("Ann", join="#a"), strict.client("Bob", join="#a")
    strict.harness.clock.advance(60.0)
    count = strict.network.limits.burst_lines
    bob.read()
    ann.send(*["PRIVMSG #a :x"] * (count * 3))
    assert len(bob.read()) == count
