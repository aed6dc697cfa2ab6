"""docs/testing.md shows a failure as a whole: it is what an author really sees.

What else stands there is run by tests/docs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tapd.testing import KillDifference, kill_everywhere

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    found = re.search(rf"<!-- file: {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_failure_that_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.search(r"<!-- not run: .*? -->\n```\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    (tmp_path / "forgetful.py").write_text(block("forgetful.py"))
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {}
    try:
        exec(block("test_forgetful.py"), names)
        with pytest.raises(KillDifference) as caught:
            kill_everywhere(names["Forgetful"], names["one_line"], splits=True)
    finally:
        sys.modules.pop("forgetful", None)
    assert str(caught.value) + "\n" == shown[1]
