"""The names of `tapd`: all there, documented, typed; and the fifteen lines that need them."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tapd

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_what_is_exported_is_there_and_what_is_imported_for_types_is_the_same() -> None:
    assert tapd.__all__ == sorted(tapd.__all__)
    assert set(tapd.__all__) == set(tapd._HOMES)
    tree = ast.parse(Path(tapd.__file__).read_text())
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tapd.")
        for alias in node.names
    }
    typed.pop("run_application")
    assert typed.pop("__version__") == "tapd.version"
    assert typed == tapd._HOMES
    assert set(tapd.__all__) <= set(dir(tapd))


@pytest.mark.parametrize("name", tapd.__all__)
def test_every_name_is_documented_and_so_is_what_it_has(name: str) -> None:
    value = getattr(tapd, name)
    assert value is getattr(sys.modules[tapd._HOMES[name]], name)
    assert inspect.getdoc(value), name
    for attribute, member in vars(value).items() if isinstance(value, type) else ():
        if not attribute.startswith("_") and (
            inspect.isfunction(member) or isinstance(member, property)
        ):
            assert inspect.getdoc(getattr(value, attribute)), f"{name}.{attribute}"


def test_the_documentation_has_every_name_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    documented = set(re.findall(r"^\.\. (?:auto\w+|py:data):: tapd\.(\w+)$", page, re.MULTILINE))
    assert documented == {*tapd.__all__, "run"}


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Protocl'"):
        tapd.Protocl  # noqa: B018 - the attribute is looked for


def test_the_import_is_lazy() -> None:
    code = "import sys, tapd; assert not [n for n in sys.modules if n.startswith('tapd.')]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_fifteen_lines_are_those_of_the_documentation() -> None:
    text = (EXAMPLES / "counter.py").read_text()
    assert len([line for line in text.splitlines() if line]) <= 15
    assert textwrap.indent(text, "    ") in str(tapd.__doc__)


def test_the_examples_pass_strict_type_checks(tmp_path: Path) -> None:
    """They show that an author needs no ``type: ignore`` and no cast."""
    checked = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache",
            EXAMPLES / "counter.py", EXAMPLES / "chat.py", EXAMPLES / "kv.py",
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
