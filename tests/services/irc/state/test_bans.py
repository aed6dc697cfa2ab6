"""Bans and exempts: what they match, when they end, and whom they meet."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

import argon2
import pytest
from harness import Harness
from hypothesis import given
from hypothesis import strategies as st
from irc_kit import Client, Irc, codes, make_network

from tapd.model.application import Application
from tapd.services.irc import IrcNetwork
from tapd.services.irc.state.accounts import make_proof
from tapd.services.irc.state.bans import (
    DURATION_S_MAX,
    Ban,
    Bans,
    Kind,
    Subject,
    normalize_address,
    parse_duration,
    render_duration,
)
from tapd.services.irc.state.opers import Oper
from tapd.testing import Host, kill_everywhere
from tapd.testing.peers import Peer

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

ANN = Subject("Ann", "~ann", "Ann Real", ("cloak.ip", "192.0.2.7"), "192.0.2.7", "ann")


def ban(kind: Kind, mask: str, **more: Any) -> Ban:
    return Ban(kind, mask, "spam", "", "boss", 0.0, **more)


# --- what they match ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "mask", "is_about"),
    [
        (Kind.MASK, "*!*@192.0.2.7", True),
        (Kind.MASK, "*!*@cloak.ip", True),
        (Kind.MASK, "ann!*@*", True),
        (Kind.MASK, "*!*@192.0.2.0/24", True),
        (Kind.MASK, "bob!*@192.0.2.0/24", False),
        (Kind.MASK, "*!*@198.51.100.0/24", False),
        (Kind.MASK, "~a:ANN", True),
        (Kind.MASK, "~a:bob", False),
        (Kind.ADDRESS, "192.0.2.7", True),
        (Kind.ADDRESS, "192.0.2.0/25", True),
        (Kind.ADDRESS, "192.0.2.128/25", False),
        (Kind.ADDRESS, "2001:db8::/32", False),
        (Kind.REALNAME, "ann *", True),
        (Kind.REALNAME, "bob*", False),
    ],
)
def test_what_a_ban_is_about(kind: Kind, mask: str, is_about: bool) -> None:
    bans = Bans()
    bans.add(ban(kind, mask))
    assert (bans.find(ANN, 1.0) is not None) is is_about
    assert ban(kind, mask).is_about(ANN) is is_about


def test_addresses_of_version_6() -> None:
    bans = Bans()
    bans.add(ban(Kind.ADDRESS, "2001:db8::/32"))
    assert bans.find_address("2001:db8:1::5", 1.0)
    assert not bans.find_address("2001:db9::5", 1.0)
    assert not bans.find_address("localhost", 1.0)
    assert normalize_address("2001:DB8:0::1/32") == "2001:db8::/32"
    assert normalize_address("[2001:db8::1]") == "2001:db8::1"
    assert normalize_address("192.0.2.7/24") == "192.0.2.0/24"
    assert normalize_address("nobody") is None


def test_soft_bans_let_in_who_is_logged_in() -> None:
    soft = ban(Kind.ADDRESS, "192.0.2.0/24", is_soft=True)
    assert not soft.is_about(ANN)
    assert soft.is_about(ANN._replace(account=""))


def test_exempts_of_address_and_mask() -> None:
    for kind, mask in ((Kind.ADDRESS, "192.0.2.7"), (Kind.MASK, "*!~ann@*")):
        bans = Bans()
        bans.add(ban(Kind.ADDRESS, "192.0.2.0/24"))
        bans.add(ban(kind, mask, is_exempt=True))
        assert bans.find(ANN, 1.0) is None
        assert [each.mask for each in bans.listed(None, 1.0)] == [mask]
        assert [each.mask for each in bans.listed(Kind.ADDRESS, 1.0)] == ["192.0.2.0/24"]


def test_a_ban_ends_in_its_second() -> None:
    bans = Bans()
    bans.add(ban(Kind.MASK, "*!*@*", expires_s=100.0))
    assert bans.find(ANN, 99.0)
    assert not bans.find(ANN, 100.0)
    assert not list(bans.listed(Kind.MASK, 100.0))
    assert [each.mask for each in bans.expire(100.0)] == ["*!*@*"]
    assert not bans.entries


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(addresses, st.integers(0, 128), addresses)
def test_networks_are_found_as_ipaddress_has_it(address: Any, bits: int, other: Any) -> None:
    network = ipaddress.ip_network((address, min(bits, address.max_prefixlen)), strict=False)
    bans = Bans()
    bans.add(ban(Kind.ADDRESS, normalize_address(str(network)) or ""))
    assert bans.find_address(str(address), 1.0)
    is_in = other.version == network.version and other in network
    assert (bans.find_address(str(other), 1.0) is not None) is is_in


@given(st.integers(1, int(DURATION_S_MAX)))
def test_durations_are_read_as_they_are_written(seconds: int) -> None:
    assert parse_duration(render_duration(seconds)) == seconds


def test_durations() -> None:
    assert parse_duration("60") == 3600  # minutes, as elsewhere
    assert parse_duration("0") == 0
    assert parse_duration("1d12h") == 129_600
    for text in ("", "x", "1", "5x", "-1", "1d12", "*!*@*", "é"):
        assert (parse_duration(text) is None) is (text != "1")
    assert parse_duration("999999999y") == DURATION_S_MAX


# --- on a network -------------------------------------------------------------------


def with_boss(application: Application) -> Application:
    network = application.services["irc"]
    assert isinstance(network, IrcNetwork)
    network.opers["boss"] = Oper("boss", CHEAP.hash("woohoo"))
    network.opers["mate"] = Oper("mate", CHEAP.hash("woohoo"), ("kill",))
    return application


@pytest.fixture
def irc(serve: Callable[..., Harness]) -> Irc:
    return Irc(serve(with_boss(make_network())))


def oper(irc: Irc, nick: str = "Boss", name: str = "boss") -> Client:
    client = irc.client(nick)
    client.send(f"OPER {name} woohoo")
    for _ in range(1000):
        if irc.network.find_user(nick).is_oper:  # type: ignore[union-attr]
            break
        client.read()
        irc.harness.wait_for(lambda: irc.network.find_user(nick).is_oper)  # type: ignore[union-attr]
    client.read()
    return client


def said(lines: list[str]) -> str:
    return "\n".join(lines)


def test_who_is_banned_goes_and_stays_away(irc: Irc) -> None:
    """465, then ERROR (RFC 2812 section 5.2; modern, ERR_YOUREBANNEDCREEP)."""
    boss, bad = oper(irc), irc.client("Bad", join="#c")
    watcher = irc.client("Ann", join="#c")
    boss.send("KLINE 1h bad!*@* :no spam | seen twice")
    assert "*!*@* is banned for 1h" in said(boss.read()).replace("bad!", "*!")
    end = bad.read_end()
    assert ":irc.test.internal 465 Bad :You are banned: no spam" in end
    assert end[-1] == "ERROR :Closing link: (You are banned: no spam)"
    assert "twice" not in said(end)
    assert ":Bad!~bad@127.0.0.1 QUIT :Banned" in watcher.read()
    again = irc.connect()
    again.send("NICK Bad", "USER x 0 * :x")
    assert " 465 Bad " in said(again.read_end())
    stats = boss.ask("STATS k")
    assert stats[0].startswith(":irc.test.internal 216 Boss K bad!*@* ")
    assert stats[0].endswith(" boss :no spam | seen twice")
    boss.send("UNKLINE BAD!*@*")
    assert "banned no more" in said(boss.read())
    irc.client("Bad")


def test_a_ban_meets_a_change_of_nick(irc: Irc) -> None:
    boss, other = oper(irc), irc.client("Other")
    boss.ask("KLINE evil*!*@*")
    other.send("NICK Evil1")
    assert " 465 Evil1 " in said(other.read_end())


def test_bans_of_addresses_meet_who_only_connects(irc: Irc) -> None:
    boss = oper(irc)
    half = irc.connect()
    half.send("NICK Half")
    assert "add MYSELF" in said(boss.ask("DLINE 127.0.0.0/8 :all of you"))
    irc.network.bans.add(ban(Kind.ADDRESS, "127.0.0.1"))
    late = irc.connect()
    assert late.read_end()[-1] == "ERROR :Closing link: (You are banned: spam)"
    boss.ask("ELINE 127.0.0.1")
    irc.client("Fine")
    assert "E 127.0.0.1 " in said(boss.ask("STATS e"))
    boss.send("UNELINE 127.0.0.1", "DLINE MYSELF 1d 127.0.0.0/8")
    assert " 465 Half " in said(half.read_end())
    assert " 465 Boss " in said(boss.read_end())


def test_bans_by_real_name(irc: Irc) -> None:
    boss, bob = oper(irc), irc.client("Bob")
    boss.ask("XLINE bob\\sre?l :no bobs")
    assert " 465 Bob " in said(bob.read_end())
    assert "X bob\\sre?l 0 boss :no bobs" in said(boss.ask("STATS x"))
    ann = irc.client("Ann")
    assert " 465 Ann " in said(ann.ask("SETNAME :Bob Real"))  # nor is it taken on afterwards
    boss.ask("UNXLINE bob\\sre?l")
    irc.client("Bob")


def test_bans_by_account_meet_the_login(irc: Irc) -> None:
    network = irc.network
    network.accounts.add("ann", make_proof("correct horse"), 0.0)
    boss = oper(irc)
    boss.ask("KLINE ~a:ann :no Ann")
    client = irc.client("Guest", "sasl")
    client.send("AUTHENTICATE PLAIN", "AUTHENTICATE AGFubgBjb3JyZWN0IGhvcnNl")
    irc.harness.wait_for(lambda: network.find_user("Guest") is None)
    end = codes(client.read_end())
    assert end.index("903") < end.index("465") == len(end) - 2


def test_a_soft_ban_asks_for_a_login(irc: Irc) -> None:
    irc.network.accounts.add("zoe", make_proof("correct horse"), 0.0)
    boss = oper(irc)
    assert "add MYSELF" in said(boss.ask("KLINE SOFT 1h *!*@127.0.0.1 :a school"))
    guest = irc.client("Guest")
    boss.send("KLINE SOFT MYSELF 1h *!*@127.0.0.1 :a school")
    for client in (boss, guest):
        assert "You must log in by SASL: a school" in said(client.read_end())
    late = irc.connect()
    late.send("CAP REQ sasl", "NICK Zoe", "USER x 0 * :x")
    late.send("AUTHENTICATE PLAIN", "AUTHENTICATE AHpvZQBjb3JyZWN0IGhvcnNl")
    irc.harness.wait_for(lambda: "903" in codes(late.read()))
    assert "001" in codes(late.ask("CAP END"))


def test_what_is_refused(irc: Irc) -> None:
    boss, mate, user = oper(irc), oper(irc, "Mate", "mate"), irc.client("User")
    assert codes(user.ask("KLINE x!*@*", "STATS k")) == ["481", "481", "219"]
    assert codes(mate.ask("KLINE x!*@*", "DLINE 192.0.2.1")) == ["481", "481"]
    assert codes(boss.ask("KLINE", "KLINE SOFT")) == ["461", "461"]
    for line in ("DLINE nobody", "UNKLINE x!*@*", "KLINE boss!*@*", f"KLINE {'x' * 300}"):
        assert "NOTICE Boss :FAIL " in said(boss.ask(line)), line
    boss.send("KLINE MYSELF *")
    assert " 465 Boss " in said(boss.read_end())


def test_bans_outlive_a_kill_and_end_in_time(irc: Irc) -> None:
    boss = oper(irc)
    boss.ask("KLINE 10 bad!*@* :for ten minutes")
    irc.harness.crash()
    assert [each.mask for each in irc.network.bans.entries.values()] == ["bad!*@*"]
    irc.harness.clock.advance(601)
    assert not irc.network.bans.entries
    irc.client("Bad")


@pytest.fixture
def fixed_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IrcNetwork, "next_reference", lambda _self: "id")


def say(peer: Peer, *lines: str) -> None:
    peer.send("".join(f"{line}\r\n" for line in lines))


def purge(host: Host) -> None:
    boss, bad, good = host.connect(), host.connect(), host.connect()
    say(boss, "NICK Boss", "USER boss 0 * :Boss", "JOIN #d")
    say(bad, "NICK Bad", "USER bad 0 * :Bad", "JOIN #c")
    say(boss, "OPER boss woohoo", "MODE Boss +sc")
    say(good, "NICK Good", "USER good 0 * :Good", "JOIN #c")
    say(boss, "KLINE 1h bad!*@* :out", "XLINE 1 Evil*", "SAJOIN Good #d", "CHGHOST Good a.b")
    again = host.connect()
    say(again, "NICK Bad", "USER bad 0 * :Bad")
    host.clock.advance(61)
    say(boss, "STATS k", "STATS x", "UNKLINE bad!*@*", "LOCKDOWN sasl", "SAMODE #c +m")


@pytest.mark.usefixtures("fixed_ids")
def test_nobody_notices_a_kill_in_a_purge() -> None:
    report = kill_everywhere(with_boss(make_network()), purge)
    assert report.kills > 30
