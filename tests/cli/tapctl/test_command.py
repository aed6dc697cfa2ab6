"""tapctl, as a person and as a program use it."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tapd.cli.output import render_size
from tapd.cli.tapctl.command import main
from tapd.cli.taps import complete_tap, find_tap
from tapd.errors import TapDamaged, TapMissing
from tapd.model.application import Application
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedList
from tapd.model.service import Service
from tapd.services.telnet import ShellFactory
from tapd.store.adoption import find_strangers, names_of_all, sign_all
from tapd.store.generations import Store
from tapd.store.journal.records import render_settled, render_turn
from tapd.store.key import Key, load_key, render_new_key
from tapd.store.state import State
from tapd.store.tapfile import Manifest, read_tail, render_tap


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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("statuss", "telnet"), "tapctl: there is no command 'statuss'; did you mean status?"),
        (("zzz",), "No such command 'zzz'"),
        (("--nothing",), "No such option"),
        (("status",), "tapctl: Missing argument 'TAP'; see "),
        (("history", "telnet", "--verfy"), "--verify"),
        (("show", "telnet", "--width", "-3"), "x>=0"),
        (("du", "telnet", "--count", "-4"), "x>=0"),
    ],
)
def test_a_wrong_command_line_ends_with_64(arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 64
    assert says in result.output
    assert result.output.count("\n") == 1


def test_without_a_command_the_commands_are_listed() -> None:
    result = run()
    assert result.exit_code == 64
    assert "\n  rollback " in result.stderr


def test_a_directory_that_is_called_like_a_tap_is_no_tap(tap: Path) -> None:
    (tap.parent / "directory.tap").mkdir()
    os.mkfifo(tap.parent / "fifo.tap")  # to open one waits for a writer
    (tap.parent / "dangling.tap").symlink_to("nowhere.tap")
    assert [each["name"] for each in run_json("list", tap.parent)] == ["telnet"]


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
    assert "  tapd.image.reduction.rebuild:finish_graph" in run("show", large).output


def test_du_shows_sizes_by_path_and_by_type(tap: Path) -> None:
    assert run_json("du", tap)[0]["path"].startswith("application")
    assert "tapd.model.address:Address" in run("du", tap, "--types").output


def test_diff_names_what_changed(tap: Path) -> None:
    assert run("diff", tap, 1).output == "application.mark: 'one' -> 'three'\n"
    assert run_json("diff", tap, 1, 2) == [{"path": "application.mark", "change": "'one' -> 'two'"}]


def test_rollback_asks_and_goes_back(tap: Path) -> None:
    refused = run("rollback", tap, 2, answer="n\n")
    assert refused.exit_code == 1
    assert "nothing was changed" in refused.output
    assert "Go back?" not in run("rollback", tap, 77).output, "there is none: nothing to ask"
    assert run_json("show", tap)["manifest"]["generation"] == 3
    result = run("rollback", tap, 2, answer="y\n")
    assert "as 4" in result.output
    assert Store(tap, load_key()).load().application.mark == "two"


def make_journal(tap: Path, turns: int = 4) -> tuple[Path, list[int]]:
    """Lead a life of some turns after generation 3; return its journal, and where records end."""
    state = State(tap, load_key())
    with state.store.lock():
        restored = state.restore()
        journal = state.open_journal("boot")
        ends = [journal.size]
        for turn in range(turns):
            restored.application.mark = f"turn {turn}"
            journal.append(render_turn([], [], [], restored.jar.commit(), []))
            ends.append(journal.size)
        journal.sync()
        journal.close()
    return journal.path, ends


def all_files(tap: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in tap.parent.rglob("*") if path.is_file()}


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


def test_verify_of_a_running_server_takes_a_record_that_is_being_written_for_no_fault(
    tap: Path,
) -> None:
    path, _ends = make_journal(tap)
    path.write_bytes(path.read_bytes() + b"\x09\0\0\0 half")
    assert "torn" in run("verify", tap).output
    with Store(tap, load_key()).lock():
        assert run("verify", tap).output.endswith("journal 3: good; 5 records\n")


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


@pytest.mark.parametrize("text", [b"", b"tapd jour", b"tapd journal 1\n"])
def test_trust_takes_over_an_application_whose_journal_is_empty(
    tap: Path, tmp_path: Path, text: bytes
) -> None:
    """A power cut can empty one; in it nothing has a signature."""
    journal = Store(tap, load_key()).journal_path(3)
    journal.write_bytes(text)
    (tmp_path / "key").unlink()
    assert run("trust", "telnet", "--yes").exit_code == 0
    state = State(tap, load_key())
    with state.store.lock():
        assert state.restore().application.mark == "three"
        state.open_journal("boot").close()


def test_trust_takes_over_all_of_an_application(tap: Path, tmp_path: Path) -> None:
    """To sign NAME.tap alone would have the next start load the oldest state there is."""
    state = State(tap, load_key())
    with state.store.lock():
        restored = state.restore()
        journal = state.open_journal("boot")
        restored.application.mark = "journaled"
        restored.application.later = Late()
        changes = restored.jar.commit()
        journal.append(render_turn([], [], [], changes, []))
        journal.append(render_settled())
        journal.close()
    torn = state.store.journal_path(3)
    torn.write_bytes(torn.read_bytes() + b"\x09\0\0\0 torn")
    shutdown = tap.with_name("telnet-shutdown.tap")
    assert shutdown.samefile(state.store.generation_path(3))
    (tmp_path / "key").unlink()
    assert run("verify", "telnet").exit_code == 77
    asked = run("trust", "telnet", answer="n\n")
    assert asked.exit_code == 1
    for named in (
        "generation 1\n",
        "generation 2\n",
        "generation 3\n",
        "journal-00000003: 3 records",
    ):
        assert named in asked.output
    assert f"  {Late.__module__}:Late\n" in asked.output  # it is in the journal only
    assert run("verify", "telnet").exit_code == 77
    assert "(5 files)" in run("trust", "telnet", "--yes").output
    assert run("verify", "telnet").exit_code == 0
    assert shutdown.samefile(state.store.generation_path(3))
    again = State(tap, load_key())
    with again.store.lock():
        restored = again.restore()
    assert restored.application.mark == "journaled"
    assert restored.application.later.it == 7
    assert "already" in run("trust", "telnet").output


def test_trust_leaves_what_is_damaged_and_says_so(tap: Path, tmp_path: Path) -> None:
    (tmp_path / "key").unlink()
    damaged = tap.with_name("telnet.d") / "generation-00000002.tap"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    result = run("trust", "telnet", "--yes")
    assert result.exit_code == 0
    assert "left as it is" in result.output
    assert [entry["error"] is None for entry in run_json("history", tap)] == [True, False, True]


def test_trust_refuses_a_pickle_that_was_changed(tap: Path, tmp_path: Path) -> None:
    (tmp_path / "key").unlink()
    shutdown = tap.with_name("telnet-shutdown.tap")
    data = bytearray(shutdown.read_bytes())
    data[100] ^= 1
    shutdown.write_bytes(data)
    assert run("trust", "telnet", "--yes").exit_code == 65


def test_nothing_is_signed_but_what_was_looked_at(tap: Path, tmp_path: Path) -> None:
    """Whoever can write there could exchange a TAP while the person reads."""
    (tmp_path / "key").unlink()
    store = Store(tap, load_key())
    strangers = find_strangers(store)
    names_of_all(strangers)
    generation = store.generation_path(2)
    manifest = read_tail(generation).manifest
    other = render_tap(pickle.dumps(Hostile(), 5), manifest, Key(bytes(32)))
    generation.write_bytes(other)
    for act in (lambda: names_of_all(strangers), lambda: sign_all(store, strangers)):
        with pytest.raises(TapDamaged, match="looked at"):
            act()
    assert generation.read_bytes() == other


@pytest.mark.parametrize("to", ["/dev/full", "latin-1"])
def test_output_that_cannot_be_written_is_no_traceback(tap: Path, to: str) -> None:
    store = Store(tap, load_key())
    application = store.load().application
    application.mark = "日本"
    with store.lock():
        store.save(application, store.next_generation(), clean=False)
    command = [
        sys.executable,
        "-c",
        "from tapd.cli.tapctl.command import main; main()",
        "show",
        str(tap),
    ]
    environment = {**os.environ, "PYTHONIOENCODING": to if to == "latin-1" else "utf-8"}
    where = Path(to) if to.startswith("/") else tap.with_name("output")
    with where.open("wb") as output:
        ended = subprocess.run(
            command, env=environment, stdout=output, stderr=subprocess.PIPE, check=False
        )
    if to == "latin-1":
        assert ended.returncode == 0, ended.stderr
        assert b"  .mark = '\\u65e5\\u672c'" in where.read_bytes()
    else:
        assert ended.returncode != 0
        assert b"tapctl: the output: No space left on device\n" in ended.stderr
        assert b"Traceback" not in ended.stderr


class Late(Persistent):
    it = 7


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


def test_secrets_are_hidden_unless_asked_for(tap: Path) -> None:
    store = Store(tap, load_key())
    with store.lock():
        application = store.load().application
        application.authorizer.keep_account("eve", "$argon2id$v=19$m=65536,t=3,p=4$aaaa$bbbb")
        application.mail = {"api_key": "sk-1", "plain": "shown", "empty_password": ""}
        application.tokens = ["tok-1", {"deep": "tok-2"}]
        application.line = "$argon2id$v=19$elsewhere"
        store.save(application, store.next_generation(), clean=False)
        application.authorizer.keep_account("eve", "$argon2id$v=19$m=65536,t=3,p=4$cccc$dddd")
        application.tokens[1]["deep"] = "tok-3"
        application.mail["new_secret"] = "sk-2"
        store.save(application, store.next_generation(), clean=False)
    secrets = ("argon2", "sk-1", "sk-2", "tok-1", "tok-2", "tok-3")
    for arguments in (("show", tap, "-d", 9), ("diff", tap, 4), ("diff", tap, 3)):
        for more in ((), ("--json",)):
            told = run(*arguments, *more).output
            assert not [secret for secret in secrets if secret in told], told
            assert "hidden" in told
    shown = run("show", tap, "-d", 9).output
    assert ".password_hash = (str, hidden)" in shown
    assert "['plain'] = 'shown'" in shown
    assert "['empty_password'] = ''" in shown
    assert "password_hash: (str, hidden) -> (str, hidden)" in run("diff", tap, 4).output
    assert "'tok-2' -> 'tok-3'" in run("diff", tap, 4, "--secrets").output
    assert "$argon2id$v=19$m=65536,t=3,p=4$cccc" in run("show", tap, "-d", 9, "--secrets").output


def test_import_on_another_port(tap: Path, tmp_path: Path) -> None:
    run("export", tap, tmp_path / "copy")
    for name, ports in (("one", ["5050"]), ("two", ["unix:/run/x", "service=127.0.0.9:51"])):
        options = [part for port in ports for part in ("--port", port)]
        result = run("import", tmp_path / "copy", "--name", name, "--directory", ".", *options)
        assert result.exit_code == 0, result.output
    there = [
        [
            str(port.address)
            for port in Store(Path(f"{name}.tap"), load_key()).load().application.ports
        ]
        for name in ("one", "two")
    ]
    assert there == [["127.0.0.1:5050", "[::1]:5050"], ["unix:/run/x", "127.0.0.9:51"]]
    assert run_json("list", ".")[0]["ports"] == there[0]
    for wrong in ("nothing=5050", "http"):
        result = run(
            "import", tmp_path / "copy", "--name", "three", "--directory", ".", "--port", wrong
        )
        assert result.exit_code == 64
        assert not Path("three.tap").exists()


def test_import_asks_which_of_several_services_a_port_is_for(tap: Path, tmp_path: Path) -> None:
    store = Store(tap, load_key())
    with store.lock():
        application = store.load().application
        application.listen("127.0.0.1:4041", application.add_service(Service(), "second"))
        store.save(application, store.next_generation(), clean=False)
    run("export", tap, tmp_path / "copy")
    whole = ("import", tmp_path / "copy", "--name", "x", "--directory", ".", "--port")
    refused = run(*whole, "5050")
    assert refused.exit_code == 64
    assert "--port service=5050" in refused.output
    assert run(*whole, "second=127.0.0.1:5050").exit_code == 0
    ports = run_json("show", "x")["manifest"]["ports"]
    assert [port["address"] for port in ports] == ["127.0.0.1:4040", "127.0.0.1:5050"]


def test_a_tap_is_shown_where_there_is_no_key(tap: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("rubbish")
    result = run("show", tap)
    assert result.exit_code == 0
    assert "not a tapd key" in result.output
    assert "not trusted" in result.output
    assert "  .mark = 'three'" in result.output  # what trust would have a start load
    generation = tap.with_name("telnet-shutdown.tap")
    assert f"{generation} ({render_size(generation.stat().st_size)})" in result.output


@pytest.mark.usefixtures("tap")
def test_names_complete() -> None:
    environment = {
        "_TAPCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "tapctl show te",
        "COMP_CWORD": "2",
    }
    result = CliRunner().invoke(main, [], env=environment, prog_name="tapctl")
    assert "plain,telnet.tap" in result.output


def completions(*words: str) -> list[str]:
    environment = {
        "_TAPCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    told = CliRunner().invoke(main, [], env=environment, prog_name="tapctl").output
    return [line.removeprefix("plain,") for line in told.splitlines() if line]


@pytest.mark.usefixtures("tap")
def test_options_of_a_sleeping_server_complete() -> None:
    application = Application("shell")
    application.listen("127.0.0.1:4042", ShellFactory())
    Store(Path("shell.tap"), load_key()).create(application)
    assert completions("tapctl", "set", "shell", "tri") == ["tries="]
    assert "password=" in completions("tapctl", "set", "shell.tap", "tries=5", "pass")
    assert completions("tapctl", "set", "nowhere", "t") == []
    assert completions("tapctl", "set", "telnet", "t") == []
