"""Record formats have numbers; records from before there were numbers are read, too."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import golden_journals
import pytest

from tapd.errors import BugError
from tapd.image.tracking.changes import Changes
from tapd.store.journal import records
from tapd.store.journal.file import split_records
from tapd.store.journal.history import History
from tapd.store.state import State
from tapd.testing.process import KEY

GOLDEN = Path(__file__).parents[2] / "golden"
OLD = GOLDEN / "journals-0.1.0"
"""Written by commit ff2950e: the records begin with a word."""

WORDS = {"turn", "base", "sent", "start", "settled", "progress", "try"}


def payloads_in(directory: Path) -> Iterator[bytes]:
    for path in sorted((directory / "talk.d").glob("journal-*")):
        yield from split_records(path.read_bytes())


def restore(directory: Path, tmp_path: Path) -> Any:
    shutil.copytree(directory, tmp_path / "copy")
    return State(tmp_path / "copy" / "talk.tap", KEY).restore()


def test_old_journals_give_what_they_always_gave(tmp_path: Path) -> None:
    expected = json.loads((OLD / "expected.json").read_text())
    assert golden_journals.describe(restore(OLD, tmp_path)) == expected


def test_old_journals_follow_the_first_tap_as_well(tmp_path: Path) -> None:
    """Both journals are applied where the generation between them is gone."""
    expected = json.loads((OLD / "expected.json").read_text())
    directory = shutil.copytree(OLD, tmp_path / "old")
    (directory / "talk.d" / "generation-00000002.tap").unlink()
    (directory / "talk.d" / "last-generation").unlink()
    found = golden_journals.describe(restore(directory, tmp_path))
    assert found.pop("records") > expected.pop("records")
    assert found == expected


def test_the_old_journals_hold_all_that_a_record_can_say() -> None:
    old = [pickle.loads(payload) for payload in payloads_in(OLD)]
    assert {record[0] for record in old} == WORDS
    turns = [records.parse_record(payload) for payload in payloads_in(OLD)]
    said = {
        name
        for record in turns
        if isinstance(record, records.TurnRecord)
        for name, value in record.as_dict().items()
        if value
    }
    assert said == set(records.TurnRecord.__match_args__)


def test_old_and_new_records_add_up_to_the_same() -> None:
    """What was read of an old journal is written as today, read again, and is the same."""
    old, new = History(), History()
    for payload in payloads_in(OLD):
        old_changes = old.apply(payload)
        again = records.parse_record(payload).render()
        assert type(pickle.loads(again)[0]) is int
        new_changes = new.apply(again)
        for name in Changes.__slots__ if old_changes is not None else ():
            assert getattr(old_changes, name) == getattr(new_changes, name)
        assert (old_changes is None) == (new_changes is None)
    for name in ("boot_id", "clean", "level", "trial", "skipped", "falls", "records", "fell"):
        assert getattr(old, name) == getattr(new, name)
    assert list(map(records.render_row, old.streams.values())) == list(
        map(records.render_row, new.streams.values())
    )


def test_a_server_of_today_writes_numbers_and_restores_the_same(tmp_path: Path) -> None:
    golden_journals.make(tmp_path / "new")
    expected = json.loads((tmp_path / "new" / "expected.json").read_text())
    assert golden_journals.describe(restore(tmp_path / "new", tmp_path)) == expected
    numbers = {pickle.loads(payload)[0] for payload in payloads_in(tmp_path / "new")}
    assert numbers == set(records.FORMATS)


def test_a_number_stands_for_these_fields_for_ever() -> None:
    """To change a row breaks journals that are there: give the format another number."""
    assert {number: cls.__match_args__ for number, cls in records.FORMATS.items()} == {
        1: (
            "opens", "moves", "closes", "new", "states", "deltas", "shares", "ports", "bases",
            "classes", "joint",
        ),
        2: ("boot_id", "level", "clean", "streams", "ports", "before"),
        3: ("streams", "ports"),
        4: ("boot_id", "level"),
        5: (),
        6: ("skipped",),
        7: ("kind", "key", "position", "attempt"),
    }  # fmt: skip


def test_a_turn_is_written_in_the_order_of_its_fields() -> None:
    opens = [(1, 11, False, 0)]
    moves: list[records.Move] = [(1, 5, b"out", 0)]
    changes = Changes([(1, b"n")], [(2, b"s")], [(3, b"d")], [(4, b"c")], [((5, 6), b"j")])
    ports: list[records.PortMove] = [("port", [], [(b"x", None)])]
    row: records.StreamRow = (2, 22, True, 0, 1, 2, b"o", 3, 4)
    payload = records.render_turn(opens, moves, [9], changes, [([b"all"], [1])], ports, [row])
    assert records.parse_record(payload) == records.TurnRecord(
        opens=opens, moves=moves, closes=[9], new=changes.new, states=changes.states,
        deltas=changes.deltas, shares=[([b"all"], [1])], ports=ports, bases=[row],
        classes=changes.classes, joint=changes.joint,
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields", [(99, 1, 2), (0,), ("later",), (4, "boot"), (4, "boot", 1, "more"), (5, None)]
)
def test_a_record_of_another_tapd_is_refused(fields: tuple[Any, ...]) -> None:
    payload = pickle.dumps(fields, 5)
    with pytest.raises(BugError, match="was tapd downgraded"):
        records.parse_record(payload)
    assert records.parse_before(payload) is None


def test_the_place_before_is_read_from_numbered_and_old_records() -> None:
    base = records.render_base("boot", 0, [], clean=True, before=(3, 400))
    assert records.parse_before(base) == (3, 400)
    assert records.parse_before(pickle.dumps(("base", "boot", 0, True, [], [], (3, 400)), 5)) == (
        3, 400,
    )  # fmt: skip
    assert records.parse_before(pickle.dumps(("base", "boot", 0, True, []), 5)) is None
    assert records.parse_before(records.render_settled()) is None
