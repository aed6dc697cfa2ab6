"""Registration (modern, "Connection Registration") and CAP (IRCv3 capability negotiation)."""

from __future__ import annotations

from typing import Any

import pytest
from irc_kit import SERVER, Client, Irc, cheap_hash, codes, tags_of, untagged

from tapd.model.access.accounts import verify_password
from tapd.services.irc import IrcNetwork
from tapd.services.irc.commands import negotiation
from tapd.services.irc.conduct import checking
from tapd.services.irc.service import SWEEP_S
from tapd.services.irc.wire import capabilities


def test_the_welcome_is_whole_and_in_order(irc: Irc) -> None:
    client = irc.connect()
    lines = client.ask("NICK Ann", "USER ann 0 * :Ann Real")
    assert codes(lines) == [
        "001", "002", "003", "004", "005", "005", "005", "251", "255", "265", "266", "422",
    ]  # fmt: skip
    assert lines[0] == f":{SERVER} 001 Ann :Welcome to the Test Network, Ann!~ann@127.0.0.1"


def test_isupport_says_what_holds(irc: Irc) -> None:
    """Modern, "RPL_ISUPPORT": at most 13 tokens a line, and the values that the code uses."""
    lines = irc.connect().ask("NICK Ann", "USER ann 0 * :Ann")
    tokens = []
    for line in lines:
        if " 005 " in line:
            head, _, text = line.rpartition(" :")
            assert text == "are supported by this server"
            assert len(head.split(" ")) - 3 <= 13
            tokens += head.split(" ")[3:]
    values = dict(token.partition("=")[::2] for token in tokens)
    assert values["CASEMAPPING"] == "ascii"
    assert values["CHANMODES"] == "Ibe,k,l,CMRTcimnst"
    assert values["PREFIX"] == "(qaohv)~&@%+"
    assert values["NETWORK"] == "Test"
    assert values["UTF8ONLY"] == values["WHOX"] == ""
    assert values["NICKLEN"] == "32"
    assert values["EXTBAN"] == "~,a"


def test_the_order_of_nick_and_user_is_free(irc: Irc) -> None:
    client = irc.connect()
    assert client.ask("USER ann 0 * :Ann") == []
    assert " 001 Ann " in client.ask("NICK Ann")[0]


def test_before_registration_little_is_allowed(irc: Irc) -> None:
    client = irc.connect()
    assert client.ask("JOIN #c") == [f":{SERVER} 451 * :You have not registered"]
    assert client.ask("NONSENSE") == [f":{SERVER} 451 * :You have not registered"]
    assert client.ask("PING x") == [f":{SERVER} PONG {SERVER} :x"]
    assert client.ask("NICK Ann", "PRIVMSG a :b") == [f":{SERVER} 451 Ann :You have not registered"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("NICK", "431"),
        ("NICK :", "431"),
        ("NICK 1a", "432"),
        ("NICK Bob", "433"),
        ("NICK bOB", "433"),
        ("USER", "461"),
        ("USER a b c", "461"),
        ("USER a 0 * :", "461"),
        ("PASS", "461"),
        ("CAP", "461"),
        ("CAP NONSENSE", "410"),
    ],
)
def test_errors_of_registration(irc: Irc, line: str, code: str) -> None:
    irc.client("Bob")
    assert codes(irc.connect().ask(line)) == [code]


def test_what_comes_only_before(irc: Irc) -> None:
    """Modern, ERR_ALREADYREGISTERED."""
    assert codes(irc.client("Ann").ask("USER a 0 * :A", "PASS x")) == ["462", "462"]


def test_a_nick_taken_meanwhile(irc: Irc) -> None:
    slow, fast = irc.connect(), irc.connect()
    slow.send("CAP LS", "NICK Ann", "USER a 0 * :A")
    fast.register("Ann")
    assert codes(slow.ask("CAP END")) == ["433"]
    assert " 001 Ann2 " in slow.ask("NICK Ann2")[0]


def test_cap_holds_registration_back(irc: Irc) -> None:
    client = irc.connect()
    (line,) = client.ask("CAP LS 302")
    offered = line.partition(" :")[2].split()
    assert line.startswith(f":{SERVER} CAP * LS :")
    assert [word.partition("=")[0] for word in offered] == list(capabilities.offered(irc.network))
    assert client.ask("NICK Ann", "USER a 0 * :A") == []
    assert " 001 " in client.ask("CAP END")[0]


def test_cap_req(irc: Irc) -> None:
    client = irc.connect()
    assert list(map(untagged, client.ask("CAP REQ :server-time batch"))) == [
        f":{SERVER} CAP * ACK :server-time batch"
    ]
    assert client.ask("CAP REQ :echo-message nonsense")[0].endswith(
        "CAP * NAK :echo-message nonsense"
    )
    assert client.ask("CAP LIST")[0].endswith("LIST :batch server-time")
    assert client.ask("CAP REQ :-batch")[0].endswith("ACK :-batch")
    assert client.ask("CAP LIST")[0].endswith("LIST :server-time")


def test_cap_after_registration(irc: Irc) -> None:
    client = irc.client("Ann")
    assert untagged(client.ask("CAP REQ :server-time")[0]) == f":{SERVER} CAP Ann ACK :server-time"
    assert "time" in tags_of(client.ask("PING x")[0])
    assert client.ask("CAP END") == []


def test_302_brings_cap_notify_for_good(irc: Irc) -> None:
    """IRCv3 capability negotiation, "cap-notify"."""
    client = irc.connect()
    client.ask("CAP LS 302")
    assert client.ask("CAP LIST")[0].endswith(":cap-notify")
    assert " NAK " in client.ask("CAP REQ :-cap-notify")[0]


def test_the_servers_password(irc: Irc) -> None:
    irc.network.password_hash = cheap_hash("letmein")
    good, bad, none = irc.connect(), irc.connect(), irc.connect()
    for client, password in ((good, "letmein"), (bad, "wrong"), (none, "")):
        if password:
            client.send(f"PASS {password}")
        client.send("NICK " + ("Ann" if client is good else "Bob"), "USER a 0 * :A", "PING after")
    seen: dict[Client, list[str]] = {good: [], bad: [], none: []}

    def answered() -> bool:
        for client in (good, bad, none):
            seen[client] += client.read()
        return len(seen[good]) > 5 and len(seen[bad]) > 1 and len(seen[none]) > 1

    irc.harness.wait_for(answered)
    assert codes(seen[good])[0] == "001"
    assert codes(seen[good])[-1] == "PONG"  # what waited was run in order
    assert codes(seen[bad]) == codes(seen[none]) == ["464", "ERROR"]


def test_a_check_goes_on_after_a_crash(irc: Irc) -> None:
    irc.network.password_hash = cheap_hash("letmein")
    client = irc.connect()
    client.send("PASS letmein", "NICK Ann", "USER a 0 * :A", "PING after")
    irc.harness.crash()
    lines: list[str] = []

    def answered() -> bool:
        lines.extend(client.read())
        return codes(lines)[-1:] == ["PONG"]

    irc.harness.wait_for(answered)
    assert codes(lines).count("001") == 1


def test_silence_ends_a_registration(irc: Irc) -> None:
    client = irc.connect()
    client.send("NICK Ann")
    session = next(iter(irc.network.half_registered))
    session.made_s -= irc.network.registration_s + 1
    irc.network.sweep()
    assert client.read_end() == ["ERROR :Closing link: (Registration timed out)"]


def test_silence_is_asked_and_then_ended(irc: Irc) -> None:
    client = irc.client("Ann")
    session: Any
    (session,) = irc.network.registered_sessions()
    session._v_heard_s -= irc.network.ping_s + 1
    irc.network.sweep()
    irc.harness.pump()
    assert client.read() == [f"PING :{SERVER}"]
    client.send("PONG x")
    irc.network.sweep()
    irc.harness.pump()
    assert client.read() == []
    session._v_heard_s -= irc.network.ping_s + 1
    irc.network.sweep()
    session._v_heard_s -= irc.network.ping_timeout_s + 1
    irc.network.sweep()
    (ping, error) = client.read_end()
    assert ping == f"PING :{SERVER}"
    assert "Ping timeout" in error


def test_one_timer_sweeps_for_all(irc: Irc) -> None:
    for nick in ("a", "b", "c"):
        irc.client(nick)
    timers = irc.harness.application.delayeds
    assert len(timers) == 1
    irc.harness.crash()
    (timer,) = irc.harness.application.delayeds.values()
    assert timer.due_s <= irc.network.now_s() + SWEEP_S


@pytest.mark.parametrize(
    ("data", "answer", "is_own"),
    [
        (b"PRIVMSG Ann :\xff\r\n", "FAIL PRIVMSG INVALID_UTF8", False),
        (b"\xff\r\n", "FAIL * INVALID_UTF8", False),
        (b"PRIVMSG Ann :a\0b\r\n", "FAIL PRIVMSG INVALID_MESSAGE", True),
        (b"!!! x\r\n", "FAIL !!! INVALID_MESSAGE", True),
    ],
)
def test_what_is_no_message_is_told(irc: Irc, data: bytes, answer: str, is_own: bool) -> None:
    """ISUPPORT UTF8ONLY; standard-replies: codes of our own are for who asked for any."""
    plain, modern = irc.client("Ann"), irc.client("Bob", "standard-replies labeled-response")
    plain.send_raw(data)
    (line,) = plain.read()
    assert codes([line]) == (["NOTICE"] if is_own else ["FAIL"])
    assert answer in line
    modern.send_raw(b"@label=x " + data)
    (line,) = modern.read()
    assert line.startswith(f"@label=x :{SERVER} {answer} :")


def test_a_line_too_long(irc: Irc) -> None:
    """Modern, ERR_INPUTTOOLONG."""
    client = irc.client("Ann")
    assert codes(client.ask("PRIVMSG Ann :" + "x" * 5000, "PING a")) == ["417", "PONG"]


def test_line_ends_of_all_kinds(irc: Irc) -> None:
    client = irc.client("Ann")
    client.send_raw(b"PING a\nPING b\rPING c\r\n\r\n\nPING d\r\n")
    assert [line[-1] for line in client.read()] == ["a", "b", "c", "d"]


def test_a_browser_gets_nowhere(irc: Irc) -> None:
    """A page can have a browser POST commands to any port: cross-protocol scripting."""
    client = irc.connect()
    client.send("POST / HTTP/1.1", "NICK Ann", "USER a 0 * :A")
    assert codes(client.read_end()) == ["ERROR"]
    assert not irc.network.users


def test_a_sweep_that_fails_comes_again(irc: Irc, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_network: object, _session: object, _now_s: float) -> None:
        raise RuntimeError

    irc.client("Ann")
    monkeypatch.setattr(IrcNetwork, "_check_silence", fail)
    before = irc.network.sweeper
    with pytest.raises(RuntimeError):
        irc.network.sweep()
    assert irc.network.sweeper is not before
    assert irc.network.sweeper is not None
    assert irc.network.sweeper.is_pending


def test_capabilities_take_several_lines_for_302(irc: Irc, monkeypatch: pytest.MonkeyPatch) -> None:
    """IRCv3 capability negotiation, "CAP LS and LIST": an asterisk on all lines but the last."""
    monkeypatch.setattr(negotiation, "LINE_BYTES_MAX", 100)
    lines = irc.connect().ask("CAP LS 302")
    assert len(lines) > 2
    assert all(line.startswith(f":{SERVER} CAP * LS * :") for line in lines[:-1])
    assert lines[-1].startswith(f":{SERVER} CAP * LS :")
    words = " ".join(line.partition(" :")[2] for line in lines).split()
    assert [word.partition("=")[0] for word in words] == list(capabilities.offered(irc.network))
    assert len(irc.connect().ask("CAP LS")) == 1  # an older client knows one line only


def test_a_password_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    password_hash = cheap_hash("letmein")
    worked_out = []

    def verify(known_hash: str, password: str) -> bool:
        worked_out.append(password)
        return verify_password(known_hash, password)

    monkeypatch.setattr(checking, "verify_password", verify)
    assert not checking.password_matches("wrong", password_hash)
    assert checking.password_matches("letmein", password_hash)
    assert checking.password_matches("letmein", password_hash)
    assert not checking.password_matches("wrong", password_hash)
    assert worked_out == ["wrong", "letmein", "wrong"]
