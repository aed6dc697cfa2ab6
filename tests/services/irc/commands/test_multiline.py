"""Messages of several lines: ircv3.net/specs/extensions/multiline and /client-batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from irc_kit import Client, Irc, steady, tags_of, untagged

from tapd.services.irc.conduct.flood import cost_of
from tapd.services.irc.service import SWEEP_S
from tapd.services.irc.state.multiline import OPEN_S_MAX
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire.capabilities import MULTILINE_LINES_MAX
from tapd.services.irc.wire.delivery import Event
from tapd.services.irc.wire.message import parse_line

CAPS = "draft/multiline batch message-tags standard-replies"
MESSAGE = (
    "BATCH +123 draft/multiline #c",
    "@batch=123 PRIVMSG #c hello",
    "@batch=123 PRIVMSG #c :",
    "@batch=123 privmsg #c :how is ",
    "@batch=123;draft/multiline-concat PRIVMSG #c :everyone?",
    "BATCH -123",
)
ANN = ":Ann!~ann@127.0.0.1"


@pytest.fixture
def ann(irc: Irc) -> Client:
    return irc.client("Ann", CAPS, join="#c")


def test_the_capability_tells_the_limits(irc: Irc) -> None:
    """Multiline, "Capabilities": max-bytes is required, max-lines recommended."""
    (line,) = irc.connect().ask("CAP LS 302")
    assert "draft/multiline=max-bytes=4096,max-lines=100" in line


@pytest.mark.parametrize("crash_after", range(len(MESSAGE)))
def test_a_batch_comes_whole(irc: Irc, ann: Client, crash_after: int) -> None:
    """Nothing is delivered before its end, a kill in the middle changes nothing."""
    bob = irc.client("Bob", CAPS, join="#c")
    ann.read()
    for index, line in enumerate(MESSAGE):
        assert bob.read() == []
        ann.send(line)
        if index == crash_after:
            irc.harness.crash()
    assert ann.read() == []
    said = bob.read()
    reference = said[0].split()[-3].removeprefix("+")
    assert tags_of(said[0])["msgid"] == reference
    assert untagged(said[0]) == f"{ANN} BATCH +{reference} draft/multiline #c"
    tag = f"@batch={reference}"
    assert said[1:] == [
        f"{tag} {ANN} PRIVMSG #c :hello",
        f"{tag} {ANN} PRIVMSG #c :",
        f"{tag} {ANN} PRIVMSG #c :how is ",
        f"{tag};draft/multiline-concat {ANN} PRIVMSG #c :everyone?",
        f"BATCH -{reference}",
    ]


def test_fallback(irc: Irc, ann: Client) -> None:
    """No blank lines; tags on the first line, the msgid on no other ("Fallback")."""
    bob = irc.client("Bob", "message-tags server-time", join="#c")
    plain = irc.client("Eve", join="#c")
    bob.read()
    ann.send(*MESSAGE)
    said = bob.read()
    assert list(map(untagged, said)) == [
        f"{ANN} PRIVMSG #c :hello",
        f"{ANN} PRIVMSG #c :how is ",
        f"{ANN} PRIVMSG #c :everyone?",
    ]
    assert [sorted(tags_of(line)) for line in said] == [["msgid", "time"], ["time"], ["time"]]
    assert plain.read() == list(map(untagged, said))


def test_the_echo_has_the_label(irc: Irc) -> None:
    """The label of the opening BATCH stands on the echo's, and nowhere else."""
    ann = irc.client("Ann", f"{CAPS} echo-message labeled-response", join="#c")
    opening, *rest = MESSAGE
    assert ann.ask(f"@label=x {opening}") == []
    said = ann.ask(*rest)
    assert tags_of(said[0])["label"] == "x"
    assert " BATCH +" in said[0]
    assert not any("label" in line for line in said[1:])


def test_the_label_of_what_fails(irc: Irc) -> None:
    ann = irc.client("Ann", f"{CAPS} labeled-response")
    ann.ask("@label=x BATCH +1 draft/multiline #c")
    (line,) = ann.ask("@batch=1 TOPIC #c")
    assert line.startswith("@label=x ")
    assert " FAIL BATCH MULTILINE_INVALID :" in line


def test_notices_and_people(irc: Irc, ann: Client) -> None:
    """One or more PRIVMSG, or NOTICE; the target may be a user."""
    bob = irc.client("Bob", CAPS)
    ann.send(
        "BATCH +1 draft/multiline Bob", "@batch=1 NOTICE bob :a", "@batch=1 NOTICE Bob :b",
        "BATCH -1",
    )  # fmt: skip
    assert [line.split(" NOTICE ")[1] for line in bob.read()[1:3]] == ["Bob :a", "Bob :b"]


def test_client_tags_are_of_the_opening(irc: Irc, ann: Client) -> None:
    """Client-only tags must be attached to the initial BATCH ("Message tags")."""
    bob = irc.client("Bob", CAPS, join="#c")
    ann.send(
        "@+draft/reply=x BATCH +1 draft/multiline #c",
        *(f"@batch=1;+y=z PRIVMSG #c :{text}" for text in "ab"),
        "BATCH -1",
    )
    said = bob.read()
    assert tags_of(said[0])["+draft/reply"] == "x"
    assert not any("+y" in line for line in said)


def test_a_batch_of_one_line_is_a_message(irc: Irc, ann: Client) -> None:
    bob = irc.client("Bob", CAPS, join="#c")
    ann.send("BATCH +1 draft/multiline #c", "@batch=1 PRIVMSG #c :a", "BATCH -1")
    assert list(map(untagged, bob.read())) == [f"{ANN} PRIVMSG #c :a"]


@pytest.mark.parametrize(
    ("lines", "failure"),
    [
        (["PRIVMSG #d :x"], "MULTILINE_INVALID_TARGET #c #d"),
        (["PRIVMSG #c :x", "NOTICE #c :x"], "MULTILINE_INVALID"),
        (["PRIVMSG #c :"], "MULTILINE_INVALID"),
        ([], "MULTILINE_INVALID"),
        (["JOIN #d"], "MULTILINE_INVALID"),
        (["PRIVMSG #c"], "MULTILINE_INVALID"),
        (["BATCH +2 draft/multiline #c"], "MULTILINE_INVALID"),
        (["PRIVMSG #c :x"] * (MULTILINE_LINES_MAX + 1), "MULTILINE_MAX_LINES 100"),
        ([f"PRIVMSG #c :{'x' * 400}"] * 11, "MULTILINE_MAX_BYTES 4096"),
    ],
)
def test_errors(irc: Irc, ann: Client, lines: list[str], failure: str) -> None:
    """FAIL BATCH once ("Errors"); nobody sees anything of it, and nothing is kept."""
    bob = irc.client("Bob", CAPS, join="#c")
    ann.read()
    said = ann.ask(
        "BATCH +1 draft/multiline #c", *(f"@batch=1 {line}" for line in lines), "BATCH -1"
    )
    assert len(said) == 1
    assert f" FAIL BATCH {failure} :" in said[0]
    assert bob.read() == []
    assert irc.network.users["ann"].sessions[0].batch is None


def test_a_blank_continuation(ann: Client) -> None:
    """Clients must not send blank lines with the concat tag."""
    said = ann.ask(
        "BATCH +1 draft/multiline #c",
        "@batch=1 PRIVMSG #c :x",
        "@batch=1;draft/multiline-concat PRIVMSG #c :",
    )
    assert " FAIL BATCH MULTILINE_INVALID :" in said[0]


def test_what_is_no_part_of_it(ann: Client) -> None:
    """Client-batch: nothing else before its end, but what a client can't hold back."""
    ann.ask("BATCH +1 draft/multiline #c", "@batch=1 PRIVMSG #c :x")
    assert " PONG " in ann.ask("PING x")[0]
    said = ann.ask("TOPIC #c", "@batch=1 PRIVMSG #c :y")
    assert " FAIL BATCH MULTILINE_INVALID :" in said[0]
    assert " 331 " in said[1]
    assert len(said) == 2


def test_wrong_openings(irc: Irc, ann: Client) -> None:
    for line in (
        "BATCH +1", "BATCH +1 other #c", "BATCH + draft/multiline #c", "BATCH -1", "BATCH x",
        "BATCH +1 draft/multiline #c,#d",
    ):  # fmt: skip
        assert " FAIL BATCH MULTILINE_INVALID :" in ann.ask(line)[0]
    assert " 421 " in irc.client("Bob").ask("BATCH +1 draft/multiline #c")[0]


def test_one_that_stays_open(irc: Irc, ann: Client) -> None:
    """Client-batch, TIMEOUT: it is told, and what still comes of it is ignored."""
    ann.ask("BATCH +1 draft/multiline #c", "@batch=1 PRIVMSG #c :x")
    irc.harness.clock.advance(OPEN_S_MAX + SWEEP_S + 1)
    assert any(" FAIL BATCH TIMEOUT 1 :" in line for line in ann.read())
    assert ann.ask("@batch=1 PRIVMSG #c :y", "BATCH -1") == []


def test_who_may_not_speak(irc: Irc, ann: Client) -> None:
    """The whole is refused once, as one message."""
    ann.ask("MODE #c +m")
    bob = irc.client("Bob", CAPS, join="#c")
    assert [line.split()[1] for line in bob.ask(*MESSAGE)] == ["404"]
    ann.ask("MODE #c -m+c")
    said = bob.ask(
        "BATCH +1 draft/multiline #c", "@batch=1 PRIVMSG #c :a", "@batch=1 PRIVMSG #c :\x02b",
        "BATCH -1",
    )  # fmt: skip
    assert said[-1].split()[1] == "404"


@pytest.mark.parametrize("crash", [False, True])
def test_history_has_one_event(irc: Irc, ann: Client, crash: bool) -> None:
    """It is kept as one, and replayed as a batch within the batch, or line by line."""
    ann.ask(*MESSAGE)
    if crash:
        irc.harness.crash()
    asked = "CHATHISTORY LATEST #c * 1"
    said = [steady(line) for line in ann.ask(asked)]
    assert said[0].endswith(" <varies> chathistory #c")
    assert said[1].startswith("@<varies>;<varies> ")
    assert " <varies> draft/multiline #c" in said[1]
    assert len(said) == 8
    bob = irc.client("Bob", "batch draft/chathistory server-time", join="#c")
    said = bob.ask(asked)
    assert [line.rpartition(":")[2] for line in said[1:-1]] == ["hello", "how is ", "everyone?"]
    assert all("batch" in tags_of(line) for line in said[1:-1])


def make_event(*lines: str) -> Event:
    kept = tuple((each, False) for each in lines)
    return Event(0, "id", "n!u@h", "", False, "PRIVMSG", ("#c",), lines=kept)


def bodies(data: bytes) -> list[bytes]:
    lines = data.split(b"\r\n")
    assert lines.pop() == b""
    return [line.partition(b" ")[2] if line[:1] == b"@" else line for line in lines]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=600), min_size=2))
def test_no_line_is_cut(texts: list[str]) -> None:
    """What is too long behind the sender's mask goes on in the next line, and is joined."""
    outgoing = make_event(*texts).outgoing()
    lines = outgoing.render(cap.MULTILINE | cap.BATCH).split(b"\r\n")[1:-2]
    whole = ""
    for line in lines:
        tags, _, body = line.decode().partition(" ")
        assert len(body.encode()) <= 510
        text = body.partition(" :")[2]
        whole += text if "concat" in tags else f"\n{text}"
    assert whole == "".join(f"\n{text}" for text in texts)
    plain = bodies(outgoing.render(0))
    assert b"".join(line.partition(b" :")[2] for line in plain) == "".join(texts).encode()


def test_a_tag_makes_nothing_cheaper() -> None:
    """Only the lines of the batch that is open count as parts of one message."""
    line = parse_line(b"@batch=1 PRIVMSG #c :x")
    assert cost_of(line) == 1.0
    assert cost_of(line, "2") == 1.0
    assert cost_of(line, "1") < 1.0


def test_as_many_lines_as_allowed_come_in_time(irc: Irc, ann: Client) -> None:
    """The pace that clients must keep lets the longest batch through before its TIMEOUT."""
    bob = irc.client("Bob", join="#c")
    lines = [f"@batch=1 PRIVMSG #c :{number}" for number in range(MULTILINE_LINES_MAX)]
    ann.send("BATCH +1 draft/multiline #c", *lines, "BATCH -1")
    irc.harness.clock.advance(OPEN_S_MAX - 5)
    assert sum(" PRIVMSG " in line for line in bob.read()) == MULTILINE_LINES_MAX


@pytest.mark.parametrize("tags", ["@batch=1", "@batch=1;draft/multiline-concat"])
def test_no_ctcp_comes_in_by_a_later_line(irc: Irc, ann: Client, tags: str) -> None:
    """Modes +C and +T look at how a message begins; each line of it is one to older clients."""
    bob = irc.client("Bob", join="#c")
    ann.ask("MODE #c +C")
    bob.ask("MODE Bob +T")
    for target in ("#c", "Bob"):
        (line,) = ann.ask(
            f"BATCH +1 draft/multiline {target}",
            f"@batch=1 PRIVMSG {target} :hello",
            f"{tags} PRIVMSG {target} :\x01VERSION\x01",
            "BATCH -1",
        )
        assert " FAIL BATCH MULTILINE_INVALID :" in line
    assert bob.read() == []


def test_no_ctcp_begins_where_a_long_line_is_parted(irc: Irc, ann: Client) -> None:
    """A line that is too long behind its sender's name is several to older clients."""
    bob = irc.client("Bob", join="#c")
    ann.ask("MODE #c +C")
    bob.read()
    room = 510 - len(f"{ANN} PRIVMSG #c :")
    text = "x" * room + "\x01PING 1\x01"
    lines = [f"@batch=1 PRIVMSG #c :{each}" for each in ("hello", text)]
    ann.send("BATCH +1 draft/multiline #c", *lines, "BATCH -1")
    said = [line.partition(" :")[2] for line in bob.read()]
    assert said == ["hello", "x" * room, "PING 1\x01"]
