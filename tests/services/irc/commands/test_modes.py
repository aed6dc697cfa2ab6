"""MODE (modern, "MODE message"), and what each mode forbids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from irc_kit import SERVER, Irc, codes

from tapd.services.irc.state.user import User
from tapd.services.irc.wire.isupport import LIST_ENTRIES_MAX
from tapd.services.irc.wire.mode_changes import (
    Change,
    parse_changes,
    render_changes,
    takes_parameter,
)
from tapd.services.irc.wire.modes import CHANNEL_MODES

changes = st.builds(
    lambda on, letter, param: Change(on, letter, param if takes_parameter(letter, on=on) else None),
    st.booleans(),
    st.sampled_from(sorted(CHANNEL_MODES)),
    st.text("abc", min_size=1),
)


@given(st.lists(changes, min_size=1, max_size=8))
def test_changes_go_there_and_back(asked: list[Change]) -> None:
    text, *params = render_changes(asked)
    assert parse_changes(text, params) == asked


@given(st.text(max_size=20), st.lists(st.text(max_size=5), max_size=5))
def test_no_mode_string_is_an_error(text: str, params: list[str]) -> None:
    parsed = parse_changes(text, params)
    assert [change.letter for change in parsed] == [each for each in text if each not in "+-"]


def test_showing(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob")
    ann.ask("MODE #a +kl secret 5")
    assert ann.ask("MODE #a")[0] == f":{SERVER} 324 Ann #a +klnt secret 5"
    shown, created = bob.ask("MODE #a")
    assert shown == f":{SERVER} 324 Bob #a +klnt * 5"
    assert codes([created]) == ["329"]
    assert codes(bob.ask("MODE #none", "MODE")) == ["403", "461"]


def test_a_change_is_told_as_one(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.read()
    line = ":Ann!~ann@127.0.0.1 MODE #a +vm-n+k Bob key"
    assert ann.ask("MODE #a +vm-n+k bob key") == [line]
    assert bob.read() == [line]
    assert ann.ask("MODE #a -k+m-x whatever") == [
        f":{SERVER} 472 Ann x :is unknown mode char to me",
        ":Ann!~ann@127.0.0.1 MODE #a -k *",
    ]
    assert ann.ask("MODE #a +m", "MODE #a +v Bob", "MODE #a -i") == []  # nothing changes


def test_who_may_change_what(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    assert codes(bob.ask("MODE #a +i-n")) == ["482"]  # once is enough
    ann.ask("MODE #a +h Bob")
    bob.read()
    assert codes(bob.ask("MODE #a +v Bob", "MODE #a +b x", "MODE #a +o Bob")) == [
        "MODE", "MODE", "482",
    ]  # fmt: skip
    assert codes(ann.ask("MODE #a +q Ann", "MODE #a +a Bob"))[-2:] == ["482", "482"]
    assert codes(bob.ask("MODE #a -h Bob")) == ["MODE"]  # one's own rank can always be given up
    assert codes(ann.ask("MODE #a +o Nobody", "MODE #a +o", "MODE #a +o Eve"))[-2:] == [
        "401", "401",
    ]  # fmt: skip
    irc.client("Eve")
    assert codes(ann.ask("MODE #a +o Eve")) == ["441"]


@pytest.mark.parametrize(
    "params", ["+k a:b", "+k " + "x" * 33, "+l 0", "+l x", "+l -1", "+k", "+l"]
)
def test_parameters_that_are_none(irc: Irc, params: str) -> None:
    """Modern, ERR_INVALIDMODEPARAM."""
    assert codes(irc.client("Ann", join="#a").ask(f"MODE #a {params}")) == ["696"]


def test_lists(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob")
    assert ann.ask("MODE #a +b bob") == [":Ann!~ann@127.0.0.1 MODE #a +b bob!*@*"]
    assert ann.ask("MODE #a +b bob!*@*", "MODE #a -b x") == []
    entry, end = bob.ask("MODE #a b")
    assert entry.startswith(f":{SERVER} 367 Bob #a bob!*@* Ann!~ann@127.0.0.1 ")
    assert codes([end]) == ["368"]
    assert codes(ann.ask("MODE #a +eI x y", "MODE #a +e", "MODE #a I")) == [
        "MODE", "348", "349", "346", "347",
    ]  # fmt: skip
    assert ann.ask("MODE #a +b BOB") == []  # case is folded
    assert ann.ask("MODE #a -b BOB") == [":Ann!~ann@127.0.0.1 MODE #a -b bob!*@*"]
    assert codes(ann.ask("MODE #a bb")) == ["368"]
    assert codes(ann.ask("MODE #a +b ~x:y", "MODE #a +b :a b")) == ["696", "696"]


def test_lists_are_bounded(irc: Irc) -> None:
    ann = irc.client("Ann", join="#a")
    for start in range(0, LIST_ENTRIES_MAX, 5):
        ann.send("MODE #a +bbbbb " + " ".join(f"m{start + each}" for each in range(5)))
    ann.read()
    assert codes(ann.ask("MODE #a +b one-more")) == ["478"]
    assert codes(ann.ask("MODE #a +e one-more")) == ["MODE"]
    limits = {line.partition("MAXLIST=")[2].partition(" ")[0] for line in ann.ask("VERSION")}
    assert limits - {""} == {",".join(f"{each}:{LIST_ENTRIES_MAX}" for each in "Ibe")}


def test_only_so_many_at_once(irc: Irc) -> None:
    """ISUPPORT MODES."""
    ann = irc.client("Ann", join="#a")
    (line,) = ann.ask("MODE #a +bbbbbbbb 1 2 3 4 5 6 7 8")
    assert line.split()[3] == "+bbbbbb"


@pytest.mark.parametrize(
    ("setting", "text", "verb", "refused"),
    [
        ("+m", "x", "PRIVMSG", True),
        ("+C", "\x01VERSION\x01", "PRIVMSG", True),
        ("+C", "\x01ACTION waves\x01", "PRIVMSG", False),
        ("+c", "\x0304red", "PRIVMSG", True),
        ("+c", "red", "PRIVMSG", False),
        ("+M", "x", "PRIVMSG", True),
        ("+T", "x", "PRIVMSG", False),
        ("+b bob", "x", "PRIVMSG", True),
        ("+be bob bob", "x", "PRIVMSG", False),
    ],
)
def test_what_modes_forbid_to_say(
    irc: Irc, setting: str, text: str, verb: str, refused: bool
) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.ask(f"MODE #a {setting}")
    bob.read()
    assert codes(bob.ask(f"{verb} #a :{text}")) == (["404"] if refused else [])
    assert codes(ann.read()) == ([] if refused else [verb])


def test_lists_are_looked_through_once_until_something_changes(
    irc: Irc, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.ask("MODE #a +bbb x!*@* y!*@* rob!*@*")
    looked: list[str] = []
    matches = User.matches

    def look(user: User, mask: str) -> bool:
        looked.append(mask)
        return matches(user, mask)

    monkeypatch.setattr(User, "matches", look)
    bob.read()
    assert bob.ask("PRIVMSG #a :1", "PRIVMSG #a :2", "PRIVMSG #a :3") == []
    assert len(looked) == 3
    assert codes(bob.ask("NICK Rob", "PRIVMSG #a :4")) == ["NICK", "404"]
    ann.ask("MODE #a +e rob")
    bob.read()
    assert bob.ask("PRIVMSG #a :5") == []
    ann.ask("MODE #a -e ROB")
    bob.read()
    assert codes(bob.ask("PRIVMSG #a :6")) == ["404"]
    irc.harness.crash()
    assert codes(bob.ask("PRIVMSG #a :7")) == ["404"]
    ann.ask("MODE #a +e ~a:robert")
    bob.read()
    assert codes(bob.ask("PRIVMSG #a :8")) == ["404"]
    irc.network.users["rob"].account = "robert"
    assert bob.ask("PRIVMSG #a :9") == []


def test_voice_speaks_on_moderated_channels(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.ask("MODE #a +mbv *!*@* Bob")
    bob.read()
    assert bob.ask("PRIVMSG #a :x") == []


def test_outsiders(irc: Irc) -> None:
    ann, eve = irc.client("Ann", join="#a"), irc.client("Eve")
    assert codes(eve.ask("PRIVMSG #a :x")) == ["404"]
    ann.ask("MODE #a -n")
    assert eve.ask("PRIVMSG #a :x") == []
    assert codes(ann.read()) == ["PRIVMSG"]


def test_notices_are_refused_in_silence(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.ask("MODE #a +T")
    bob.read()
    assert bob.ask("NOTICE #a :x") == []
    assert ann.read() == []


def test_user_modes(irc: Irc) -> None:
    ann = irc.client("Ann")
    irc.client("Bob")
    assert ann.ask("MODE Ann") == [f":{SERVER} 221 Ann +"]
    assert ann.ask("MODE Ann +iw-i+B") == [":Ann!~ann@127.0.0.1 MODE Ann +iw-i+B"]
    assert ann.ask("MODE ann") == [f":{SERVER} 221 Ann +Bw"]
    assert ann.ask("MODE Ann +o", "MODE Ann +B") == []
    assert codes(ann.ask("MODE Ann +xyz", "MODE Bob +i", "MODE Nobody")) == ["501", "502", "401"]


def test_counts_stay_right(irc: Irc) -> None:
    ann, bob = irc.client("Ann"), irc.client("Bob")
    assert irc.network.counts["i"] == 0
    ann.ask("MODE Ann +i")
    bob.ask("MODE Bob +i")
    assert irc.network.counts["i"] == 2
    irc.harness.crash()
    assert irc.network.counts["i"] == 2
    bob.send("QUIT")
    assert irc.network.counts["i"] == 1
    ann.ask("MODE Ann -i")
    assert irc.network.counts["i"] == 0


def test_no_change_is_cut_off(irc: Irc) -> None:
    """What does not fit into one message is told in several (RFC 1459 section 2.3: 512 bytes)."""
    name = "#" + "c" * 63
    ann, bob = irc.client("a" * 32, join=name), irc.client("Bob", join=name)
    masks = [f"{number}{'m' * 40}@{'h' * 43}" for number in range(5)]
    bob.read()
    ann.send(f"MODE {name} +bbbbb {' '.join(masks)}")
    told = bob.read()
    assert all(len(line) <= 510 for line in told)
    shown = [word for line in told for word in line.split(" ")[4:]]
    assert shown == [f"*!{mask}" for mask in masks]
    assert ann.read()[-len(told) :] == told


def test_each_unknown_mode_is_told_once(irc: Irc) -> None:
    """Else a line of 400 letters is answered with 20 kB."""
    ann = irc.client("Ann", join="#a")
    assert codes(ann.ask(f"MODE #a +{'xy' * 200}")) == ["472", "472"]
