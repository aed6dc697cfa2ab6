"""tapctl list and history."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from tap_commands import run, run_json

from tapd.cli.tapctl.command import main
from tapd.cli.taps import complete_tap


def test_history_lists_the_generations(tap: Path) -> None:
    result = run("history", tap)
    assert result.exit_code == 0
    header, *rows = result.output.splitlines()
    assert header.split() == ["GENERATION", "SAVED", "SIZE", "FILE", "NOTES"]
    assert [row.split()[0] for row in rows] == ["3", "2", "1"]
    assert "clean stop" in rows[0]
    assert "\x1b" not in result.output  # no colour but on a terminal
    assert [entry["generation"] for entry in run_json("history", tap)] == [3, 2, 1]


def test_ones_own_servers_are_listed_and_complete(
    tap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of tapd-mktap --user."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own = tmp_path / "home" / ".local" / "state" / "tapd" / "mine" / "mine.tap"
    own.parent.mkdir(parents=True)
    own.write_bytes(tap.read_bytes())
    assert str(own) in [each["path"] for each in run_json("list")]
    context = click.Context(main)
    assert complete_tap(context, click.Argument(["tap"]), "min") == ["mine"]


def test_a_tap_of_two_names_is_listed_once(tap: Path) -> None:
    tap.with_name("other.tap").symlink_to(tap.name)
    assert [each["path"] for each in run_json("list", tap.parent)] == [str(tap)]
