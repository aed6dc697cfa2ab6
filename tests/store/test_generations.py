"""Generations: after any failure there is a good TAP, and the right one is loaded."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from disk_model import FailingFiles, Killed, ModelFiles, write_tree

from tapd.errors import (
    BugError,
    StateLocked,
    StateUnwritable,
    TapDamaged,
    TapdError,
    TapExists,
    TapForeign,
    TapMissing,
    TapTooNew,
    UsageError,
)
from tapd.model.application import Application
from tapd.model.service import Service
from tapd.store.files import Files
from tapd.store.generations import Store
from tapd.store.key import Key
from tapd.store.tapfile import FORMAT, parse_tap, read_manifest, render_tap

KEY = Key(bytes(range(32)))
"""Signs the TAPs of these tests."""


class NoSync(Files):
    """Leaves out fsync, which tests that only look at names need not wait for."""

    def fsync(self, fd: int) -> None:
        pass


def make_application(mark: object = 0, name: str = "telnet") -> Application:
    application = Application(name)
    application.listen("127.0.0.1:4040", Service())
    application.mark = mark
    return application


def open_store(path: Path, key: Key = KEY) -> Store:
    return Store(path, key, files=NoSync())


def save_marks(store: Store, application: Application, *marks: object, clean: bool = False) -> None:
    with store.lock():
        for mark in marks:
            application.mark = mark
            store.save(application, store.next_generation(), clean=clean)


def damage(path: Path, position: int = 50) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.unlink()  # the damage is to this name only, not to a file linked elsewhere
    path.write_bytes(data)


@pytest.fixture
def tap(tmp_path: Path) -> Path:
    path = tmp_path / "telnet.tap"
    open_store(path).create(make_application())
    return path


def names_in(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


# --- create and load -------------------------------------------------------------


def test_mktap_makes_one_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "telnet.tap"
    report = open_store(path).create(make_application(5))
    assert names_in(tmp_path) == ["telnet.tap"]
    assert path.stat().st_mode & 0o7777 == 0o600
    assert (report.path, report.generation) == (path, 1)
    assert report.size_bytes == path.stat().st_size
    loaded = open_store(path).load()
    assert loaded.application.mark == 5
    assert (loaded.generation, loaded.path, loaded.skipped) == (1, path, ())
    assert loaded.manifest.name == "telnet"
    assert loaded.manifest.ports == ({"address": "127.0.0.1:4040", "service": "service"},)
    assert loaded.manifest.services[0]["name"] == "service"
    assert loaded.manifest.lineage == loaded.application.lineage


def test_an_existing_tap_is_not_overwritten(tap: Path) -> None:
    before = tap.read_bytes()
    with pytest.raises(TapExists, match="--force"):
        open_store(tap).create(make_application(1))
    assert tap.read_bytes() == before


@pytest.mark.parametrize("left", ["telnet-shutdown.tap", "telnet.d"])
def test_what_a_tap_left_behind_is_not_overwritten_either(tap: Path, left: str) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 1, clean=True)
    for path in tap.parent.iterdir():
        if path.name != left:
            path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(TapExists):
        open_store(tap).create(make_application())


def test_a_missing_tap_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TapMissing, match="tapd-mktap"):
        open_store(tmp_path / "telnet.tap").load()
    with pytest.raises(TapMissing, match="no such directory"):
        open_store(tmp_path / "nowhere" / "telnet.tap").create(make_application())
    with pytest.raises(TapMissing, match="no such directory"):
        open_store(tmp_path / "nowhere" / "telnet.tap").lock()
    assert names_in(tmp_path) == []


def test_a_directory_or_a_generation_is_no_tap(tap: Path) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        open_store(tap.parent)
    with pytest.raises(UsageError, match="rollback"):
        open_store(tap.parent / "telnet.d" / "generation-00000001.tap")


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", TapDamaged, "empty"),
        (b"#!/bin/sh\n" * 40, TapDamaged, "not a TAP"),
        ("cut", TapDamaged, "cut short"),
        ("new", TapTooNew, "later tapd"),
        ("foreign", TapForeign, "tapctl trust"),
    ],
)
def test_each_bad_tap_has_its_own_message(
    tap: Path, content: bytes | str, error: type[TapdError], words: str
) -> None:
    good = tap.read_bytes()
    pickle, manifest = parse_tap(good, KEY, "t")
    newer = read_manifest(tap, KEY)
    object.__setattr__(newer, "format", FORMAT + 1)
    bad = {
        "cut": good[:-5],
        "new": render_tap(bytes(pickle), newer, KEY),
        "foreign": render_tap(bytes(pickle), manifest, Key(b"s" * 32)),
    }
    tap.write_bytes(content if isinstance(content, bytes) else bad[content])
    with pytest.raises(error, match=words) as caught:
        open_store(tap).load()
    assert str(tap) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_of_something_else_is_refused(tap: Path) -> None:
    import pickle

    tap.write_bytes(render_tap(pickle.dumps([1]), read_manifest(tap, KEY), KEY))
    with pytest.raises(TapDamaged, match="holds a list, not an Application"):
        open_store(tap).load()


# --- save ------------------------------------------------------------------------


def test_the_newest_generation_is_loaded(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11, 12)
    loaded = open_store(tap).load()
    assert (loaded.generation, loaded.application.mark) == (3, 12)
    assert loaded.path == tap.parent / "telnet.d" / "generation-00000003.tap"
    assert names_in(tap.parent / "telnet.d") == [
        "generation-00000002.tap", "generation-00000003.tap", "last-generation", "lock",
    ]  # fmt: skip


def test_a_clean_stop_leaves_a_shutdown_tap_that_costs_no_space(tap: Path) -> None:
    store = open_store(tap)
    application = store.load().application
    with store.lock():
        report = store.save(application, 2, clean=True)
    shutdown = tap.parent / "telnet-shutdown.tap"
    assert report.path == shutdown
    assert shutdown.samefile(store.generation_path(2))
    assert read_manifest(shutdown, KEY).clean
    assert open_store(shutdown).load().generation == 2
    save_marks(store, application, 9, clean=True)
    assert shutdown.samefile(store.generation_path(3))
    assert open_store(tap).load().application.mark == 9
    assert [entry.generation for entry in store.generations()] == [3, 2, 1]


def test_the_shutdown_tap_alone_runs_in_another_directory(tap: Path, tmp_path: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 1, 2, 3, clean=True)
    there = tmp_path / "there"
    there.mkdir()
    copied = there / "telnet-shutdown.tap"
    shutil.copy(tap.parent / "telnet-shutdown.tap", copied)
    moved = open_store(copied)
    loaded = moved.load()
    assert (loaded.generation, loaded.application.mark, loaded.skipped) == (4, 3, ())
    save_marks(moved, loaded.application, 77, clean=True)
    assert names_in(there) == ["telnet-shutdown.tap", "telnet.d"]
    assert open_store(copied).load().application.mark == 77
    assert open_store(there / "telnet.tap").load().application.mark == 77
    assert open_store(tap).load().application.mark == 3


def test_saving_needs_the_lock(tap: Path) -> None:
    store = open_store(tap)
    application = store.load().application
    with pytest.raises(BugError, match="without its lock"):
        store.save(application, 2, clean=False)
    store.lock().release()
    with pytest.raises(BugError, match="without its lock"):
        store.prune(1)


def test_a_late_save_never_replaces_a_newer_one(tap: Path) -> None:
    store = open_store(tap)
    application = store.load().application
    with store.lock():
        store.save(application, 5, clean=False)
        before = store.generation_path(5).read_bytes()
        for late in (5, 4, 1):
            with pytest.raises(TapExists, match="generation 5 was saved already"):
                store.save(application, late, clean=False)
    assert store.generation_path(5).read_bytes() == before
    assert [entry.generation for entry in store.generations()] == [5, 1]
    assert not list((tap.parent / "telnet.d").glob(".*"))


def test_numbers_go_on_above_every_generation_and_journal(tap: Path) -> None:
    store = open_store(tap)
    assert store.next_generation() == 2
    with store.lock():
        store.journal_path(6).write_bytes(b"")
        assert store.next_generation() == 7
        store.save(store.load().application, 7, clean=False)
        store.generation_path(7).unlink()
        assert store.next_generation() == 8


# --- falling back ----------------------------------------------------------------


def test_a_damaged_newest_falls_back_and_says_so(
    tap: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11, 12)
    damage(store.generation_path(3))
    caplog.set_level(logging.DEBUG)
    loaded = open_store(tap).load()
    assert (loaded.generation, loaded.application.mark) == (2, 11)
    [(path, error)] = loaded.skipped
    assert path == store.generation_path(3)
    assert isinstance(error, TapDamaged)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert "loaded generation 2" in caplog.text
    assert store.next_generation() == 4


def test_none_good_names_the_files_and_what_to_do(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11, 12)
    for path in (tap, store.generation_path(2), store.generation_path(3)):
        damage(path)
    with pytest.raises(TapDamaged, match="no other of the 3 TAPs") as caught:
        open_store(tap).load()
    assert "\n" not in str(caught.value)


def test_a_damaged_tap_of_mktap_does_not_hide_the_generations(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11)
    for content in (b"", b"junk"):
        tap.write_bytes(content)
        loaded = open_store(tap).load()
        assert loaded.application.mark == 11
        assert loaded.skipped[0][0] == tap
    tap.unlink()
    assert open_store(tap).load().application.mark == 11


def test_a_damaged_shutdown_tap_that_was_named_is_not_passed_over_silently(
    tap: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutdown = tap.parent / "telnet-shutdown.tap"
    shutdown.write_bytes(tap.read_bytes()[:-1])
    loaded = open_store(shutdown).load()
    assert [path for path, _error in loaded.skipped] == [shutdown]
    assert "cut short" in caplog.text


def test_an_old_tap_put_back_is_noticed(tap: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11, 12, 13)
    for generation in (3, 4):
        store.generation_path(generation).unlink()
    loaded = open_store(tap).load()
    assert loaded.generation == 2
    assert [path for path, _error in loaded.skipped] == [store.generation_path(4)]
    assert "generation 4 was saved last and is gone" in caplog.text


def test_an_old_tap_under_a_new_number_is_refused(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11, 12)
    shutil.copy(store.generation_path(2), store.generation_path(9))
    loaded = open_store(tap).load()
    assert loaded.generation == 3
    assert "not the one of its name" in str(loaded.skipped[0][1])


def test_the_note_of_the_last_save_cannot_be_forged(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11)
    note = tap.parent / "telnet.d" / "last-generation"
    note.write_text(note.read_text().replace('"generation": 2', '"generation": 99'))
    assert store.remembered() == ("", 0)
    assert open_store(tap).load().skipped == ()
    for junk in ("", "[]", "{}", "null", '{"lineage":1}'):
        note.write_text(junk)
        assert open_store(tap).load().skipped == ()


def test_a_tap_of_a_later_tapd_is_not_passed_over(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11)
    pickle, manifest = parse_tap(tap.read_bytes(), KEY, "t")
    object.__setattr__(manifest, "format", FORMAT + 1)
    store.generation_path(3).write_bytes(render_tap(bytes(pickle), manifest, KEY))
    with pytest.raises(TapTooNew):
        open_store(tap).load()


# --- lineages --------------------------------------------------------------------


def test_force_sets_everything_of_the_old_application_aside(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11, 12, clean=True)
    report = open_store(tap).create(make_application("new"), force=True)
    assert report.generation == 4
    loaded = open_store(tap).load()
    assert (loaded.application.mark, loaded.skipped) == ("new", ())
    directory, aside = sorted(tap.parent.glob("telnet.*"))[::-1]
    assert directory == tap
    assert aside.name.startswith("telnet.d.old-")
    kept = {read_manifest(path, KEY).generation for path in aside.glob("*tap*")}
    assert kept == {1, 2, 3}
    save_marks(open_store(tap), loaded.application, "newer", clean=True)
    assert open_store(tap).load().application.mark == "newer"


def test_force_where_nothing_is_counts_from_one(tmp_path: Path) -> None:
    assert open_store(tmp_path / "t.tap").create(make_application(), force=True).generation == 1
    assert names_in(tmp_path) == ["t.tap"]


def test_another_tap_put_in_place_by_hand_sets_the_old_directory_aside(
    tap: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11, 12, clean=True)
    tap.unlink()
    other = tmp_path / "other.tap"
    open_store(other).create(make_application("other"))
    other.rename(tap)
    again = open_store(tap)
    with again.lock():
        loaded = again.load()
        assert (loaded.application.mark, loaded.generation) == ("other", 1)
        assert "set aside" in caplog.text
        assert "ignored" in caplog.text  # the shutdown TAP
        assert names_in(again.journal_directory) == ["lock"]
        again.save(loaded.application, again.next_generation(), clean=True)
    assert open_store(tap).load().application.mark == "other"
    kept = [read_manifest(path, KEY).lineage for path in tap.parent.glob("telnet-shutdown.tap*")]
    assert len(set(kept)) == 2  # the foreign shutdown TAP was kept under another name


def test_naming_the_shutdown_tap_of_another_application_is_refused(
    tap: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.tap"
    open_store(other).create(make_application("other"))
    other.rename(tap.parent / "telnet-shutdown.tap")
    with pytest.raises(UsageError, match="another directory"):
        open_store(tap.parent / "telnet-shutdown.tap").load()
    assert open_store(tap).load().application.mark == 0


def test_a_symbolic_link_shares_lock_and_generations(tap: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.tap").symlink_to(tap)
    with open_store(tap).lock(), pytest.raises(StateLocked):
        open_store(home / "mine.tap").lock()
    assert names_in(home) == ["mine.tap"]


# --- the lock --------------------------------------------------------------------


HOLDER = """
import sys
from pathlib import Path
from tapd.store.key import Key
from tapd.store.generations import Store
store = Store(Path(sys.argv[1]), Key(bytes(range(32))))
lock = store.lock()
print("locked", flush=True)
sys.stdin.read()
"""


def test_two_daemons_on_one_tap(tap: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tap)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        for path in (tap, tap.parent / "telnet-shutdown.tap"):
            with pytest.raises(StateLocked, match=f"process {holder.pid} ") as caught:
                open_store(path).lock()
            assert "\n" not in str(caught.value)
        with pytest.raises(StateLocked):
            open_store(tap).create(make_application(), force=True)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        open_store(tap).lock().release()


def test_the_lock_of_a_dying_child_is_waited_for(tap: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tap)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        store = open_store(tap)
        # As after a kill: the file names a process that is gone, a child still holds it.
        (store.journal_directory / "lock").write_text("4194304\n")
        with pytest.raises(StateLocked, match="4194304"):
            store.lock(timeout_s=0.05)
        holder.kill()
        store.lock(timeout_s=10).release()


def test_the_lock_clears_what_an_interrupted_save_left(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 1)
    left = [
        tap.parent / ".telnet.tap.tmp-123",
        tap.parent / ".telnet-shutdown.tap.tmp-123",
        store.journal_directory / ".generation-00000009.tap.tmp-123",
        store.journal_directory / ".last-generation.tmp-123",
    ]
    others = [tap.parent / ".mail.tap.tmp-123", tap.parent / ".telnet.tapestry"]
    for path in (*left, *others):
        path.write_bytes(b"x")
    open_store(tap).lock().release()
    assert [path.exists() for path in left] == [False] * 4
    assert [path.exists() for path in others] == [True] * 2


# --- the past --------------------------------------------------------------------


def test_rollback_makes_an_old_generation_the_newest(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 11, 12, 13, clean=True)
    with store.lock():
        report = store.rollback(2)
        with pytest.raises(TapMissing, match="there are: 5, 4, 3, 2, 1"):
            store.rollback(77)
    assert report.generation == 5
    for named in (tap, tap.parent / "telnet-shutdown.tap"):
        assert open_store(named).load().application.mark == 11
    with store.lock():
        store.rollback(4)
    assert open_store(tap).load().application.mark == 13


def test_checkpoints_compress_old_generations_and_prune_keeps_a_count(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, *range(2, 11))
    with store.lock():
        removed = store.prune(5)
    assert sorted(path.name for path in removed) == [
        f"generation-{number:08}.tap.gz" for number in range(2, 6)
    ]
    left = [name for name in names_in(store.journal_directory) if name.startswith("gen")]
    assert left == [
        "generation-00000006.tap.gz", "generation-00000007.tap.gz", "generation-00000008.tap.gz",
        "generation-00000009.tap", "generation-00000010.tap",
    ]  # fmt: skip
    entries = store.generations(verify=True)
    assert [entry.generation for entry in entries] == [10, 9, 8, 7, 6, 1]
    assert not any(entry.error for entry in entries)
    for generation in (9, 10):
        damage(store.generation_path(generation))
    assert open_store(tap).load().application.mark == 8
    with store.lock():
        assert store.rollback(7).generation == 11
        assert store.prune(5) == [store.journal_directory / "generation-00000006.tap.gz"]
    assert open_store(tap).load().application.mark == 7


def test_prune_by_age_spares_the_newest_good_one_and_its_fallback(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 2, 3, 4, 5, 6)
    long_ago_s = time.time() - 1000
    damage(store.generation_path(6))
    for path in store.journal_directory.glob("generation-*"):
        os.utime(path, (long_ago_s, long_ago_s))
    with store.lock():
        assert store.prune(100, 2000) == []
        store.prune(0, 10)
    left = [entry.generation for entry in store.generations()]
    assert left == [6, 5, 4, 1]
    assert open_store(tap).load().application.mark == 5


def test_prune_takes_the_callers_word_for_a_generation_just_saved(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 2, 3, 4, 5)
    damage(store.generation_path(5))
    with store.lock():
        assert len(store.prune(0, known_good=5)) == 2  # 5 and the one before it stay
        assert store.prune(0) == []  # read again: 4 is the newest good one


def test_prune_with_nothing_good_removes_nothing(tap: Path) -> None:
    store = open_store(tap)
    save_marks(store, store.load().application, 2, 3)
    for path in (store.generation_path(2), store.generation_path(3)):
        damage(path)
    with store.lock():
        assert store.prune(0, 0) == []


# --- failing disks ---------------------------------------------------------------


def prepare(root: Path) -> tuple[Path, Application]:
    """Make a TAP with one clean generation beyond mktap's, marked "old"."""
    root.mkdir()
    tap = root / "telnet.tap"
    application = make_application("old")
    store = open_store(tap)
    store.create(application)
    save_marks(store, application, "old", clean=True)
    return tap, application


def attempt(store: Store, action: str, application: Application) -> TapdError | Killed | None:
    """Do one action that may fail; return how it did."""
    try:
        if action == "create":
            store.create(make_application("new"))
        elif action == "force":
            store.create(make_application("new"), force=True)
        else:
            with store.lock():
                if action == "prune":
                    store.prune(0)
                elif action == "rollback":
                    store.rollback(1)
                else:
                    store.save(application, store.next_generation(), clean=action == "clean")
    except (StateUnwritable, Killed) as error:
        return error
    return None


def check_what_is_left(store: Store, action: str, *, failed: bool) -> None:
    """Check that the old state or the new one is loaded, and that life goes on."""
    if action == "create" and failed:
        assert not store.named_path.exists() or store.load().application.mark == "new"
    else:
        expected = {"new"} if not failed else {"old", "new"}
        if action in ("prune", "rollback"):
            expected = {"old"}
        loaded = store.load()
        assert loaded.application.mark in expected
        assert loaded.skipped == ()
    with store.lock():
        store.save(make_again(store), store.next_generation(), clean=True)
    assert store.load().application.mark == "again"
    assert not list(store.directory.rglob(f".{store.name}*.tmp-*"))


ACTIONS = ["save", "clean", "create", "force", "prune", "rollback"]
FAULTS: list[int | str] = [errno.ENOSPC, errno.EIO, errno.EACCES, "short", "kill"]


@pytest.mark.parametrize(
    ("action", "how"),
    [*itertools.product(ACTIONS, FAULTS), ("archive", errno.ENOSPC), ("archive", "kill")],
)
def test_every_call_may_fail(tmp_path: Path, action: str, how: int | str) -> None:
    seen = set()
    for at in itertools.count(1):
        tap, application = prepare(tmp_path / str(at))
        if action in ("prune", "archive"):
            save_marks(open_store(tap), application, "old", "old", "old", "old", clean=True)
        application.mark = "new"
        path = tap.parent / "fresh.tap" if action == "create" else tap
        files = FailingFiles(at, how)
        error = attempt(Store(path, KEY, files=files), action, application)
        if not files.failed_in:
            assert error is None
            break
        seen.add(files.failed_in)
        if how != "kill" and files.failed_in != "unlink":
            assert not list(tap.parent.rglob(".*.tmp-*"))
        if isinstance(how, int) and error is not None:
            assert os.strerror(how) in str(error)
            assert "\n" not in str(error)
        check_what_is_left(open_store(path), action, failed=error is not None)
    assert how == "short" or {"open", "fsync"} <= seen


def make_again(store: Store) -> Application:
    try:
        application = store.load().application
    except TapMissing:
        application = make_application()
    application.mark = "again"
    return application


class PowerCuts:
    """Loads every state that a power cut may leave after any call of one action."""

    def __init__(self, root: Path, action: str, model: type[ModelFiles] = ModelFiles) -> None:
        self.root = root
        self.action = action
        self.allowed = {"none", "new"} if action == "create" else {"old", "new"}
        self.seen: dict[frozenset[tuple[Path, bytes | None]], str] = {}
        if action in ("create", "first"):
            (root / "0").mkdir()
            self.tap, self.application = root / "0" / "telnet.tap", make_application("old")
            if action == "first":
                open_store(self.tap).create(self.application)
        else:
            self.tap, self.application = prepare(root / "0")
        self.files = model(self.tap.parent, after_call=self.check)

    def check(self) -> None:
        self.found()

    def found(self) -> set[str]:
        """Return which states may be loaded after a power cut now."""
        found = set()
        for tree in self.files.crashes():
            state = frozenset(tree.items())
            if state not in self.seen:
                self.seen[state] = self.load(tree)
            found.add(self.seen[state])
        assert found <= self.allowed
        return found

    def load(self, tree: dict[Path, bytes | None]) -> str:
        root = self.root / str(len(self.seen) + 1)
        write_tree(root, tree)
        store = open_store(root / "telnet.tap")
        try:
            loaded = store.load()
        except TapMissing:
            return "none"
        assert loaded.skipped == ()
        with store.lock():  # and life goes on
            loaded = store.load()
            store.save(loaded.application, store.next_generation(), clean=True)
        mark = str(loaded.application.mark)
        assert store.load().application.mark == mark
        shutil.rmtree(root)
        return mark

    def run(self) -> set[str]:
        """Do it, checking after each call; return what may be loaded at the end."""
        store = Store(self.tap, KEY, files=self.files)
        self.application.mark = "new"
        if self.action == "create":
            store.create(self.application)
        elif self.action == "force":
            store.create(make_application("new"), force=True)
        else:
            with store.lock():
                if self.action == "rollback":
                    store.rollback(1)
                else:
                    clean = self.action == "clean"
                    store.save(self.application, store.next_generation(), clean=clean)
        return self.found()


@pytest.mark.parametrize("action", ["save", "clean", "create", "force", "rollback", "first"])
def test_a_power_cut_leaves_the_old_state_or_the_new_one(tmp_path: Path, action: str) -> None:
    cuts = PowerCuts(tmp_path, action)
    assert cuts.run() == ({"old"} if action == "rollback" else {"new"})
    assert len(cuts.seen) >= 10


class WithoutFileSync(ModelFiles):
    """Forgets to sync files: the power-cut tests must see that."""

    def fsync(self, fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            super().fsync(fd)


class WithoutDirectorySync(ModelFiles):
    """Forgets to sync directories: the power-cut tests must see that."""

    def fsync(self, fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            super().fsync(fd)


@pytest.mark.parametrize("action", ["save", "clean", "create", "force"])
def test_the_model_of_the_disk_has_teeth(tmp_path: Path, action: str) -> None:
    for model in (WithoutFileSync, WithoutDirectorySync):
        root = tmp_path / model.__name__
        root.mkdir()
        cuts = PowerCuts(root, action, model)
        try:
            found = cuts.run()
        except (AssertionError, TapdError):
            continue
        assert found != {"new"}


def test_a_directory_that_cannot_be_written_is_one_clear_error(tap: Path) -> None:
    class ReadOnly(NoSync):
        def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
            if flags & os.O_CREAT:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return super().open(path, flags, mode)

    store = Store(tap, KEY, files=ReadOnly())
    with pytest.raises(StateUnwritable, match="let the user who runs tapd write there"):
        store.lock()
    assert open_store(tap).load().application.mark == 0


def test_a_file_system_without_hard_links_gets_a_copy(tap: Path) -> None:
    class NoLinks(NoSync):
        def link(self, source: Path, target: Path) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(target))

    store = Store(tap, KEY, files=NoLinks())
    application = store.load().application
    with store.lock():
        store.save(application, 2, clean=True)
    shutdown = tap.parent / "telnet-shutdown.tap"
    assert shutdown.read_bytes() == store.generation_path(2).read_bytes()
    assert shutdown.stat().st_mode & 0o7777 == 0o600
