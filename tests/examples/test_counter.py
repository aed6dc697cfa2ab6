"""The fifteen lines of the first page."""

from __future__ import annotations

from pathlib import Path

from example_play import EXAMPLES, Stage, load_example, play_everywhere, play_twice


def count(play: Stage) -> None:
    ann, bob = play.connect(), play.connect()
    ann.type("one")
    ann.expect("one: line 1 of yours, 1 of all")
    bob.type("two")
    bob.expect("two: line 1 of yours, 2 of all")
    ann.type("three")
    ann.expect("three: line 2 of yours, 3 of all")


def test_killed_at_every_place() -> None:
    play_everywhere(lambda: load_example("counter", "Counter"), count)


def test_no_line_is_lost_and_none_counts_twice(tmp_path: Path) -> None:
    play_twice(tmp_path, lambda: load_example("counter", "Counter"), count)


def test_fifteen_lines() -> None:
    lines = (EXAMPLES / "counter.py").read_text().splitlines()
    assert len([line for line in lines if line]) <= 15
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) < 80, path.name
