"""ARCHITECTURE.md's tables of rooms and floors, held: each imports only from those before it.

The tables are read from the page itself, so the page can't say one thing and the
code another. Imports inside functions and those for types count as well: they are arrows too.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
SOURCE = TOP / "src" / "tapd"
PAGE = (TOP / "ARCHITECTURE.md").read_text()

FRONT_DOORS = {"__init__", "__main__"}
"""The package's own modules above all rooms: the public API and ``python -m tapd``."""

FILES_MAX = 15
"""How many modules may lie side by side in one folder."""

CIRCLE_MAX = 5
"""How many modules may import each other in a circle, imports for types included."""


def read_rooms(text: str) -> list[str]:
    """Return the rooms in the order of the table; ``services/NAME`` as ``services``."""
    part = text.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z]+)(?:/NAME)?` \|", part, re.MULTILINE)
    assert len(rows) > 5, "the table of rooms was not found in ARCHITECTURE.md"
    return rows


def read_floors(text: str) -> dict[str, list[str]]:
    """Return the floors of each room that has some, in the order of its row."""
    part = text.partition("\n## Floors\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z/]+)` \| (`.*) \|$", part, re.MULTILINE)
    assert rows, "the table of floors was not found in ARCHITECTURE.md"
    return {room: re.findall(r"`([a-z_]+)`", floors) for room, floors in rows}


ROOMS = read_rooms(PAGE)
FLOORS = read_floors(PAGE)
MODULES = sorted(SOURCE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})


def parts_of(path: Path) -> tuple[str, ...]:
    """Return where a module is below the package: ``("image", "hooks")``."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts


def room_of(path: Path) -> str:
    """Return the room that a module of the package belongs to."""
    return parts_of(path)[0]


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


def wrong_imports(path: Path, rooms: list[str], floors: dict[str, list[str]]) -> list[str]:
    """Return what a module imports from below its own room, or its own floor."""
    own = parts_of(path)
    wrong = []
    for line, name in imports_of(path):
        parts = tuple(name.split(".")[1:])
        if not parts or parts[0] not in rooms:  # tapd itself
            continue
        where = f"{path.relative_to(TOP)}:{line}: {name}"
        if own[0] == parts[0] == "services":  # a server type may use itself, and no other one
            if len(parts) > 1 and parts[1] != own[1]:
                wrong.append(f"{where} is another server type")
        elif rooms.index(parts[0]) > rooms.index(own[0]):
            wrong.append(f"{where} is below {own[0]}")
        for room, rows in floors.items():
            at = tuple(room.split("/"))
            n = len(at)
            if own[:n] != at or parts[:n] != at or not own[n:] or not parts[n:]:
                continue
            if parts[n] in rows and rows.index(parts[n]) > rows.index(own[n]):
                wrong.append(f"{where} is on a later floor than {own[n]}")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_from_before(path: Path) -> None:
    if room_of(path) in FRONT_DOORS:
        return
    assert room_of(path) in ROOMS, f"{path} is in no room of ARCHITECTURE.md"
    assert wrong_imports(path, ROOMS, FLOORS) == []


def test_no_room_imports_the_front_door() -> None:
    """Only `Application.run` does, which is the package's own `run` under a second name."""
    through = {
        str(path.relative_to(SOURCE))
        for path in MODULES
        if room_of(path) not in FRONT_DOORS
        for _line, name in imports_of(path)
        if name.split(".")[1:2] == [] or name.split(".")[1] not in ROOMS
    }
    assert through == {"model/application.py"}


def test_every_room_exists() -> None:
    assert set(ROOMS) == {room_of(path) for path in MODULES} - FRONT_DOORS


@pytest.mark.parametrize("room", FLOORS)
def test_every_floor_exists_and_is_named(room: str) -> None:
    there = {path.stem for path in (SOURCE / room).iterdir()} - {"__init__", "__pycache__"}
    assert sorted(FLOORS[room]) == sorted(there)


def module_graph() -> dict[str, set[str]]:
    """Return which modules each module imports; the front doors are left out."""
    names = {parts_of(path) for path in MODULES}
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        if room_of(path) in FRONT_DOORS:
            continue
        own = parts_of(path)
        reached = graph.setdefault(".".join(own), set())
        for _line, name in imports_of(path):
            parts = tuple(name.split(".")[1:])
            while parts and parts not in names:
                parts = parts[:-1]
            if parts and parts != own:
                reached.add(".".join(parts))
    return graph


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules that reach each other (strongly connected components)."""
    reach = {}
    for start in graph:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for each in graph.get(todo.pop(), set()) - seen:
                seen.add(each)
                todo.append(each)
        reach[start] = seen
    found: list[set[str]] = []
    for start in graph:
        circle = {each for each in reach[start] if start in reach.get(each, set())}
        if circle and circle not in found:
            found.append(circle)
    return found


def test_no_large_circle_of_imports() -> None:
    assert [sorted(each) for each in circles(module_graph()) if len(each) > CIRCLE_MAX] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(SOURCE.parent)))
def test_a_folder_is_small(folder: Path) -> None:
    files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= FILES_MAX, f"{folder.relative_to(TOP)} has {len(files)} modules"


def test_modules_are_small() -> None:
    lines = [len(path.read_text().splitlines()) for path in MODULES if path.stem != "__init__"]
    assert statistics.median(lines) < 170


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("model/x.py", "from tapd.store.generations import Store"),
        ("model/x.py", "def f():\n    import tapd.net.turn"),
        ("image/x.py", "from ..host import daemon"),
        ("services/telnet/x.py", "from tapd.services.irc import words"),
        ("image/code/x.py", "if TYPE_CHECKING:\n    from tapd.image.tracking.jar import Jar"),
        ("image/evolution/x.py", "from tapd.image import typed"),
    ],
)
def test_a_wrong_arrow_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, line: str
) -> None:
    path = tmp_path / "src" / "tapd" / module
    path.parent.mkdir(parents=True)
    path.write_text(line)
    monkeypatch.setattr(f"{__name__}.SOURCE", tmp_path / "src" / "tapd")
    monkeypatch.setattr(f"{__name__}.TOP", tmp_path)
    assert len(wrong_imports(path, ROOMS, FLOORS)) == 1


def test_a_circle_is_found() -> None:
    graph: dict[str, set[str]] = {"a": {"b"}, "b": {"c"}, "c": {"b", "a"}, "d": {"a"}}
    assert circles(graph) == [{"a", "b", "c"}]
