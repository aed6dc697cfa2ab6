"""Where a program runs, and what is written down meanwhile: the world without tapd is here.

A transcript has the answers of each statement, and the graph at each event and at the
end. Two transcripts of one program must be the same (`compare`).
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import itertools
import types
import warnings
from typing import Any

from tests.twin.canon import is_unfit, render_graph, render_value
from tests.twin.prelude import WITHOUT
from tests.twin.program import TURN, Program

APP = "class App(Persistent):\n    pass\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One line of a transcript: which cell it is of, what it is, and its text."""

    cell: int
    what: str
    text: str


RAISES = "tapd raises"
_HASHES = ("__hash__", "frozen", "_hash=True", "__getstate__", "attrs", "dataclass")
"""What the source of a class has in it whose instances' hash may change, or state fail."""


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
        self._threads: list[tuple[Any, Any]] = []

    def begin(self) -> None:
        """Run the classes and make the root."""
        self.define()
        self.names["app"] = self.app = self.names["App"]()

    def define(self) -> None:
        """Have the module's names be as a new process would make them."""
        self.names.update(self.helpers())
        for source in (APP, *self._classes):
            exec(compiled(source), self.names)

    def helpers(self) -> dict[str, Any]:
        """Return what statements may call beside what the prelude has."""
        return {
            "v": self.volatile, "show": self._show, "later": self._later, "thread": self._thread,
        }  # fmt: skip

    def _show(self, value: object) -> None:
        self._answers.append(render_value(value))

    def _later(self, function: Any, *args: Any) -> None:
        if not callable(function):
            raise TypeError(function)
        self.call_later(function, args)

    def _thread(self, target: Any, value: Any) -> None:
        self.run_in_thread(functools.partial(put_into, target), value)

    # --- turns ------------------------------------------------------------------------

    def run_line(self, line: str, turn_names: dict[str, Any]) -> list[str]:
        """Run one statement; return its answers. What it raises is one, too."""
        self._answers = []
        try:
            exec(self.code_of(line), self.names, turn_names)
        except Exception as error:
            self._answers.append(f"raises {type(error).__name__}")
        return self._answers

    def code_of(self, line: str) -> types.CodeType:
        """Return what to run for a statement."""
        return compiled(line)

    def run_turn(self, number: int, lines: tuple[str, ...]) -> list[Entry]:
        """Run the statements of cell `number`, and end the turn."""
        turn_names: dict[str, Any] = {}
        entries = [
            Entry(number, f"answer of `{line}`", answer)
            for line in lines
            for answer in self.run_line(line, turn_names)
        ]
        turn_names.clear()
        self.end_turn()
        self.end_threads()
        return entries

    @abc.abstractmethod
    def end_turn(self) -> None:
        """Do what a server does after a turn."""

    def run_in_thread(self, then: Any, value: Any) -> None:
        """Have `then` called with `value` after this turn, as a thread's result; volatile."""
        self._threads.append((then, value))

    def end_threads(self) -> None:
        """Let the results of threads come, each in a turn of its own."""
        while self._threads:
            then, value = self._threads.pop(0)
            with contextlib.suppress(Exception):
                then(value, None)
            del then, value
            self.end_turn()

    # --- what happens between turns -----------------------------------------------------

    @abc.abstractmethod
    def happen(self, event: str) -> None:
        """Let one of `program.EVENTS` come."""

    @abc.abstractmethod
    def timers(self) -> list[Any]:
        """Return what `call_later` was told, to be changed."""

    def call_later(self, function: Any, args: tuple[Any, ...]) -> None:
        """Have `function` called with `args` when time passes; durable."""
        self.timers().append([function, args])

    def pass_time(self) -> None:
        """Let all timers be due."""
        timers = self.timers()
        for _ in range(len(timers)):
            function, args = timers.pop(0)
            with contextlib.suppress(Exception):
                function(*args)
            del function, args
            self.end_turn()

    def forget_volatile(self) -> None:
        """Drop what no kill leaves."""
        self.volatile.__dict__.clear()
        self._threads.clear()

    def graph(self, number: int, what: str) -> list[Entry]:
        """Return the graph as it is now, for cell `number`."""
        return [Entry(number, f"graph {what}", line) for line in render_graph(self.app)]

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what others would find."""


class Twin(World):
    """Plain Python: a kill takes nothing but what is volatile.

    Attributes:
        is_unfit: the program breaks what Python asks for, that a key's hash stays.
    """

    is_unfit = False

    def begin(self) -> None:
        self._pending: list[Any] = []
        super().begin()

    def define(self) -> None:
        self.names.update(WITHOUT, __name__="twin_without")
        super().define()

    def timers(self) -> list[Any]:
        """Return a list that nothing ends."""
        return self._pending

    def end_turn(self) -> None:
        """See whether the program is fit to be compared."""
        if any(word in source for source in self._classes for word in _HASHES):
            held = self.names.get("v")  # what is detached is looked at as well
            self.is_unfit = self.is_unfit or is_unfit([self.app, *vars(held).values()])

    def happen(self, event: str) -> None:
        """Drop what is volatile, where the process ends."""
        if event == "pass":
            self.pass_time()
        elif event != "save":
            self.forget_volatile()


def put_into(target: Any, result: Any, _error: Any) -> None:
    """Take a thread's result."""
    target.append(result)


@functools.lru_cache(maxsize=4096)
def compiled(source: str) -> types.CodeType:
    """Return the code of `source`, in which much is odd."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return compile(source, "<program>", "exec", dont_inherit=True)


def transcript_of(program: Program, world: World) -> list[Entry]:
    """Run `program` in `world`. Where tapd itself raises, that is the last entry."""
    entries: list[Entry] = []
    number = -1
    try:
        world.begin()
        for number, cell in enumerate(program.cells):
            if cell.kind == TURN:
                entries += world.run_turn(number, cell.lines)
            else:
                world.happen(cell.kind)
                entries += world.graph(number, f"after {cell.kind}")
        entries += world.graph(len(program.cells), "at the end")
    except Exception as error:
        entries.append(Entry(number, RAISES, f"{type(error).__name__}: {error}"))
    finally:
        world.close()
    return entries


def compare(
    expected: list[Entry], found: list[Entry], named: tuple[str, ...] = ()
) -> Difference | None:
    """Return where two transcripts part first; None where they don't."""
    nothing = Entry(-1, "", "(nothing)")
    for one, other in itertools.zip_longest(expected, found, fillvalue=nothing):
        if one == other:
            continue
        at = other if other.what == RAISES or one is nothing else one
        kind = at.what.partition(" of ")[0]
        if kind == RAISES:
            kind += " " + at.text.partition(":")[0]
        return Difference(kind, f"cell {at.cell + 1}, {at.what}", one.text, other.text, named)
    return None
