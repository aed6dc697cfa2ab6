"""tapctl verify, with --upgrade too."""

from __future__ import annotations

import json
from pathlib import Path

from tap_commands import all_files, make_journal, run

from tapd.model.durable.persistent import Persistent
from tapd.store.generations import Store
from tapd.store.journal.records import render_turn
from tapd.store.key import load_key
from tapd.store.state import State


def test_verify_says_how_each_journal_is(tap: Path) -> None:
    """Torn, damaged, cut at a record's end, gone: told apart, and nothing is changed."""
    path, ends = make_journal(tap)
    whole = path.read_bytes()
    good = run("verify", tap)
    assert good.exit_code == 0
    assert good.output.splitlines()[-1] == "journal 3: good; 5 records"
    broken = bytearray(whole)
    broken[ends[1] + 40] ^= 1
    for data, status, fault, words in (
        (whole + b"\x09\0\0\0 torn", 0, "torn", "a torn last record (9 bytes)"),
        (bytes(broken), 65, "damaged", f"is damaged at byte {ends[1]}"),
        (whole[: ends[3]], 65, "short", f"whole records up to byte {ends[3]}, and the disk"),
        (b"x" + whole[1:], 65, "foreign", "is no journal of this tapd"),
        (None, 65, "missing", "journal-00000003 is gone, and the disk had confirmed"),
    ):
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
        before = all_files(tap)
        told = run("verify", tap)
        assert told.exit_code == status
        assert words in told.output.splitlines()[-1]
        (journal,) = json.loads(run("verify", tap, "--json").output)["journals"]
        assert (journal["fault"], journal["generation"]) == (fault, 3)
        assert all_files(tap) == before
        offered = run("rollback", tap)
        assert offered.exit_code == 0
        assert all_files(tap) == before
        assert fault in offered.output


def test_verify_of_a_running_server_takes_a_record_that_is_being_written_for_no_fault(
    tap: Path,
) -> None:
    path, _ends = make_journal(tap)
    path.write_bytes(path.read_bytes() + b"\x09\0\0\0 half")
    assert "torn" in run("verify", tap).output
    with Store(tap, load_key()).lock():
        assert run("verify", tap).output.endswith("journal 3: good; 5 records\n")


def test_verify_checks_every_byte(tap: Path) -> None:
    result = run("verify", tap)
    assert result.exit_code == 0
    assert result.output.count("good") == 3
    assert "loads as <telnet app>" in run("verify", tap, "--upgrade").output
    path = tap.parent / "telnet.d" / "generation-00000002.tap"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    result = run("verify", tap)
    assert result.exit_code == 65
    assert "changed since it was written" in result.output
    assert result.output.count("good") == 2


def test_a_rehearsal_replays_the_journal_on_a_copy(tap: Path) -> None:
    state = State(tap, load_key())
    with state.store.lock():
        restored = state.restore()
        journal = state.open_journal("boot")
        restored.application.mark = "journaled"
        journal.append(render_turn([], [], [], restored.jar.commit(), []))
        journal.close()
    before = {path: path.read_bytes() for path in tap.parent.rglob("*") if path.is_file()}
    result = run("verify", tap, "--upgrade")
    assert "journal records since, loads as <telnet app>" in result.output
    assert before == {path: path.read_bytes() for path in tap.parent.rglob("*") if path.is_file()}
    restored.application.later = Outdated()
    journal = state.open_journal("boot")
    journal.append(render_turn([], [], [], restored.jar.commit(), []))
    journal.close()
    Outdated.persistence_version = 2
    try:
        refused = run("verify", tap, "--upgrade")
    finally:
        Outdated.persistence_version = 1
    assert refused.exit_code == 65
    assert "upgrade_to_version_2" in refused.output


class Outdated(Persistent):
    """Its upgrade is missing."""
