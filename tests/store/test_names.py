"""The names of an application's files, read by one parser each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.cli.taps import control_paths, find_tap
from tapd.errors import UsageError
from tapd.store.files import free_name
from tapd.store.journal.aside import kept_copies
from tapd.store.key import Key
from tapd.store.layout import Layout
from tapd.store.names import (
    CUT,
    DAMAGED,
    UNUSED,
    JournalName,
    TapName,
    directory_name,
    generation_name,
    journal_name,
    parse_journal_name,
    parse_tap_name,
    shutdown_name,
    tap_name,
)

KEY = Key(b"k" * 32)

TAPS = [
    ("x.tap", TapName("x")),
    ("x-shutdown.tap", TapName("x", is_shutdown=True)),
    ("x-shutdown", TapName("x-shutdown")),  # without .tap: a file called so, and no clean stop
    ("x-shutdown-shutdown.tap", TapName("x-shutdown", is_shutdown=True)),
    ("x", TapName("x")),
    ("mail.example.org.tap", TapName("mail.example.org")),
    ("mail.example.org", TapName("mail.example.org")),
    ("mail.example-shutdown.tap", TapName("mail.example", is_shutdown=True)),
    ("x.tap.tap", TapName("x.tap")),
    ("x.tap.gz", TapName("x.tap.gz")),
    ("x.d", TapName("x.d")),
    (".tap", TapName(".tap")),
    ("-shutdown.tap", TapName("-shutdown")),
    ("", TapName("")),
    ("generation-00000012.tap", TapName("generation-00000012", 12)),
    ("generation-00000012.tap.gz", TapName("generation-00000012", 12, is_archived=True)),
    ("generation-123456789012.tap", TapName("generation-123456789012", 123456789012)),
    ("generation-12.tap", TapName("generation-12")),
    ("generation-old.tap", TapName("generation-old")),
    ("journal-00000012", TapName("journal-00000012")),
]

JOURNALS = [
    ("journal-00000012", JournalName(12)),
    ("journal-123456789012", JournalName(123456789012)),
    ("journal-00000012.cut", JournalName(12, CUT)),
    ("journal-00000012.damaged", JournalName(12, DAMAGED)),
    ("journal-00000012.unused", JournalName(12, UNUSED)),
    ("journal-00000012.cut.old-20261123T101112Z", JournalName(12, CUT)),
    ("journal-00000012.unused.old-20261123T101112Z-2", JournalName(12, UNUSED)),
    ("journal-00000012.old-20261123T101112Z", None),
    ("journal-00000012.cutter", None),
    ("journal-00000012.tap", None),
    ("journal-12", None),
    (".journal-00000012.tmp-123", None),
    ("generation-00000012.tap", None),
    ("x.tap", None),
    ("synced", None),
]


@pytest.mark.parametrize(("name", "meaning"), TAPS)
def test_a_taps_name(name: str, meaning: TapName) -> None:
    assert parse_tap_name(name) == meaning


@pytest.mark.parametrize(("name", "meaning"), JOURNALS)
def test_a_journals_name(name: str, meaning: JournalName | None) -> None:
    assert parse_journal_name(name) == meaning


@given(st.integers(1, 10**18 - 1))
def test_numbers_are_read_as_they_were_written(number: int) -> None:
    assert parse_journal_name(journal_name(number)) == JournalName(number)
    for is_archived in (False, True):
        read = parse_tap_name(generation_name(number, is_archived=is_archived))
        assert (read.generation, read.is_archived) == (number, is_archived)


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,20}", fullmatch=True))
def test_names_are_read_as_they_were_written(application: str) -> None:
    assert parse_tap_name(shutdown_name(application)) == TapName(application, is_shutdown=True)
    read = parse_tap_name(tap_name(application))
    assert read.application == application or read.generation or read.is_shutdown


@pytest.mark.parametrize(("name", "meaning"), [row for row in TAPS if row[0]])
def test_all_who_ask_get_the_same_application(name: str, meaning: TapName, tmp_path: Path) -> None:
    """Where a TAP's state is, its control socket and its lock are, too."""
    path = tmp_path / name
    if meaning.generation:
        with pytest.raises(UsageError, match="one generation among others"):
            Layout(path, KEY)
        return
    layout = Layout(path, KEY)
    assert layout.name == meaning.application
    if meaning.is_shutdown:
        assert layout.tap_path == tmp_path / f"{meaning.application}.tap"
    else:
        assert layout.tap_path == path
    assert [each.parent for each in control_paths(path)] == [layout.journal_directory]
    layout.journal_directory.mkdir()
    found = find_tap(str(path))  # its file is gone
    assert Layout(found, KEY).journal_directory == layout.journal_directory


def test_a_directory_is_no_tap(tmp_path: Path) -> None:
    directory = tmp_path / directory_name("x")
    directory.mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        Layout(directory, KEY)


def test_what_lies_in_a_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "x.tap", KEY)
    directory = layout.journal_directory
    directory.mkdir()
    names = [name for name, _meaning in [*TAPS, *JOURNALS] if name and "/" not in name]
    for name in names:
        (directory / name).touch()
    assert [(number, path.name) for number, path in layout.generation_files()] == [
        (123456789012, "generation-123456789012.tap"),
        (12, "generation-00000012.tap"),
        (12, "generation-00000012.tap.gz"),
    ]
    assert [number for number, _path in layout.journal_files()] == [12, 123456789012]
    copies = [name for name, meaning in JOURNALS if meaning is not None and meaning.copy]
    assert [path.name for path in kept_copies(directory)] == sorted(copies)


def test_the_name_of_a_second_copy_is_read(tmp_path: Path) -> None:
    copy = tmp_path / f"{journal_name(7)}.{CUT}"
    assert parse_journal_name(free_name(copy).name) == JournalName(7, CUT)
