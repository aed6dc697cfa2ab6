"""A failing program made small: parts of it are left out while it goes on to differ.

Statements may fail for want of what was left out: they do so in both worlds alike.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
import time
from collections.abc import Callable, Iterator

from tests.twin.program import TURN, Cell, Program

Fails = Callable[[Program], bool]


def shrink(program: Program, fails: Fails, *, budget_s: float = 20.0) -> Program:
    """Return the smallest program found that `fails`, as `program` does."""
    end_s = time.process_time() + budget_s
    progress = True
    while progress and time.process_time() < end_s:
        progress = False
        candidates = _smaller(program)
        for candidate in candidates:
            if time.process_time() > end_s:
                break
            if fails(candidate):
                program, progress = candidate, True
                break
    return program


def _smaller(program: Program) -> Iterator[Program]:
    """Yield programs smaller than `program`, the smallest first."""
    yield from _without_cells(program)
    yield from _without_lines(program)
    yield from _without_classes(program)
    yield from _merged(program)
    yield from _simpler_lines(program)
    yield from _simpler_classes(program)


def _without_cells(program: Program) -> Iterator[Program]:
    cells = program.cells
    count = len(cells)
    size = count // 2
    while size:
        for start in range(count - size, -1, -size):
            yield dataclasses.replace(program, cells=cells[:start] + cells[start + size :])
        size //= 2


def _without_lines(program: Program) -> Iterator[Program]:
    for number in reversed(range(len(program.cells))):
        cell = program.cells[number]
        for line in reversed(range(len(cell.lines))):
            yield _with_lines(program, number, cell.lines[:line] + cell.lines[line + 1 :])


def _with_lines(program: Program, number: int, lines: tuple[str, ...]) -> Program:
    cells = program.cells
    cell = (Cell(cells[number].kind, lines),)
    return dataclasses.replace(program, cells=cells[:number] + cell + cells[number + 1 :])


def _without_classes(program: Program) -> Iterator[Program]:
    classes = program.classes
    for number in range(len(classes)):
        yield dataclasses.replace(program, classes=classes[:number] + classes[number + 1 :])


def _merged(program: Program) -> Iterator[Program]:
    """Yield it with two turns that follow each other as one."""
    cells = program.cells
    for number, (one, other) in enumerate(itertools.pairwise(cells)):
        if one.kind == other.kind == TURN:
            merged = (Cell(TURN, one.lines + other.lines),)
            yield dataclasses.replace(program, cells=cells[:number] + merged + cells[number + 2 :])


_PARTS = (
    (re.compile(r", [ab]=[^=]*(?=\)$)"), ""),
    (re.compile(r", [ab]=[\[\]{}()\w., ':+-]*?(?=, [ab]=|\))"), ""),
    (re.compile(r"name='\w+', "), ""),
    (re.compile(r"\[[^][(){}=]+\]"), "[]"),
    (re.compile(r"\{[^][(){}=]+\}"), "{}"),
    (re.compile(r"\w+\((?:[^][(){}]|\[\]|\{\}|\(\))*\)"), "[]"),
    (re.compile(r"\w+\((?:[^][(){}]|\[\]|\{\}|\(\))*\)"), "1"),
    (re.compile(r"\(([^()]*), \)"), r"\1"),
)


def _simpler_lines(program: Program) -> Iterator[Program]:
    for number, cell in enumerate(program.cells):
        for at, line in enumerate(cell.lines):
            for simpler in _simplify(line):
                lines = (*cell.lines[:at], simpler, *cell.lines[at + 1 :])
                yield _with_lines(program, number, lines)


def _simplify(line: str) -> Iterator[str]:
    seen = {line}
    for pattern, put in _PARTS:
        for match in pattern.finditer(line):
            made = line[: match.start()] + match.expand(put) + line[match.end() :]
            if made not in seen and len(made) < len(line) and _is_valid(made):
                seen.add(made)
                yield made


def _is_valid(line: str) -> bool:
    try:
        compile(line, "", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def _simpler_classes(program: Program) -> Iterator[Program]:
    """Leave out one method or field of one class at a time."""
    for number, source in enumerate(program.classes):
        lines = source.splitlines()
        body = getattr(ast.parse(source).body[0], "body", [])
        for node in reversed(body if len(body) > 1 else []):
            first = min([node.lineno, *(each.lineno for each in _decorators(node))])
            made = "\n".join(lines[: first - 1] + lines[node.end_lineno :])
            classes = (*program.classes[:number], made, *program.classes[number + 1 :])
            yield dataclasses.replace(program, classes=classes)


def _decorators(node: ast.stmt) -> list[ast.expr]:
    return getattr(node, "decorator_list", [])
