"""Each file of an application, cut at any length, changed in any byte, or gone.

A start gives the state of the last commit that the files still hold, or one clear error;
where it gives less, a line in the log says so. What it could not use is kept.
"""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import pickle
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tapd import Persistent, events
from tapd.errors import StateUnwritable, TapDamaged, TapMissing
from tapd.host.load_trial import LoadTrial
from tapd.host.sleep.file import save_sleep, sleep_fields, take_sleep
from tapd.model.application import Application
from tapd.store.generations import Store
from tapd.store.journal.aside import COPIES_MAX, kept_copies
from tapd.store.journal.chain import Fault, Source, read_beside
from tapd.store.journal.file import MAGIC, JournalWriter, journal_key, read_journal
from tapd.store.journal.records import parse_before, render_base, render_turn
from tapd.store.journal.sync_mark import SyncMark
from tapd.store.key import Key
from tapd.store.state import Restored, State

KEY = Key(bytes(range(32)))
GENERATIONS, TURNS = 4, 3
LAST = GENERATIONS * TURNS
NEWEST_SAVED = LAST - TURNS
"""How many turns generation 4 knows of; the rest is in journal 4."""


class Counter(Persistent):
    turns = 0


class Life:
    """A process: it restores the application and commits turns, each of which counts one on."""

    def __init__(self, path: Path) -> None:
        self.state = State(path, KEY)
        self.lock = self.state.store.lock()
        try:
            self.restored: Restored = self.state.restore()
            self.journal: JournalWriter = self.state.open_journal("boot")
        except BaseException:
            self.lock.release()
            raise

    @property
    def turns(self) -> int:
        """How many turns its state knows of."""
        turns: int = self.restored.application.counter.turns
        return turns

    def commit(self) -> None:
        """End a turn."""
        self.restored.application.counter.turns += 1
        self.journal.append(render_turn([], [], [], self.restored.jar.commit(), []))

    def save(self) -> None:
        """Save a generation, as a checkpoint does."""
        before, self.journal = self.journal, self.state.begin_generation()
        before.sync()
        self.journal.append(render_base("boot", 0, [], clean=False, before=before.end))
        before.close()
        report = self.state.save(self.restored.application, self.state.generation, clean=False)
        self.state.note_saved(report.generation)

    def end(self) -> None:
        """Die: nothing more is written."""
        self.journal.close()
        self.lock.release()


def make_application(path: Path) -> None:
    """Lead a life of four generations of three turns each; all of it was synced."""
    application = Application("a")
    application.counter = Counter()
    Store(path, KEY).create(application)
    life = Life(path)
    for generation in range(1, GENERATIONS + 1):
        for _turn in range(TURNS):
            life.commit()
        if generation < GENERATIONS:
            life.save()
    life.state.sync_journal()
    life.end()
    save_sleep(path.with_suffix(".d"), 1e9)
    (path.with_suffix(".d") / "audit").write_bytes(MAGIC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "a.tap"
    make_application(path)
    return path


def names_of(made: Path) -> list[str]:
    return sorted(
        str(path.relative_to(made.parent)) for path in made.parent.rglob("*") if path.is_file()
    )


class Place:
    """A directory in which the files are put again and again, with something wrong."""

    def __init__(self, made: Path, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.files = {name: (made.parent / name).read_bytes() for name in names_of(made)}
        self.directory = directory
        self.path = directory / "a.tap"
        self.caplog = caplog

    def put(self, changed: dict[str, bytes | None]) -> None:
        """Put all files there; of those in `changed` other bytes, or (None) nothing."""
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.directory / "a.d").mkdir(parents=True)
        for name, data in {**self.files, **changed}.items():
            if data is not None:
                (self.directory / name).write_bytes(data)

    def start(self) -> tuple[int, list[logging.LogRecord]]:
        """Start, go on for a turn, start again; return what the first one knew, and said.

        Raises:
            TapdError: the first start did.
        """
        self.caplog.clear()
        take_sleep(self.directory / "a.d")
        life = Life(self.path)
        turns, said = life.turns, [each for each in self.caplog.records if each.levelno >= 30]
        life.commit()
        life.end()
        self.caplog.clear()
        again = Life(self.path)
        assert again.turns == turns + 1, "what was committed after the damage is lost"
        again.end()
        fatal = [each for each in self.caplog.records if each.levelno >= logging.ERROR]
        assert not fatal, "it was told at the first start"
        return turns, said

    def check(self, changed: dict[str, bytes | None]) -> int:
        """Check a start with these files, and return what it knew.

        Raises:
            TapdError: it refused.
        """
        self.put(changed)
        turns, said = self.start()
        assert turns <= LAST
        if turns < LAST:
            assert said, f"{LAST - turns} turns were lost in silence"
        return turns


@pytest.fixture
def place(made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Place:
    caplog.set_level(logging.WARNING)
    return Place(made, tmp_path / "place", caplog)


def some(numbers: Iterable[int], most: int) -> Iterator[int]:
    """Yield the numbers, or, of more than `most`, the first, the last and some between."""
    chosen = list(numbers)
    if len(chosen) > most:
        ends = chosen[: most // 3] + chosen[-(most // 3) :]
        chosen = sorted({*ends, *random.Random(1).sample(chosen, most // 3)})
    yield from chosen


JOURNAL_4 = "a.d/journal-00000004"
JOURNAL_3 = "a.d/journal-00000003"
GENERATION_4 = "a.d/generation-00000004.tap"
GENERATION_3 = "a.d/generation-00000003.tap"
NAMES = [
    "a.d/asleep", "a.d/audit", GENERATION_4, GENERATION_3, "a.d/generation-00000002.tap.gz",
    JOURNAL_3, JOURNAL_4, "a.d/last-generation", "a.d/lock", "a.d/synced", "a.tap",
]  # fmt: skip
NO_STATE = [name for name in NAMES if name != JOURNAL_4]
"""Files of which one may be lost, and a start still knows all."""


def test_these_are_all_files(made: Path) -> None:
    assert names_of(made) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_cut_at_every_length(place: Place, name: str) -> None:
    data = place.files[name]
    for length in some(range(len(data)), 42):
        turns = place.check({name: data[:length]})
        if name == JOURNAL_4:
            assert NEWEST_SAVED <= turns < LAST, "it was synced, so a cut is noticed"
        else:
            assert turns == LAST


@pytest.mark.parametrize("name", NAMES)
def test_every_byte_changed(place: Place, name: str) -> None:
    data = place.files[name]
    for position in some(range(len(data)), 42):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        turns = place.check({name: bytes(changed)})
        if name == JOURNAL_4:
            assert NEWEST_SAVED <= turns < LAST
        else:
            assert turns == LAST


def test_small_files_full_of_anything(place: Place) -> None:
    """Longer than they ever are, and the worst for who parses them."""
    for name in ("a.d/asleep", "a.d/audit", "a.d/last-generation", "a.d/lock", "a.d/synced"):
        for data in (b"9" * 400, b"[" * 4096, b"\0" * 100, b"\xff" * 100, b"\n", b'{"key": []}'):
            assert place.check({name: data}) == LAST, (name, data[:9])
    place.put({"a.d/asleep": b"9" * 300})
    assert sleep_fields(place.directory / "a.d").keys() == {"asleep_since_s"}


def test_what_a_load_that_was_killed_leaves(tmp_path: Path) -> None:
    """``loading``, whole, cut or changed anywhere, or full of anything: the next load begins."""
    path = tmp_path / "loading"
    known = {"deaths": 4, "at": 7, "what": "a:B", "tries": 1, "skipped": [[5, "c:D"], [6, "c:D"]]}
    whole = json.dumps(known).encode().ljust(512) + b"\n"
    cut = [whole[:length] for length in range(len(whole.rstrip()) + 1)]
    flipped = []
    for position, bit in itertools.product(range(len(whole.rstrip())), range(8)):
        changed = bytearray(whole)
        changed[position] ^= 1 << bit
        flipped.append(bytes(changed))
    strange: list[object] = [[["x", "y"]], ["ab"], [[[1], "y"]], [[1.5, "y"]], [{"a": 1, "b": "c"}]]
    wrong = [json.dumps({**known, "skipped": each}).encode() for each in strange]
    for data in (*cut, *flipped, *wrong, b"[" * 5000, b"\xff" * 9, b"9" * 5000):
        path.write_bytes(data)
        with LoadTrial(tmp_path):
            assert path.exists()
        assert not path.exists()


def test_one_file_is_gone(place: Place) -> None:
    for name in NO_STATE:
        assert place.check({name: None}) == LAST, name
    assert place.check({JOURNAL_4: None}) == NEWEST_SAVED


def test_two_files_are_gone_or_empty(place: Place) -> None:
    left = {
        (GENERATION_4, GENERATION_3): NEWEST_SAVED
        - 2 * TURNS,  # their journals follow generation 3
        (GENERATION_4, JOURNAL_3): NEWEST_SAVED - TURNS,
    }
    for pair in itertools.combinations(NAMES, 2):
        all_but_newest = NEWEST_SAVED if JOURNAL_4 in pair else LAST
        for data in (None, b""):
            assert place.check(dict.fromkeys(pair, data)) == left.get(pair, all_but_newest), pair


def test_without_any_good_tap_there_is_one_clear_error(place: Place) -> None:
    taps = [name for name in NAMES if ".tap" in name]
    with pytest.raises(TapMissing, match="there is no such TAP"):
        place.check(dict.fromkeys(taps))
    for data in (b"", place.files[GENERATION_4][:-1]):
        with pytest.raises(TapDamaged, match=r"no other of the 4 TAPs of a is good"):
            place.check(dict.fromkeys(taps, data))


def test_a_journal_between_is_damaged_and_the_newest_generation_too(place: Place) -> None:
    """What follows lost records is not applied on top of them; it is kept."""
    data = place.files[JOURNAL_3]
    for position in some(range(len(data)), 42):
        changed = bytearray(data)
        changed[position] ^= 0x10
        turns = place.check({JOURNAL_3: bytes(changed), GENERATION_4: b""})
        assert NEWEST_SAVED - TURNS <= turns < NEWEST_SAVED
        unused = place.directory / (JOURNAL_4 + ".unused")
        assert unused.read_bytes() == place.files[JOURNAL_4]


def test_a_journal_between_is_cut_and_the_newest_generation_is_damaged(place: Place) -> None:
    """Cut at a record's end, too: the next journal says how far it went."""
    data = place.files[JOURNAL_3]
    for length in {*ends_of(data)[:-1], *some(range(len(data)), 60)}:
        turns = place.check({JOURNAL_3: data[:length], GENERATION_4: b""})
        assert NEWEST_SAVED - TURNS <= turns < NEWEST_SAVED


def test_no_byte_between_is_damaged(place: Place) -> None:
    """The same start without damage knows all: these tests can fail."""
    assert place.check({GENERATION_4: b""}) == LAST
    assert place.check({}) == LAST


# --- what is said, and kept -----------------------------------------------------------


def ends_of(data: bytes) -> list[int]:
    """Return where each record of a journal ends."""
    ends = [len(MAGIC)]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 20 + int.from_bytes(data[ends[-1] : ends[-1] + 4], "little"))
    return ends


def say(place: Place, changed: dict[str, bytes | None]) -> list[tuple[str, str]]:
    """Return message id and text of what a start says."""
    place.put(changed)
    _turns, said = place.start()
    return [(getattr(each, "MESSAGE_ID", ""), each.getMessage()) for each in said]


def test_a_torn_tail_is_said_and_kept(place: Place) -> None:
    data = place.files[JOURNAL_4]
    torn = data[ends_of(data)[-2] : -3]
    ((event, text),) = say(place, {JOURNAL_4: data[:-3], "a.d/synced": None})
    assert event == events.TORN.message_id
    assert f"a torn last record ({len(torn)} bytes), as after a power cut" in text
    (copy,) = kept_copies(place.directory / "a.d")
    assert copy.name == "journal-00000004.cut"
    assert copy.name in text
    assert copy.read_bytes() == torn


def test_damage_in_the_middle_is_said_and_kept(place: Place) -> None:
    data = bytearray(place.files[JOURNAL_4])
    end = ends_of(bytes(data))[1]
    data[end + 30] ^= 1
    ((event, text),) = say(place, {JOURNAL_4: bytes(data)})
    assert event == events.SET_ASIDE.message_id
    for part in (
        f"journal-00000004 is damaged at byte {end}",
        "whole records follow the damage",
        "at least 3 records",
        "kept as journal-00000004.damaged",
        "tapctl verify a",
        "tapctl rollback a",
    ):
        assert part in text
    (copy,) = kept_copies(place.directory / "a.d")
    assert copy.read_bytes() == data


def test_records_that_are_gone_are_said(place: Place) -> None:
    data = place.files[JOURNAL_4]
    end = ends_of(data)[-2]
    ((event, text),) = say(place, {JOURNAL_4: data[:end]})
    assert event == events.RECORDS_GONE.message_id
    assert f"whole records up to byte {end}, and the disk had confirmed" in text
    assert f"it went on to byte {len(data)}: records of {len(data) - end} bytes are lost" in text


def test_without_a_sync_nothing_was_promised_of_the_newest_records(place: Place) -> None:
    data = place.files[JOURNAL_4]
    assert say(place, {JOURNAL_4: data[: ends_of(data)[-2]], "a.d/synced": None}) == []


@pytest.mark.parametrize("name", [JOURNAL_3, JOURNAL_4])
def test_a_journal_that_is_gone_is_said(place: Place, name: str) -> None:
    said = say(place, {name: None, GENERATION_4: b"" if name == JOURNAL_3 else None})
    gone = [text for event, text in said if event == events.RECORDS_GONE.message_id]
    assert len(gone) == 1
    assert f"{place.directory / name} is gone, and" in gone[0]


def test_a_journal_that_is_gone_is_said_without_a_sync(place: Place) -> None:
    said = say(place, {JOURNAL_4: None, "a.d/synced": None})
    assert [event for event, _text in said] == [events.RECORDS_GONE.message_id]


def test_a_tap_that_was_moved_alone_misses_no_journal(place: Place) -> None:
    newest = place.files[GENERATION_4]
    nothing: dict[str, bytes | None] = dict.fromkeys(place.files)
    assert say(place, {**nothing, "a.tap": newest}) == []


def test_the_same_damage_is_kept_once(place: Place) -> None:
    """A server that crashes at each start does not fill the disk."""
    data = place.files[JOURNAL_4]
    broken = bytearray(data)
    broken[ends_of(data)[1] + 30] ^= 1
    for damaged in (bytes(broken), data[:-3]):
        place.put({JOURNAL_4: damaged, "a.d/synced": None})
        for _start in range(4):
            state = State(place.path, KEY)
            with state.store.lock():
                state.restore()
        assert len(kept_copies(place.directory / "a.d")) == 1
        assert (place.directory / JOURNAL_4).read_bytes() == damaged


def test_copies_are_never_overwritten_and_do_not_pile_up(place: Place) -> None:
    data = place.files[JOURNAL_4]
    place.put({})
    kept: list[bytes] = []
    for length in range(1, COPIES_MAX + 4):
        (place.directory / JOURNAL_4).write_bytes(data[:-length])
        state = State(place.path, KEY)
        with state.store.lock():
            state.restore()
        kept.append(data[ends_of(data)[-2] : -length])
        copies = {path.read_bytes() for path in kept_copies(place.directory / "a.d")}
        assert kept[-1] in copies
        assert len(copies) == min(length, COPIES_MAX)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every file that is written through `Files` find the disk full."""

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tapd.store.files.Files.write", refuse)


@pytest.mark.usefixtures("full_disk")
def test_nothing_that_was_promised_is_cut_unless_it_can_be_kept(place: Place) -> None:
    """The start is tried again, and the journal is as it was."""
    data = place.files[JOURNAL_4]
    broken = bytearray(data)
    broken[ends_of(data)[1] + 30] ^= 1
    for damaged in (data[:-3], bytes(broken)):
        place.put({JOURNAL_4: damaged})
        with pytest.raises(StateUnwritable, match="the disk is full"):
            Life(place.path)
        assert (place.directory / JOURNAL_4).read_bytes() == damaged
        assert (place.directory / "a.d/synced").exists(), "the next start has to tell it, too"


@pytest.mark.usefixtures("full_disk")
def test_half_a_record_keeps_nobody_waiting_on_a_full_disk(place: Place) -> None:
    data = place.files[JOURNAL_4]
    ((event, text),) = say(place, {JOURNAL_4: data + b"\x50\0\0\0 begun"})
    assert event == events.TORN.message_id
    assert "what was cut is not kept" in text
    assert "the disk is full" in text


def test_a_resaved_journal_says_where_the_one_before_ended(place: Place) -> None:
    """`tapd-mktap` for a server that sleeps, say."""
    place.put({})
    state = State(place.path, KEY)
    with state.store.lock():
        state.resave(state.restore())
    journal = (place.directory / "a.d/journal-00000005").read_bytes()
    first = journal[len(MAGIC) + 20 : ends_of(journal)[1]]
    assert parse_before(first) == (4, len(place.files[JOURNAL_4]))


def test_what_is_told_without_a_start(place: Place) -> None:
    """Older journals, too, each in itself: what came before them is gone with reason."""

    def told(changed: dict[str, bytes | None]) -> list[tuple[int, Fault | None]]:
        place.put(changed)
        store = Store(place.path, KEY)
        mark = SyncMark(store.journal_directory, journal_key(KEY), store.lineage()).read()
        source = Source(store, journal_key(KEY), store.lineage(), mark)
        entries = store.generations(verify=True)
        return [(each.generation, each.fault) for each in read_beside(source, entries)]

    data = place.files[JOURNAL_3]
    damaged = bytearray(data)
    damaged[ends_of(data)[1] + 30] ^= 1
    broken: dict[str, bytes | None] = {JOURNAL_3: bytes(damaged)}
    cut: dict[str, bytes | None] = {JOURNAL_3: data[: ends_of(data)[-2]]}
    assert told({}) == [(3, None), (4, None)]
    assert told(broken) == [(3, Fault.DAMAGED), (4, None)]
    assert told(cut) == [(3, Fault.SHORT), (4, None)]
    assert told({**broken, GENERATION_4: b""}) == [(3, Fault.DAMAGED), (4, Fault.UNUSED)]
    assert told({**cut, GENERATION_4: b""}) == [(3, Fault.SHORT), (4, Fault.UNUSED)]
    assert told({JOURNAL_3: None, GENERATION_4: b""}) == [(3, Fault.MISSING), (4, Fault.UNUSED)]
    assert told({JOURNAL_4: None}) == [(3, None), (4, Fault.MISSING)]
    assert told(dict.fromkeys((name for name in NAMES if ".tap" in name), b"")) == []


def test_after_a_rollback_journals_do_not_follow_one_another(place: Place) -> None:
    """The generation that was gone back to is damaged: what came before has its own journals."""
    place.put({})
    store = Store(place.path, KEY)
    with store.lock():
        assert store.rollback(2).generation == 5
    life = Life(place.path)
    assert life.turns == TURNS
    life.commit()
    life.end()
    assert not kept_copies(place.directory / "a.d")
    (place.directory / "a.d/generation-00000005.tap").write_bytes(b"")
    turns, said = place.start()
    assert turns == LAST
    assert [getattr(each, "MESSAGE_ID", "") for each in said] == [
        events.FELL_BACK.message_id, events.SET_ASIDE.message_id,
    ]  # fmt: skip
    (copy,) = kept_copies(place.directory / "a.d")
    assert copy.name == "journal-00000005.unused"


def test_journals_of_earlier_versions_are_applied(place: Place) -> None:
    """Their first records do not say what was before."""
    key = journal_key(KEY)
    place.put({GENERATION_4: None, "a.d/last-generation": None, "a.d/synced": None})
    lineage = Store(place.path, KEY).lineage()
    path = place.directory / JOURNAL_4
    payloads = read_journal(path, key, lineage, 4).payloads
    writer = JournalWriter(path, key, lineage, 4)
    old: tuple[object, ...] = ("base", "boot", 0, False, [], [])
    for payload in [pickle.dumps(old, 5), *payloads[1:]]:
        writer.append(payload)
    writer.close()
    turns, said = place.start()
    assert (turns, said) == (LAST, [])


# --- the mark -------------------------------------------------------------------------


def test_a_mark_is_of_one_application_and_whole(tmp_path: Path) -> None:
    mark = SyncMark(tmp_path, b"k" * 32, "a1")
    assert mark.read() is None
    for place in ((3, 400), (3, 500), (4, 20)):
        mark.write(*place)
        assert mark.read() == place
    assert [path.name for path in tmp_path.iterdir()] == ["synced"]
    assert SyncMark(tmp_path, b"k" * 32, "b2").read() is None
    assert SyncMark(tmp_path, b"x" * 32, "a1").read() is None
    data = (tmp_path / "synced").read_bytes()
    for length in range(len(data)):
        (tmp_path / "synced").write_bytes(data[:length])
        assert mark.read() is None
    mark.write(5, 6)
    assert mark.read() == (5, 6), "one that was cut is written anew"
    mark.remove()
    assert mark.read() is None


def test_a_sync_that_fails_marks_nothing(tmp_path: Path) -> None:
    class Failing:
        write = staticmethod(os.write)
        ftruncate = staticmethod(os.ftruncate)

        def fdatasync(self, _fd: int) -> None:
            raise OSError(5, "Input/output error")

    mark = SyncMark(tmp_path, b"k" * 32, "a1")
    journal = JournalWriter(tmp_path / "j", b"k" * 32, "a1", 7, operations=Failing(), mark=mark)
    journal.append(b"one")
    with pytest.raises(StateUnwritable):
        journal.sync()
    assert mark.read() is None
    journal.sync_apart()  # by the disk itself
    assert mark.read() == journal.end
    journal.append(b"two")
    assert mark.read() != journal.end
    journal.close()
