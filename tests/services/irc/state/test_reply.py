"""Where a command answers: what others tell its client meanwhile is part of the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from irc_kit import SERVER, Irc, cheap_hash, tags_of, untagged

from tapd.services.irc.conduct.command_table import COMMANDS, command
from tapd.services.irc.conduct.refusal import Fail, Refused
from tapd.services.irc.state.opers import Oper
from tapd.services.irc.state.reply import Reply
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.message import Message

CAPS = "labeled-response batch message-tags"


@dataclasses.dataclass
class Labeled:
    """A labeled response that is a batch."""

    label: str
    before: list[str]
    content: list[str]


def labeled(lines: list[str]) -> Labeled:
    """Return the one labeled batch in `lines`, and what came before it."""
    start = next(at for at, line in enumerate(lines) if "labeled-response" in line)
    begin, *content, end = lines[start:]
    reference = begin.rpartition("+")[2].split(" ")[0]
    assert untagged(end) == f":{SERVER} BATCH -{reference}"
    assert all(tags_of(line).get("batch") == reference for line in content)
    return Labeled(tags_of(begin)["label"], lines[:start], [untagged(each) for each in content])


@pytest.fixture
def refusing() -> Iterator[None]:
    """Two commands that refuse."""

    @command("BYNUMERIC")
    def by_numeric(reply: Reply, _message: Message) -> None:
        reply.notice("first this")
        raise Refused(n.ERR_NOSUCHNICK, "Eve")

    @command("BYFAIL")
    def by_fail(_reply: Reply, _message: Message) -> None:
        raise Fail("BAD", "a", text="No")

    yield
    del COMMANDS["BYNUMERIC"], COMMANDS["BYFAIL"]


@pytest.mark.usefixtures("refusing")
def test_who_runs_a_command_tells_why_it_is_refused(irc: Irc) -> None:
    ann = irc.client("Ann", f"{CAPS} standard-replies")
    assert ann.ask("BYNUMERIC", "BYFAIL") == [
        f":{SERVER} NOTICE Ann :first this",
        f":{SERVER} 401 Ann Eve :No such nick/channel",
        f":{SERVER} FAIL BYFAIL BAD a :No",
    ]
    answer = labeled(ann.ask("@label=x BYNUMERIC"))
    assert answer.label == "x"
    assert [line.split(" ")[1] for line in answer.content] == ["NOTICE", "401"]
    assert ann.ask("@label=y BYFAIL") == [f"@label=y :{SERVER} FAIL BYFAIL BAD a :No"]


def test_one_who_watches_their_own_nick_is_told_in_the_answer(irc: Irc) -> None:
    ann = irc.client("Ann", CAPS)
    ann.ask("MONITOR + Ann,Bea")
    answer = labeled(ann.ask("@label=1 NICK Bea"))
    assert answer.before == []
    assert [line.split(" ")[1] for line in answer.content] == ["NICK", "731", "730"]


def test_notices_to_operators_are_in_the_answer_of_who_caused_them(irc: Irc) -> None:
    irc.network.opers["root"] = Oper("root", cheap_hash("x"))
    ann = irc.client("Ann", CAPS)
    ann.send("@label=o OPER root x")
    irc.harness.wait_for(lambda: irc.network.users["ann"].is_oper)
    oper = labeled(ann.read())  # the check ended later, and answers under its label
    assert oper.label == "o"
    assert [line.split(" ")[1] for line in oper.content] == ["381", "MODE"]
    ann.ask("MODE Ann +s")
    answer = labeled(ann.ask("@label=k KLINE x!*@*"))
    assert answer.before == []
    assert [line.partition(" :")[2] for line in answer.content] == [
        "*** Ann (root) used KLINE x!*@*",
        "KLINE: x!*@* is banned for ever",
    ]


def test_a_client_that_a_command_closes_is_told_in_its_answer(irc: Irc) -> None:
    irc.network.opers["root"] = Oper("root", cheap_hash("x"))
    ann = irc.client("Ann", CAPS)
    ann.send("OPER root x")
    irc.harness.wait_for(lambda: irc.network.users["ann"].is_oper)
    ann.read()
    ann.send("@label=k KILL Ann :bye")
    answer = labeled(ann.read_end())
    assert [line.partition(":")[2].split(" ")[1] for line in answer.content[:1]] == ["KILL"]
    assert answer.content[1].startswith("ERROR ")


def test_two_batches_of_lines_that_overlap_are_both_answered(irc: Irc) -> None:
    ann = irc.client("Ann", f"{CAPS} draft/multiline standard-replies", join="#a")
    ann.send("BATCH +1 draft/multiline #a")
    lines = ann.ask("@label=2 BATCH +2 draft/multiline #a")
    assert lines == [f":{SERVER} FAIL BATCH MULTILINE_INVALID :Another batch came before its end"]
