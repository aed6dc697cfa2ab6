"""Several clients on one nick, and users who stay without any."""

from __future__ import annotations

import pytest
from irc_accounts import PASSWORD, ask_slowly, connect_as, logged_in, register_account, told
from irc_kit import Client, Irc, codes, make_network, tags_of, untagged

from tapd.model.setting import Assignment, prepare_settings
from tapd.services.irc.service import SWEEP_S
from tapd.services.irc.state.accounts import DEVICES_MAX, split_device
from tapd.testing import Host

ALICE = ":alice!~alice@127.0.0.1"


@pytest.fixture
def alice(irc: Irc) -> Client:
    """A client of somebody who stays, on #c."""
    register_account(irc)
    client = logged_in(irc)
    said = told(client.ask("NS SET ALWAYS-ON on", "JOIN #c"))
    assert said == ["You stay here when your last client goes."]
    client.read()
    return client


@pytest.fixture
def bob(irc: Irc) -> Client:
    return irc.client("Bob", "away-notify", join="#c")


class TestSeveralClients:
    def test_one_more_gets_the_channels(self, irc: Irc) -> None:
        register_account(irc)
        first = logged_in(irc)
        first.ask("JOIN #c", "TOPIC #c :tea", "JOIN #d")
        second = connect_as(irc)
        said = second.ask("CAP END")
        assert [line for line in said if " JOIN " in line] == [
            f"{ALICE} JOIN #c", f"{ALICE} JOIN #d",
        ]  # fmt: skip
        assert any(" 332 alice #c :tea" in line for line in said)
        assert codes(said).count("366") == 2
        assert first.read() == []

    def test_each_sees_what_the_other_does(self, irc: Irc) -> None:
        register_account(irc)
        irc.client("Bob", join="#c")
        one = logged_in(irc, caps="server-time")
        two = logged_in(irc)
        two.read()
        one.ask("JOIN #c", "PRIVMSG #c :hi", "PRIVMSG Bob :psst", "NICK alicia", "PART #c")
        seen = [line for line in two.read() if line.startswith(":ali")]
        assert [line.split(" ", 1)[1] for line in seen] == [
            "JOIN #c", "PRIVMSG #c :hi", "PRIVMSG Bob :psst", "NICK :alicia", "PART #c",
        ]  # fmt: skip
        assert not any(tags_of(line) for line in seen)  # each by its own capabilities

    def test_away_when_all_are(self, irc: Irc, bob: Client) -> None:
        """AWAY is the user's when it is each client's; the one who is told is who asked."""
        register_account(irc)
        one, two = logged_in(irc), logged_in(irc)
        one.ask("JOIN #c")
        bob.read()
        assert codes(one.ask("AWAY :lunch")) == ["306"]
        assert bob.read() == []
        assert codes(two.ask("AWAY :nap")) == ["306"]
        assert bob.read() == [f"{ALICE} AWAY :nap"]
        assert codes(one.ask("AWAY")) == ["305"]
        assert bob.read() == [f"{ALICE} AWAY"]

    def test_away_when_the_last_who_is_not_goes(self, irc: Irc, bob: Client) -> None:
        register_account(irc)
        one, two = logged_in(irc), logged_in(irc)
        one.ask("JOIN #c", "AWAY :lunch")
        bob.read()
        two.ask("QUIT")
        assert bob.read() == [f"{ALICE} AWAY :lunch"]

    def test_one_goes_and_the_user_stays(self, irc: Irc, bob: Client) -> None:
        register_account(irc)
        one, two = logged_in(irc), logged_in(irc)
        one.ask("JOIN #c")
        bob.read()
        one.ask("QUIT")
        assert bob.read() == []
        two.ask("QUIT :bye")
        assert bob.read() == [f"{ALICE} QUIT :Quit: bye"]

    def test_whois(self, irc: Irc) -> None:
        """330 and 307 for all, how many clients for themselves (modern, "WHOIS")."""
        register_account(irc)
        one, _two = logged_in(irc), logged_in(irc)
        said = one.ask("WHOIS alice")
        assert any(" 320 alice alice :has 2 clients" in line for line in said)
        said = irc.client("Bob").ask("WHOIS alice")
        assert {"330", "307"} <= set(codes(said))
        assert "320" not in codes(said)


class TestAlwaysOn:
    @pytest.mark.parametrize("crash", [False, True])
    def test_stays_and_is_told_what_was_missed(
        self, irc: Irc, alice: Client, bob: Client, crash: bool
    ) -> None:
        alice.ask("QUIT")
        (line,) = bob.read()
        assert line == f"{ALICE} AWAY :No client is connected"
        said = bob.ask("PRIVMSG #c :one", "PRIVMSG alice :two")
        assert codes(said) == ["301"]
        if crash:
            irc.harness.crash()
        bob.ask("PRIVMSG #c :three")
        said = connect_as(irc).ask("CAP END")
        texts = [line.split("] ")[1] for line in said if " PRIVMSG " in line]
        assert texts == ["one", "three", "two"]
        assert any(line == f"{ALICE} JOIN #c" for line in said)
        assert bob.read() == [f"{ALICE} AWAY"]

    def test_with_server_time_in_batches(self, irc: Irc, alice: Client, bob: Client) -> None:
        alice.ask("QUIT")
        bob.ask("PRIVMSG #c :one")
        said = connect_as(irc, caps="server-time batch").ask("CAP END")
        played = [line for line in said if " PRIVMSG " in line]
        assert untagged(played[0]) == ":Bob!~bob@127.0.0.1 PRIVMSG #c :one"
        assert set(tags_of(played[0])) == {"time", "batch"}

    def test_a_client_with_chathistory_asks_itself(
        self, irc: Irc, alice: Client, bob: Client
    ) -> None:
        alice.ask("QUIT")
        bob.ask("PRIVMSG #c :one")
        said = connect_as(irc, caps="draft/chathistory").ask("CAP END")
        assert not any(" PRIVMSG " in line for line in said)

    def test_each_device_has_its_own_past(self, irc: Irc, alice: Client, bob: Client) -> None:
        """``alice@phone`` in SASL, as bouncers have it; one that is new gets what nobody saw."""
        phone = logged_in(irc, account="alice@phone")
        phone.ask("QUIT")
        bob.ask("PRIVMSG #c :seen by one")
        irc.harness.clock.advance(1)
        alice.ask("QUIT")
        bob.ask("PRIVMSG #c :seen by none")

        def missed(account: str) -> int:
            client = connect_as(irc, account=account)
            found = [line for line in client.ask("CAP END") if " PRIVMSG " in line]
            irc.harness.clock.advance(1)
            client.ask("QUIT")
            return len(found)

        assert missed("alice@laptop") == 1
        assert missed("alice@phone") == 2
        assert missed("alice@phone") == 0
        assert missed("alice") == 1

    def test_the_device_of_user(self, irc: Irc) -> None:
        """USER alice@phone: clients without SASL names have it there."""
        client = irc.connect()
        client.ask("NICK Ann", "USER ann@phone 0 * :A")
        (session,) = irc.network.users["ann"].sessions
        assert session.device == "phone"
        assert session.user.username == "~ann"

    def test_own_away_text(self, irc: Irc, alice: Client, bob: Client) -> None:
        alice.ask("NS SET AWAY Asleep, I hope")
        alice.ask("QUIT")
        assert bob.read() == [f"{ALICE} AWAY :Asleep, I hope"]
        alice = logged_in(irc)
        alice.ask("AWAY :on holiday")
        bob.read()
        alice.ask("QUIT")
        assert bob.read() == []  # what they said themselves stays
        assert irc.network.users["alice"].away == "on holiday"

    def test_one_who_does_not_ask_for_it(self, irc: Irc, bob: Client) -> None:
        register_account(irc)
        logged_in(irc).ask("JOIN #c", "QUIT")
        assert codes(bob.read())[-1] == "QUIT"

    def test_opt_out(self, irc: Irc) -> None:
        register_account(irc)
        irc.network.always_on = "opt-out"
        logged_in(irc).ask("QUIT")
        assert "alice" in irc.network.users
        client = logged_in(irc)
        assert told(client.ask("NS SET ALWAYS-ON off"))[0].startswith("You quit")
        client.ask("QUIT")
        assert "alice" not in irc.network.users

    def test_off(self, irc: Irc) -> None:
        register_account(irc)
        irc.network.always_on = "off"
        client = logged_in(irc)
        assert "on this network" in told(client.ask("NS SET ALWAYS-ON on"))[0]

    def test_only_under_an_own_nick(self, irc: Irc, alice: Client) -> None:
        """Else nobody would find them again."""
        alice.ask("NICK other", "QUIT")
        assert "other" not in irc.network.users

    def test_expiry(self, irc: Irc, alice: Client, bob: Client) -> None:
        alice.ask("QUIT")
        irc.network.always_on_s_max = 40
        irc.harness.clock.advance(30)
        assert "alice" in irc.network.users
        bob.read()
        irc.harness.clock.advance(10 + SWEEP_S)
        assert "alice" not in irc.network.users
        assert codes(bob.read()) == ["QUIT"]

    def test_ghost_and_kill(self, irc: Irc, alice: Client) -> None:
        """A logout elsewhere, or an operator, ends it."""
        alice.ask("QUIT")
        irc.network.users["alice"].always_on = True
        client = logged_in(irc)
        client.ask("NS LOGOUT", "QUIT")
        assert not irc.network.users.keys() & {"alice", "guest1000"}

    def test_devices_are_bounded(self, irc: Irc, alice: Client) -> None:
        account = irc.network.accounts.find("alice")
        assert account is not None
        for number in range(DEVICES_MAX + 5):
            account.note_device(str(number), number)
        assert len(account.devices) == DEVICES_MAX
        assert "4" not in account.devices
        alice.read()


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a", ("a", "")), ("a@b", ("a", "b")), ("a@b@c", ("a", "b@c")), ("a@\x01", ("a", ""))],
)
def test_split_device(text: str, parts: tuple[str, str]) -> None:
    assert split_device(text) == parts


def test_a_reboot_ends_clients_not_users() -> None:
    """Connections are gone after a stop; who is always on stays on their channels."""
    with Host(make_network()) as host:
        network = host.service("irc")
        peer = host.connect()
        peer.send("NICK Ann\r\nUSER a 0 * :A\r\nJOIN #c\r\n")
        network.users["ann"].always_on = True
        peer.send("PING x\r\n")
        host.reboot()
        network = host.service("irc")
        user = network.users["ann"]
        assert [channel.name for channel in user.channels] == ["#c"]
        assert not user.sessions
        assert user.away


class TestHistoryOnJoin:
    def test_none_by_default(self, irc: Irc) -> None:
        irc.client("Ann", join="#c").ask("PRIVMSG #c :hello")
        assert not any("hello" in line for line in irc.client("Bob").ask("JOIN #c"))

    def test_some(self, irc: Irc) -> None:
        irc.network.history_on_join = 2
        ann = irc.client("Ann", join="#c")
        ann.ask(*(f"PRIVMSG #c :{text}" for text in ("one", "two", "three")))
        said = irc.client("Bob").ask("JOIN #c")
        assert [line.split("] ")[1] for line in said if " PRIVMSG " in line] == ["two", "three"]
        said = irc.client("Eve", "draft/chathistory").ask("JOIN #c")
        assert not any(" PRIVMSG " in line for line in said)


class TestPass:
    """PASS account:password, for clients without SASL."""

    @pytest.mark.parametrize("crash", [False, True])
    def test_logs_in(self, irc: Irc, crash: bool) -> None:
        register_account(irc)
        client = irc.connect()
        client.send(f"PASS alice@phone:{PASSWORD}", "NICK alice2", "USER a 0 * :A")
        if crash:
            irc.harness.crash()
        ask_slowly(client, until="001")
        user = irc.network.users["alice2"]
        assert user.account == "alice"
        assert user.modes == "r"
        assert user.sessions[0].device == "phone"

    @pytest.mark.parametrize("is_there", [False, True])
    def test_the_nick_may_be_the_accounts(self, irc: Irc, is_there: bool) -> None:
        """It is reserved, or even in use by the same account: PASS comes before NICK."""
        register_account(irc)
        if is_there:
            logged_in(irc)
        client = irc.connect()
        client.send(f"PASS alice:{PASSWORD}", "NICK alice", "USER a 0 * :A")
        ask_slowly(client, until="001")
        assert len(irc.network.users["alice"].sessions) == 1 + is_there

    def test_a_reserved_nick_without_the_password(self, irc: Irc) -> None:
        register_account(irc)
        assert codes(irc.connect().ask("PASS x", "NICK alice", "USER a 0 * :A")) == ["433"]

    def test_wrong(self, irc: Irc) -> None:
        """464 (modern, ERR_PASSWDMISMATCH), and the end."""
        register_account(irc)
        client = irc.connect()
        client.send("PASS alice:wrong-one", "NICK al", "USER a 0 * :A")
        assert codes(client.read_end()) == ["464", "ERROR"]

    @pytest.mark.parametrize("given", ["x", "nobody:x", "alice:"])
    def test_what_is_meant_for_other_servers_is_ignored(self, irc: Irc, given: str) -> None:
        register_account(irc)
        assert "001" in codes(irc.connect().ask(f"PASS {given}", "NICK al", "USER a 0 * :A"))


def test_settings_reach_who_is_there(irc: Irc, alice: Client) -> None:
    """always-on=off ends those without a client; account-registration tells of the capability."""
    alice.ask("QUIT")
    bob = irc.client("Bob", "cap-notify")
    assignments = [Assignment("always-on", "off"), Assignment("account-registration", "off")]
    changes = prepare_settings(irc.harness.application, assignments)
    irc.harness.serving.call(lambda: [change() for change in changes])
    irc.harness.pump()
    assert "alice" not in irc.network.users
    assert bob.read()[-1].endswith("CAP Bob DEL :draft/account-registration")
    changes = prepare_settings(
        irc.harness.application, [Assignment("account-registration", "on")]
    )  # fmt: skip
    irc.harness.serving.call(changes[0])
    irc.harness.pump()
    assert "CAP Bob NEW :draft/account-registration=" in bob.read()[-1]
