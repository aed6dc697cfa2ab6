"""JOIN, PART, TOPIC, NAMES, INVITE, KICK, KNOCK (modern, "Channel Operations")."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Harness
from irc_kit import SERVER, Irc, codes, make_network, tags_of, untagged

from tapd.services.irc.state.user import INVITES_MAX


def test_joining(irc: Irc) -> None:
    """Modern, "JOIN message": JOIN, then the topic if there is one, then the names."""
    ann = irc.client("Ann")
    assert ann.ask("JOIN #Tea") == [
        ":Ann!~ann@127.0.0.1 JOIN #Tea",
        f":{SERVER} 353 Ann = #Tea :@Ann",
        f":{SERVER} 366 Ann #Tea :End of /NAMES list".replace("/NAMES", "NAMES"),
    ]
    ann.ask("TOPIC #tea :green")
    bob = irc.client("Bob")
    lines = bob.ask("JOIN #tea")
    assert codes(lines) == ["JOIN", "332", "333", "353", "366"]
    assert lines[0] == ":Bob!~bob@127.0.0.1 JOIN #Tea"  # the name as its first member wrote it
    assert lines[3].endswith(":@Ann Bob")
    assert ann.read() == [":Bob!~bob@127.0.0.1 JOIN #Tea"]
    assert bob.ask("JOIN #TEA") == []  # already there


def test_joining_several_with_keys(irc: Irc) -> None:
    ann = irc.client("Ann", join="#a,#b,#c")
    ann.ask("MODE #a +k one", "MODE #b +k two")
    bob = irc.client("Bob")
    assert codes(bob.ask("JOIN #a,#b,#c one,wrong")) == ["JOIN", "353", "366", "475", "JOIN", "353",
                                                         "366"]  # fmt: skip


@pytest.mark.parametrize("name", ["tea", "#", "#a\ab", "&a", "#" + "x" * 80])
def test_names_that_are_none(irc: Irc, name: str) -> None:
    assert codes(irc.client("Ann").ask(f"JOIN {name}")) == ["403"]


def test_join_0_leaves_all(irc: Irc) -> None:
    """RFC 2812 section 3.2.1."""
    ann = irc.client("Ann", join="#a,#b")
    assert ann.ask("JOIN 0") == [
        ":Ann!~ann@127.0.0.1 PART #a",
        ":Ann!~ann@127.0.0.1 PART #b",
    ]
    assert not irc.network.channels


def test_too_many_channels(irc: Irc) -> None:
    irc.network.channels_per_user_max = 2
    assert codes(irc.client("Ann", join="#a,#b").ask("JOIN #c")) == ["405"]


@pytest.mark.parametrize(
    ("setting", "code"),
    [("+k secret", "475"), ("+l 1", "471"), ("+i", "473"), ("+b bob", "474"), ("+R", "477")],
)
def test_what_keeps_one_out_and_an_invitation_lets_in(irc: Irc, setting: str, code: str) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob")
    ann.ask(f"MODE #a {setting}")
    assert codes(bob.ask("JOIN #a")) == [code]
    ann.ask("INVITE Bob #a")
    assert codes(bob.ask("JOIN #a"))[:1] == ["JOIN"]
    bob.ask("PART #a")
    assert codes(bob.ask("JOIN #a")) == [code]  # an invitation serves once


def test_exceptions(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob")
    ann.ask("MODE #a +ib *!*@127.0.0.1", "MODE #a +Ie Bob *!~bob@*")
    assert codes(bob.ask("JOIN #a"))[:1] == ["JOIN"]


def test_parting(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.read()
    assert bob.ask("PART #a :so long") == [":Bob!~bob@127.0.0.1 PART #a :so long"]
    assert ann.read() == [":Bob!~bob@127.0.0.1 PART #a :so long"]
    assert codes(bob.ask("PART #a", "PART #none", "PART")) == ["442", "403", "461"]


def test_the_topic(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    assert codes(ann.ask("TOPIC #a")) == ["331"]
    assert codes(bob.ask("TOPIC #a :mine")) == ["482"]
    assert ann.ask("TOPIC #a :green")[-1] == ":Ann!~ann@127.0.0.1 TOPIC #a :green"
    assert codes(bob.ask("TOPIC #a")) == ["TOPIC", "332", "333"][1:]
    ann.ask("MODE #a -t")
    assert codes(bob.ask("TOPIC #a :")) == ["TOPIC"]
    assert codes(ann.ask("TOPIC #a", "TOPIC #none")) == ["331", "403"]
    assert codes(irc.client("Eve").ask("TOPIC #a :x")) == ["442"]


def test_a_topic_is_cut_at_its_limit(irc: Irc) -> None:
    ann = irc.client("Ann", join="#a")
    (line,) = ann.ask("TOPIC #a :" + "é" * 230)
    assert line.endswith("é" * 195)
    assert len(line.partition(" :")[2].encode()) == 390


def test_names(irc: Irc) -> None:
    ann = irc.client("Ann", "multi-prefix userhost-in-names", join="#a")
    ann.ask("MODE #a +v Ann")
    assert ann.ask("NAMES #a")[0].endswith("353 Ann = #a :@+Ann!~ann@127.0.0.1")
    eve = irc.client("Eve")
    assert eve.ask("NAMES #a")[0].endswith("353 Eve = #a :@Ann")
    ann.ask("MODE Ann +i")
    assert codes(eve.ask("NAMES #a")) == ["366"]
    ann.ask("MODE Ann -i", "MODE #a +s")
    assert codes(eve.ask("NAMES #a", "NAMES", "NAMES #none")) == ["366"] * 3
    assert " 353 Ann @ #a " in ann.ask("NAMES #a")[0]


def test_names_of_many_take_several_lines(serve: Callable[..., Harness]) -> None:
    irc = Irc(serve(make_network(), strict=False))  # strict mode is dear with so many
    clients = [irc.client(f"somebody-else{number:02d}", join="#a") for number in range(30)]
    lines = clients[-1].ask("NAMES #a")
    assert codes(lines)[-1] == "366"
    assert len(lines) > 2
    names = " ".join(line.partition(" :")[2] for line in lines[:-1]).split()
    assert names == ["@somebody-else00", *(f"somebody-else{number:02d}" for number in range(1, 30))]
    assert all(len(line.encode()) <= 510 for line in lines)


def test_inviting(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob")
    ann.ask("MODE #a +i")
    assert ann.ask("INVITE Bob #a") == [f":{SERVER} 341 Ann Bob #a"]
    assert bob.read() == [":Ann!~ann@127.0.0.1 INVITE Bob :#a"]
    assert codes(bob.ask("INVITE")) == ["336", "337"]
    bob.ask("JOIN #a")
    assert codes(ann.ask("INVITE Bob #a"))[-1:] == ["443"]
    assert codes(ann.ask("INVITE Nobody #a", "INVITE Bob #none", "INVITE Bob")) == [
        "401", "403", "461",
    ]  # fmt: skip
    eve = irc.client("Eve")
    assert codes(eve.ask("INVITE Ann #a")) == ["442"]
    assert codes(bob.ask("INVITE Eve #a")) == ["482"]


def test_an_invitation_is_to_that_channel_only(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob")
    ann.ask("INVITE Bob #a", "PART #a", "JOIN #a", "MODE #a +i")
    assert codes(bob.ask("JOIN #a"))[-1] == "473"


def test_invitations_are_bounded(irc: Irc) -> None:
    irc.network.channels_per_user_max = INVITES_MAX + 1
    ann, bob = irc.client("Ann"), irc.client("Bob")
    names = [f"#c{number}" for number in range(INVITES_MAX + 1)]
    ann.send(*(f"JOIN {name}" for name in names))
    ann.read()
    ann.send(*(f"INVITE Bob {name}" for name in names))
    bob.read()
    *listed, end = bob.ask("INVITE")
    assert codes([end]) == ["337"]
    assert [line.split()[3] for line in listed] == names[1:]


def test_invite_notify(irc: Irc) -> None:
    """IRCv3 invite-notify: those who could invite are told."""
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", "invite-notify", join="#a")
    irc.client("Eve")
    ann.ask("MODE #a +o Bob")
    bob.read()
    ann.ask("INVITE Eve #a")
    assert [untagged(line) for line in bob.read()] == [":Ann!~ann@127.0.0.1 INVITE Eve :#a"]


def test_kicking(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.read()
    assert codes(bob.ask("KICK #a Ann")) == ["482"]
    assert ann.ask("KICK #a bob :out") == [":Ann!~ann@127.0.0.1 KICK #a Bob :out"]
    assert bob.read() == [":Ann!~ann@127.0.0.1 KICK #a Bob :out"]
    assert codes(ann.ask("KICK #a Bob", "KICK #a Nobody", "KICK #none Bob", "KICK #a")) == [
        "441", "401", "403", "461",
    ]  # fmt: skip
    assert codes(bob.ask("KICK #a Ann")) == ["442"]


@pytest.mark.parametrize(
    ("kicker", "target", "may"),
    [("o", "o", True), ("h", "o", False), ("h", "h", False), ("h", "v", True), ("o", "a", False),
     ("a", "a", False), ("q", "a", True), ("a", "q", False), ("h", "", True), ("v", "", False)],
)  # fmt: skip
def test_who_may_kick_whom(irc: Irc, kicker: str, target: str, may: bool) -> None:
    irc.client("Op", join="#a")
    ann, _bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    channel = irc.network.channels["#a"]
    for nick, rank in (("ann", kicker), ("bob", target)):
        if rank:
            channel.set_rank(irc.network.users[nick], rank, on=True)
    assert codes(ann.ask("KICK #a Bob")) == (["KICK"] if may else ["482"])


def test_knocking(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob")
    assert codes(bob.ask("KNOCK #a", "KNOCK #none", "KNOCK")) == ["713", "403", "461"]
    ann.ask("MODE #a +i")
    assert codes(ann.ask("KNOCK #a")) == ["714"]
    assert codes(bob.ask("KNOCK #a")) == ["711"]
    (line,) = ann.read()
    assert line == f":{SERVER} 710 #a #a Bob!~bob@127.0.0.1 :has asked for an invite."
    assert codes(bob.ask("KNOCK #a")) == ["712"]


def test_extended_join_and_away_notify(irc: Irc) -> None:
    """IRCv3 extended-join, away-notify."""
    new, old = irc.client("New", "extended-join away-notify", join="#a"), irc.client("Old")
    old.ask("JOIN #a")
    bob = irc.client("Bob")
    bob.ask("AWAY :lunch")
    new.read()
    old.read()
    bob.ask("JOIN #a")
    assert [untagged(line) for line in new.read()] == [
        ":Bob!~bob@127.0.0.1 JOIN #a * :Bob Real",
        ":Bob!~bob@127.0.0.1 AWAY :lunch",
    ]
    assert old.read() == [":Bob!~bob@127.0.0.1 JOIN #a"]
    bob.ask("AWAY")
    assert [untagged(line) for line in new.read()] == [":Bob!~bob@127.0.0.1 AWAY"]
    assert old.read() == []


def test_a_nick_change_is_told_once(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a,#b"), irc.client("Bob", join="#a,#b")
    ann.read()
    assert bob.ask("NICK Rob") == [":Bob!~bob@127.0.0.1 NICK :Rob"]
    assert ann.read() == [":Bob!~bob@127.0.0.1 NICK :Rob"]
    assert codes(bob.ask("NICK Rob", "NICK ann", "NICK rOB")) == ["433", "NICK"]
    assert irc.network.find_user("ROB") is not None
    assert irc.network.find_user("Bob") is None


def test_who_is_banned_keeps_the_nick(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.ask("MODE #a +b Bob")
    assert codes(bob.ask("NICK Rob"))[-1] == "435"


def test_quitting_is_told_once(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a,#b"), irc.client("Bob", join="#a,#b")
    ann.read()
    bob.send("QUIT :so long")
    assert bob.read_end()[-1] == "ERROR :Closing link: (Quit: so long)"
    assert ann.read() == [":Bob!~bob@127.0.0.1 QUIT :Quit: so long"]
    assert list(irc.network.users) == ["ann"]


def test_a_connection_that_ends_quits(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.read()
    bob.peer.sock.close()
    irc.harness.wait_for(lambda: "bob" not in irc.network.users)
    (line,) = ann.read()
    assert line.startswith(":Bob!~bob@127.0.0.1 QUIT :Connection")


def test_what_is_after_quit_is_not_run(irc: Irc) -> None:
    client = irc.client("Ann")
    client.send("QUIT", "PING x")
    assert codes(client.read_end()) == ["ERROR"]


def test_server_time_on_everything(irc: Irc) -> None:
    """IRCv3 server-time."""
    ann = irc.client("Ann", "server-time")
    for line in ann.ask("JOIN #a", "TOPIC #a :x", "MODE #a", "WHOIS Ann", "NONSENSE", "CAP LIST"):
        assert list(tags_of(line)) == ["time"], line


@pytest.mark.parametrize("modes", ["+k key", "+l 1", "+b Eve"])
def test_who_is_no_operator_invites_past_no_lock(irc: Irc, modes: str) -> None:
    """An operator's invitation opens +k, +l and bans; a plain member's is a message."""
    ann, bob, eve = irc.client("Ann", join="#a"), irc.client("Bob", join="#a"), irc.client("Eve")
    ann.ask(f"MODE #a {modes}")
    assert codes(bob.ask("INVITE Eve #a")) == ["341"]
    assert codes(eve.read()) == ["INVITE"]
    assert codes(eve.ask("JOIN #a"))[0] in ("471", "474", "475")
    ann.ask("INVITE Eve #a")
    assert codes(eve.ask("JOIN #a"))[0] == "JOIN"
