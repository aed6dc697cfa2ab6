"""Where a program runs: in plain Python, or under tapd's jar and its replay.

Both give a transcript: the answers of each statement, and the graph at each event
and at the end. `differ` runs a program in both and says where they part.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import importlib.machinery
import itertools
import logging
import sys
import types
from typing import Any

from tapd.image.changes import Changes
from tapd.image.evolution import Restoration
from tapd.image.jar import Jar
from tapd.image.loss import Loss
from tapd.image.pickler import dump_graph, load_graph
from tapd.image.replay import Replay
from twin.canon import render_graph, render_value
from twin.prelude import UNDER_TAPD, WITHOUT
from twin.program import TURN, Program

_APP = "class App(Persistent):\n    pass\n"
_numbers = itertools.count(1)


class Lost(Exception):
    """Something could not be saved, and was named."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One line of a transcript: which cell it is of, what it is, and its text."""

    cell: int
    what: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """Where two transcripts part.

    Attributes:
        kind: in a word or two, for counting.
        where: the cell and what in it.
        without: what the twin says.
        under: what is so under tapd.
        named: what the log had said before, if anything.
    """

    kind: str
    where: str
    without: str
    under: str
    named: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.where} differs\n  twin  {self.without}\n  tapd  {self.under}"
        return text + "".join(f"\n  named: {each}" for each in self.named)


class World(abc.ABC):
    """A Python that a program runs in.

    Attributes:
        app: the root of the program's state.
        names: the globals of the program's module.
        volatile: what the program calls `v`.
    """

    app: Any

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self.volatile = types.SimpleNamespace()
        self.names: dict[str, Any] = {}
        self._answers: list[str] = []

    def begin(self) -> None:
        """Run the classes and make the root."""
        self.define()
        self.names["app"] = self.app = self.names["App"]()

    def define(self) -> None:
        """Have the module's names be as a new process would make them."""
        self.names.update(v=self.volatile, show=self._show)
        for source in (_APP, *self._classes):
            exec(compiled(source), self.names)

    def _show(self, value: object) -> None:
        self._answers.append(render_value(value))

    def run_line(self, line: str, turn_names: dict[str, Any]) -> list[str]:
        """Run one statement; return its answers. What it raises is one, too."""
        self._answers = []
        try:
            exec(compiled(line), self.names, turn_names)
        except Exception as error:
            self._answers.append(f"raises {type(error).__name__}")
        return self._answers

    @abc.abstractmethod
    def end_turn(self) -> None:
        """Do what a server does after a turn."""

    @abc.abstractmethod
    def happen(self, event: str) -> None:
        """Let one of `program.EVENTS` come."""

    def forget_volatile(self) -> None:
        """Drop what no kill leaves."""
        self.volatile.__dict__.clear()

    def close(self) -> None:
        """Give back what others would find."""


class Twin(World):
    """Plain Python: a kill takes nothing but what is volatile."""

    def define(self) -> None:
        self.names.update(WITHOUT, __name__="twin_without")
        super().define()

    def end_turn(self) -> None:
        """Do nothing."""

    def happen(self, event: str) -> None:
        """Drop what is volatile, where the process ends."""
        if event != "save":
            self.forget_volatile()


class UnderJar(World):
    """Under tapd: records at each turn's end, memory thrown away and replayed at each kill.

    Attributes:
        log: what was warned of.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__(classes)
        self._module_name = f"twin_under_{next(_numbers)}"
        self._records: list[Changes] = []
        self.log = _Log()

    def begin(self) -> None:
        logging.getLogger("tapd").addHandler(self.log)
        super().begin()
        self._jar = Jar()
        self._jar.adopt(self.app)
        self._save()

    def define(self) -> None:
        module = types.ModuleType(self._module_name)
        module.__spec__ = importlib.machinery.ModuleSpec(self._module_name, None)
        sys.modules[self._module_name] = module
        self.names = vars(module)
        self.names.update(UNDER_TAPD)
        super().define()

    def end_turn(self) -> None:
        """Commit."""
        self._records.append(self._jar.commit())
        _refuse_losses(self._jar.losses)

    def happen(self, event: str) -> None:
        """Save a TAP, or throw all away and restore it, or both."""
        if event in ("save", "stop", "reload"):
            self._save()
        if event != "save":
            self.forget_volatile()
            self._restore()

    def _save(self) -> None:
        dump = dump_graph(self.app)
        _refuse_losses(dump.losses)
        self._base, self._records = dump.data, []

    def _restore(self) -> None:
        self.names.clear()
        self.define()
        restoration = Restoration()
        self.app = app = load_graph(self._base, restoration)
        self.names["app"] = app
        self._jar = jar = Jar()
        objects = jar.adopt(app, restoration.durables)
        restoration.durables.clear()
        replay = Replay(objects, restoration, jar)
        for changes in self._records:
            replay.apply(changes)
        replay.finish()

    def close(self) -> None:
        sys.modules.pop(self._module_name, None)
        logging.getLogger("tapd").removeHandler(self.log)


class _Log(logging.Handler):
    """What tapd says."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _refuse_losses(losses: Any) -> None:
    each: Loss
    for each in losses:
        raise Lost(f"{each.path}: {each.type_name}: {each.reason}")


@functools.lru_cache(maxsize=4096)
def compiled(source: str) -> types.CodeType:
    """Return the code of `source`."""
    return compile(source, "<program>", "exec", dont_inherit=True)


def transcript_of(program: Program, world: World) -> list[Entry]:
    """Run `program` in `world`. Where tapd itself raises, that is the last entry."""
    entries: list[Entry] = []
    number = -1
    try:
        world.begin()
        for number, cell in enumerate(program.cells):
            if cell.kind == TURN:
                entries += run_turn(world, number, cell.lines)
            else:
                world.happen(cell.kind)
                entries += graph_of(world, number, f"graph after {cell.kind}")
        entries += graph_of(world, len(program.cells), "graph at the end")
    except Exception as error:
        entries.append(Entry(number, "tapd raises", f"{type(error).__name__}: {error}"))
    finally:
        world.close()
    return entries


def run_turn(world: World, number: int, lines: tuple[str, ...]) -> list[Entry]:
    """Run the statements of one turn, and end it."""
    turn_names: dict[str, Any] = {}
    entries = [
        Entry(number, f"answer of `{line}`", answer)
        for line in lines
        for answer in world.run_line(line, turn_names)
    ]
    turn_names.clear()
    world.end_turn()
    return entries


def graph_of(world: World, number: int, what: str) -> list[Entry]:
    """Return the graph as it is now."""
    return [Entry(number, what, line) for line in render_graph(world.app)]


def differ(program: Program, expected: list[Entry] | None = None) -> Difference | None:
    """Run `program` without and under tapd; return where they part first.

    Args:
        program: to be run.
        expected: what the twin says, where that is known.
    """
    if expected is None:
        expected = transcript_of(program, Twin(program.classes))
    world = UnderJar(program.classes)
    found = transcript_of(program, world)
    return compare(expected, found, tuple(dict.fromkeys(world.log.said)))


def compare(
    expected: list[Entry], found: list[Entry], named: tuple[str, ...] = ()
) -> Difference | None:
    """Return where two transcripts part first; None where they don't."""
    nothing = Entry(-1, "", "(nothing)")
    for one, other in itertools.zip_longest(expected, found, fillvalue=nothing):
        if one == other:
            continue
        at = other if other.what == "tapd raises" else one if one is not nothing else other
        kind = at.what.partition(" of ")[0]
        if kind == "tapd raises":
            kind += " " + at.text.partition(":")[0]
        return Difference(kind, f"cell {at.cell + 1}, {at.what}", one.text, other.text, named)
    return None
