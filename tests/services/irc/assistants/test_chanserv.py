"""ChanServ, and channels that stay."""

from __future__ import annotations

import pytest
from irc_accounts import logged_in, make_oper, register_account, told
from irc_kit import Client, Irc, codes, untagged

from tapd.services.irc.assistants.chanserv import LISTED_MAX
from tapd.services.irc.conduct.login import log_in
from tapd.services.irc.state.grants import AUTOKICKS_MAX, Autokick, ChannelRegistration

MASK = ":ChanServ!ChanServ@irc.test.internal"


def ask(client: Client, text: str) -> list[str]:
    return told(client.ask(f"CS {text}"))


@pytest.fixture
def alice(irc: Irc) -> Client:
    """The founder of #tea."""
    register_account(irc)
    client = logged_in(irc)
    client.ask("JOIN #tea")
    assert ask(client, "REGISTER #tea All about tea") == [
        "#tea is registered; you are its founder."
    ]
    return client


def member(irc: Irc, name: str, *, level: str = "", by: Client | None = None) -> Client:
    """Return a client of an account of its own, with a level on #tea."""
    register_account(irc, name)
    client = logged_in(irc, name, name)
    if by is not None:
        ask(by, f"ACCESS #tea ADD {name} {level}")
    client.read()
    return client


def registration(irc: Irc) -> ChannelRegistration:
    channel = irc.network.find_channel("#tea")
    assert channel is not None
    assert channel.registration is not None
    return channel.registration


class TestRegister:
    def test_the_founder_has_the_rank(self, irc: Irc, alice: Client) -> None:
        assert irc.network.channels["#tea"].has_rank(irc.network.users["alice"], "q")
        assert ask(alice, "INFO #tea")[0].endswith("founder alice.")
        assert ask(alice, "INFO #tea")[-1] == "All about tea"

    def test_refused(self, irc: Irc, alice: Client) -> None:
        assert "already" in ask(alice, "REGISTER #tea")[0]
        assert "no operator" in ask(alice, "REGISTER #none")[0]
        irc.network.channels_per_account_max = 1
        alice.ask("JOIN #two")
        assert "already" in ask(alice, "REGISTER #two")[0]
        assert "Log in first" in ask(irc.client("Bob"), "REGISTER #tea")[0]

    @pytest.mark.parametrize("crash", [False, True])
    def test_it_stays_when_it_is_empty(self, irc: Irc, alice: Client, crash: bool) -> None:
        """With topic, modes, lists and history; who comes first is no operator."""
        alice.ask("TOPIC #tea :green", "MODE #tea +mb *!*@nowhere", "PRIVMSG #tea :hello")
        alice.ask("QUIT")
        assert not irc.network.channels["#tea"].members
        if crash:
            irc.harness.crash()
        bob = irc.client("Bob", "batch draft/chathistory")
        said = bob.ask("JOIN #tea")
        assert any(" 332 Bob #tea :green" in line for line in said)
        assert any(line.endswith(" 353 Bob = #tea :Bob") for line in said)
        assert " +mnt" in bob.ask("MODE #tea")[0]
        assert any("nowhere" in line for line in bob.ask("MODE #tea b"))
        assert any(":hello" in line for line in bob.ask("CHATHISTORY LATEST #tea * 9"))

    def test_keeptopic_off(self, alice: Client) -> None:
        alice.ask("TOPIC #tea :green", "CS SET #tea KEEPTOPIC off", "PART #tea")
        assert not any(" 332 " in line for line in alice.ask("JOIN #tea"))

    def test_drop(self, irc: Irc, alice: Client) -> None:
        code = ask(alice, "DROP #tea")[-1].split()[-1]
        assert "not the code" in ask(alice, "DROP #tea 123")[0]
        assert ask(alice, f"DROP #tea {code}") == ["#tea is registered no more."]
        alice.ask("PART #tea")
        assert "#tea" not in irc.network.channels

    def test_an_empty_one_goes_with_its_registration(self, irc: Irc, alice: Client) -> None:
        alice.ask("PART #tea")
        code = ask(alice, "DROP #tea")[-1].split()[-1]
        ask(alice, f"DROP #tea {code}")
        assert "#tea" not in irc.network.channels

    def test_transfer(self, irc: Irc, alice: Client) -> None:
        register_account(irc, "bob")
        code = ask(alice, "TRANSFER #tea bob")[0].split()[-1]
        assert ask(alice, f"TRANSFER #tea bob {code}") == ["bob is the founder of #tea now."]
        assert registration(irc).founder == "bob"
        assert "takes the founder" in ask(alice, "DROP #tea")[0]

    def test_operators(self, irc: Irc, alice: Client) -> None:
        boss = irc.client("boss")
        assert "for IRC operators" in ask(boss, "LIST")[0]
        make_oper(irc, "boss")
        assert ask(boss, "LIST #t*") == ["#tea: alice", "1 channels, 1 shown."]
        code = ask(boss, "DROP #tea")[-1].split()[-1]
        assert ask(boss, f"DROP #tea {code}") == ["#tea is registered no more."]
        assert LISTED_MAX > 1
        alice.read()


class TestAccess:
    @pytest.mark.parametrize(
        ("level", "rank"), [("admin", "a"), ("op", "o"), ("halfop", "h"), ("voice", "v")]
    )
    def test_ranks_at_join(self, irc: Irc, alice: Client, level: str, rank: str) -> None:
        bob = member(irc, "bob", level=level, by=alice)
        alice.read()
        said = bob.ask("JOIN #tea")
        assert said[1] == f"{MASK} MODE #tea +{rank} bob"
        assert alice.read()[1] == said[1]
        assert irc.network.channels["#tea"].has_rank(irc.network.users["bob"], rank)

    def test_ranks_at_login(self, irc: Irc, alice: Client) -> None:
        bob = member(irc, "bob", level="op", by=alice)
        bob.ask("JOIN #tea", "NS LOGOUT")
        user = irc.network.users["guest1000"]
        irc.network.channels["#tea"].set_rank(user, "o", on=False)
        account = irc.network.accounts.find("bob")
        assert account is not None
        alice.read()
        irc.harness.serving.call(lambda: log_in(user.sessions[0], account, "test"))
        irc.harness.pump()
        assert f"{MASK} MODE #tea +o Guest1000" in alice.read()

    def test_present_members_get_theirs(self, irc: Irc, alice: Client) -> None:
        bob = member(irc, "bob")
        bob.ask("JOIN #tea")
        ask(alice, "ACCESS #tea ADD bob voice")
        assert bob.read() == [f"{MASK} MODE #tea +v bob"]

    def test_list_add_del(self, irc: Irc, alice: Client) -> None:
        register_account(irc, "bob")
        assert ask(alice, "ACCESS #tea ADD bob op") == ["bob has the level op on #tea."]
        said = ask(alice, "ACCESS #tea LIST")
        assert said[1] == "alice: founder"
        assert said[2].startswith("bob: op, by alice on ")
        assert ask(alice, "ACCESS #tea DEL bob") == ["bob has no level on #tea any more."]
        assert "not on the list" in ask(alice, "ACCESS #tea DEL bob")[0]
        assert "no level" in ask(alice, "ACCESS #tea ADD bob king")[0]
        assert "no such account" in ask(alice, "ACCESS #tea ADD nobody op")[0]
        assert "is the founder" in ask(alice, "ACCESS #tea ADD alice op")[0]
        assert "Write: ACCESS" in ask(alice, "ACCESS #tea ADD bob")[0]

    def test_flags(self, irc: Irc, alice: Client) -> None:
        register_account(irc, "bob")
        assert ask(alice, "FLAGS #tea bob +v") == ["bob has the level voice on #tea."]
        assert len(ask(alice, "FLAGS #tea")) == 3
        assert ask(alice, "FLAGS #tea bob -v") == ["bob has no level on #tea any more."]
        assert "Write: FLAGS" in ask(alice, "FLAGS #tea bob +x")[0]

    def test_who_may_give_what(self, irc: Irc, alice: Client) -> None:
        """Levels below one's own only; and everybody may give up their own."""
        bob = member(irc, "bob", level="op", by=alice)
        register_account(irc, "eve")
        assert "below your own" in ask(bob, "ACCESS #tea ADD eve op")[0]
        assert "eve has the level halfop" in ask(bob, "ACCESS #tea ADD eve halfop")[0]
        ask(alice, "ACCESS #tea ADD eve admin")
        assert "below your own" in ask(bob, "ACCESS #tea DEL eve")[0]
        assert "below your own" in ask(bob, "ACCESS #tea ADD eve voice")[0]
        assert "no level" in ask(bob, "ACCESS #tea DEL bob")[0]
        assert "takes the level" in ask(bob, "ACCESS #tea LIST")[0]

    def test_the_founder_always_gets_in(self, irc: Irc, alice: Client) -> None:
        """Past +i, +k, +l, bans and the autokick list."""
        bob = member(irc, "bob", level="admin", by=alice)
        bob.ask("JOIN #tea")
        alice.ask("PART #tea")
        bob.ask("MODE #tea +ikl key 1", "MODE #tea +b alice!*@*")
        registration(irc).autokicks["alice!*@*"] = Autokick("alice!*@*", "", "bob", 0.0)
        assert any(line.endswith("JOIN #tea") for line in alice.ask("JOIN #tea"))
        assert codes(irc.client("Eve").ask("JOIN #tea")) != ["JOIN"]

    def test_a_dropped_account_is_on_no_list(self, irc: Irc, alice: Client) -> None:
        bob = member(irc, "bob", level="op", by=alice)
        code = told(bob.ask("NS DROP"))[-1].split()[-1]
        bob.ask(f"NS DROP {code}")
        assert not registration(irc).grants


class TestAutokick:
    def test_add_and_del(self, irc: Irc, alice: Client) -> None:
        bob = irc.client("Bob", join="#tea")
        assert ask(alice, "AUTOKICK #tea ADD Bob go away") == ["Bob!*@* is kept out of #tea."]
        assert any(f"{MASK} KICK #tea Bob :go away" in line for line in bob.read())
        assert codes(bob.ask("JOIN #tea")) == ["474"]
        alice.ask("INVITE Bob #tea")
        assert "474" in codes(bob.ask("JOIN #tea"))
        assert ask(alice, "AUTOKICK #tea")[1] == "Bob!*@*: go away"
        assert "not kept out" in ask(alice, "AUTOKICK #tea DEL bob")[0]
        assert "not on the list" in ask(alice, "AUTOKICK #tea DEL bob")[0]
        assert "JOIN" in codes(bob.ask("JOIN #tea"))
        assert "no mask" in ask(alice, "AUTOKICK #tea ADD ~x:")[0]
        assert "Write: AUTOKICK" in ask(alice, "AUTOKICK #tea X y")[0]

    def test_who_is_on_the_list_is_not(self, irc: Irc, alice: Client) -> None:
        bob = member(irc, "bob", level="voice", by=alice)
        ask(alice, "AUTOKICK #tea ADD ~a:bob")
        assert "JOIN" in codes(bob.ask("JOIN #tea"))

    def test_bounded(self, irc: Irc, alice: Client) -> None:
        entry = Autokick("x!*@*", "", "alice", 0.0)
        for number in range(AUTOKICKS_MAX):
            registration(irc).autokicks[str(number)] = entry
        assert "full" in ask(alice, "AUTOKICK #tea ADD y")[0]


class TestLocks:
    def test_topic_lock(self, irc: Irc, alice: Client) -> None:
        bob = irc.client("Bob", join="#tea")
        alice.ask("MODE #tea +o Bob")
        assert ask(alice, "SET #tea TOPICLOCK on") == ["The topic of #tea is locked."]
        bob.read()
        assert codes(bob.ask("TOPIC #tea :mine")) == ["482"]
        assert "TOPIC" in codes(alice.ask("TOPIC #tea :ours"))
        assert "Write on or off" in ask(alice, "SET #tea TOPICLOCK maybe")[0]

    def test_mode_lock(self, alice: Client) -> None:
        """742 (ERR_MLOCKRESTRICTED, as on other servers); what is locked is set at once."""
        said = alice.ask("CS SET #tea MLOCK +sl-m 5")
        assert f"{MASK} MODE #tea +sl 5" in said
        assert told(said) == ["Locked on #tea: +sl-m 5"]
        (line,) = alice.ask("MODE #tea +m")
        assert line.split()[1:5] == ["742", "alice", "#tea", "m"]
        assert codes(alice.ask("MODE #tea -s", "MODE #tea +l 9", "MODE #tea -l")) == ["742"] * 3
        assert codes(alice.ask("MODE #tea +i")) == ["MODE"]
        assert "can't be locked" in ask(alice, "SET #tea MLOCK +b x")[0]
        assert "+l" in ask(alice, "SET #tea MLOCK +l x")[0]
        assert ask(alice, "SET #tea MLOCK") == ["Locked on #tea: nothing"]
        assert codes(alice.ask("MODE #tea +m")) == ["MODE"]

    def test_who_may(self, irc: Irc, alice: Client) -> None:
        bob = member(irc, "bob", level="admin", by=alice)
        assert "takes the founder" in ask(bob, "SET #tea DESC x")[0]
        assert "no option" in ask(alice, "SET #tea COLOUR x")[0]
        assert "not registered" in ask(alice, "SET #none DESC x")[0]


class TestMembers:
    @pytest.mark.parametrize(
        ("verb", "letter"), [("OP", "o"), ("VOICE", "v"), ("HALFOP", "h"), ("PROTECT", "a")]
    )
    def test_give_and_take(self, irc: Irc, alice: Client, verb: str, letter: str) -> None:
        irc.client("Bob", join="#tea")
        alice.read()
        assert alice.ask(f"CS {verb} #tea Bob") == [f"{MASK} MODE #tea +{letter} Bob"]
        assert alice.ask(f"CS DE{verb} #tea Bob") == [f"{MASK} MODE #tea -{letter} Bob"]
        assert ask(alice, f"{verb} #tea Zoe") == ["Zoe is not on #tea"]

    def test_who_may(self, irc: Irc, alice: Client) -> None:
        bob = member(irc, "bob", level="halfop", by=alice)
        bob.ask("JOIN #tea")
        assert "takes the level op" in ask(bob, "OP #tea")[0]
        assert f"{MASK} MODE #tea +v bob" in bob.ask("CS VOICE #tea")
        ask(alice, "ACCESS #tea ADD bob op")
        assert ask(bob, "DEOP #tea alice") == ["alice is on the access list"]

    def test_invite_and_unban(self, irc: Irc, alice: Client) -> None:
        bob = member(irc, "bob", level="op", by=alice)
        alice.ask("MODE #tea +ibb bob!*@* *!~bob@*")
        assert codes(bob.ask("JOIN #tea")) == ["473"]
        assert list(map(untagged, bob.ask("CS INVITE #tea"))) == [f"{MASK} INVITE bob :#tea"]
        assert ask(bob, "UNBAN #tea") == ["2 bans on #tea were about you."]
        assert f"{MASK} MODE #tea -bb bob!*@* *!~bob@*" in alice.read()
        assert "JOIN" in codes(bob.ask("JOIN #tea"))
        assert "You are on" in ask(bob, "INVITE #tea")[0]


def test_what_chanserv_does_in_one_line_holds_for_the_next(irc: Irc, alice: Client) -> None:
    """Of lines in one piece, the first also tells ChanServ to take its sender's rank."""
    bob = member(irc, "bob", level="op", by=alice)
    bob.ask("JOIN #tea")
    alice.ask("MODE #tea +b bob!*@*")
    alice.read()
    bob.send("PRIVMSG #tea,ChanServ :DEOP #tea", "PRIVMSG #tea :still here")
    assert not [line for line in alice.read() if line.endswith(":still here")]
    assert "404" in codes(bob.read())
