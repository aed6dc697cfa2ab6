"""tapctl rollback."""

from __future__ import annotations

import os
from pathlib import Path

from tap_commands import make_journal, run, run_json

from tapd.store.generations import Store
from tapd.store.key import load_key
from tapd.store.state import State


def test_rollback_asks_and_goes_back(tap: Path) -> None:
    refused = run("rollback", tap, 2, answer="n\n")
    assert refused.exit_code == 1
    assert "nothing was changed" in refused.output
    assert "Go back?" not in run("rollback", tap, 77).output, "there is none: nothing to ask"
    assert run_json("show", tap)["manifest"]["generation"] == 3
    result = run("rollback", tap, 2, answer="y\n")
    assert "as 4" in result.output
    assert Store(tap, load_key()).load().application.mark == "two"


def test_rollback_without_a_generation_lists_what_can_be_had(tap: Path) -> None:
    path, ends = make_journal(tap)
    damaged = bytearray(path.read_bytes())
    damaged[ends[2] + 40] ^= 1
    path.write_bytes(damaged)
    lines = run("rollback", tap).output.splitlines()
    assert lines[0].split()[-2:] == ["JOURNAL", "NOTES"]
    assert [line.split()[0] for line in lines[1:4]] == ["3", "2", "1"]
    assert lines[1].endswith("3 records, then damaged  clean stop")
    assert lines[4] == "a start loads generation 3 and applies 3 records of journals"
    state = State(tap, load_key())
    with state.store.lock():
        assert state.restore().application.mark == "turn 1"
        state.open_journal("boot").close()
    lines = run("rollback", tap).output.splitlines()
    assert lines[1].endswith("3 records  clean stop")
    assert lines[4].startswith(f"kept aside: {path}.damaged (")
    assert f"kept aside: {path}.damaged" in run("verify", tap).output


def test_rollback_of_a_running_server_is_refused(tap: Path) -> None:
    with Store(tap, load_key()).lock():
        result = run("rollback", tap, 2)
        assert result.exit_code == 75
        assert "Go back?" not in result.output
        assert f"process {os.getpid()}" in result.output
        listed = run_json("list")
    assert [(entry["name"], entry["running"], entry["pid"]) for entry in listed] == [
        ("telnet", True, os.getpid())
    ]
    assert run_json("list")[0]["running"] is False
