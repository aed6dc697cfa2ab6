"""Many programs in a row, counted; and what a person is shown of one that differs."""

from __future__ import annotations

import collections
import dataclasses
import gc
from collections.abc import Iterable, Iterator

from tests.twin.kit import UnderKit
from tests.twin.maker import make_program
from tests.twin.program import TURN, Program, render_program
from tests.twin.real import UnderServer
from tests.twin.shrink import shrink
from tests.twin.under import UnderJar, UnderPrompt, UnderTapd, differ
from tests.twin.worlds import Difference

WORLDS: dict[str, type[UnderTapd]] = {"jar": UnderJar, "prompt": UnderPrompt, "kit": UnderKit}
ALL_WORLDS: dict[str, type[UnderTapd]] = {**WORLDS, "server": UnderServer}
"""By the name that the command line has for them; the last takes seconds for each program."""


@dataclasses.dataclass(slots=True)
class Tally:
    """What was run.

    Attributes:
        programs, turns, statements: how many.
        kills: of the process, stops and reloads among them.
        entries: answers and objects that were compared.
        kinds: how many programs differed, by kind.
    """

    programs: int = 0
    turns: int = 0
    statements: int = 0
    kills: int = 0
    entries: int = 0
    kinds: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    @property
    def differing(self) -> int:
        """How many programs differed."""
        return sum(self.kinds.values())

    def __str__(self) -> str:
        return (
            f"{self.programs:,} programs, {self.statements:,} statements in {self.turns:,} turns, "
            f"{self.kills:,} kills and stops, {self.entries:,} answers and objects compared, "
            f"{self.differing:,} programs differ"
        )

    def count(self, program: Program, entries: int) -> None:
        """Take note that `program` is run."""
        self.programs += 1
        self.entries += entries
        for cell in program.cells:
            if cell.kind == TURN:
                self.turns += 1
                self.statements += len(cell.lines)
            else:
                self.kills += cell.kind in ("kill", "stop", "reload")


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A program that differs."""

    seed: int
    program: Program
    difference: Difference


def run_seeds(seeds: Iterable[int], world: type[UnderTapd], tally: Tally) -> Iterator[Failure]:
    """Run the program of each seed; yield those that differ."""
    for number, seed in enumerate(seeds):
        if number % 50 == 0:  # a save looks among all objects that the collector knows
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        program, expected = make_program(
            seed, is_typed=world is UnderPrompt, is_timed=world is not UnderServer
        )
        tally.count(program, len(expected))
        difference = differ(program, expected, world)
        if difference is not None:
            tally.kinds[difference.kind + (" (named)" if difference.named else "")] += 1
            yield Failure(seed, program, difference)


def shrunk(failure: Failure, world: type[UnderTapd], *, budget_s: float = 20.0) -> str:
    """Return what is left of a failure when it is shrunk, as a program to be run."""
    kind = failure.difference.kind

    def fails(candidate: Program) -> bool:
        found = differ(candidate, kind=world)
        return found is not None and found.kind == kind

    small = shrink(failure.program, fails, budget_s=budget_s)
    name = next(name for name, each in ALL_WORLDS.items() if each is world)
    how = f"python tests/twin --world {name} THIS_FILE; it was seed {failure.seed}"
    return render_program(small, f"{differ(small, kind=world)}\n{how}")
