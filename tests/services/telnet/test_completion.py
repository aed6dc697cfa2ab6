"""Completion: what is offered, and that looking runs no code."""

from __future__ import annotations

from typing import Any

import pytest

from tapd.services.telnet.completion import complete, render_columns


class _Touchy:
    """Its property and its __getattr__ must not run."""

    __slots__ = ("inner",)

    @property
    def explosive(self) -> Any:
        raise AssertionError

    def method(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class _OwnDir:
    def __init__(self) -> None:
        self.attribute = 1

    def __dir__(self) -> list[str]:
        raise AssertionError


def _names() -> dict[str, Any]:
    touchy = _Touchy()
    touchy.inner = "text"  # type: ignore[attr-defined]  # a slot
    return {"touchy": touchy, "own": _OwnDir(), "alpha": 1, "alpine": 2, "text": "", 7: "odd"}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("before", "common", "candidates"),
    [
        ("al", "", ["all", "alpha", "alpine"]),
        ("alp", "", ["alpha", "alpine"]),
        ("alph", "a", []),
        ("print(alph", "a", []),
        ("whil", "e", []),
        ("isinst", "ance", []),
        ("text.starts", "with", []),
        ("touchy.expl", "osive", []),
        ("touchy.explosive.", "", []),
        ("touchy.inner.starts", "with", []),
        ("touchy.method.__na", "me__", []),
        ("own.attr", "ibute", []),
        ("missing.x", "", []),
        ("f().x", "", []),
        ("'a'.", "", []),
        ("1.", "", []),
        ("", "", []),
    ],
)
def test_complete(before: str, common: str, candidates: list[str]) -> None:
    assert complete(before, _names()) == (common, candidates)


def test_private_names_are_offered_when_asked_for() -> None:
    assert "__class__" not in complete("text.", _names())[1]
    assert "__class__" in complete("text._", _names())[1]


def test_columns() -> None:
    assert render_columns(["a", "bb", "ccc", "d"], 12) == "a    ccc\nbb   d\n"
    text = render_columns([f"name{index}" for index in range(300)], 80)
    assert text.endswith("... and 100 more\n")
    assert max(map(len, text.splitlines())) <= 80
