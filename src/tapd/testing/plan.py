"""What is to happen to a server in one run of a scenario, and what passed in it.

Imports nothing of tapd. Plain values, so that a failure can name them and a run
can be repeated.
"""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen, apart from what the scenario itself does.

    Attributes:
        kill_at: at which passing of a fault point the server is killed; 0 for never.
        split: which of the peers' sends is made in two pieces; -1 for none.
        split_at: how long the first piece is.
        kill_between: kill the server between the two.
        every_byte: send everything byte by byte.
    """

    kill_at: int = 0
    split: int = -1
    split_at: int = 0
    kill_between: bool = False
    every_byte: bool = False

    def describe(self, passing: Passing | None, calm: Record) -> str:
        """Return what happens, in words; `passing` is where the kill comes."""
        if self.every_byte:
            return "sent all its input byte by byte (and not killed at all)"
        if passing is None:
            sent = calm.sent[self.split]
            name = sent.name
            first, rest = sent.data[: self.split_at], sent.data[self.split_at :]
            return f"killed after {name} had sent {first[-60:]!r}, and before it sent {rest[:60]!r}"
        last = max((each.turn for each in calm.passings), default=0)
        text = f"killed in turn {passing.turn} of {last} at {passing.point!r}"
        if passing.sends:
            sent = calm.sent[passing.sends - 1]
            text += f" (the last input was {sent.data[-60:]!r} of {sent.name})"
        return text


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """What a peer sent at once: whose, what, and whether it may come in pieces."""

    name: str
    data: bytes
    is_stream: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Passing:
    """One passing of a fault point.

    Attributes:
        number: which one it is.
        point: its name.
        turn: in which turn; that of the last one where it was between two.
        sends: how many sends the peers had made.
    """

    number: int
    point: str
    turn: int
    sends: int


@dataclasses.dataclass(slots=True)
class Record:
    """What is compared of a run.

    Attributes:
        transcripts: of each peer: its name, what it got, whether it was closed.
        applications: as they were at the end.
        passings: the fault points that mattered.
        sent: whose sends, and what.
        evidence: what the last kill took with it, in words.
        error: what the scenario raised.
        has_unix: some peers had UNIX sockets.
    """

    transcripts: list[tuple[str, bytes, bool]]
    applications: list[Any]
    passings: list[Passing]
    sent: list[Sent]
    evidence: list[str]
    error: Exception | None = None
    has_unix: bool = False
