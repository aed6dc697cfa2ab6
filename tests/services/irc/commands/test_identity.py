"""Accounts and hosts that change, capabilities that come and go, several clients on one nick."""

from __future__ import annotations

from irc_kit import SERVER, Irc, codes, tags_of, untagged

from tapd.services.irc.commands.negotiation import announce
from tapd.services.irc.conduct.identity import change_host, set_account
from tapd.services.irc.wire import capabilities


def test_account_notify(irc: Irc) -> None:
    """IRCv3 account-notify; 900 and 901."""
    ann = irc.client("Ann", "account-notify", join="#a")
    bob = irc.client("Bob", "account-notify", join="#a")
    eve = irc.client("Eve", join="#a")
    for client in (ann, bob):
        client.read()
    user = irc.network.users["ann"]
    set_account(irc.network, user, "anna")
    set_account(irc.network, user, "anna")
    irc.harness.pump()
    assert [untagged(line) for line in bob.read()] == [":Ann!~ann@127.0.0.1 ACCOUNT anna"]
    assert [untagged(line) for line in ann.read()] == [
        ":Ann!~ann@127.0.0.1 ACCOUNT anna",
        f":{SERVER} 900 Ann Ann!~ann@127.0.0.1 anna :You are now logged in as anna",
        f":{SERVER} MODE Ann +r",
    ]
    assert eve.read() == []
    set_account(irc.network, user, "")
    irc.harness.pump()
    assert [untagged(line) for line in bob.read()] == [":Ann!~ann@127.0.0.1 ACCOUNT *"]
    assert codes(ann.read()) == ["ACCOUNT", "901", "MODE"]


def test_chghost(irc: Irc) -> None:
    """IRCv3 chghost, and what those see who don't know it."""
    ann = irc.client("Ann", "chghost", join="#a")
    new, old = irc.client("New", "chghost", join="#a"), irc.client("Old", join="#a")
    for client in (ann, new):
        client.read()
    change_host(irc.network, irc.network.users["ann"], "anna", "cloak.example")
    irc.harness.pump()
    changed = ":Ann!~ann@127.0.0.1 CHGHOST anna cloak.example"
    assert [untagged(line) for line in ann.read()] == [changed]
    assert [untagged(line) for line in new.read()] == [changed]
    assert old.read() == [
        ":Ann!~ann@127.0.0.1 QUIT :Changing host",
        ":Ann!anna@cloak.example JOIN #a",
        f":{SERVER} MODE #a +o Ann",
    ]
    change_host(irc.network, irc.network.users["old"], "~old", "other.example")
    irc.harness.pump()
    assert old.read() == [f":{SERVER} 396 Old other.example :is now your displayed host"]
    ann.ask("MODE #a +b *!*@127.0.0.1")
    assert codes(irc.client("Eve").ask("JOIN #a")) == ["474"]
    assert irc.network.channels["#a"].is_banned(irc.network.users["ann"])  # by address, still


def test_capabilities_come_and_go(irc: Irc) -> None:
    """IRCv3 capability negotiation, "cap-notify"."""
    ann, bob = irc.client("Ann", "server-time"), irc.client("Bob")
    half = irc.connect()
    half.ask("CAP LS 302")
    announce(irc.network, "NEW", ["batch=x"])
    irc.harness.pump()
    assert untagged(ann.read()[0]) == f":{SERVER} CAP Ann NEW :batch=x"
    assert half.read() == [f":{SERVER} CAP * NEW :batch=x"]
    announce(irc.network, "DEL", ["server-time"])
    irc.harness.pump()
    assert untagged(ann.read()[0]) == f":{SERVER} CAP Ann DEL :server-time"
    assert tags_of(ann.ask("PING x")[0]) == {}
    assert bob.read() == []


def test_a_second_client_of_the_same_account(irc: Irc) -> None:
    """It comes to the user who is there, and is told which channels that one is on."""
    first = irc.client("Ann", join="#a,#b")
    set_account(irc.network, irc.network.users["ann"], "ann")
    first.ask("TOPIC #a :green")
    bob = irc.client("Bob", join="#a")
    second = irc.connect()
    second.ask("CAP LS 302", "NICK Ann", "USER x 0 * :Other")
    (session,) = irc.network.half_registered
    session.user.account = "ann"  # as SASL does
    lines = second.ask("CAP END")
    assert codes(lines)[0] == "001"
    assert codes(lines)[-8:] == ["JOIN", "332", "333", "353", "366", "JOIN", "353", "366"]
    assert bob.read() == []  # for the others nothing has changed
    bob.send("PRIVMSG #a :hello")
    assert len(first.read()[-1:]) == len(second.read()) == 1
    assert len(irc.network.users) == 2


def test_the_same_nick_of_another_account(irc: Irc) -> None:
    irc.client("Ann")
    second = irc.connect()
    assert second.ask("CAP LS 302", "NICK Ann", "USER x 0 * :Other")[1:] == []
    assert codes(second.ask("CAP END")) == ["433"]


def test_every_capability_can_be_had(irc: Irc) -> None:
    names = " ".join(capabilities.offered(irc.network))
    client = irc.connect()
    assert untagged(client.ask(f"CAP REQ :{names}")[0]) == f":{SERVER} CAP * ACK :{names}"
