"""NickServ, and nicks that belong to accounts."""

from __future__ import annotations

from pathlib import Path

import pytest
from irc_accounts import PASSWORD, ask_slowly, logged_in, make_oper, register_account, told
from irc_kit import Client, Irc, codes

from tapd.errors import AuthorError
from tapd.services.irc.assistants.table import ASSISTANTS, NICKSERV, find_assistant
from tapd.services.irc.state.accounts import NICKS_MAX

MASK = ":NickServ!NickServ@irc.test.internal"


def ask(client: Client, text: str) -> list[str]:
    return told(client.ask(f"NS {text}"))


def ask_long(client: Client, text: str) -> list[str]:
    """Ask something that takes a password's hash."""
    said = ask_slowly(client, f"PRIVMSG NickServ :{text}", until="NOTICE")
    return told(said + client.read())


class TestTable:
    def test_help_lists_commands_and_their_docstrings(self, irc: Irc) -> None:
        client = irc.client("Ann")
        said = ask(client, "HELP")
        assert any(line.startswith("IDENTIFY") and "Log in" in line for line in said)
        assert not any(line.startswith("SUSPEND") for line in said)  # for operators
        assert ask(client, "HELP set")[0] == "Write: SET <option> <value>"
        assert any("SET ALWAYS-ON" in line for line in ask(client, "HELP SET"))

    def test_did_you_mean(self, irc: Irc) -> None:
        client = irc.client("Ann")
        assert ask(client, "IDENTFY x") == [
            "There is no command IDENTFY. Did you mean IDENTIFY? HELP lists all"
        ]
        assert "HELP lists all" in ask(client, "XYZ")[0]
        assert ask(client, "SUSPEND x") == ["SUSPEND is for IRC operators"]
        assert ask(client, "IDENTIFY") == ["Write: IDENTIFY [account] <password>"]
        assert "Log in first" in ask(client, "LOGOUT")[0]

    def test_all_ways_to_ask(self, irc: Irc) -> None:
        client = irc.client("Ann")
        for line in (
            "NS HELP",
            "NICKSERV :HELP",
            "PRIVMSG nickserv :HELP",
            "PRIVMSG NickServ@irc.test.internal HELP",
            "NICKSERV",
        ):
            assert client.ask(line)[0].startswith(f"{MASK} NOTICE Ann :NickServ knows")

    def test_what_is_not_answered(self, irc: Irc) -> None:
        """A NOTICE is never answered (RFC 2812 section 3.3.2), and a CTCP not by them."""
        client = irc.client("Ann")
        assert client.ask("NOTICE NickServ :HELP") == []
        assert client.ask("PRIVMSG NickServ :\x01VERSION\x01") == []
        assert codes(client.ask("PRIVMSG NickServ@elsewhere :HELP")) == ["401"]

    def test_their_nicks_are_theirs(self, irc: Irc) -> None:
        client = irc.client("Ann")
        assert codes(client.ask("NICK nickserv", "NICK ChanServ")) == ["433", "433"]
        assert codes(client.ask("WHOIS NickServ")) == ["311", "312", "318"]

    def test_a_name_is_taken_once(self) -> None:
        with pytest.raises(AuthorError, match="IDENTIFY already"):
            NICKSERV.command("IDENTIFY")(lambda _session, _words: None)

    def test_every_command_has_help(self) -> None:
        for assistant in ASSISTANTS.values():
            for command in assistant.commands.values():
                assert command.help_lines[0].endswith("."), command.name

    def test_find(self, irc: Irc) -> None:
        assert find_assistant(irc.network, "NICKSERV") is NICKSERV
        assert find_assistant(irc.network, "nick") is None


class TestSecrets:
    @pytest.mark.parametrize(
        ("line", "shown"),
        [
            ("IDENTIFY secret", "IDENTIFY ********"),
            ("identify alice secret", "identify ********"),
            ("SET PASSWORD old new", "SET PASSWORD ********"),
            ("IDENTFY secret", "IDENTFY ********"),
            ("HELP SET", "HELP SET"),
            ("INFO alice", "INFO alice"),
            ("", ""),
        ],
    )
    def test_the_echo_hides_them(self, line: str, shown: str) -> None:
        """Echo-message: a server may change what it shows."""
        assert NICKSERV.hide_secrets(line) == shown

    def test_nothing_of_a_password_is_in_a_file(self, irc: Irc, tmp_path: Path) -> None:
        """Not in the journal, not in a generation: neither whole nor half a line, nor an echo."""
        register_account(irc)
        client = irc.client("tmp", "echo-message")
        client.send_raw(b"PRIVMSG NickServ :IDENTIFY alice unguess")
        client.send_raw(b"able\r\n")
        said = ask_slowly(client, until="NOTICE")
        assert said[0].endswith("PRIVMSG NickServ :IDENTIFY ********")
        ask_slowly(client, f"NS :IDENTIFY alice {PASSWORD}", until="NOTICE")
        client.send_raw(b"PASS unguess")
        irc.harness.save()
        data = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"Example" in data or b"Test" in data  # it can be looked at
        assert b"unguess" not in data
        assert PASSWORD.encode() not in data

    def test_nothing_of_it_is_in_history(self, irc: Irc) -> None:
        client = irc.client("Ann", "batch draft/chathistory")
        client.ask("PRIVMSG NickServ :HELP")
        assert codes(client.ask("CHATHISTORY LATEST NickServ * 5")) == ["FAIL"]


class TestAccount:
    @pytest.mark.parametrize("crash", [False, True])
    def test_register(self, irc: Irc, crash: bool) -> None:
        """A kill while the hash is made changes nothing."""
        client = irc.client("Zoe")
        client.send("NS REGISTER long-enough zoe@example.org")
        if crash:
            irc.harness.crash()
        said = told(ask_slowly(client, until="900") + client.read())
        assert said == ["Zoe is registered."]
        account = irc.network.accounts.find("zoe")
        assert account is not None
        assert account.email == "zoe@example.org"
        assert irc.network.users["zoe"].account == "Zoe"

    def test_register_refused(self, irc: Irc) -> None:
        register_account(irc, "taken")
        irc.network.nick_protection = "off"
        client = irc.client("taken")
        assert ask(client, "REGISTER long-enough") == ["There is such an account already"]
        client = irc.client("Zoe")
        assert "bytes" in ask(client, "REGISTER short")[0]
        assert ask(client, "REGISTER long-enough nonsense") == ["That is no e-mail address"]
        irc.network.accounts.may_register = False
        assert "operators" in ask(client, "REGISTER long-enough")[0]

    @pytest.mark.parametrize("crash", [False, True])
    def test_identify_and_logout(self, irc: Irc, crash: bool) -> None:
        register_account(irc)
        client = irc.client("tmp")
        ask_long(client, "IDENTIFY alice wrong")
        assert irc.network.users["tmp"].account == ""
        client.send("NS IDENTIFY alice correct-horse")
        if crash:
            irc.harness.crash()
        said = ask_slowly(client, until="900") + client.read()
        assert "You are logged in as alice." in told(said)
        assert irc.network.users["tmp"].account == "alice"
        assert "alice: registered" in ask(client, "INFO")[0]
        assert ask(client, "LOGOUT") == ["You are logged in as alice no longer."]
        assert irc.network.users["tmp"].account == ""

    def test_too_many_failures(self, irc: Irc) -> None:
        client = irc.client("tmp")
        for _ in range(4):
            ask_long(client, "IDENTIFY alice wrong")
        client.send("NS IDENTIFY alice wrong")
        assert any("Too many failed logins" in line for line in client.read_end())

    def test_info_of_others_is_short(self, irc: Irc) -> None:
        register_account(irc)
        client = irc.client("tmp")
        said = ask(client, "INFO alice")
        assert len(said) == 2
        assert ask(client, "INFO nobody") == ["nobody is nobody's: there is no such account"]
        assert "not logged in" in ask(client, "INFO")[0]

    def test_set(self, irc: Irc) -> None:
        register_account(irc)
        client = logged_in(irc)
        assert ask(client, "SET EMAIL a@b.example") == ["Your address is changed."]
        assert any("a@b.example" in line for line in ask(client, "INFO"))
        assert "no e-mail" in ask(client, "SET EMAIL x")[0]
        assert "no option" in ask(client, "SET COLOUR red")[0]
        assert "Write: SET PASSWORD" in ask(client, "SET PASSWORD x")[0]
        assert ask_long(client, "SET PASSWORD wrong new-password") == ["That password is wrong."]
        assert ask_long(client, "SET PASSWORD correct-horse new-password") == [
            "Your password is changed."
        ]
        other = irc.client("tmp")
        assert "You are logged in as alice." in ask_long(other, "IDENTIFY alice new-password")

    def test_drop(self, irc: Irc) -> None:
        """It takes the nicks, the channels and the login along; and a code."""
        register_account(irc)
        client = logged_in(irc)
        client.ask("JOIN #mine", "CS REGISTER #mine", "NS GROUP")
        code = ask(client, "DROP")[-1].split()[-1]
        assert "not the code" in ask(client, "DROP 1234")[0]
        assert ask(client, f"DROP {code}") == ["alice is an account no more."]
        assert irc.network.accounts.find("alice") is None
        assert irc.network.accounts.owner_of("alice") is None
        assert irc.network.users["alice"].account == ""
        channel = irc.network.find_channel("#mine")
        assert channel is not None
        assert not channel.registered

    def test_operators(self, irc: Irc) -> None:
        register_account(irc)
        alice, boss = logged_in(irc), irc.client("boss")
        make_oper(irc, "boss")
        assert "alice: seen" in ask(boss, "LIST al*")[0]
        assert ask(boss, "SUSPEND alice") == ["alice is suspended."]
        assert irc.network.users["guest1000"].account == ""  # a reserved nick goes, too
        assert "NICK" in " ".join(alice.read())
        assert "suspended already" in ask(boss, "SUSPEND alice")[0]
        assert ask_long(alice, f"IDENTIFY alice {PASSWORD}")[0].endswith("wrong.")
        assert ask(boss, "UNSUSPEND alice") == ["alice is suspended no more."]
        assert "not suspended" in ask(boss, "UNSUSPEND alice")[0]
        password = ask_long(boss, "RESET alice")[0].split()[-1]
        assert "You are logged in as alice." in ask_long(alice, f"IDENTIFY alice {password}")
        code = ask(boss, "REMOVE alice")[0].split()[-1]
        assert ask(boss, f"REMOVE alice {code}") == ["alice is an account no more."]


class TestReservation:
    def test_strict(self, irc: Irc) -> None:
        """433 for who is not logged in (modern, ERR_NICKNAMEINUSE), before and after."""
        register_account(irc)
        client = irc.connect()
        assert codes(client.ask("NICK Alice")) == ["433"]
        client.register("Bob")
        assert codes(client.ask("NICK ALICE")) == ["433"]

    def test_strict_in_a_negotiation(self, irc: Irc) -> None:
        """At its end it shows whose nick it is."""
        register_account(irc)
        client = irc.connect()
        client.ask("CAP LS 302", "NICK alice", "USER a 0 * :A")
        assert codes(client.ask("CAP END")) == ["433"]
        assert " 001 bob " in client.ask("NICK bob")[0]
        logged_in(irc)

    def test_the_owner_may(self, irc: Irc) -> None:
        register_account(irc)
        client = logged_in(irc, nick="tmp")
        client.ask("NICK alice")
        assert irc.network.users["alice"].account == "alice"

    @pytest.mark.parametrize("crash", [False, True])
    def test_grace(self, irc: Irc, crash: bool) -> None:
        """Asked to log in, then renamed; the timer survives a kill."""
        register_account(irc)
        irc.network.nick_protection = "grace"
        client = irc.client("tmp")
        said = client.ask("NICK Alice")
        assert "within 30 seconds" in said[-1]
        if crash:
            irc.harness.crash()
        irc.harness.clock.advance(29)
        assert client.read() == []
        irc.harness.clock.advance(2)
        assert any("NICK :Guest1000" in line for line in client.read())

    def test_grace_ends_with_a_login(self, irc: Irc) -> None:
        register_account(irc)
        irc.network.nick_protection = "grace"
        client = irc.client("alice")
        ask_long(client, "IDENTIFY correct-horse")
        irc.harness.clock.advance(40)
        assert "alice" in irc.network.users

    def test_off(self, irc: Irc) -> None:
        register_account(irc)
        irc.network.nick_protection = "off"
        irc.client("alice")
        irc.harness.clock.advance(40)
        assert "alice" in irc.network.users

    def test_the_owner_comes(self, irc: Irc) -> None:
        """Who has the nick is renamed, and the owner let in."""
        stranger = irc.client("alice")
        register_account(irc)
        logged_in(irc)
        assert any("NICK :Guest1000" in line for line in stranger.read())
        assert irc.network.users["alice"].account == "alice"

    def test_logout_gives_the_nick_up(self, irc: Irc) -> None:
        register_account(irc)
        client = logged_in(irc)
        client.ask("NS LOGOUT")
        assert "guest1000" in irc.network.users

    def test_group_and_ungroup(self, irc: Irc) -> None:
        register_account(irc)
        client = logged_in(irc, nick="Annie")
        assert ask(client, "GROUP") == ["Annie is reserved for alice."]
        assert "yours already" in ask(client, "GROUP")[0]
        assert codes(irc.connect().ask("NICK annie")) == ["433"]
        assert ask(client, "UNGROUP annie") == ["annie is reserved no more."]
        assert "not among" in ask(client, "UNGROUP alice")[0]
        irc.client("other")
        for number in range(NICKS_MAX):
            client.ask(f"NICK n{number}", "NS GROUP")
        client.ask("NICK more")
        assert "already" in ask(client, "GROUP")[0]

    def test_ghost(self, irc: Irc) -> None:
        stranger = irc.client("alice")
        register_account(irc)
        client = logged_in(irc, nick="tmp")
        assert ask(client, "GHOST alice") == ["The other connections of alice are closed."]
        assert any("GHOST of alice" in line for line in stranger.read_end())
        assert "not here" in ask(client, "GHOST alice")[0]
        irc.client("bob")
        assert ask(client, "GHOST bob") == ["bob is not your nick"]

    @pytest.mark.parametrize("verb", ["REGAIN", "RECOVER"])
    def test_regain_from_a_stranger(self, irc: Irc, verb: str) -> None:
        stranger = irc.client("alice")
        register_account(irc)
        client = logged_in(irc, nick="tmp")
        client.ask(f"NS {verb} alice")
        assert irc.network.users["alice"].account == "alice"
        assert any("NICK :Guest1000" in line for line in stranger.read())
        assert ask(client, "REGAIN bob") == ["bob is not your nick"]
        assert ask(client, "REGAIN alice") == ["You are alice"]

    @pytest.mark.parametrize("line", ["NS REGAIN alice", "NICK alice"])
    def test_regain_joins_oneself(self, irc: Irc, line: str) -> None:
        """Of two users of one account the client moves to the other."""
        register_account(irc)
        first = logged_in(irc)
        first.ask("JOIN #c")
        second = logged_in(irc, nick="tmp")
        second.ask("JOIN #d")
        said = second.ask(line)
        assert any("NICK :alice" in each for each in said)
        assert any(":alice!" in each and each.endswith("PART #d") for each in said)
        assert any(each.endswith("JOIN #c") for each in said)
        assert len(irc.network.users["alice"].sessions) == 2
        assert "tmp" not in irc.network.users


def test_the_storm_of_wrong_words(irc: Irc) -> None:
    """No line of words breaks them."""
    register_account(irc)
    client = logged_in(irc)
    words = ["", "#c", "alice", "LIST", "ADD", "\x02", "~a:", "+v"]
    for assistant in ASSISTANTS.values():
        for name in assistant.commands.keys() - {"IDENTIFY", "LOGOUT"}:
            for first in words:
                for second in ("", "x", "ADD y"):
                    client.ask(f"PRIVMSG {assistant.nick} :{name} {first} {second}")
    assert codes(client.ask("PING x")) == ["PONG"]
