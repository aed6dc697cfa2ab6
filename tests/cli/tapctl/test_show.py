"""tapctl show, du and diff."""

from __future__ import annotations

import datetime as dt
import pickle
from pathlib import Path

from tap_commands import Hostile, run, run_json

from tapd.cli.output import render_size
from tapd.model.application import Application
from tapd.model.durable.tracked import TrackedList
from tapd.store.generations import Store
from tapd.store.key import load_key, render_new_key
from tapd.store.tapfile import Manifest, render_tap


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


def test_a_tap_is_shown_where_there_is_no_key(tap: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("rubbish")
    result = run("show", tap)
    assert result.exit_code == 0
    assert "not a tapd key" in result.output
    assert "not trusted" in result.output
    assert "  .mark = 'three'" in result.output  # what trust would have a start load
    generation = tap.with_name("telnet-shutdown.tap")
    assert f"{generation} ({render_size(generation.stat().st_size)})" in result.output
