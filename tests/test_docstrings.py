"""What the source names in backticks exists: ``module.thing`` is found, wherever it moved."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tapd"
DOTTED = re.compile(r"(?<!`)`(?:tapd\.)?([a-z_]+(?:\.[A-Za-z_]+)+)(?:\(\))?`(?!`)")
NOT_OURS = {"click", "loop", "systemd", "tapd"}
"""Packages, and the usual name of an event loop."""


def dotted_name(path: Path) -> str:
    """Return the name of a module below the package: ``image.hooks``."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return every name that a module defines, imports or uses."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name) | ast.Name(id=name) | ast.Attribute(attr=name):
                names.add(name)
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                names.add(name)
            case ast.alias(name=name, asname=alias):
                names |= {alias or name.partition(".")[0], name.rpartition(".")[2]}
    return frozenset(names)


def is_found(name: str, path: Path) -> bool:
    """Whether `name`, in the module at `path`, leads to something of tapd or of its imports."""
    first, *_rest = parts = name.split(".")
    if first in names_in(path) or first in sys.stdlib_module_names or first in NOT_OURS:
        return True
    for module, there in MODULES.items():
        # ``image.hooks.announce``, or ``hooks.announce`` for short.
        for count in range(len(parts), 0, -1):
            if f".{module}".endswith("." + ".".join(parts[:count])):
                rest = parts[count:]
                if not rest or rest[0] in names_in(there):
                    return True
    return False


def missing_names(path: Path) -> list[str]:
    """Return what a module names that is nowhere."""
    return [name for name in DOTTED.findall(path.read_text()) if not is_found(name, path)]


@pytest.mark.parametrize("module", MODULES)
def test_what_is_named_exists(module: str) -> None:
    assert missing_names(MODULES[module]) == []


def test_a_name_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text('"""See `image.nowhere`, `hooks.no_such_thing` and `image.hooks.check`."""')
    assert missing_names(path) == ["image.nowhere", "hooks.no_such_thing"]
