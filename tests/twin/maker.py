"""Writes a program for a seed, by running it: each statement fits what is there by then.

The statements are chosen in a twin's world as they are run, so nearly all of them do
something; the answers that the twin gives meanwhile are what the others have to give.
"""

from __future__ import annotations

import itertools
import random
import types
from collections.abc import Callable
from typing import Any

from tests.twin.kinds import FUNCTIONS, make_classes, make_functions
from tests.twin.moves import move
from tests.twin.places import Place, places_of
from tests.twin.program import TURN, Cell, Program
from tests.twin.values import Values
from tests.twin.worlds import Entry, Twin

_NAMES = "abcdef"
_EVENTS = ("kill", "kill", "kill", "save", "save", "stop", "reload", "pass")
_FAR = 1_000_003  # seeds of second attempts are far from all others


class Maker:
    """Makes one program."""

    def __init__(self, seed: int, *, is_typed: bool = False, is_timed: bool = True) -> None:
        """Begin; see `make_program`."""
        self._rng = rng = random.Random(seed)
        self._is_timed = is_timed
        count = rng.choices([1, 2, 3, 4], [2, 4, 4, 2])[0]
        names = [f"K{number}" for number in range(1, count + 1)]
        self._classes = make_classes(rng, names, is_typed=is_typed)
        enums = [
            name for name, source in zip(names, self._classes, strict=True) if "(enum." in source
        ]
        functions = make_functions(rng) if is_typed else ()
        self._values = Values(
            rng, names, enums, [name for name in FUNCTIONS if FUNCTIONS[name] in functions]
        )
        self._classes += functions
        self._world = Twin(self._classes)
        self._cells: list[Cell] = []
        self._entries: list[Entry] = []

    @property
    def is_unfit(self) -> bool:
        """Whether the program must not be used; see `Twin`."""
        return self._world.is_unfit

    def make(self) -> tuple[Program, list[Entry]]:
        """Return the program, and what the twin says of it."""
        rng = self._rng
        self._world.begin()
        self._turn(rng.randrange(3, 8), self._set_up)
        if rng.random() < 0.6:
            self._event("save")
        for _ in range(rng.randrange(2, 7)):
            self._turn(rng.randrange(1, 5), self._statement)
            if rng.random() < 0.6:
                self._event(rng.choice(_EVENTS))
        self._event("kill")
        self._turn(2, self._statement)
        self._event("stop")
        self._event("kill")
        self._entries += self._world.graph(len(self._cells), "at the end")
        return Program(self._classes, tuple(self._cells)), self._entries

    def _event(self, kind: str) -> None:
        number = len(self._cells)
        self._cells.append(Cell(kind))
        self._world.happen(kind)
        self._entries += self._world.graph(number, f"after {kind}")

    def _turn(self, count: int, write: Any) -> None:
        lines: list[str] = []
        turn_names: dict[str, Any] = {}
        number = len(self._cells)
        for _ in range(count):
            self._values.places = places = self._places()
            line = write(places)
            places.clear()
            lines.append(line)
            for answer in self._world.run_line(line, turn_names):
                self._entries.append(Entry(number, f"answer of `{line}`", answer))
        turn_names.clear()
        self._world.end_turn()
        self._world.end_threads()
        self._cells.append(Cell(TURN, tuple(lines)))

    def _places(self) -> list[Place]:
        volatile = vars(self._world.volatile).items()
        roots = [("app", self._world.app), *((f"v.{name}", value) for name, value in volatile)]
        return [
            place
            for place in places_of(roots)
            if not isinstance(place.obj, (type, types.ModuleType))
        ]

    def _set_up(self, places: list[Place]) -> str:
        return f"app.{self._rng.choice(_NAMES)} = {self._values.new()}"

    def _statement(self, places: list[Place]) -> str:
        ways = self._ways
        write = self._rng.choices([way for way, _ in ways], [weight for _, weight in ways])[0]
        return write(places)

    @property
    def _ways(self) -> tuple[tuple[Callable[[list[Place]], str], float], ...]:
        return (
            (self._set_up, 5), (self._aliased, 10), (self._shown, 8), (self._compared, 4),
            (self._taken_out, 8), (self._moved, 6), (self._by_volatile, 6),
            (self._in_time, 5 if self._is_timed else 0), (self._changed, 50),
        )  # fmt: skip

    def _changed(self, places: list[Place]) -> str:
        place = self._rng.choice(places)
        return move(self._values, place) or f"show({place.path})"

    def _aliased(self, places: list[Place]) -> str:
        return f"app.{self._rng.choice(_NAMES)} = {self._values.alias()}"

    def _shown(self, places: list[Place]) -> str:
        return f"show({self._values.alias()})"

    def _compared(self, places: list[Place]) -> str:
        return f"show({self._values.alias()} is {self._values.alias()})"

    def _holder(self) -> str:
        """Return an expression for a place to put something: assigning to it is enough."""
        values, rng = self._values, self._rng
        listed, mapped = values.alias_of(list), values.alias_of(dict)
        return rng.choice([
            f"app.{rng.choice(_NAMES)} = @",
            f"{values.alias()}.b = @",
            f"{listed}.append(@)" if listed else "app.a = @",
            f"{mapped}[{values.word()}] = @" if mapped else "app.b = @",
        ])  # fmt: skip

    def _source(self) -> str:
        """Return an expression that takes something out of where it is."""
        values, rng = self._values, self._rng
        listed, mapped = values.alias_of(list), values.alias_of(dict)
        return rng.choice([
            f"app.__dict__.pop({rng.choice(_NAMES)!r})",
            f"{listed}.pop()" if listed else values.alias(),
            f"{mapped}.popitem()[1]" if mapped else values.alias(),
        ])  # fmt: skip

    def _taken_out(self, places: list[Place]) -> str:
        if self._rng.random() < 0.5:
            name = self._rng.choice(_NAMES)
            return f"v.held = app.{name}; del app.{name}"
        return f"v.held = {self._source()}"

    def _moved(self, places: list[Place]) -> str:
        return self._holder().replace("@", self._source())

    def _in_time(self, places: list[Place]) -> str:
        """Return a call that comes by a timer or as a thread's result."""
        rng, values = self._rng, self._values
        listed, mapped = values.alias_of(list), values.alias_of(dict)
        return rng.choice([
            f"later({listed}.append, {values.any()})" if listed else "later(app.add, 1)",
            f"later({mapped}.update, {{'x': {values.any()}}})" if mapped else "later(app.a)",
            f"later(setattr, {values.alias()}, 'a', {values.any()})",
            f"later(functools.partial(setattr, app, 'e'), {values.any()})",
            f"thread({listed}, {self._source()})" if listed else f"thread(app.a, {values.any()})",
            f"thread({values.alias()}, {values.any()})",
        ])  # fmt: skip

    def _by_volatile(self, places: list[Place]) -> str:
        rng, values = self._rng, self._values
        if not vars(self._world.volatile):
            return self._changed(places)
        held = rng.choice(list(vars(self._world.volatile)))
        return rng.choice([
            self._holder().replace("@", f"v.{held}"),
            f"v.{held}.append({values.any()})",
            f"v.{held}({values.any()})" if held == "add" else f"v.{held}.a = {values.any()}",
            f"v.items[{values.word()}] = {values.any()}",
            "v.kept = [app.a]" if rng.random() < 0.5 else "v.kept = app.b",
        ])  # fmt: skip


def make_program(
    seed: int, *, is_typed: bool = False, is_timed: bool = True
) -> tuple[Program, list[Entry]]:
    """Return the program of `seed`, and what plain Python says of it.

    Args:
        seed: the same gives the same.
        is_typed: it is for a prompt, where functions within functions are kept.
        is_timed: it may have timers and threads.
    """
    for attempt in itertools.count():
        maker = Maker(seed + attempt * _FAR, is_typed=is_typed, is_timed=is_timed)
        try:
            made = maker.make()
        except Exception:
            if not maker.is_unfit:
                raise
        if not maker.is_unfit:
            return made
    raise AssertionError
