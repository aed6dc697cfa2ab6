"""PRIVMSG, NOTICE, TAGMSG (modern, "Sending Messages") and what IRCv3 adds to them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from irc_kit import SERVER, Irc, codes, tags_of, untagged

from tapd.net.streams.stream import Stream
from tapd.services.irc.wire.isupport import TARGETS_MAX


def test_to_a_channel_and_to_a_user(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.read()
    assert bob.ask("PRIVMSG #A :hi all", "NOTICE #a :beep", "PRIVMSG ann :psst") == []
    assert ann.read() == [
        ":Bob!~bob@127.0.0.1 PRIVMSG #a :hi all",
        ":Bob!~bob@127.0.0.1 NOTICE #a :beep",
        ":Bob!~bob@127.0.0.1 PRIVMSG Ann :psst",
    ]


def test_errors(irc: Irc) -> None:
    ann = irc.client("Ann")
    assert ann.ask(
        "PRIVMSG", "PRIVMSG Ann", "PRIVMSG Ann :", "PRIVMSG Bob :x", "PRIVMSG #b :x"
    ) == [
        f":{SERVER} 411 Ann :No recipient given (PRIVMSG)",
        f":{SERVER} 412 Ann :No text to send",
        f":{SERVER} 412 Ann :No text to send",
        f":{SERVER} 401 Ann Bob :No such nick/channel",
        f":{SERVER} 403 Ann #b :No such channel",
    ]


def test_a_notice_is_never_answered(irc: Irc) -> None:
    """Modern, "NOTICE message"."""
    assert irc.client("Ann").ask("NOTICE", "NOTICE Ann", "NOTICE Bob :x", "NOTICE #b :x") == []


def test_several_targets(irc: Irc) -> None:
    """ISUPPORT TARGMAX; modern, ERR_TOOMANYTARGETS."""
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob")
    targets = ",".join(["Bob"] * TARGETS_MAX)
    assert codes(ann.ask(f"PRIVMSG {targets},Bob :x")) == ["407"]
    assert len(bob.read()) == TARGETS_MAX


def test_status_messages(irc: Irc) -> None:
    """ISUPPORT STATUSMSG: only those of the rank and higher get it."""
    ann, bob, eve = (irc.client(nick, join="#a") for nick in ("Ann", "Bob", "Eve"))
    ann.ask("MODE #a +v Bob")
    for client in (ann, bob, eve):
        client.read()
    eve.send("PRIVMSG @#a :to operators", "PRIVMSG +#a :to voices")
    assert [line.partition(" PRIVMSG ")[2] for line in ann.read()] == [
        "@#a :to operators", "+#a :to voices",
    ]  # fmt: skip
    assert [line.partition(" PRIVMSG ")[2] for line in bob.read()] == ["+#a :to voices"]
    assert eve.read() == []


def test_away_is_told(irc: Irc) -> None:
    ann, bob = irc.client("Ann"), irc.client("Bob")
    assert codes(bob.ask("AWAY :lunch")) == ["306"]
    assert ann.ask("PRIVMSG Bob :x") == [f":{SERVER} 301 Ann Bob :lunch"]
    assert ann.ask("NOTICE Bob :x") == []
    assert codes(bob.ask("AWAY"))[-1] == "305"
    assert ann.ask("PRIVMSG Bob :x") == []


def test_modes_of_the_receiver(irc: Irc) -> None:
    ann, bob = irc.client("Ann"), irc.client("Bob")
    bob.ask("MODE Bob +T")
    assert codes(ann.ask("PRIVMSG Bob :\x01VERSION\x01", "PRIVMSG Bob :\x01ACTION x\x01")) == [
        "531"
    ]
    bob.ask("MODE Bob +R")
    assert codes(ann.ask("PRIVMSG Bob :x")) == ["531"]
    irc.network.users["ann"].account = "ann"
    assert ann.ask("PRIVMSG Bob :x") == []


def test_a_long_text_is_cut_between_characters(irc: Irc) -> None:
    ann, bob = irc.client("Ann"), irc.client("Bob")
    ann.send("PRIVMSG Bob :" + "é" * 248)
    (line,) = bob.read()
    assert 508 <= len(line.encode()) <= 510
    assert set(line.partition(" :")[2]) == {"é"}


def test_echo_message(irc: Irc) -> None:
    """IRCv3 echo-message."""
    ann = irc.client("Ann", "echo-message", join="#a")
    assert [untagged(line) for line in ann.ask("PRIVMSG #a :x", "NOTICE #a :y")] == [
        ":Ann!~ann@127.0.0.1 PRIVMSG #a :x",
        ":Ann!~ann@127.0.0.1 NOTICE #a :y",
    ]
    assert len(ann.ask("PRIVMSG Ann :me")) == 2  # it was sent, and it has come
    assert codes(ann.ask("PRIVMSG Bob :x")) == ["401"]


def test_tags_go_to_who_asked_for_them(irc: Irc) -> None:
    """IRCv3 message-tags, server-time, account-tag, bot-mode."""
    ann = irc.client("Ann", "message-tags", join="#a")
    plain = irc.client("Plain", join="#a")
    tagged = irc.client("Tagged", "message-tags server-time account-tag", join="#a")
    ann.ask("MODE Ann +B")
    irc.network.users["ann"].account = "a;nn"
    for client in (plain, tagged):
        client.read()
    ann.send("@+draft/reply=123;server-only=1;+typing PRIVMSG #a :x")
    assert plain.read() == [":Ann!~ann@127.0.0.1 PRIVMSG #a :x"]
    (line,) = tagged.read()
    tags = tags_of(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", tags.pop("time"))
    assert tags.pop("msgid")
    assert tags == {"+draft/reply": "123", "+typing": "", "bot": "", "account": r"a\:nn"}


def test_client_tags_need_the_capability(irc: Irc) -> None:
    ann, bob = irc.client("Ann"), irc.client("Bob", "message-tags")
    ann.send("@+a=b PRIVMSG Bob :x")
    (line,) = bob.read()
    assert list(tags_of(line)) == ["msgid"]


def test_tagmsg(irc: Irc) -> None:
    ann, bob = irc.client("Ann", "message-tags", join="#a"), irc.client("Bob", join="#a")
    eve = irc.client("Eve", "message-tags", join="#a")
    for client in (ann, bob):
        client.read()
    assert ann.ask("@+typing=active TAGMSG #a") == []
    assert bob.read() == []
    (line,) = eve.read()
    assert untagged(line) == ":Ann!~ann@127.0.0.1 TAGMSG #a"
    assert tags_of(line)["+typing"] == "active"
    assert codes(bob.ask("TAGMSG #a")) == ["421"]
    assert codes(ann.ask("TAGMSG", "TAGMSG Nobody")) == ["461", "401"]


def test_msgids_differ_and_agree(irc: Irc) -> None:
    """IRCv3 message-ids: one id for all who get a message, and never the same again."""
    ann = irc.client("Ann", "message-tags echo-message", join="#a")
    bob = irc.client("Bob", "message-tags", join="#a")
    seen = []
    for number in range(10):
        if number == 5:
            irc.harness.crash()
        (own,) = [line for line in ann.ask(f"PRIVMSG #a :{number}") if "PRIVMSG" in line]
        (theirs,) = bob.read()
        assert tags_of(own)["msgid"] == tags_of(theirs)["msgid"]
        seen.append(tags_of(own)["msgid"])
    assert len(set(seen)) == 10


def test_a_message_is_rendered_once_for_each_kind_of_client(
    irc: Irc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very same bytes object goes to each stream: cheap to send, and in the journal."""
    clients = [irc.client(f"c{number}", join="#a") for number in range(4)]
    written: list[bytes] = []

    def write_many(_self: Stream, transports: Iterable[Stream], data: bytes, skip: Stream) -> None:
        written.extend(data for each in transports if each is not skip)

    monkeypatch.setattr(Stream, "write_many", write_many)
    clients[0].send("PRIVMSG #a :x")
    assert len(written) == 3
    assert len({id(data) for data in written}) == 1


def test_labels(irc: Irc) -> None:
    """IRCv3 labeled-response."""
    ann = irc.client("Ann", "labeled-response batch message-tags", join="#a")
    assert ann.ask("@label=1 PONG x") == [f"@label=1 :{SERVER} ACK"]
    assert ann.ask("@label=2 PING x") == [f"@label=2 :{SERVER} PONG {SERVER} :x"]
    begin, *content, end = ann.ask("@label=3 WHOIS Ann")
    assert tags_of(begin) == {"label": "3"}
    reference = untagged(begin).split(" ")[2]
    assert untagged(begin) == f":{SERVER} BATCH {reference} labeled-response"
    assert end == f":{SERVER} BATCH -{reference[1:]}"
    assert {tags_of(line)["batch"] for line in content} == {reference[1:]}
    assert codes(content) == ["311", "319", "312", "338", "317", "318"]
    assert tags_of(ann.ask("@label=4 NONSENSE")[0]) == {"label": "4"}
    assert tags_of(ann.ask("@label=5 PRIVMSG Bob :x")[0]) == {"label": "5"}
    assert tags_of(ann.ask("@label=6 PRIVMSG #a :x")[0]) == {"label": "6"}  # ACK
    assert tags_of(ann.ask("@label=7 PRIVMSG")[0]) == {"label": "7"}


def test_labels_that_are_none(irc: Irc) -> None:
    ann = irc.client("Ann", "labeled-response batch message-tags")
    for label in ("", "x" * 65):
        assert ann.ask(f"@label={label} PING x") == [f":{SERVER} PONG {SERVER} :x"]
    assert irc.client("Bob").ask("@label=a PING x") == [f":{SERVER} PONG {SERVER} :x"]


def test_a_labeled_join_is_a_batch(irc: Irc) -> None:
    ann = irc.client("Ann", "labeled-response batch message-tags")
    lines = ann.ask("@label=1 JOIN #a")
    assert codes(lines) == ["BATCH", "JOIN", "353", "366", "BATCH"]


def test_a_label_and_an_echo(irc: Irc) -> None:
    ann = irc.client("Ann", "labeled-response batch message-tags echo-message", join="#a")
    (echo,) = ann.ask("@label=1 PRIVMSG #a :x")
    assert tags_of(echo)["label"] == "1"
    delivered, echo = ann.ask("@label=2 PRIVMSG Ann :x")
    assert "label" not in tags_of(delivered)
    assert tags_of(echo)["label"] == "2"
    assert tags_of(echo)["msgid"] == tags_of(delivered)["msgid"]


def test_a_label_on_quit(irc: Irc) -> None:
    ann = irc.client("Ann", "labeled-response batch message-tags")
    ann.send("@label=1 QUIT")
    (line,) = ann.read_end()
    assert tags_of(line) == {"label": "1"}
    assert codes([line]) == ["ERROR"]


def test_capabilities_change_what_comes_at_once(irc: Irc) -> None:
    ann, bob = irc.client("Ann", join="#a"), irc.client("Bob", join="#a")
    ann.ask("CAP REQ :server-time")
    bob.send("PRIVMSG #a :x")
    assert "time" in tags_of(ann.read()[-1])
    ann.ask("CAP REQ :-server-time")
    bob.send("PRIVMSG #a :x")
    assert ann.read() == [":Bob!~bob@127.0.0.1 PRIVMSG #a :x"]


def test_several_sessions_of_one_user(irc: Irc) -> None:
    """Both hear everything; the user quits with the last of them."""
    first, second = irc.client("Ann", join="#a"), irc.connect()
    user = irc.network.users["ann"]
    session = next(iter(irc.network.half_registered))
    irc.network.attach_session(session, user)
    bob = irc.client("Bob", join="#a")
    assert codes(first.read()) == codes(second.read()) == ["JOIN"]
    bob.send("PRIVMSG #a :x", "PRIVMSG Ann :y")
    assert len(first.read()) == len(second.read()) == 2
    first.send("PRIVMSG #a :mine", "PRIVMSG Bob :own")
    assert first.read() == []
    assert [line.partition("PRIVMSG ")[2] for line in second.read()] == ["#a :mine", "Bob :own"]
    second.ask("JOIN #b")
    assert codes(first.read()) == ["JOIN", "353", "366"]
    assert codes(second.ask("NICK Anne")) == codes(first.read()) == ["NICK"]
    bob.read()
    first.send("QUIT")
    first.read_end()
    assert bob.read() == []
    second.send("QUIT")
    second.read_end()
    assert codes(bob.read()) == ["QUIT"]
