"""The API's page has every public name, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path

import tapd

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_every_public_name_is_on_the_page() -> None:
    named = set(re.findall(r"^\.\. auto\w+:: tapd\.(\w+)$", PAGE.read_text(), re.MULTILINE))
    assert named - {"run"} == set(tapd.__all__)
