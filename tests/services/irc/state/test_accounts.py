"""Accounts: SASL (RFC 4616, RFC 5802, RFC 7677; sasl-3.1 and 3.2) and REGISTER."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from irc_accounts import PASSWORD, ask_slowly, encode, register_account
from irc_kit import Irc, codes, untagged

from tapd.errors import UsageError
from tapd.services.irc.conduct.session import Session
from tapd.services.irc.state.accounts import (
    Accounts,
    Proof,
    derive_scram_keys,
    is_email,
    prepare_password,
    usable_password,
)
from tapd.services.irc.state.sasl import Challenge, Failed, Proved, ScramSha256

PLAIN = encode(f"\0alice\0{PASSWORD}")


class TestPlain:
    def test_before_registration(self, irc: Irc) -> None:
        """900 and 903 come before CAP END; WHOIS then names the account."""
        register_account(irc)
        client = irc.connect()
        client.ask("CAP LS 302", "NICK al", "USER al 0 * :Al", "CAP REQ sasl")
        assert client.ask("AUTHENTICATE PLAIN") == ["AUTHENTICATE +"]
        said = ask_slowly(client, f"AUTHENTICATE {PLAIN}", until="903")
        assert codes(said) == ["900", "903"]
        assert " al al!*@* alice :You are now logged in as alice" in said[0]
        client.ask("CAP END")
        assert irc.network.users["al"].account == "alice"

    @pytest.mark.parametrize(
        "answer",
        [
            "\0alice\0wrong",
            "\0nobody\0correct-horse",
            "bob\0alice\0correct-horse",
            "\0alice",
            "\0alice\0",
            "\0\0x",
        ],
    )
    def test_refused(self, irc: Irc, answer: str) -> None:
        """904, alike for a wrong name and a wrong password."""
        register_account(irc)
        client = irc.connect()
        client.ask("NICK al", "AUTHENTICATE PLAIN")
        said = ask_slowly(client, f"AUTHENTICATE {encode(answer)}", until="904")
        assert codes(said) == ["904"]

    def test_a_password_in_chunks(self, irc: Irc) -> None:
        """Messages of 400 bytes go on; the last is shorter, or + (sasl-3.1)."""
        register_account(irc)
        client = irc.connect()
        client.ask("NICK al", "AUTHENTICATE PLAIN")
        text = encode(f"\0alice\0{'x' * 293}")
        assert len(text) == 400
        assert client.ask(f"AUTHENTICATE {text}") == []
        assert codes(ask_slowly(client, "AUTHENTICATE +", until="904")) == ["904"]

    def test_the_half_of_a_password_is_sealed(self, irc: Irc) -> None:
        client = irc.connect()
        client.ask("NICK al", "AUTHENTICATE PLAIN")
        client.ask(f"AUTHENTICATE {'QUFB' * 100}")
        (session,) = irc.network.half_registered
        assert isinstance(session, Session)
        assert session.sasl_input
        assert b"QUFB" not in session.sasl_input

    def test_too_long(self, irc: Irc) -> None:
        """905 for a chunk over 400 bytes, and for more chunks than any password has."""
        client = irc.connect()
        client.ask("NICK al", "AUTHENTICATE PLAIN")
        assert codes(client.ask(f"AUTHENTICATE {'A' * 401}")) == ["905"]
        client.ask("AUTHENTICATE PLAIN")
        assert codes(client.ask(*[f"AUTHENTICATE {'A' * 400}"] * 6)) == ["905"]

    def test_not_ended(self, irc: Irc) -> None:
        """Who completes the registration in the midst of it is told 906, and let in (sasl-3.1)."""
        client = irc.connect()
        client.ask("CAP REQ sasl", "NICK al", "USER al 0 * :Al", "AUTHENTICATE PLAIN")
        assert codes(client.ask("CAP END"))[:2] == ["906", "001"]
        assert client.ask("AUTHENTICATE PLAIN") == ["AUTHENTICATE +"], "a new one"

    def test_aborted(self, irc: Irc) -> None:
        """906 for *."""
        client = irc.connect()
        client.ask("NICK al", "AUTHENTICATE PLAIN")
        assert codes(client.ask("AUTHENTICATE *")) == ["906"]

    def test_unknown_mechanism(self, irc: Irc) -> None:
        """908 lists what there is, then 904."""
        client = irc.connect()
        client.ask("NICK al")
        said = client.ask("AUTHENTICATE GSSAPI")
        assert codes(said) == ["908", "904"]
        assert " PLAIN,SCRAM-SHA-256 :" in said[0]

    def test_too_many_failures_end_it(self, irc: Irc) -> None:
        client = irc.connect()
        client.ask("NICK al")
        client.send(*["AUTHENTICATE PLAIN", "AUTHENTICATE AAA"] * 5)
        assert "ERROR :Closing link: (Too many failed logins)" in client.read_end()

    def test_killed_while_the_password_is_checked(self, irc: Irc) -> None:
        register_account(irc)
        client = irc.connect()
        client.ask("NICK al", "USER al 0 * :Al", "AUTHENTICATE PLAIN")
        client.send(f"AUTHENTICATE {PLAIN}")
        irc.harness.crash()
        said = ask_slowly(client, until="903")
        assert codes(said).count("903") == 1
        assert irc.network.users["al"].account == "alice"


def scram_final(first: str, challenge: str, password: str) -> tuple[str, bytes]:
    """Return a client's final message and the server's signature (RFC 5802 section 3)."""
    fields = {each[0]: each[2:] for each in challenge.split(",")}
    salted = hashlib.pbkdf2_hmac(
        "sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
    )
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    bare = f"c=biws,r={fields['r']}"
    message = f"{first[3:]},{challenge},{bare}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"{bare},p={encode(proof)}", hmac.digest(server_key, message, "sha256")


class TestScram:
    FIRST = "n,,n=alice,r=abc"

    def test_the_example_of_the_rfc(self) -> None:
        """RFC 7677 section 3: the exchange with user "user" and password "pencil"."""
        keys = derive_scram_keys("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
        exchange = ScramSha256()
        exchange.keys = keys
        exchange.account = "user"
        exchange.header = b"n,,"
        exchange.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        exchange.spoken = (
            b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        )
        final = (
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        )
        signature = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        assert exchange.step(final, Accounts()) == Challenge(signature)
        assert exchange.step(b"", Accounts()) == Proved("user")

    @pytest.mark.parametrize("crash", [False, True])
    def test_over_the_wire(self, irc: Irc, crash: bool) -> None:
        """The server proves itself as well; a kill between two messages changes nothing."""
        register_account(irc)
        client = irc.connect()
        client.ask("NICK al", "USER al 0 * :Al", "AUTHENTICATE SCRAM-SHA-256")
        (line,) = client.ask(f"AUTHENTICATE {encode(self.FIRST)}")
        if crash:
            irc.harness.crash()
        challenge = base64.b64decode(line.split()[1]).decode()
        final, signature = scram_final(self.FIRST, challenge, PASSWORD)
        (line,) = client.ask(f"AUTHENTICATE {encode(final)}")
        assert base64.b64decode(line.split()[1]) == b"v=" + encode(signature).encode()
        assert codes(client.ask("AUTHENTICATE +")) == ["900", "MODE", "903"]

    def test_wrong_password(self, irc: Irc) -> None:
        register_account(irc)
        client = irc.connect()
        client.ask("NICK al", "AUTHENTICATE SCRAM-SHA-256")
        (line,) = client.ask(f"AUTHENTICATE {encode(self.FIRST)}")
        final, _ = scram_final(self.FIRST, base64.b64decode(line.split()[1]).decode(), "wrong")
        said = client.ask(f"AUTHENTICATE {encode(final)}")
        assert base64.b64decode(said[0].split()[1]) == b"e=invalid-proof"
        assert codes(said)[1] == "904"

    def test_who_is_there_is_not_told(self) -> None:
        """A name without an account gets a salt that is the same each time."""
        accounts = Accounts()
        one, other = accounts.scram_keys("nobody"), accounts.scram_keys("NOBODY")
        assert one.salt == other.salt
        assert one.stored_key != other.stored_key
        assert accounts.scram_keys("somebody").salt != one.salt

    @pytest.mark.parametrize(
        "message",
        [
            b"",
            b"n",
            b"n,,",
            b"n,,r=abc,n=alice",
            b"p=tls-unique,,n=alice,r=abc",
            b"n,a=bob,n=alice,r=abc",
            b"n,,m=x,n=alice,r=abc",
            b"n,,n=,r=abc",
            b"n,,n=al=ice,r=abc",
            b"n,,n=alice,r=",
            b"\xff",
        ],
    )
    def test_bad_first_messages(self, message: bytes) -> None:
        assert isinstance(ScramSha256().step(message, Accounts()), Failed)

    def test_bad_final_messages(self) -> None:
        accounts = Accounts()
        accounts.add("alice", Proof("", derive_scram_keys(PASSWORD, b"s" * 16, 10)), 1.0)
        for change in ("c=eSws", "r=other", "p=AAAA", ""):
            exchange = ScramSha256()
            challenge = exchange.step(self.FIRST.encode(), accounts)
            assert isinstance(challenge, Challenge)
            final, _ = scram_final(self.FIRST, challenge.data.decode(), PASSWORD)
            fields = [
                change if change and each[:2] == change[:2] else each for each in final.split(",")
            ]
            changed = ",".join(fields) if change else ""
            assert isinstance(exchange.step(changed.encode(), accounts), Failed)


class TestRegister:
    def test_success(self, irc: Irc) -> None:
        """REGISTER SUCCESS; the client is logged in, and can log in again later."""
        client = irc.client("alice")
        said = ask_slowly(client, "REGISTER * * :correct-horse", until="REGISTER")
        said += client.read()
        assert untagged(said[0]).split()[1:4] == ["REGISTER", "SUCCESS", "alice"]
        assert irc.network.users["alice"].account == "alice"
        other = irc.connect()
        other.ask("NICK al2", "AUTHENTICATE PLAIN")
        plain = f"AUTHENTICATE {PLAIN}"
        assert codes(ask_slowly(other, plain, until="903")) == ["900", "903"]

    def test_before_registration(self, irc: Irc) -> None:
        """The value before-connect: also while capabilities are negotiated."""
        client = irc.connect()
        client.ask("CAP LS 302")
        said = ask_slowly(client, f"REGISTER zoe zoe@example.org {'p' * 9}", until="REGISTER")
        assert " REGISTER SUCCESS zoe :" in said[0]
        account = irc.network.accounts.find("ZOE")
        assert account is not None
        assert account.email == "zoe@example.org"

    def test_refused(self, irc: Irc) -> None:
        """FAIL REGISTER with the codes of draft/account-registration."""
        register_account(irc, "taken")
        irc.client("present")
        client = irc.client("bob", "standard-replies")
        for words, code in (
            ("taken * :long enough", "ACCOUNT_EXISTS taken"),
            ("TAKEN * :long enough", "ACCOUNT_EXISTS TAKEN"),
            ("present * :long enough", "ACCOUNT_EXISTS present"),
            ("b!b * :long enough", "BAD_ACCOUNT_NAME b!b"),
            ("bob * :short", "WEAK_PASSWORD bob"),
            ("bob nonsense :long enough", "INVALID_EMAIL bob"),
        ):
            (line,) = client.ask(f"REGISTER {words}")
            assert f"FAIL REGISTER {code} :" in line
        irc.network.accounts.may_register = False
        (line,) = client.ask("REGISTER bob * :long enough")
        assert "FAIL REGISTER TEMPORARILY_UNAVAILABLE bob :" in line
        assert "draft/account-registration" not in " ".join(client.ask("CAP LS 302"))

    def test_without_a_nick(self, irc: Irc) -> None:
        client = irc.connect()
        client.ask("CAP LS 302", "CAP REQ standard-replies")
        assert "FAIL REGISTER NEED_NICK * :" in client.ask("REGISTER * * :long enough")[0]

    def test_of_two_at_once_the_first_has_it(self, irc: Irc) -> None:
        one, other = irc.connect(), irc.connect()
        for client in (one, other):
            client.ask("CAP LS 302", "CAP REQ standard-replies")
        one.send("REGISTER zoe * :long enough")
        other.send("REGISTER zoe * :long enough too")
        said: list[str] = []

        def are_there() -> bool:
            said.extend(one.read() + other.read())
            return sum(" REGISTER " in line for line in said) >= 2

        irc.harness.wait_for(are_there)
        assert sum("REGISTER SUCCESS" in line for line in said) == 1
        assert sum("REGISTER ACCOUNT_EXISTS" in line for line in said) == 1

    def test_what_was_said_as_a_guest_stays(self, irc: Irc) -> None:
        alice = irc.client("alice", "batch draft/chathistory")
        bob = irc.client("bob", "batch draft/chathistory")
        alice.ask("PRIVMSG bob :from a guest")
        ask_slowly(alice, "REGISTER * * :correct-horse", until="REGISTER")
        assert any("from a guest" in line for line in bob.ask("CHATHISTORY LATEST alice * 5"))

    def test_verify(self, irc: Irc) -> None:
        client = irc.client("alice", "standard-replies")
        assert "FAIL VERIFY INVALID_CODE alice :" in client.ask("VERIFY alice 123")[0]


class TestAccounts:
    def test_nicks_are_freed_with_the_account(self) -> None:
        accounts = Accounts()
        account = accounts.add("Ann", Proof("", derive_scram_keys("x", b"", 1)), 1.0)
        accounts.reserve(account, "Annie")
        assert accounts.owner_of("annie") is accounts.owner_of("ANN") is account
        assert accounts.why_not_new("annie") is not None
        assert accounts.release(account, "annie")
        assert not accounts.release(account, "ann")
        accounts.reserve(account, "Annie")
        accounts.remove(account)
        assert not accounts.owners
        assert accounts.find("ann") is None

    @pytest.mark.parametrize(
        ("given", "prepared"),
        [("I\u00adX", "IX"), ("\u2168", "IX"), ("\u00aa", "a"), ("a\u00a0b", "a b")],
    )
    def test_saslprep(self, given: str, prepared: str) -> None:
        """RFC 4013 section 3: examples."""
        assert prepare_password(given) == prepared

    @pytest.mark.parametrize("given", ["\u0007", "\u06271", "a\u200e", "\ud7ff\U000e0001"])
    def test_saslprep_refuses(self, given: str) -> None:
        """RFC 4013 sections 2.3 and 2.4."""
        with pytest.raises(UsageError):
            prepare_password(given)

    def test_passwords(self) -> None:
        assert usable_password("x" * 7) is None
        assert usable_password("x" * 257) is None
        assert usable_password("x" * 7 + "\x07") is None
        assert usable_password("x" * 8) == "x" * 8

    @pytest.mark.parametrize("text", ["a@b.example", "a+b@c.d"])
    def test_emails(self, text: str) -> None:
        assert is_email(text)

    @pytest.mark.parametrize("text", ["", "a", "@b.c", "a@b", "a@.", "a b@c.d"])
    def test_no_emails(self, text: str) -> None:
        assert not is_email(text)
