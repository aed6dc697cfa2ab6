"""Unit files as values: systemd.syntax(7), read and written back unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.errors import UnitFileMalformed
from tapd.units.unitfile import (
    Comment,
    Section,
    Setting,
    UnitFile,
    parse_unit_file,
)

PACKAGED = sorted((Path(__file__).parents[2] / "packaging" / "systemd").rglob("tapd*@.*"))

KEYS = st.from_regex(r"[A-Z][A-Za-z0-9]{0,11}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30)
LINES = st.one_of(
    st.builds("{}={}".format, KEYS, VALUES),
    st.builds("  {} = {} \\\n  # between\n  {}".format, KEYS, VALUES, VALUES),
    st.builds("# {}".format, VALUES),
    st.builds("; {}".format, VALUES),
    st.builds("[{}]".format, KEYS),
    st.sampled_from(["", "   ", "\t"]),
)


@given(st.lists(LINES, max_size=12), st.sampled_from(["", "\n", "\r\n"]))
def test_what_was_parsed_is_rendered_byte_for_byte(lines: list[str], end: str) -> None:
    text = "\n".join(["[Unit]", *lines]) + end
    assert parse_unit_file(text).render() == text


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.name)
def test_packaged_units_round_trip(path: Path) -> None:
    text = path.read_text()
    unit = parse_unit_file(text, path.name)
    assert unit.render() == text
    assert list(unit.settings("Unit"))


@given(st.text(max_size=60))
def test_any_text_round_trips_or_is_refused(text: str) -> None:
    try:
        unit = parse_unit_file(text)
    except UnitFileMalformed:
        return
    assert unit.render() == text


@given(KEYS, VALUES)
def test_a_setting_is_read_back_as_it_was_given_or_refused(key: str, value: str) -> None:
    unit = UnitFile().section("Socket")
    try:
        unit = unit.setting(key, value)
    except ValueError:
        assert value != value.strip() or value.endswith("\\")
        return
    assert parse_unit_file(unit.render()) == unit
    assert list(unit.settings("Socket")) == [(key, value)]


@pytest.mark.parametrize("value", [" a", "a ", "a\nb", "a\\", "a\rb\n"])
def test_values_that_would_change_the_file_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="can't stand"):
        UnitFile().section("Socket").setting("ListenStream", value)


def test_a_setting_needs_a_section() -> None:
    with pytest.raises(ValueError, match="begin one first"):
        UnitFile().setting("ListenStream", "1")


@pytest.mark.parametrize("name", ["", "a]b", "a\nb"])
def test_impossible_section_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="section"):
        UnitFile().section(name)


def test_continued_lines_are_joined_and_comments_between_them_skipped() -> None:
    unit = parse_unit_file("[S]\nKey=one \\\n# aside\n two\\\nthree\nNext=1\n")
    assert list(unit.settings("S")) == [("Key", "one   two three"), ("Next", "1")]


def test_a_list_is_begun_anew_by_an_empty_assignment() -> None:
    unit = parse_unit_file("[S]\nA=1\nA=2\nA=\nA=3\nB=4\n[T]\nA=5\n[S]\nA=6\n")
    assert unit.values("S", "A") == ["3", "6"]
    assert unit.value("S", "A") == "6"
    assert unit.value("T", "B", "none") == "none"


@pytest.mark.parametrize(
    ("text", "line"),
    [("[S]\nnonsense\n", 2), ("A=1\n", 1), ("[S]\n=1\n", 2), ("[S]\n\n[half\n", 3)],
)
def test_malformed_lines_are_named(text: str, line: int) -> None:
    with pytest.raises(UnitFileMalformed, match=f"^x.conf: line {line} "):
        parse_unit_file(text, "x.conf")


def test_a_built_file_reads_well() -> None:
    unit = UnitFile().comment("One.\nTwo.").section("A").setting("K", "v").section("B")
    assert unit.render() == "# One.\n# Two.\n\n[A]\nK=v\n\n[B]\n"
    assert unit.parts[0] == Comment("# One.\n")
    assert unit.parts[3:5] == (Section("A", "[A]\n"), Setting("K", "v", "K=v\n"))


FEW = st.sampled_from(["A", "B", "C"])
FEW_LINES = st.one_of(
    st.builds("{}={}".format, FEW, VALUES),
    st.builds("{} = {} \\\n  # between\n  {}".format, FEW, VALUES, VALUES),
    st.builds("{}=x\\".format, FEW),
    st.builds("# {}".format, VALUES),
    st.builds("[{}]".format, FEW),
    st.just(""),
)


@given(
    st.lists(FEW_LINES, max_size=12),
    st.tuples(FEW, FEW),
    st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), max_size=3),
    st.sampled_from(["\n", ""]),
)
def test_values_change_and_no_other_line_does(
    lines: list[str], place: tuple[str, str], values: list[str], end: str
) -> None:
    """What people wrote stays byte for byte, whatever they wrote, and wherever it ends."""
    try:
        unit = parse_unit_file("\n".join(lines) + end)
    except UnitFileMalformed:
        return
    section, key = place
    changed = unit.with_values(section, key, values)
    assert [value for name, value in changed.settings(section) if name == key] == values
    read = parse_unit_file(changed.render())
    for each in "ABC":
        assert list(read.settings(each)) == list(changed.settings(each))
    assert changed.with_values(section, key, values) == changed
    before, after = (_other_lines(file, place) for file in (unit, changed))
    assert after[: len(before)] == before
    assert after[len(before) :] in ([], [f"[{section}]"], ["", f"[{section}]"])


def _other_lines(file: UnitFile, place: tuple[str, str]) -> list[str]:
    """Return the text of all parts but the assignments at `place` (section, key)."""
    section = ""
    texts = []
    for part in file.parts:
        if isinstance(part, Section):
            section = part.name
        if not (isinstance(part, Setting) and (section, part.key) == place):
            texts.append(part.text.rstrip("\n"))
    return texts
