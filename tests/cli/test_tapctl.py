"""tapctl, as a person and as a program use it."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tapd.cli.naming import find_tap
from tapd.cli.tapctl import main
from tapd.errors import TapMissing
from tapd.image.key import load_key, render_new_key
from tapd.image.store import Store
from tapd.image.tapfile import Manifest, render_tap
from tapd.model.application import Application
from tapd.model.persistent import TrackedList
from tapd.model.service import Service


@pytest.fixture
def tap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stopped server with three generations, in the current directory."""
    monkeypatch.setenv("TAPD_KEY_FILE", str(tmp_path / "key"))
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    store = Store(place / "telnet.tap", load_key())
    application = Application("telnet")
    application.listen("127.0.0.1:4040", Service())
    application.mark = "one"
    store.create(application)
    with store.lock():
        for mark in ("two", "three"):
            application.mark = mark
            store.save(application, store.next_generation(), clean=mark == "three")
    return place / "telnet.tap"


def run(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=answer)


def run_json(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_history_lists_the_generations(tap: Path) -> None:
    result = run("history", tap)
    assert result.exit_code == 0
    header, *rows = result.output.splitlines()
    assert header.split() == ["GENERATION", "SAVED", "SIZE", "FILE", "NOTES"]
    assert [row.split()[0] for row in rows] == ["3", "2", "1"]
    assert "clean stop" in rows[0]
    assert "\x1b" not in result.output  # no colour but on a terminal
    assert [entry["generation"] for entry in run_json("history", tap)] == [3, 2, 1]


def test_a_tap_is_found_by_name_and_by_every_file(tap: Path, tmp_path: Path) -> None:
    for text in ("telnet", "telnet.tap", "telnet-shutdown.tap", str(tap)):
        assert run_json("show", text)["manifest"]["generation"] == 3
    installed = tmp_path / "lib" / "mail"
    installed.mkdir(parents=True)
    (installed / "mail.tap").write_bytes(tap.read_bytes())
    assert find_tap("mail", state_directory=tmp_path / "lib") == installed / "mail.tap"
    with pytest.raises(TapMissing):
        find_tap("news", state_directory=tmp_path / "lib")


def test_errors_are_one_line_and_a_status(tap: Path) -> None:
    for arguments, status in (
        (("show", "nowhere.tap"), 66),
        (("show", tap, "-g", 77), 66),
        (("rollback", tap, 77, "--yes"), 66),
        (("export", tap, tap), 64),
    ):
        result = run(*arguments)
        assert result.exit_code == status
        assert result.output.startswith("tapctl: ")
        assert result.output.count("\n") == 1
    (tap.parent / "empty.tap").touch()
    assert run("show", "empty").exit_code == 65


def test_show_prints_the_manifest_and_the_tree(tap: Path) -> None:
    output = run("show", tap).output
    assert "application: telnet, generation 3" in output
    assert "ports:       127.0.0.1:4040" in output
    assert "\napplication: tapd.model.application:Application" in output
    assert "  .mark = 'three'" in output
    assert "  .mark = 'one'" in run("show", tap, "-g", 1).output


def test_of_a_large_tap_the_first_objects_are_shown(tap: Path, tmp_path: Path) -> None:
    application = Application("large")
    rows = [(number, str(number) * 9, [number], None) for number in range(150_000)]
    application.rows = TrackedList(rows)
    application.when = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    large = tap.parent / "large.tap"
    Store(large, load_key()).create(application)
    assert large.stat().st_size > 8_000_000
    first = run("show", large).output
    assert "000 or more" in first
    assert "These are the first objects" in first
    assert "loading it would call" not in first
    every = run("show", large, "--all").output
    assert "TrackedList of 150000" in every
    assert "first objects" not in every
    assert any("TrackedList of 150000" in at["line"] for at in run_json("show", large)["tree"])
    (tmp_path / "key").write_text("rubbish")  # then it is a stranger's
    assert "  tapd.image.rebuild:finish_graph" in run("show", large).output


def test_du_shows_sizes_by_path_and_by_type(tap: Path) -> None:
    assert run_json("du", tap)[0]["path"].startswith("application")
    assert "tapd.model.address:Address" in run("du", tap, "--types").output


def test_diff_names_what_changed(tap: Path) -> None:
    assert run("diff", tap, 1).output == "application.mark: 'one' -> 'three'\n"
    assert run_json("diff", tap, 1, 2) == [{"path": "application.mark", "change": "'one' -> 'two'"}]


def test_rollback_asks_and_goes_back(tap: Path) -> None:
    assert run("rollback", tap, 2, answer="n\n").exit_code == 1
    assert run_json("show", tap)["manifest"]["generation"] == 3
    result = run("rollback", tap, 2, answer="y\n")
    assert "as 4" in result.output
    assert Store(tap, load_key()).load().application.mark == "two"


def test_rollback_of_a_running_server_is_refused(tap: Path) -> None:
    with Store(tap, load_key()).lock():
        result = run("rollback", tap, 2, "--yes")
        assert result.exit_code == 75
        assert f"process {os.getpid()}" in result.output
        listed = run_json("list")
    assert [(entry["name"], entry["running"], entry["pid"]) for entry in listed] == [
        ("telnet", True, os.getpid())
    ]
    assert run_json("list")[0]["running"] is False


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


def test_export_writes_a_tap_that_runs_elsewhere(tap: Path, tmp_path: Path) -> None:
    there = tmp_path / "copy.tap"
    assert run("export", tap, there, "-g", 2).exit_code == 0
    assert Store(there, load_key()).load().application.mark == "two"


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch owned; echo \x1b[31m",)


def test_a_strangers_hostile_tap_is_shown_and_refused(tap: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "their-key"
    theirs.write_text(render_new_key())
    theirs.chmod(0o600)
    key = load_key(environment={"TAPD_KEY_FILE": str(theirs)})
    manifest = Manifest(1, "ab", "x\x1b[2Jy", "2026-01-01", "3.11", "0.1")
    evil = tap.parent / "evil.tap"
    evil.write_bytes(render_tap(pickle.dumps(Hostile(), 5), manifest, key))

    shown = run("show", evil)
    assert shown.exit_code == 0
    assert "not trusted" in shown.output
    assert "posix:system" in shown.output
    assert "\x1b" not in shown.output
    assert run_json("show", evil)["called"] == ["posix:system"]
    assert run("verify", evil).exit_code == 77
    before = evil.read_bytes()
    refused = run("trust", evil, answer="n\n")
    assert refused.exit_code == 1
    assert "posix:system  (called)" in refused.output
    assert evil.read_bytes() == before
    assert not Path("owned").exists()


@pytest.mark.usefixtures("tap")
def test_trust_signs_with_this_hosts_key(tmp_path: Path) -> None:
    (tmp_path / "key").unlink()  # as on another host
    Path("telnet-shutdown.tap").rename("moved.tap")
    with pytest.raises(Exception, match="tapctl trust"):
        Store(Path("moved.tap"), load_key()).load()
    result = run("trust", "moved.tap", answer="y\n")
    assert result.exit_code == 0, result.output
    assert "tapd.model.application:Application" in result.output
    assert Store(Path("moved.tap"), load_key()).load().application.mark == "three"
    assert "already" in run("trust", "moved.tap").output


def test_a_tap_is_shown_where_there_is_no_key(tap: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("rubbish")
    result = run("show", tap)
    assert result.exit_code == 0
    assert "not a tapd key" in result.output
    assert "not trusted" in result.output
    assert "  .mark = 'one'" in result.output


@pytest.mark.usefixtures("tap")
def test_names_complete() -> None:
    environment = {
        "_TAPCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "tapctl show te",
        "COMP_CWORD": "2",
    }
    result = CliRunner().invoke(main, [], env=environment, prog_name="tapctl")
    assert "plain,telnet.tap" in result.output
