"""What was said before: CHATHISTORY, MARKREAD, REDACT, and what is kept of it.

Clauses: ircv3.net/specs/extensions/chathistory, /read-marker, /message-redaction.
"""

from __future__ import annotations

from irc_kit import Client, Irc, codes, command_of, tags_of, untagged

from tapd.services.irc.state.history import Archive, Log, Reference
from tapd.services.irc.wire.delivery import Event

CAPS = "batch server-time message-tags draft/chathistory echo-message"


def said(lines: list[str]) -> list[str]:
    """Return the texts of the PRIVMSGs in lines."""
    return [
        untagged(line)[1:].partition(" :")[2] for line in lines if command_of(line) == "PRIVMSG"
    ]


def talk(irc: Irc, count: int = 6) -> tuple[Client, list[str], list[str]]:
    """Have alice say `count` lines; return her, the ids and the times."""
    alice = irc.client("alice", CAPS, join="#c")
    ids, times = [], []
    for number in range(count):
        lines = alice.ask(f"PRIVMSG #c :line {number}")
        ids.append(tags_of(lines[-1])["msgid"])
        times.append(tags_of(lines[-1])["time"])
    return alice, ids, times


class TestChathistory:
    def test_latest_is_a_batch_oldest_first(self, irc: Irc) -> None:
        """CHATHISTORY LATEST <target> * <limit>: the newest, in a chathistory batch."""
        alice, _, _ = talk(irc)
        lines = alice.ask("CHATHISTORY LATEST #c * 3")
        assert codes(lines) == ["BATCH", "PRIVMSG", "PRIVMSG", "PRIVMSG", "BATCH"]
        reference = untagged(lines[0]).split()[2][1:]
        assert untagged(lines[0]).endswith(f"BATCH +{reference} chathistory #c")
        assert {tags_of(line)["batch"] for line in lines[1:-1]} == {reference}
        assert said(lines) == ["line 3", "line 4", "line 5"]

    def test_messages_keep_id_and_time(self, irc: Irc) -> None:
        """Replayed messages have the msgid and time of when they were sent."""
        alice, ids, times = talk(irc, 2)
        lines = alice.ask("CHATHISTORY LATEST #c * 10")[1:-1]
        assert [tags_of(line)["msgid"] for line in lines] == ids
        assert [tags_of(line)["time"] for line in lines] == times

    def test_before_after_around_between(self, irc: Irc) -> None:
        """The subcommands' bounds are exclusive, AROUND has the message itself."""
        alice, ids, _ = talk(irc)

        def ask(words: str) -> list[str]:
            return [text[-1] for text in said(alice.ask(f"CHATHISTORY {words}"))]

        assert ask(f"BEFORE #c msgid={ids[3]} 2") == ["1", "2"]
        assert ask(f"AFTER #c msgid={ids[3]} 10") == ["4", "5"]
        assert ask(f"AFTER #c msgid={ids[0]} 2") == ["1", "2"]
        assert ask(f"AROUND #c msgid={ids[2]} 3") == ["1", "2", "3"]
        assert ask(f"AROUND #c msgid={ids[0]} 3") == ["0", "1", "2"]
        assert ask(f"LATEST #c msgid={ids[4]} 9") == ["5"]
        assert ask(f"BETWEEN #c msgid={ids[0]} msgid={ids[4]} 2") == ["1", "2"]
        assert ask(f"BETWEEN #c msgid={ids[4]} msgid={ids[0]} 2") == ["2", "3"]

    def test_by_time(self, irc: Irc) -> None:
        """A timestamp selects as server-time writes it."""
        alice, _, times = talk(irc, 1)
        assert said(alice.ask("CHATHISTORY AFTER #c timestamp=2001-01-01T00:00:00.000Z 9")) == [
            "line 0"
        ]
        assert said(alice.ask(f"CHATHISTORY BEFORE #c timestamp={times[0]} 9")) == []
        assert said(alice.ask("CHATHISTORY BEFORE #c timestamp=2999-01-01T00:00:00.000Z 9"))

    def test_events_are_for_event_playback(self, irc: Irc) -> None:
        """JOIN and so on are in the past of clients with draft/event-playback only."""
        alice, _, _ = talk(irc, 1)
        alice.ask("TOPIC #c :new")
        plain = alice.ask("CHATHISTORY LATEST #c * 9")
        assert codes(plain)[1:-1] == ["PRIVMSG"]
        with_events = irc.client("bob", f"{CAPS} draft/event-playback", join="#c")
        lines = with_events.ask("CHATHISTORY LATEST #c * 9")
        assert codes(lines)[1:-1] == ["JOIN", "PRIVMSG", "TOPIC", "JOIN"]

    def test_not_for_strangers(self, irc: Irc) -> None:
        """FAIL CHATHISTORY INVALID_TARGET: no such target, or not yours to read."""
        talk(irc, 1)
        bob = irc.client("bob", f"{CAPS} standard-replies")
        for target in ("#c", "#none", "nobody"):
            (line,) = bob.ask(f"CHATHISTORY LATEST {target} * 5")
            assert f"FAIL CHATHISTORY INVALID_TARGET LATEST {target} :" in line

    def test_wrong_parameters(self, irc: Irc) -> None:
        """FAIL CHATHISTORY with INVALID_PARAMS, INVALID_MSGREFTYPE or MESSAGE_ERROR."""
        alice, _, _ = talk(irc, 1)
        alice.ask("CAP REQ standard-replies")
        for words, code in (
            ("", "INVALID_PARAMS *"),
            ("SIDEWAYS #c * 3", "INVALID_PARAMS SIDEWAYS"),
            ("LATEST #c *", "INVALID_PARAMS LATEST"),
            ("LATEST #c * x", "INVALID_PARAMS LATEST x"),
            ("BEFORE #c timestamp=yesterday 3", "INVALID_PARAMS BEFORE yesterday"),
            ("BEFORE #c id=1 3", "INVALID_MSGREFTYPE BEFORE #c id=1"),
            ("BEFORE #c msgid=none 3", "MESSAGE_ERROR BEFORE #c"),
        ):
            (line,) = alice.ask(f"CHATHISTORY {words}")
            assert f"FAIL CHATHISTORY {code} :" in line

    def test_a_conversation_is_of_two(self, irc: Irc) -> None:
        """Both ends have a conversation's past under the other's nick; nobody else has."""
        alice = irc.client("alice", CAPS)
        bob = irc.client("bob", CAPS)
        alice.ask("PRIVMSG bob :psst")
        bob.ask("PRIVMSG alice :what")
        assert said(alice.ask("CHATHISTORY LATEST bob * 9")) == ["psst", "what"]
        assert said(bob.ask("CHATHISTORY LATEST alice * 9")) == ["psst", "what"]
        carol = irc.client("carol", CAPS)
        assert said(carol.ask("CHATHISTORY LATEST alice * 9")) == []

    def test_a_nick_does_not_inherit(self, irc: Irc) -> None:
        """Who takes a guest's nick can't read what the guest was told."""
        alice = irc.client("alice", CAPS)
        bob = irc.client("bob", CAPS)
        alice.ask("PRIVMSG bob :for the first bob")
        bob.send("QUIT")
        bob.read_end()
        second = irc.client("bob", CAPS)
        assert said(second.ask("CHATHISTORY LATEST alice * 9")) == []
        assert said(alice.ask("CHATHISTORY LATEST bob * 9")) == []

    def test_targets(self, irc: Irc) -> None:
        """CHATHISTORY TARGETS: which places had messages in a time, with the newest's time."""
        alice, _, times = talk(irc, 2)
        bob = irc.client("bob", CAPS)
        bob.ask("PRIVMSG alice :hello")
        lines = alice.ask(
            "CHATHISTORY TARGETS timestamp=2001-01-01T00:00:00.000Z "
            "timestamp=2999-01-01T00:00:00.000Z 10"
        )
        assert untagged(lines[0]).split()[3] == "draft/chathistory-targets"
        bodies = [untagged(line) for line in lines if command_of(line) == "CHATHISTORY"]
        assert f"CHATHISTORY TARGETS #c {times[1]}" in bodies[0]
        assert "CHATHISTORY TARGETS bob " in bodies[1]

    def test_limits_are_told(self, irc: Irc) -> None:
        """ISUPPORT CHATHISTORY and MSGREFTYPES; no answer is longer."""
        alice, _, _ = talk(irc, 0)
        lines = " ".join(irc.connect().register("bob").irc.client("carol").ask("VERSION"))
        assert " CHATHISTORY=100 " in lines
        assert " MSGREFTYPES=msgid,timestamp " in lines
        for _ in range(11):
            alice.send(*["PRIVMSG #c :x"] * 10)
        assert len(said(alice.ask("CHATHISTORY LATEST #c * 500"))) == 100

    def test_a_kill_loses_none_of_it(self, irc: Irc) -> None:
        alice, ids, _ = talk(irc, 3)
        irc.harness.crash()
        lines = alice.ask("CHATHISTORY LATEST #c * 9")
        assert [tags_of(line)["msgid"] for line in lines[1:-1]] == ids

    def test_typing_is_not_kept(self, irc: Irc) -> None:
        alice, _, _ = talk(irc, 0)
        alice.ask("CAP REQ draft/event-playback")
        alice.ask("@+typing=active TAGMSG #c", "@+draft/react=x TAGMSG #c")
        assert codes(alice.ask("CHATHISTORY LATEST #c * 9")) == ["BATCH", "JOIN", "TAGMSG", "BATCH"]

    def test_nothing_is_kept_where_that_is_asked(self, irc: Irc) -> None:
        irc.network.history.events_max = 0
        alice, _, _ = talk(irc, 2)
        assert codes(alice.ask("CHATHISTORY LATEST #c * 9")) == ["BATCH", "BATCH"]


class TestMarkread:
    CAPS = f"{CAPS} draft/read-marker"

    def test_on_join_before_the_end_of_names(self, irc: Irc) -> None:
        """MARKREAD after JOIN and before RPL_ENDOFNAMES; * where nothing is known."""
        alice = irc.client("alice", self.CAPS)
        lines = alice.ask("JOIN #c")
        assert codes(lines) == ["JOIN", "MARKREAD", "353", "366"]
        assert untagged(lines[1]).endswith("MARKREAD #c *")

    def test_it_moves_on_only(self, irc: Irc) -> None:
        """An older timestamp is answered with the newer one that is kept."""
        alice = irc.client("alice", self.CAPS)
        new, old = "timestamp=2024-01-02T00:00:00.000Z", "timestamp=2024-01-01T00:00:00.000Z"
        assert alice.ask(f"MARKREAD bob {new}")[-1].endswith(f"MARKREAD bob {new}")
        assert alice.ask(f"MARKREAD bob {old}")[-1].endswith(f"MARKREAD bob {new}")
        assert alice.ask("MARKREAD BOB")[-1].endswith(f"MARKREAD BOB {new}")

    def test_wrong(self, irc: Irc) -> None:
        alice = irc.client("alice", f"{self.CAPS} standard-replies")
        assert "FAIL MARKREAD NEED_MORE_PARAMS :" in alice.ask("MARKREAD")[0]
        for words in ("timestamp=soon", "*", "msgid=x"):
            assert "FAIL MARKREAD INVALID_PARAMS #c :" in alice.ask(f"MARKREAD #c {words}")[0]
        for target in (":a b", "::x", "x,y", "#"):  # nor would they come back as one parameter
            assert "FAIL MARKREAD INVALID_PARAMS " in alice.ask(f"MARKREAD {target}")[0]

    def test_a_kill_loses_none(self, irc: Irc) -> None:
        alice = irc.client("alice", self.CAPS)
        new = "timestamp=2024-01-02T00:00:00.000Z"
        alice.ask(f"MARKREAD #c {new}")
        irc.harness.crash()
        assert alice.ask("MARKREAD #c")[-1].endswith(new)


class TestRedact:
    CAPS = f"{CAPS} draft/message-redaction standard-replies"

    def test_own_message(self, irc: Irc) -> None:
        """Members with the capability are told; the message is in the past no more."""
        operator = irc.client("op", self.CAPS, join="#c")
        alice = irc.client("alice", self.CAPS, join="#c")
        msgid = tags_of(alice.ask("PRIVMSG #c :oops")[0])["msgid"]
        operator.read()
        answer = alice.ask(f"REDACT #c {msgid} :mine")
        assert untagged(answer[0]).endswith(f"REDACT #c {msgid} :mine")
        assert untagged(operator.read()[0]).startswith(":alice!")
        assert said(alice.ask("CHATHISTORY LATEST #c * 9")) == []

    def test_of_others_by_operators_only(self, irc: Irc) -> None:
        """FAIL REDACT REDACT_FORBIDDEN for who is no operator of the channel."""
        operator = irc.client("op", self.CAPS, join="#c")
        alice = irc.client("alice", self.CAPS, join="#c")
        his = tags_of(operator.ask("PRIVMSG #c :his")[0])["msgid"]
        hers = tags_of(alice.ask("PRIVMSG #c :hers")[0])["msgid"]
        assert f"FAIL REDACT REDACT_FORBIDDEN #c {his} :" in alice.ask(f"REDACT #c {his}")[0]
        assert codes(operator.ask(f"REDACT #c {hers}")) == ["REDACT"]
        assert said(operator.ask("CHATHISTORY LATEST #c * 9")) == ["his"]

    def test_wrong(self, irc: Irc) -> None:
        alice = irc.client("alice", self.CAPS, join="#c")
        for words, code in (
            ("", "NEED_MORE_PARAMS"),
            ("#c none", "UNKNOWN_MSGID #c none"),
            ("#d none", "INVALID_TARGET #d"),
            ("nobody none", "INVALID_TARGET nobody"),
        ):
            assert f"FAIL REDACT {code} :" in alice.ask(f"REDACT {words}")[0]

    def test_in_a_conversation(self, irc: Irc) -> None:
        alice = irc.client("alice", self.CAPS)
        bob = irc.client("bob", self.CAPS)
        msgid = tags_of(alice.ask("PRIVMSG bob :oops")[0])["msgid"]
        bob.read()
        assert codes(alice.ask(f"REDACT bob {msgid}")) == ["REDACT"]
        assert codes(bob.read()) == ["REDACT"]
        assert said(bob.ask("CHATHISTORY LATEST alice * 9")) == []


def event(number: int, command: str = "PRIVMSG") -> Event:
    return Event(number * 1000, f"id{number}", "a!b@c", "", False, command, ("#c",), str(number))


class TestLog:
    def test_bounded_by_number(self) -> None:
        log = Log(3)
        for number in range(5):
            log.append(event(number))
        assert [each.trailing for each in log.events(log.kept)] == ["2", "3", "4"]

    def test_resized(self) -> None:
        log = Log(5)
        for number in range(5):
            log.append(event(number))
        log.resize(2)
        log.append(event(5))
        assert [each.trailing for each in log.events(log.kept)] == ["4", "5"]

    def test_the_old_go_once_they_are_many(self) -> None:
        """A prune is a whole log's record, so a single old event waits for others."""
        log = Log(100)
        for number in range(16):
            log.append(event(number))
        log.prune(1000)
        assert len(log.kept) == 16
        log.prune(2000)
        assert log.events(log.kept)[0].time_ms == 2000

    def test_bounds_between_events(self) -> None:
        log = Log(100)
        for number in range(3):
            log.append(event(number))
        assert log.bounds(Reference("", 1000)) == (1, 2)
        assert log.bounds(Reference("", 1500)) == (2, 2)
        assert log.bounds(Reference("id1")) == (1, 2)


class TestArchive:
    def test_a_guest_who_logs_in_keeps_what_they_said(self) -> None:
        archive = Archive()
        archive.conversations["account:bob", "guest:1"] = log = Log(10)
        archive.partners["guest:1"] = {"account:bob": "bob"}
        archive.partners["account:bob"] = {"guest:1": "al"}
        archive.mark_read("guest:1", "#c", 5)
        archive.move("guest:1", "account:al")
        assert archive.conversation("account:al", "account:bob") is log
        assert list(archive.conversations_of("account:bob")) == [("al", log)]
        assert archive.marker("account:al", "#C") == 5
        assert "guest:1" not in archive.partners
        assert "guest:1" not in archive.markers

    def test_markers_are_bounded(self) -> None:
        archive = Archive()
        for number in range(1100):
            archive.mark_read("guest:1", f"#{number}", number)
        assert len(archive.markers["guest:1"]) == 1000
        assert archive.marker("guest:1", "#1099") == 1099
        assert archive.marker("guest:1", "#0") is None
