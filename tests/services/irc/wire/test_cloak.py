"""Cloaks: what is shown in place of addresses, what bans on them do, who sees more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Harness
from hypothesis import given
from hypothesis import strategies as st
from irc_kit import Client, Irc, codes, make_network

from tapd.services.irc.state.accounts import make_proof
from tapd.services.irc.state.opers import Oper
from tapd.services.irc.wire.cloak import cloak_account, cloak_address
from tapd.services.irc.wire.names import HOST_BYTES_MAX

KEY = b"k" * 32


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_networks_share_the_end_of_their_cloaks(one: object, other: object) -> None:
    first, second = cloak_address(KEY, str(one)), cloak_address(KEY, str(other))
    for parts, octets in ((1, 4), (2, 3), (3, 2)):
        is_same = str(one).split(".")[:octets] == str(other).split(".")[:octets]
        tails = [".".join(each.split(".")[parts - 1 :]) for each in (first, second)]
        assert (tails[0] == tails[1]) is is_same


@given(st.ip_addresses(v=6))
def test_cloaks_are_hosts(address: object) -> None:
    cloak = cloak_address(KEY, str(address))
    assert len(cloak) <= HOST_BYTES_MAX
    assert cloak.endswith(".ip")
    assert cloak.count(".") == 3
    assert cloak != cloak_address(b"other", str(address))


def test_addresses_of_one_customer_have_one_cloak() -> None:
    assert cloak_address(KEY, "2001:db8::1") == cloak_address(KEY, "2001:db8::2")
    assert cloak_address(KEY, "2001:db8::1") != cloak_address(KEY, "2001:db8:0:1::1")
    assert cloak_address(KEY, "localhost") == "localhost"


def test_accounts_have_their_own() -> None:
    assert cloak_account("Ann", "My Net!") == "Ann.mynet"
    assert len(cloak_account("a" * 32, "n" * 32)) <= HOST_BYTES_MAX


@pytest.fixture
def irc(serve: Callable[..., Harness]) -> Irc:
    return Irc(serve(make_network(cloaks=True)))


def host_of(irc: Irc, nick: str) -> str:
    user = irc.network.find_user(nick)
    assert user is not None
    return user.host


def test_nobody_sees_an_address(irc: Irc) -> None:
    ann, bob = irc.client("Ann", "userhost-in-names", join="#c"), irc.client("Bob", join="#c")
    cloak = cloak_address(irc.network.cloak_key, "127.0.0.1")
    assert host_of(irc, "Bob") == cloak
    assert f":Bob!~bob@{cloak} JOIN #c" in ann.read()
    ann.send("WHOIS Bob", "WHO Bob %hiu", "NAMES #c", "USERHOST Bob", "WHOWAS Bob", "WHO Bob")
    bob.send("NICK Rob", "PRIVMSG #c :x", "QUIT :bye")
    ann.send("WHOWAS Rob")
    assert "127.0.0.1" not in "\n".join(ann.read())


def make_oper(irc: Irc, nick: str, *privileges: str) -> None:
    user = irc.network.find_user(nick)
    assert user is not None
    irc.network.opers[nick] = Oper(nick, "", privileges)
    user.oper = nick
    irc.network.set_user_mode(user, "o", on=True)


def test_operators_who_may_see_it(irc: Irc) -> None:
    boss, mate = irc.client("Boss"), irc.client("Mate")
    irc.client("Ann")
    make_oper(irc, "Boss", "see")
    make_oper(irc, "Mate", "kill")
    assert any("338 Boss Ann ~ann@127.0.0.1 127.0.0.1" in line for line in boss.ask("WHOIS Ann"))
    assert boss.ask("WHO Ann %i")[0].endswith(" 127.0.0.1")
    assert "338" not in codes(mate.ask("WHOIS Ann"))
    assert mate.ask("WHO Ann %i")[0].endswith(" 255.255.255.255")


def test_a_channels_ban_on_a_network(irc: Irc) -> None:
    """The parts of a cloak stand for networks, and an address does not match."""
    boss = irc.client("Boss", join="#c")
    tail = cloak_address(irc.network.cloak_key, "127.0.0.1").partition(".")[2]
    boss.ask("MODE #c +b *!*@127.0.0.*")
    assert codes(irc.client("Ann").ask("JOIN #c"))[0] == "JOIN"
    boss.ask(f"MODE #c +b *!*@*.{tail}")
    assert codes(irc.client("Bob").ask("JOIN #c")) == ["474"]


def test_a_network_ban_matches_the_address(irc: Irc) -> None:
    boss, ann = irc.client("Boss"), irc.client("Ann")
    make_oper(irc, "Boss", "ban")
    boss.send("KLINE ann!*@127.0.0.0/8 :out")
    assert "465" in codes(ann.read_end())


def log_in(irc: Irc, client: Client) -> None:
    client.send("AUTHENTICATE PLAIN", "AUTHENTICATE AHpvZQBjb3JyZWN0IGhvcnNl")
    irc.harness.wait_for(lambda: "903" in codes(client.read()))


def test_who_logs_in_has_the_accounts_host(irc: Irc) -> None:
    """With CHGHOST to who knows it, and 396 to the client (IRCv3 chghost; RPL_VISIBLEHOST)."""
    irc.network.accounts.add("Zoe", make_proof("correct horse"), 0.0)
    watcher = irc.client("Ann", "chghost", join="#c")
    early = irc.connect()
    early.send("CAP REQ sasl", "NICK Zoe", "USER zoe 0 * :Zoe")
    log_in(irc, early)
    early.send("CAP END")
    assert host_of(irc, "Zoe") == "Zoe.test"
    early.send("QUIT")
    late = irc.client("Late", "sasl chghost", join="#c")
    watcher.read()
    log_in(irc, late)
    assert watcher.read()[0].endswith(" CHGHOST ~late Zoe.test")
    assert host_of(irc, "Late") == "Zoe.test"


def test_an_operator_gives_hosts(irc: Irc) -> None:
    boss, ann = irc.client("Boss"), irc.client("Ann")
    make_oper(irc, "Boss", "host")
    own = host_of(irc, "Ann")
    boss.ask("CHGHOST Ann staff/ann")
    assert host_of(irc, "Ann") == "staff/ann"
    assert codes(ann.read()) == ["396"]
    assert "FAIL CHGHOST INVALID_HOST" in boss.ask("CHGHOST Ann a!b")[-1]
    boss.ask("CHGHOST Ann *")
    assert host_of(irc, "Ann") == own
