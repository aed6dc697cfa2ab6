"""Pasted text taken apart into statements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.host.prompt.paste import may_go_on, split_statements

_STATEMENTS = [
    "x = 1",
    "def f():\n    a = 1\n\n    return a",
    "@staticmethod\ndef g(): pass",
    "if 1:\n    pass\nelse:\n    pass",
    "x = '''a\n\nb'''",
    "y = [\n1,\n2]",
    "a = 1; b = (\n2)",
    "await f()",
    "class A:\n\n    x = 1\n\n\n    y = 2",
    "z = 'a\\x0cb'",
]


@given(st.lists(st.tuples(st.sampled_from(_STATEMENTS), st.sampled_from(["", "\n", "\n# c\n"]))))
def test_statements_come_back_as_they_were(parts: list[tuple[str, str]]) -> None:
    text = "".join(f"{gap}{statement}\n" for statement, gap in parts)
    assert split_statements(text) == [statement for statement, _gap in parts]


@pytest.mark.parametrize("text", ["def f(", "1 +* 2", "x = '''", "  indented", "\0"])
def test_what_is_no_python(text: str) -> None:
    assert split_statements(text) is None


def test_may_go_on() -> None:
    assert may_go_on("def f():\n    return 1")
    assert not may_go_on("def f():\n    return 1\n")
    assert not may_go_on("f()")
    assert not may_go_on("")
