"""Promise 3 over IRC: killed at every point of a conversation, and nobody notices.

`kill_everywhere` compares every client's bytes, and the state at the end, with
those of a run without a kill. Ids are random by design and so are fixed here.
"""

from __future__ import annotations

import pytest
from irc_kit import cheap_hash, make_network

from tapd.model.application import Application
from tapd.services.irc import IrcNetwork
from tapd.services.irc.state.opers import Oper
from tapd.testing import Host, kill_everywhere
from tapd.testing.peers import Peer

CAPS = (
    "message-tags server-time batch labeled-response echo-message extended-join away-notify "
    "invite-notify multi-prefix userhost-in-names setname standard-replies extended-monitor"
)


@pytest.fixture(autouse=True)
def fixed_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IrcNetwork, "next_reference", lambda _self: "id")


def network_with_oper() -> Application:
    application = make_network()
    network = application.services["irc"]
    assert isinstance(network, IrcNetwork)
    network.opers["boss"] = Oper("boss", cheap_hash("woohoo"))
    network.motd = ("Welcome.",)
    return application


def say(peer: Peer, *lines: str) -> None:
    peer.send("".join(f"{line}\r\n" for line in lines))


def conversation(host: Host) -> None:
    """Everything that changes state, with halves of lines, errors and a lost client."""
    ann, bob, eve = host.connect(), host.connect(), host.connect()
    say(ann, "CAP LS 302", "NICK Ann")
    say(ann, f"CAP REQ :{CAPS}", "USER ann 0 * :Ann", "CAP END")
    bob.send("NICK Bob\r\nUSER bob 0 ")
    bob.send("* :Bob\r\nJOI")
    bob.send("N #tea\r\n")
    say(eve, "NICK Eve", "USER eve 0 * :Eve")
    say(ann, "@label=1 JOIN #tea,#new", "MODE #new +kinv secret Ann", "MONITOR + Bob,Zoe")
    say(eve, "JOIN #tea", "JOIN #new wrong", "KNOCK #new")
    say(bob, "TOPIC #tea :green", "MODE #tea +b-t *!*@nowhere", "PRIVMSG #tea :hello")
    say(ann, "@label=2;+draft/x=y PRIVMSG #tea,Bob,Nobody :hi", "@label=3 WHOIS Bob")
    say(eve, "AWAY :lunch", "MODE Eve +iw", "NICK Evelyn")
    host.clock.advance(5)
    say(ann, "INVITE Evelyn #new", "PRIVMSG Evelyn :there?", "TAGMSG #tea", "SETNAME :Anna")
    say(eve, "JOIN #new", "AWAY", "PART #tea :enough")
    say(bob, "OPER boss woohoo", "WALLOPS :careful", "KICK #tea Ann :out", "NICK Zoe")
    say(ann, "JOIN #tea", "WHO #tea", "WHOWAS Bob", "LIST", "@label=4 PONG x")
    bob.send("KILL Evelyn :spam\r\nPRIVMSG #tea :done\r\nQUIT :so lo")
    bob.send("ng\r\n")
    say(ann, "NAMES #tea", "LUSERS", "MODE #new", "MONITOR S")


def test_nobody_notices_a_kill() -> None:
    report = kill_everywhere(network_with_oper(), conversation)
    assert report.kills > 100


def short_talk(host: Host) -> None:
    ann = host.connect()
    say(ann, "CAP REQ :labeled-response batch", "NICK A", "USER a 0 * :A", "CAP END")
    say(ann, "@label=1 JOIN #c", "PRIVMSG A :h\xe9", "QUIT")


def test_nobody_notices_a_kill_between_two_bytes() -> None:
    report = kill_everywhere(make_network(), short_talk, splits=True)
    assert report.splits > 80


def test_time_outs_go_on() -> None:
    with Host(make_network()) as host:
        quick, slow = host.connect(), host.connect()
        say(quick, "NICK Ann", "USER a 0 * :A")
        host.clock.advance(40)
        host.kill()
        host.clock.advance(40)
        assert slow.has_ended
        assert slow.read() == b"ERROR :Closing link: (Registration timed out)\r\n"
        quick.read()
        host.clock.advance(100)
        assert quick.read() == b"PING :irc.test.internal\r\n"
        say(quick, "PONG x")
        host.clock.advance(100)
        assert not quick.has_ended
        host.clock.advance(200)
        assert quick.has_ended


def test_a_reboot_quits_everybody() -> None:
    """What was connected is gone; channels and the network stay as they were."""
    with Host(make_network()) as host:
        for nick in ("Ann", "Bob"):
            peer = host.connect()
            say(peer, f"NICK {nick}", "USER a 0 * :A", "JOIN #c", "MONITOR + Zoe")
        host.connect().send("NICK Half\r\n")
        host.reboot()
        network = host.service("irc")
        assert not network.users
        assert not network.channels
        assert not network.half_registered
        assert not network.monitors.lists
        assert [past.nick for past in network.whowas.entries] == ["Ann", "Bob"]
        peer = host.connect()
        say(peer, "NICK Ann", "USER a 0 * :A")
        assert b" 001 Ann " in peer.read()


def test_save_and_load() -> None:
    with Host(make_network()) as host:
        ann, bob = host.connect(), host.connect()
        for peer, nick in ((ann, "Ann"), (bob, "Bob")):
            say(peer, f"NICK {nick}", "USER a 0 * :A", "JOIN #c")
        host.save_and_load()
        bob.read()
        say(ann, "PRIVMSG #c :still here")
        assert bob.read() == b":Ann!~a@127.0.0.1 PRIVMSG #c :still here\r\n"
