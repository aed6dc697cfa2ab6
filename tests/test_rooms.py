"""ARCHITECTURE.md's table of rooms, held: a room imports only from rooms above it.

The table is read from the page itself, so the page can't say one thing and the
code another. Imports inside functions count as well: they are arrows too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
SOURCE = TOP / "src" / "tapd"

FRONT_DOORS = {"__init__", "__main__"}
"""The package's own modules above all rooms: the public API and ``python -m tapd``."""


def read_table(text: str) -> list[str]:
    """Return the rooms in the order of the table; ``services/NAME`` as ``services``."""
    rows = re.findall(r"^\| `([a-z]+)(?:/NAME)?` \|", text, re.MULTILINE)
    assert len(rows) > 5, "the table of rooms was not found in ARCHITECTURE.md"
    return rows


ROOMS = read_table((TOP / "ARCHITECTURE.md").read_text())
MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    """Return the room that a module of the package belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything that a module imports from tapd."""
    package = ["tapd", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "tapd" or name.startswith("tapd."):
                yield node.lineno, name


def wrong_imports(path: Path, rooms: list[str]) -> list[str]:
    """Return what a module imports from below its own room."""
    own = room_of(path)
    wrong = []
    for line, name in imports_of(path):
        parts = name.split(".")
        target = parts[1] if len(parts) > 1 else ""
        if target not in rooms:  # tapd itself: __version__
            continue
        # A server type may use itself, and no other one.
        if own == target == "services":
            if len(parts) > 2 and parts[2] != path.relative_to(SOURCE).parts[1]:
                wrong.append(f"{path.relative_to(TOP)}:{line}: {name} is another server type")
        elif rooms.index(target) > rooms.index(own):
            wrong.append(f"{path.relative_to(TOP)}:{line}: {name} is below {own}")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_above(path: Path) -> None:
    if room_of(path) in FRONT_DOORS:
        return
    assert room_of(path) in ROOMS, f"{path} is in no room of ARCHITECTURE.md"
    assert wrong_imports(path, ROOMS) == []


def test_every_room_exists() -> None:
    assert set(ROOMS) == {room_of(path) for path in MODULES} - FRONT_DOORS


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("model/x.py", "from tapd.store.generations import Store"),
        ("model/x.py", "def f():\n    import tapd.net.turn.turn"),
        ("image/x.py", "from ..host import daemon"),
        ("services/telnet/x.py", "from tapd.services.irc import words"),
    ],
)
def test_a_wrong_arrow_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str, line: str
) -> None:
    path = tmp_path / "src" / "tapd" / room
    path.parent.mkdir(parents=True)
    path.write_text(line)
    monkeypatch.setattr(f"{__name__}.SOURCE", tmp_path / "src" / "tapd")
    monkeypatch.setattr(f"{__name__}.TOP", tmp_path)
    assert len(wrong_imports(path, ROOMS)) == 1
