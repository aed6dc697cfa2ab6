"""What a program is, and how it is written to a file that a person can read and run."""

from __future__ import annotations

import ast
import dataclasses

TURN = "turn"
EVENTS = ("kill", "save", "stop", "reload", "pass")
_MARK = "# %% "
_HEAD = "from tests.twin.prelude import *  # app: the root; v: no kill leaves it; show(): an answer"


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One turn, or what happens between two.

    Attributes:
        kind: `TURN` or one of `EVENTS`.
        lines: of a turn, one statement each.
    """

    kind: str
    lines: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """Classes, each as its source, and cells."""

    classes: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def size(self) -> int:
        """How many characters it has, for the smaller of two."""
        return len(render_program(self))


def render_program(program: Program, note: str = "") -> str:
    """Return `program` as a Python file, beginning with `note` as comment lines."""
    parts = [f"# {line}".rstrip() + "\n" for line in note.splitlines()]
    parts.append(f"{_HEAD}\n")
    parts += [f"\n\n{source.strip()}\n" for source in program.classes]
    for cell in program.cells:
        parts.append(f"\n{_MARK}{cell.kind}\n")
        parts += [f"{line}\n" for line in cell.lines]
    return "".join(parts)


def parse_program(text: str) -> Program:
    """Return the program that a file holds."""
    head, *rest = text.split(f"\n{_MARK}")
    cells = []
    for part in rest:
        kind, _, body = part.partition("\n")
        cells.append(Cell(kind.strip(), _statements(body)))
    return Program(_classes(head), tuple(cells))


def _statements(text: str) -> tuple[str, ...]:
    return tuple(_sources(text))


def _classes(text: str) -> tuple[str, ...]:
    return tuple(source for source in _sources(text) if not source.startswith("from tests.twin."))


def _sources(text: str) -> list[str]:
    """Return the source of each statement, with its decorators; `a; b` stays on its line."""
    lines = text.splitlines()
    found: list[tuple[int, int]] = []
    for node in ast.parse(text).body:
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(each.lineno for each in decorators)])
        last = node.end_lineno or first
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
    return ["\n".join(lines[first - 1 : last]) for first, last in found]
