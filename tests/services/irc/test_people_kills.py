"""Promise 3 over accounts, registered channels, always-on users and messages of several lines.

Killed at every point of a procedure, every client's bytes and the state at the end are
those of a run without a kill. Ids and hashes are random by design and are fixed here.
"""

from __future__ import annotations

import pytest
from irc_accounts import PASSWORD, encode, proof_of
from irc_kit import make_network

from tapd.model.application import Application
from tapd.services.irc import IrcNetwork
from tapd.testing import Host, kill_everywhere
from tapd.testing.peers import Peer

CAPS = "sasl draft/multiline batch message-tags labeled-response echo-message away-notify"
_PROOF = proof_of(PASSWORD)


@pytest.fixture(autouse=True)
def fixed_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IrcNetwork, "next_reference", lambda _self: "id")


def network_with_accounts() -> Application:
    application = make_network()
    network = application.services["irc"]
    assert isinstance(network, IrcNetwork)
    network.accounts.secret = b"known"
    for name in ("alice", "bob"):
        network.accounts.add(name, _PROOF, 1.0)
    return application


def say(peer: Peer, *lines: str) -> None:
    peer.send("".join(f"{line}\r\n" for line in lines))


def come(host: Host, name: str, account: str) -> Peer:
    """Connect and log in by SASL."""
    peer = host.connect()
    say(peer, "CAP LS 302", f"CAP REQ :{CAPS}", f"NICK {name}", f"USER {name} 0 * :X")
    say(
        peer, "AUTHENTICATE PLAIN", f"AUTHENTICATE {encode(f'{chr(0)}{account}{chr(0)}{PASSWORD}')}"
    )
    say(peer, "CAP END")
    return peer


def channels_and_presence(host: Host) -> None:
    alice = come(host, "alice", "alice")
    bob = come(host, "bob", "bob@phone")
    say(alice, "JOIN #tea", "CS REGISTER #tea", "CS ACCESS #tea ADD bob op", "NS SET ALWAYS-ON on")
    say(bob, "JOIN #tea", "CS SET #tea MLOCK +s", "NS GROUP", "MODE #tea -n")
    say(alice, "CS SET #tea MLOCK +s", "CS AUTOKICK #tea ADD eve!*@*", "TOPIC #tea :green")
    alice.send("QUIT\r\n")
    host.clock.advance(2)
    say(bob, "PRIVMSG #tea :where are you", "PRIVMSG alice :?", "PART #tea")
    host.clock.advance(2)
    again = come(host, "alice", "alice@laptop")
    say(again, "AWAY :busy", "PRIVMSG NickServ :INFO")
    more = come(host, "tmp", "alice")
    say(more, "NICK alice", "CS DROP #tea", "NS LOGOUT")


def test_nobody_notices_a_kill_among_people() -> None:
    report = kill_everywhere(network_with_accounts(), channels_and_presence)
    assert report.kills > 60


def several_lines(host: Host) -> None:
    ann, bob = host.connect(), host.connect()
    say(ann, f"CAP REQ :{CAPS}", "NICK Ann", "USER a 0 * :A", "CAP END", "JOIN #c")
    say(bob, "NICK Bob", "USER b 0 * :B", "JOIN #c")
    ann.send("@label=1 BATCH +1 draft/multiline #c\r\n@batch=1 PRIVMSG #c :o")
    ann.send("ne\r\n@batch=1;draft/multiline-concat PRIVMSG #c :, and two\r\n")
    say(ann, "@batch=1 PRIVMSG #c :three", "BATCH -1", "BATCH +2 draft/multiline #c", "JOIN #d")
    say(ann, "@batch=2 PRIVMSG #c :x", "BATCH -2")


def test_nobody_notices_a_kill_in_a_message() -> None:
    report = kill_everywhere(make_network(), several_lines)
    assert report.kills > 20


def passwords(host: Host) -> None:
    """Checks in threads, in the middle of which the server is killed."""
    ann = host.connect()
    say(ann, "NICK alicia", "USER a 0 * :A", f"NS IDENTIFY alice {PASSWORD}", "NS GROUP")
    ann.send("PRIVMSG NickServ :IDENTIFY alice wr")
    ann.send("ong\r\n")
    say(ann, "NS SET EMAIL a@b.example", "NS UNGROUP alicia", "NICK alice", "NS INFO")
    eve = host.connect()
    say(eve, f"PASS bob@tv:{PASSWORD}", "NICK bob", "USER b 0 * :B", "NS LOGOUT", "NICK alice")


def test_nobody_notices_a_kill_while_a_password_is_checked() -> None:
    report = kill_everywhere(network_with_accounts(), passwords)
    assert report.kills > 20
