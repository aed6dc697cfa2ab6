"""The plan of one run of a scenario (what to kill, what to split), and the record of it.

Plain values, so that a failure can show them and a run can be repeated.
"""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What happens in addition to the scenario itself.

    Attributes:
        kill_at: the passing of a fault point at which to kill; 0 for never.
        split: the number of the peers' send to split in two; -1 for none.
        split_at: the length of the first piece.
        kill_between: kill the server between the two.
        every_byte: send everything byte by byte.
    """

    kill_at: int = 0
    split: int = -1
    split_at: int = 0
    kill_between: bool = False
    every_byte: bool = False

    def describe(self, passing: Passing | None, calm: Record) -> str:
        """Describe the plan; `passing` is the point of the kill."""
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
    """One send of a peer: whose, what, and whether it may be split."""

    name: str
    data: bytes
    is_stream: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Passing:
    """One passing of a fault point.

    Attributes:
        number: its position in the run.
        point: its name.
        turn: the turn, or the last one before it.
        sends: how many sends the peers had made.
    """

    number: int
    point: str
    turn: int
    sends: int


@dataclasses.dataclass(slots=True)
class Record:
    """The parts of a run that are compared.

    Attributes:
        transcripts: for each peer: its name, what it received, whether it was closed.
        applications: their final states.
        passings: the relevant fault points.
        sent: the peers' sends.
        evidence: what the last kill destroyed, in words.
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
