"""WHO, WHOX, WHOIS, WHOWAS, USERHOST, ISON, MONITOR, SETNAME, LIST and the server's queries."""

from __future__ import annotations

from pathlib import Path

import pytest
from irc_kit import SERVER, Client, Irc, cheap_hash, codes, untagged

from tapd.services.irc.state.opers import Oper
from tapd.services.irc.wire.isupport import MONITOR_TARGETS_MAX


def test_who(irc: Irc) -> None:
    """Modern, "WHO message"."""
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    bob.ask("AWAY :x", "MODE Bob +B")
    ann.read()
    assert ann.ask("WHO #a") == [
        f":{SERVER} 352 Ann #a ~ann 127.0.0.1 {SERVER} Ann H@ :0 Ann Real",
        f":{SERVER} 352 Ann #a ~bob 127.0.0.1 {SERVER} Bob GB :0 Bob Real",
        f":{SERVER} 315 Ann #a :End of WHO list",
    ]
    assert codes(ann.ask("WHO bob", "WHO nobody", "WHO #none")) == ["352", "315", "315", "315"]
    assert codes(ann.ask("WHO *real*", "WHO ~b*", "WHO a*!*@*")) == [
        "352", "352", "315", "352", "315", "352", "315",
    ]  # fmt: skip
    assert codes(ann.ask("WHO * o")) == ["315"]


def test_who_is_invisible(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob")
    ann.ask("MODE Ann +i")
    assert codes(bob.ask("WHO *")) == ["352", "315"]  # only himself
    assert codes(bob.ask("WHO #a")) == ["315"]
    assert bob.ask("WHO Ann")[0].split()[3] == "*"  # the nick is known, the channel is not shown
    bob.ask("JOIN #a")
    assert codes(bob.ask("WHO *")) == ["352", "352", "315"]


def test_whox(irc: Irc) -> None:
    """ISUPPORT WHOX: the fields that are asked for, in one order."""
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.read()
    assert ann.ask("WHO Bob %nuhtcafrd,42")[0] == (
        f":{SERVER} 354 Ann 42 #a ~bob 127.0.0.1 Bob H 0 0 :Bob Real"
    )
    assert ann.ask("WHO Bob %i")[0].endswith(" 255.255.255.255")
    assert bob.ask("WHO Bob %i")[-2].endswith(" 127.0.0.1")
    irc.network.users["bob"].account = "robert"
    assert ann.ask("WHO Bob %na")[0] == f":{SERVER} 354 Ann Bob robert"


def test_whois(irc: Irc) -> None:
    """Modern, "WHOIS message"."""
    ann, bob = irc.client("Ann", join="#a,#b"), irc.client("Bob", join="#a")
    ann.ask("MODE #b +s")
    lines = bob.ask("WHOIS ann")
    assert lines[:3] == [
        f":{SERVER} 311 Bob Ann ~ann 127.0.0.1 * :Ann Real",
        f":{SERVER} 319 Bob Ann :@#a",
        f":{SERVER} 312 Bob Ann {SERVER} :Test",
    ]
    assert codes(lines) == ["311", "319", "312", "317", "318"]
    irc.network.users["ann"].account = "ann"
    ann.ask("AWAY :x", "MODE Ann +B")
    bob.read()
    assert codes(bob.ask("WHOIS Ann")) == ["311", "319", "312", "330", "335", "301", "317", "318"]
    assert codes(ann.ask("WHOIS Ann"))[-4:] == ["338", "379", "317", "318"]
    assert codes(bob.ask("WHOIS nobody", "WHOIS")) == ["401", "318", "431"]
    assert codes(bob.ask(f"WHOIS {SERVER} Ann"))[0] == "311"
    assert codes(bob.ask("WHOIS other.server Ann")) == ["402"]


def test_whowas(irc: Irc) -> None:
    ann, bob = irc.client("Ann"), irc.client("Bob")
    bob.ask("NICK Rob", "NICK Bob", "NICK Rob")
    assert codes(ann.ask("WHOWAS bob")) == ["314", "312", "314", "312", "369"]
    assert codes(ann.ask("WHOWAS bob 1")) == ["314", "312", "369"]
    assert codes(ann.ask("WHOWAS nobody", "WHOWAS")) == ["406", "369", "431"]
    bob.send("QUIT")
    irc.harness.crash()
    assert ann.ask("WHOWAS rob")[0] == f":{SERVER} 314 Ann Rob ~bob 127.0.0.1 * :Bob Real"


def test_userhost_and_ison(irc: Irc) -> None:
    ann, bob = irc.client("Ann"), irc.client("Bob")
    bob.ask("AWAY :x")
    assert ann.ask("USERHOST ann nobody BOB") == [
        f":{SERVER} 302 Ann :Ann=+~ann@127.0.0.1 Bob=-~bob@127.0.0.1"
    ]
    assert ann.ask("ISON ann :nobody bob") == [f":{SERVER} 303 Ann :Ann Bob"]


def test_monitor(irc: Irc) -> None:
    """IRCv3 monitor."""
    ann, bob = irc.client("Ann"), irc.client("Bob")
    assert ann.ask("MONITOR + bob,eve") == [
        f":{SERVER} 730 Ann :Bob!~bob@127.0.0.1",
        f":{SERVER} 731 Ann :eve",
    ]
    eve = irc.client("Eve")
    assert ann.read() == [f":{SERVER} 730 Ann :Eve!~eve@127.0.0.1"]
    bob.ask("NICK Rob")
    assert ann.read() == [f":{SERVER} 731 Ann :Bob"]
    assert ann.ask("MONITOR L") == [
        f":{SERVER} 732 Ann :bob,eve",
        f":{SERVER} 733 Ann :End of MONITOR list",
    ]
    assert codes(ann.ask("MONITOR S")) == ["730", "731"]
    ann.ask("MONITOR - eve")
    eve.send("QUIT")
    assert ann.read() == []
    ann.ask("MONITOR C")
    bob.ask("NICK Bob")
    assert ann.read() == []
    assert codes(ann.ask("MONITOR", "MONITOR +", "MONITOR L")) == ["461", "461", "733"]
    assert not irc.network.monitors.watchers


def test_monitor_lists_end_with_the_session_and_are_bounded(irc: Irc) -> None:
    ann = irc.client("Ann")
    for start in range(0, MONITOR_TARGETS_MAX, 16):
        ann.send("MONITOR + " + ",".join(f"n{start + each}" for each in range(16)))
    ann.read()
    assert ann.ask("MONITOR + one,more")[0] == (
        f":{SERVER} 734 Ann {MONITOR_TARGETS_MAX} one,more :Monitor list is full."
    )
    ann.send("QUIT")
    ann.read_end()
    assert not irc.network.monitors.watchers
    assert not irc.network.monitors.lists


def test_extended_monitor(irc: Irc) -> None:
    ann = irc.client("Ann", "extended-monitor away-notify setname")
    bob = irc.client("Bob", "setname")
    ann.ask("MONITOR + bob")
    bob.ask("AWAY :gone", "SETNAME :Robert")
    assert [untagged(line) for line in ann.read()] == [
        ":Bob!~bob@127.0.0.1 AWAY :gone",
        ":Bob!~bob@127.0.0.1 SETNAME :Robert",
    ]


def test_setname(irc: Irc) -> None:
    """IRCv3 setname."""
    ann, bob = irc.client("Ann", "setname", join="#a"), irc.client("Bob", join="#a")
    assert [untagged(line) for line in ann.ask("SETNAME :New Name")][-1] == (
        ":Ann!~ann@127.0.0.1 SETNAME :New Name"
    )
    bob.read()
    assert bob.ask("SETNAME :Other") == []
    assert [untagged(line) for line in ann.read()] == [":Bob!~bob@127.0.0.1 SETNAME :Other"]
    assert "INVALID_REALNAME" in ann.ask("SETNAME :" + "x" * 200)[0]
    assert codes(ann.ask("SETNAME")) == ["461"]
    assert ann.ask("WHOIS Bob")[0].endswith(":Other")


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("", ["#big", "#mid", "#new"]),
        (">1", ["#big", "#mid"]),
        ("<3", ["#mid", "#new"]),
        (">1,<3", ["#mid"]),
        ("#m*", ["#mid"]),
        ("!#m*", ["#big", "#new"]),
        ("C<5", ["#mid", "#new"]),
        ("C>5", ["#big"]),
        ("T<5", ["#new"]),
        ("T>5", ["#mid"]),
        ("#big,#none", ["#big"]),
        ("#none", []),
    ],
)
def test_list(irc: Irc, condition: str, names: list[str]) -> None:
    """Modern, "LIST message"; ISUPPORT ELIST=CMNTU."""
    irc.client("Ann", join="#big,#mid,#new,#secret")
    irc.client("Bob", join="#big,#mid")
    irc.client("Eve", join="#big")
    channels = irc.network.channels
    now_s = irc.network.now_s()
    channels["#big"].created_s = now_s - 600
    channels["#mid"].topic, channels["#mid"].topic_s = "old", now_s - 600
    channels["#new"].topic, channels["#new"].topic_s = "new", now_s - 60
    channels["#secret"].modes["s"] = ""
    irc.harness.pump()
    start, *lines, end = irc.client("Zed").ask(f"LIST {condition}")
    assert codes([start, end]) == ["321", "323"]
    assert [line.split()[3] for line in lines] == names


def test_the_servers_own(irc: Irc, tmp_path: Path) -> None:
    ann = irc.client("Ann", join="#a")
    network = irc.network
    assert codes(ann.ask("VERSION"))[0] == "351"
    assert codes(ann.ask("TIME", "ADMIN", "MOTD", "LINKS", "STATS", "STATS u")) == [
        "391", "423", "422", "364", "365", "461", "242", "219",
    ]  # fmt: skip
    assert codes(ann.ask("INFO"))[-1] == "374"
    assert codes(ann.ask("LUSERS")) == ["251", "254", "255", "265", "266"]
    network.admin = ("Here", "There", "admin@example.org")
    assert codes(ann.ask("ADMIN")) == ["256", "257", "258", "259"]
    path = tmp_path / "motd"
    path.write_text("Hello\n\nthere\n")
    network.settable["motd"].prepare(network, str(path), "")()
    lines = ann.ask("MOTD")
    assert codes(lines) == ["375", "372", "372", "372", "376"]
    assert lines[1].endswith(":- Hello")
    for query in ("MOTD", "VERSION", "TIME", "INFO", "ADMIN"):
        assert codes(ann.ask(f"{query} other.server")) == ["402"]
        assert codes(ann.ask(f"{query} {SERVER}"))[0] != "402"
    start, empty, *rest, end = ann.ask("HELP join")
    assert codes([start, empty, *rest, end]) == ["704", "705", "705", "706"]
    assert start == f":{SERVER} 704 Ann JOIN :JOIN"
    assert empty.endswith(" JOIN :")
    assert codes(ann.ask("HELP", "HELP :no such thing"))[-1] == "524"


def oper_up(irc: Irc, nick: str = "Op", privileges: tuple[str, ...] = ("*",)) -> Client:
    irc.network.opers["boss"] = Oper("boss", cheap_hash("woohoo"), privileges)
    client = irc.client(nick)
    client.send("OPER boss woohoo")
    lines: list[str] = []

    def answered() -> bool:
        lines.extend(client.read())
        return "MODE" in codes(lines)

    irc.harness.wait_for(answered)
    assert codes(lines) == ["381", "MODE"]
    return client


def test_oper_and_kill(irc: Irc) -> None:
    """Modern, "OPER message", "KILL message"."""
    ann = irc.client("Ann", join="#a")
    bob = irc.client("Bob", join="#a")
    assert codes(ann.ask("KILL Bob :x", "REHASH", "WALLOPS :x")) == ["481"] * 3
    op = oper_up(irc)
    assert codes(ann.ask("WHOIS Op"))[2] == "313"
    assert codes(op.ask("KILL Nobody")) == ["401"]
    assert op.ask("KILL bob :spam") == []
    lines = bob.read_end()
    assert codes(lines)[-2:] == ["KILL", "ERROR"]
    assert lines[-1] == "ERROR :Closing link: (Killed (Op (spam)))"
    assert ann.read()[-1] == ":Bob!~bob@127.0.0.1 QUIT :Killed (Op (spam))"
    assert codes(op.ask("MODE Op -o", "KILL Ann")) == ["MODE", "481"]


def test_an_oper_kills_themselves(irc: Irc) -> None:
    op = oper_up(irc)
    op.send("KILL Op :enough")
    assert codes(op.read_end())[-1] == "ERROR"
    assert not irc.network.users


def test_a_wrong_oper_password(irc: Irc) -> None:
    irc.network.opers["boss"] = Oper("boss", cheap_hash("woohoo"))
    ann = irc.client("Ann")
    for line in ("OPER boss wrong", "OPER nobody woohoo"):
        ann.send(line)
        lines: list[str] = []

        def answered(lines: list[str] = lines) -> bool:
            lines.extend(ann.read())
            return bool(lines)

        irc.harness.wait_for(answered)
        assert codes(lines) == ["464"]


def test_privileges(irc: Irc) -> None:
    op = oper_up(irc, privileges=("wallops",))
    ann = irc.client("Ann")
    ann.ask("MODE Ann +w")
    assert codes(op.ask("KILL Ann", "WALLOPS :hear")) == ["481"]
    assert ann.read() == [":Op!~op@127.0.0.1 WALLOPS :hear"]


def test_rehash(irc: Irc, tmp_path: Path) -> None:
    op = oper_up(irc)
    assert op.ask("REHASH") == [f":{SERVER} 382 Op * :Rehashing"]
    path = tmp_path / "motd"
    path.write_text("one\n")
    network = irc.network
    network.settable["motd"].prepare(network, str(path), "")()
    path.write_text("two\n")
    assert codes(op.ask("REHASH")) == ["382"]
    assert op.ask("MOTD")[1].endswith("- two")
    path.unlink()
    assert codes(op.ask("REHASH")) == ["382", "NOTICE"]


def test_unknown_commands(irc: Irc) -> None:
    assert irc.client("Ann").ask("NONSENSE a") == [f":{SERVER} 421 Ann NONSENSE :Unknown command"]
