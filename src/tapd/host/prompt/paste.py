"""Splits pasted text into statements.

A bracketed paste is known as a whole. So blank lines inside of a function do not end it, and a
call may follow it without a blank line.
"""

from __future__ import annotations

import ast


def split_statements(text: str) -> list[str] | None:
    """Split `text` into statements, each with its own lines; None if it is not valid Python.

    Statements on one line stay together. Comment lines between statements are dropped.
    """
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        module = compile(text, "<paste>", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return None
    assert isinstance(module, ast.Module)
    # Not splitlines(): that would split at form feeds inside strings too.
    lines = text.split("\n")
    spans: list[tuple[int, int]] = []
    for node in module.body:
        decorators = getattr(node, "decorator_list", ())
        start = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        end = node.end_lineno or node.lineno
        if spans and start <= spans[-1][1]:
            start = spans.pop()[0]
        spans.append((start, end))
    return ["\n".join(lines[start - 1 : end]) for start, end in spans]


def may_go_on(text: str) -> bool:
    """Whether the last statement of `text` may continue.

    That is so if it ends with an indented line: the next may be indented too.
    """
    last = text.rpartition("\n")[2]
    return bool(last.strip()) and last[0] in " \t"
