"""The tables are whole, what is in TAPs stays, and docs/irc.md is what they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from irc_kit import Irc, untagged

from tapd.errors import AuthorError
from tapd.services.irc.conduct.command_table import COMMANDS, command
from tapd.services.irc.listing import render_page
from tapd.services.irc.state.reply import Reply
from tapd.services.irc.wire import capabilities, modes, numerics
from tapd.services.irc.wire.message import Message

PAGE = Path(__file__).parents[3] / "docs" / "irc.md"

ISSUE_COMMANDS = {
    "NICK", "USER", "PASS", "CAP", "JOIN", "PART", "QUIT", "TOPIC", "NAMES", "LIST", "INVITE",
    "KICK", "MODE", "PRIVMSG", "NOTICE", "TAGMSG", "WHO", "WHOIS", "WHOWAS", "USERHOST", "ISON",
    "MONITOR", "AWAY", "MOTD", "LUSERS", "VERSION", "TIME", "INFO", "ADMIN", "OPER", "KILL",
    "REHASH", "WALLOPS", "KNOCK", "SETNAME", "PING", "PONG",
}  # fmt: skip

# What was once written to a TAP keeps its meaning: never change a number here.
BITS = {
    "message-tags": 1 << 0,
    "server-time": 1 << 1,
    "batch": 1 << 2,
    "labeled-response": 1 << 3,
    "echo-message": 1 << 4,
    "account-notify": 1 << 5,
    "account-tag": 1 << 6,
    "extended-join": 1 << 7,
    "away-notify": 1 << 8,
    "multi-prefix": 1 << 9,
    "userhost-in-names": 1 << 10,
    "invite-notify": 1 << 11,
    "chghost": 1 << 12,
    "setname": 1 << 13,
    "standard-replies": 1 << 14,
    "cap-notify": 1 << 15,
    "draft/multiline": 1 << 21,
    "extended-monitor": 1 << 23,
}


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page(), (
        "write it again: python -m tapd.services.irc.listing > docs/irc.md"
    )


def test_the_commands_of_the_issue_are_there() -> None:
    assert COMMANDS.keys() >= ISSUE_COMMANDS


def test_every_command_says_what_it_does() -> None:
    assert [name for name, each in COMMANDS.items() if not each.summary.endswith(".")] == []


def test_bits_of_capabilities_never_change() -> None:
    there = {name: each.bit for name, each in capabilities.CAPABILITIES.items()}
    assert BITS.items() <= there.items()
    assert len(set(there.values())) == len(there)
    assert all(bit.bit_count() == 1 for bit in there.values())


def test_numerics_are_codes_once_each() -> None:
    codes = [numeric.code for numeric in numerics.NUMERICS.values()]
    assert len(set(codes)) == len(codes)
    assert all(len(code) == 3 and code.isdigit() for code in codes)


def test_modes_are_whole() -> None:
    for mode in modes.CHANNEL_MODES.values():
        assert (mode.kind is modes.Kind.PREFIX) == bool(mode.symbol)
        assert (mode.kind is modes.Kind.LIST) == (mode.listing is not None)
        assert mode.needs in modes.RANKS
    assert set(modes.RANKS) == set(modes.letters_of(modes.Kind.PREFIX))


@pytest.fixture
def newcomer() -> Iterator[None]:
    """A command of one function in one file: this one."""

    @command("DICE", params=1)
    def roll(reply: Reply, message: Message) -> None:
        """Roll a die with so many sides."""
        reply.notice(f"of {message.params[0]} sides: 4")

    yield
    del COMMANDS["DICE"]


@pytest.mark.usefixtures("newcomer")
def test_a_newcomer_adds_a_command(irc: Irc) -> None:
    client = irc.client("Ann", "labeled-response message-tags batch")
    assert untagged(client.ask("DICE 6")[0]).endswith("NOTICE Ann :of 6 sides: 4")
    assert client.ask("@label=x DICE 6")[0].startswith("@label=x")
    assert " 461 Ann DICE " in client.ask("DICE")[0]
    assert any("Roll a die" in line for line in client.ask("HELP dice"))
    with pytest.raises(AuthorError, match="DICE is there already"):
        command("DICE")(COMMANDS["DICE"].function)
