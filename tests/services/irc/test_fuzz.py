"""Anything that clients may say, in any order: nothing fails, and what is kept agrees.

In strict mode, so each turn is proved to be restorable, too; and killed now and then.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from irc_kit import make_network, steady

from tapd.services.irc import IrcNetwork
from tapd.services.irc.conduct.command_table import COMMANDS
from tapd.services.irc.conduct.session import Session
from tapd.services.irc.state.opers import Oper
from tapd.services.irc.wire.message import BODY_BYTES_MAX, LINE_BYTES_MAX, Message, parse_line
from tapd.testing import Host

NICKS = ("Ann", "Bob", "Eve", "ann2", "*", "")
CHANNELS = ("#a", "#b", "#A", "#", "0", "@#a", "#a,#b")
WORDS = (*NICKS, *CHANNELS, "+o", "-o", "+b", "+v-v", "+ntk", "+l", "-k", "b", "5", "+i", "+s",
         "*!*@*", "~a:x", "*", "+", "-", "C", "L", "S", "%tcuihsnfdlaor,7", "LS", "302", "REQ",
         "END", "LIST", "message-tags batch labeled-response echo-message", "-batch", "x y",
         "é" * 60, "\x01VERSION\x01", ":", "Ann,Bob", ">0", "T<5", "LATEST", "BEFORE",
         "BETWEEN", "AROUND", "TARGETS", "msgid=abc", "timestamp=2026-01-01T00:00:00.000Z",
         "PLAIN")  # fmt: skip

# Those that end a connection are rarer than chance would have them.
VERBS = (*sorted(COMMANDS.keys() - {"QUIT", "OPER"}), *["JOIN", "MODE", "PRIVMSG", "NICK"] * 4)

TELLING = (  # what chance alone would seldom put together
    "CAP REQ :message-tags server-time labeled-response batch echo-message",
    "CAP REQ :-server-time", "JOIN #a", "JOIN #b", "PART #a :x", "PRIVMSG #a :hello",
    "@label=9 PRIVMSG #a,Ann :hello", "MODE #a +b *!*@*", "MODE #a +k-k key", "INVITE Ann #b",
    "KICK #a Bob", "NICK Ann3", "MONITOR + Ann,Bob", "AWAY :x", "SETNAME :x", "TOPIC #a :x",
    "CHATHISTORY LATEST #a * 50", "MODE Ann +iwB",
)  # fmt: skip
random_lines = st.builds(
    lambda tags, verb, params, trailing: f"{tags}{verb} {' '.join(params)} :{trailing}",
    st.sampled_from(["", "", "@label=1 ", "@+a=b;label=2 "]),
    st.sampled_from([*VERBS, "QUIT", "NONSENSE"]),
    st.lists(st.sampled_from([word for word in WORDS if word and " " not in word]), max_size=3),
    st.sampled_from(WORDS),
)
lines = st.one_of(random_lines, st.sampled_from(TELLING))
steps = st.lists(
    st.tuples(st.integers(0, 2), st.one_of(lines, lines, st.sampled_from(["kill", "hang up"]))),
    min_size=5,
    max_size=40,
)


def check_agreement(network: IrcNetwork) -> None:
    """Check that the indexes, the members and the audiences say the same."""
    for folded, user in network.users.items():
        assert user.folded == folded
        assert user.sessions
        for session in user.sessions:
            assert session.user is user
            assert session.is_registered
        for channel in user.channels:
            assert user in channel.members
    for folded, channel in network.channels.items():
        assert channel.folded == folded
        assert channel.members
        for user in channel.members:
            assert network.users[user.folded] is user
            assert channel in user.channels
        kept, channel._v_audience = channel.audience, None
        assert {caps: set(group) for caps, group in kept.items()} == {
            caps: set(group) for caps, group in channel.audience.items()
        }
    for session in network.half_registered:
        assert not session.is_registered
    kept_counts, network._v_counts = network.counts, None
    assert kept_counts == network.counts
    watched = {
        (folded, session)
        for folded, sessions in network.monitors.watchers.items()
        for session in sessions
    }
    assert watched == {
        (folded, session) for session, nicks in network.monitors.lists.items() for folded in nicks
    }


def check_output(data: bytes) -> None:
    *whole, rest = data.split(b"\r\n")
    assert rest == b""
    for line in whole:
        tags, _, body = line.partition(b" ") if line.startswith(b"@") else (b"", b"", line)
        assert len(body) <= BODY_BYTES_MAX - 2
        assert len(tags) < 8191
        assert isinstance(parse_line(body), Message), body
        assert b"\n" not in line


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
def test_whatever_is_said(talk: list[tuple[int, str]]) -> None:
    with Host(make_network(), raise_errors=True) as host:
        peers = [host.connect() for _ in range(3)]
        for peer, nick in zip(peers, NICKS, strict=False):
            peer.send(f"NICK {nick}\r\nUSER u 0 * :{nick}\r\nJOIN #a\r\n")
        for index, line in talk:
            if line == "kill":
                host.kill()
                continue
            peer = peers[index]
            if peer.has_ended or line == "hang up":
                if not peer.is_closed:
                    peer.close()
                check_output(bytes(peer.transcript))
                peers[index] = peer = host.connect()
                peer.send(f"NICK {NICKS[index]}\r\nUSER u 0 * :x\r\n")
            peer.send(f"{line}\r\n"[:500].encode())
        check_agreement(host.service("irc"))
        for peer in peers:
            check_output(bytes(peer.transcript))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_whatever_bytes_come(pieces: list[bytes]) -> None:
    with Host(make_network(), raise_errors=True) as host:
        peer = host.connect()
        peer.send("NICK Ann\r\nUSER u 0 * :Ann\r\nJOIN #a\r\n")
        for piece in pieces:
            if not peer.has_ended:
                peer.send(piece)
        check_agreement(host.service("irc"))


SAID = b"PRIVMSG #a :one more"
PREFIXES = (
    b"PRIVMSG #a :", b"NOTICE #a :", b"PRIVMSG #A :", b"privmsg #a :", b"PRIVMSG #b :",
    b"PRIVMSG #a ", b"@+x PRIVMSG #a :", b"PRIVMSG #a,#b :", b"PRIVMSG @#a :",
)  # fmt: skip
TEXTS = (
    b"x", b"", b" ", b":", b"a :b", "é".encode(), b"\xff", b"a\0", b"y" * 498, b"y" * 499,
    b"\x02bold", b"\x01VERSION\x01",
)  # fmt: skip
PASTED = [
    *(prefix + text for prefix in PREFIXES for text in TEXTS),
    b"PING x", b"CAP REQ :echo-message", b"MODE #a +cC", SAID + b"\x02", SAID, SAID + b"\x02", SAID,
    b"PRIVMSG #a :\x01PING\x01", b"MODE #a -cC", b"NICK Eve", b"MODE #a -o Eve", SAID, b"PART #a",
    SAID, b"JOIN #a", b"MODE #a +m",
]  # fmt: skip


def test_what_is_pasted_is_said_as_if_it_came_line_by_line() -> None:
    """What holds for a line is not taken to hold for the next where it may not."""
    alternating = [line + b"\r\n" for each in PASTED for line in (SAID, each)]
    transcripts = []
    for pieces in ([b"".join(alternating)], alternating):
        with Host(make_network(), raise_errors=True) as host:
            peers = [host.connect() for _ in range(3)]
            for peer, nick in zip(peers, (b"Ann", b"Bob", b"Una"), strict=True):
                peer.send(b"CAP REQ :message-tags\r\nCAP END\r\n" if nick == b"Una" else b"")
                peer.send(b"NICK %b\r\nUSER u 0 * :x\r\nJOIN #a,#b\r\n" % nick)
            for piece in pieces:
                peers[0].send(piece)
            logs = [
                [each.trailing for each in channel.log.events(channel.log.kept)]
                for channel in host.service("irc").channels.values()
                if channel.log is not None
            ]
            transcripts.append((logs, [steady(bytes(peer.transcript).decode()) for peer in peers]))
    assert transcripts[0] == transcripts[1]


# --- guarded: with limits, cloaks, bans and operators -------------------------------------

GUARD_WORDS = ("Ann", "bob!*@*", "*!*@127.0.0.1", "127.0.0.0/8", "2001:db8::/32", "~a:x", "1h", "0",
               "SOFT", "eve*", "#a", "#b", "+m", "-o", "a.b", "*", "off", "all", "sasl", "k",
               "d", "x", "e")  # fmt: skip
guarded_lines = st.builds(
    lambda verb, words: f"{verb} {' '.join(words)}",
    st.sampled_from(
        [*(name for name, each in COMMANDS.items() if each.privilege), "STATS", "JOIN", "NICK"]
    ),
    st.lists(st.sampled_from(GUARD_WORDS), min_size=1, max_size=4),
)
guarded_steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.one_of(
            guarded_lines, lines, st.sampled_from(["kill", "hang up", "wait", "flood", "promote"])
        ),
    ),
    min_size=5,
    max_size=30,
)


def check_guards(network: IrcNetwork) -> None:
    """Check that what is counted is what there is, and what waits is bounded."""
    open_ones = [each for each in network.connections if not each.transport.is_closing()]
    assert network.crowd.total == len(open_ones)
    for session in open_ones:
        assert isinstance(session, Session)
        assert len(session.pending) <= network.limits.flood_bytes + LINE_BYTES_MAX
        is_held = not session.transport.is_reading()
        assert not is_held or session.check or network.waiting_room.timer is not None
    for ban in network.bans.entries.values():
        assert network.bans.entries[ban.key] is ban


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(guarded_steps)
def test_whatever_operators_say(talk: list[tuple[int, str]]) -> None:
    with Host(make_network(limits=True, cloaks=True), raise_errors=True) as host:
        host.service("irc").opers["boss"] = Oper("boss", "")
        peers = [host.connect() for _ in range(3)]
        for index, line in talk:
            peer = peers[index]
            if peer.has_ended or line == "hang up":
                if not peer.is_closed:
                    peer.close()
                peers[index] = peer = host.connect()
            if peer.has_ended:
                continue  # banned
            if line == "kill":
                host.kill()
            elif line == "wait":
                host.clock.advance(20)
            elif line == "promote":
                for user in host.service("irc").users.values():
                    user.oper = "boss"
                    host.service("irc").set_user_mode(user, "o", on=True)
            elif line == "flood":
                peer.send(b"PING x\r\n" * 100)
            else:
                peer.send(f"NICK {NICKS[index]}\r\nUSER u 0 * :x\r\n{line}\r\n")
        for peer in peers:
            check_output(bytes(peer.transcript))
        check_agreement(host.service("irc"))
        check_guards(host.service("irc"))
