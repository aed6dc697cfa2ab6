"""Writes docs/what-is-kept.md from the kinds that the tests keep, lose and type.

Run: ``python tests/support/kept_page.py`` (all three Pythons must be here, for the
matrix). A test fails when the page is stale.
"""

# A paragraph of a page is one line.
# ruff: noqa: E501

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import golden_taps
import typed_classes
import typed_kinds
from other_pythons import ENVIRONMENT, MINORS, other_pythons

from tapd.image.pickling.pickler import dump_graph

_ROOT = pathlib.Path(__file__).parents[2]
PAGE = _ROOT / "docs" / "what-is-kept.md"
_GOLDEN = _ROOT / "tests" / "golden"


def load_zoo() -> Any:
    """Return the module of the zoo's tests: it may be loaded once only, for it houses classes."""
    path = _ROOT / "tests" / "image" / "reduction" / "test_zoo.py"
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path):
            return module
    spec = importlib.util.spec_from_file_location("test_zoo", path)
    assert spec is not None
    assert spec.loader is not None
    made = sys.modules["test_zoo"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


_HEAD = """# What is kept

This page is for authors who want to know which objects survive. Every object that a service or a prompt's namespace holds is kept, renewed or reported as lost; one bad object never costs the rest. A *renewed* object comes back ready for use, without its parts that belonged to the process. A *lost* object leaves a placeholder, whose use raises an error that says where the object was and why it was lost. The log names it at each save, and a prompt at once, when a name is assigned.

`tests/support/kept_page.py` writes this page from the kinds that the tests use (`tests/image/reduction/test_zoo.py`, `tests/support/typed_kinds.py`), and a test fails when the page is out of date.

numpy arrays are kept, with their order and flags; a view still shares the memory of its array, if that is kept as well. A view of an array of objects, of one with gaps, or of a `bytearray` is lost: keep `view.copy()` (`tests/image/reduction/test_subclasses.py`).
"""
_TYPED = """
## Typed at a prompt

Functions that belong to no module are kept as their source text, never as bytecode, and `inspect.getsource` and tracebacks show it. Classes are kept as they are now, with every attribute, and restoring them runs none of their code. The table says what must hold for each kind after a restore. Everything reachable from it must also be the same by value and identity, by a TAP, by a journal, and by each form of these (`tests/image/code/test_typed_ways.py`).

Reported as lost: a function without source text, compiled from a syntax tree or unmarshalled; a type variable's bound or an alias that can't be evaluated yet, and a generic alias that refers to itself; a class whose metaclass is written in C. An alias is evaluated when it is first saved, at the end of the turn.
"""
_MATRIX = """
## Python versions, in both directions

How many of the {count} kinds above survive in a TAP that one Python version wrote and another loads. Each version also loads the golden TAPs of all versions (`tests/golden`), which are kept for ever.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "\\<")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n" + "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def zoo_rows() -> Iterator[tuple[str, str, str]]:
    """Yield kind, fate and what is said, of each kind of object."""
    zoo = load_zoo()
    for kind in zoo.KEPT:
        note = zoo.RENEWED.get(kind, "")
        yield kind, "renewed" if note else "kept", note
    for kind, make in zoo.LOST.items():
        with contextlib.ExitStack() as stack:
            losses = dump_graph({"it": make(stack)}).losses
        told = f"{losses[0].type_name}: {losses[0].reason}"
        yield kind, "lost", told.replace(zoo.__name__, "test_zoo")


def typed_rows() -> Iterator[tuple[str, str]]:
    """Yield each typed kind, and what must hold after a restore."""
    for kind, (_text, check) in typed_kinds.KINDS.items():
        yield kind, f"`{check}`"
    for kind, (_text, check) in typed_classes.SINCE_3_12.items():
        yield f"{kind}, from Python 3.12 on", f"`{check}`"


def matrix_rows() -> list[tuple[str, ...]]:
    """Run every Python on what every other wrote; return the table's rows.

    Raises:
        SystemExit: one of the Pythons is not here.
    """
    own = f"3.{sys.version_info.minor}"
    pythons = {own: sys.executable, **other_pythons()}
    wanted = [f"3.{minor}" for minor in MINORS]
    if missing := [version for version in wanted if version not in pythons]:
        sys.exit(f"no Python {', '.join(missing)} here: set TAPD_TEST_PYTHONS")
    count = len(typed_kinds.KINDS)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        shutil.copy(_GOLDEN / golden_taps.KEY_NAME, directory)
        for path in _GOLDEN.glob("*.tap"):
            shutil.copy(path, directory)
        for version in wanted:
            _run(pythons[version], typed_kinds.__file__, "save", str(directory / version))
            _run(pythons[version], golden_taps.__file__, "check", str(directory))
        for writer in wanted:
            cells = [f"written by {writer}"]
            for reader in wanted:
                told = (typed_kinds.__file__, "check", str(directory / writer))
                failed = _run(pythons[reader], *told, status=None)
                cells.append(f"{count - len(list(filter(None, failed.split('; '))))} of {count}")
            rows.append(tuple(cells))
    return rows


def _run(*command: str, status: int | None = 0) -> str:
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if status is not None and done.returncode != status:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done.stderr.strip() if done.returncode else ""


def main() -> None:
    """Write the page."""
    header = ("", *(f"read by 3.{minor}" for minor in MINORS))
    PAGE.write_text(
        _HEAD
        + _table(("kind", "what becomes of it", "what is said"), list(zoo_rows()))
        + _TYPED
        + _table(("kind", "what holds"), list(typed_rows()))
        + _MATRIX.format(count=len(typed_kinds.KINDS))
        + _table(header, matrix_rows()),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
