"""Links of the pages that the site does not hold; Sphinx checks those of the others.

ARCHITECTURE.md names modules and files; each must exist.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tapd"
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
FOLDERS = ("src", "tests", "packaging", "examples", "docs", "debian")


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


def dotted_names(text: str) -> set[str]:
    """Return the names in backticks that begin with a room: `room.module`, `room.module.Name`."""
    rooms = {path.stem for path in PACKAGE.iterdir() if path.stem[0] not in "._"}
    names = re.findall(r"`([a-z_]+(?:\.\w+)+)(?:\(\))?`", text)
    return {name for name in names if name.partition(".")[0] in rooms}


def defined_names(path: Path) -> Iterator[str]:
    """Yield what a module defines at its top level, and what its classes define."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{member.name}"


def exists(name: str) -> bool:
    """Say whether a folder, a module or something in a module has this dotted name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        place = PACKAGE.joinpath(*parts[:count])
        if count == len(parts) and place.is_dir():
            return True
        if place.with_suffix(".py").is_file():
            rest = ".".join(parts[count:])
            return not rest or rest in defined_names(place.with_suffix(".py"))
    return False


def test_named_modules_exist() -> None:
    names = dotted_names(ARCHITECTURE)
    assert len(names) > 100
    assert sorted(name for name in names if not exists(name)) == []


def test_named_files_exist() -> None:
    paths = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[^`]*)`", ARCHITECTURE)
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    "name", ["image.nothing", "image.hooks.nothing", "model.durable.persistent.Persistent.nothing"]
)
def test_a_wrong_name_is_found(name: str) -> None:
    assert dotted_names(f"`{name}`") == {name}
    assert not exists(name)
