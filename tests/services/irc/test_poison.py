"""Lines that wait in the state, and kill: exactly the one that kills is skipped.

A client's lines are kept while its password is checked, or while it is too fast
(`checking`, `flood`). They run when that is over, and nobody else is to blame for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from harness import Harness
from irc_kit import Client, Irc, cheap_hash, codes, make_network

from tapd.services.irc import IrcNetwork
from tapd.services.irc.conduct.command_table import COMMANDS
from tapd.services.irc.state.opers import Oper
from tapd.store.journal.file import JournalWriter


class Killed(KeyboardInterrupt):
    """The process dies here; asyncio lets this one through."""


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The process dies before the journal has another record once TIME was run; each death."""
    dying: list[bool] = []
    append = JournalWriter.append

    def die(_session: Any, _message: Any) -> None:
        dying.append(True)

    def die_first(self: JournalWriter, payload: bytes) -> None:
        if dying and dying[-1]:
            dying[-1] = False
            raise Killed
        append(self, payload)

    monkeypatch.setitem(COMMANDS, "TIME", dataclasses.replace(COMMANDS["TIME"], function=die))
    monkeypatch.setattr(JournalWriter, "append", die_first)
    return dying


def live_on(harness: Harness, seconds: float = 0.0) -> None:
    """Let time pass; whenever the process dies, start the next one."""
    for _ in range(10):
        try:
            if harness.process is None:
                harness.start()
            harness.clock.advance(seconds)
        except Killed:
            harness.give_up()
        else:
            return
    raise AssertionError("it dies for ever")


def say(client: Client, *lines: str) -> None:
    client.peer.sock.sendall("".join(f"{line}\r\n" for line in lines).encode())


def test_behind_a_password(serve: Callable[..., Harness], deaths: list[bool]) -> None:
    application = make_network()
    network = application.services["irc"]
    assert isinstance(network, IrcNetwork)
    network.opers["boss"] = Oper("boss", cheap_hash("woohoo"))
    irc = Irc(serve(application))
    bad, good = irc.client("Bad", "standard-replies"), irc.client("Good")
    say(bad, "OPER boss woohoo", "PING 1", "TIME", "PING 2", "PING 3")
    say(good, "OPER boss woohoo", "PING 4")
    live_on(irc.harness)
    say(bad, "PING 5")
    live_on(irc.harness)
    assert codes(bad.read())[-5:] == ["PONG", "FAIL", "PONG", "PONG", "PONG"]
    assert codes(good.read())[-1] == "PONG"
    assert len(deaths) <= 5


def test_behind_the_flood_limit(serve: Callable[..., Harness], deaths: list[bool]) -> None:
    irc = Irc(serve(make_network(limits=True)))
    bad, good = irc.client("Bad", "standard-replies"), irc.client("Good")
    count = 40
    pings = [f"PING {number}" for number in range(count)]
    say(bad, *pings, "TIME", "PING end")
    say(good, *pings, "PING end")
    live_on(irc.harness)
    for _ in range(60):
        live_on(irc.harness, 1.0)
    assert codes(bad.read()) == ["PONG"] * count + ["FAIL", "PONG"]
    assert codes(good.read()) == ["PONG"] * (count + 1)
    assert len(deaths) <= 5
