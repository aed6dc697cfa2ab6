"""The editor against a small terminal: what is shown is always what is edited."""

from __future__ import annotations

import pickle
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapd.wire.terminal.editor import Action, LineEditor
from tapd.wire.terminal.keys import show

WIDTH = 12


class Screen:
    """A terminal with automatic margins, as VT100 and xterm have them."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[list[str]] = [[]]
        self.row = 0
        self.column = 0
        self.wraps = False  # the last column was filled; the next character wraps

    def write(self, text: str) -> None:
        for match in re.finditer(r"\x1b\[(\d*)(?:;\d+)?([A-Za-z])|(.)", text, re.DOTALL):
            number, final, character = match.groups()
            if final:
                self._control(int(number or 1), final)
            else:
                self._character(character)

    def _control(self, number: int, final: str) -> None:
        self.wraps = False
        if final == "A":
            self.row = max(0, self.row - number)
        elif final == "B":
            assert self.row + number < len(self.rows), "moved below what was written"
            self.row += number
        elif final == "C":
            self.column = min(self.width - 1, self.column + number)
        elif final == "D":
            self.column = max(0, self.column - number)
        elif final == "J":
            del self.rows[self.row + 1 :], self.rows[self.row][self.column :]
        else:
            raise AssertionError(final)

    def _line_feed(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])

    def _character(self, character: str) -> None:
        if character == "\r":
            self.column, self.wraps = 0, False
        elif character == "\n":
            self._line_feed()
        elif character == "\b":
            self.column, self.wraps = max(0, self.column - 1), False
        elif character == "\a":
            pass
        else:
            self._print(character)

    def _print(self, character: str) -> None:
        if unicodedata.combining(character):
            self.rows[self.row][self.column - (not self.wraps)] += character
            return
        size = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if self.wraps or self.column + size > self.width:
            self.column, self.wraps = 0, False
            self._line_feed()
        row = self.rows[self.row]
        row.extend(" " * (self.column + size - len(row)))
        row[self.column : self.column + size] = [character, ""][:size]
        self.column += size
        if self.column == self.width:
            self.column, self.wraps = self.width - 1, True

    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self.rows).rstrip()


def _fresh(text: str, cursor: int, prompt: str) -> tuple[str, tuple[int, int]]:
    """Return a newly drawn screen and its cursor, for comparison."""
    screen = Screen(WIDTH)
    screen.write(prompt)
    screen.write(show(text[:cursor]))
    if screen.wraps:
        screen.write("\r\n")
    place = screen.row, screen.column
    screen.write(show(text[cursor:]))
    return screen.text(), place


_TYPED = st.text(st.sampled_from("abc de_\u65e5\u672c\xe4\x00\t"), min_size=1, max_size=15)
_KEYS = st.sampled_from(
    [
        "C-a",
        "C-e",
        "C-b",
        "C-f",
        "C-d",
        "C-h",
        "C-k",
        "C-u",
        "C-w",
        "C-y",
        "C-t",
        "C-p",
        "C-n",
        "M-b",
        "M-f",
        "M-d",
        "M-Backspace",
        "Backspace",
        "Left",
        "Right",
        "Up",
        "Down",
        "Home",
        "End",
        "Delete",
        "C-r",
        "C-g",
        "Tab",
        "M-<",
        "M->",
        "Enter",
        "C-x",
    ]
)


@settings(max_examples=300)
@given(st.lists(st.one_of(_TYPED.map(lambda text: ("type", text)), _KEYS.map(lambda k: ("key", k))),
                max_size=25))  # fmt: skip
def test_the_screen_shows_the_line(steps: list[tuple[str, str]]) -> None:
    editor = LineEditor(["first line that is long", "second", "\u65e5\u672c"], WIDTH, 1000)
    screen = Screen(WIDTH)
    screen.write(editor.begin(">>> "))
    for kind, what in steps:
        editor = pickle.loads(pickle.dumps(editor))
        if kind == "type":
            screen.write(editor.insert(what))
        else:
            screen.write(editor.press(what)[0])
        prompt = ">>> " if editor.search is None else f"(search) {editor.search!r}: "
        text, place = _fresh(editor.text, editor.cursor, prompt)
        assert screen.text() == text
        # At the end of a full row the editor has gone to the next one.
        assert (screen.row, screen.column) == place
        assert not screen.wraps
        assert 0 <= editor.cursor <= len(editor.text)
    screen.write(editor.hide())
    assert screen.text() == ""
    screen.write(editor.show() + editor.leave() + "X")
    assert screen.text().endswith("\nX")


def _edit(*keys: str, text: str = "", history: tuple[str, ...] = ()) -> LineEditor:
    editor = LineEditor(history, 80, 1000)
    editor.begin(">>> ")
    editor.insert(text)
    for key in keys:
        if key.startswith("+"):
            editor.insert(key[1:])
        else:
            editor.press(key)
    return editor


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["C-a", "+X"], "Xone two"),
        (["C-b", "C-b", "+X"], "one tXwo"),
        (["C-a", "C-f", "+X"], "oXne two"),
        (["C-a", "C-d"], "ne two"),
        (["Backspace"], "one tw"),
        (["M-b", "C-k"], "one "),
        (["M-b", "C-u"], "two"),
        (["C-w"], "one "),
        (["C-w", "C-w", "C-y"], "one two"),
        (["M-Backspace", "C-a", "C-y"], "twoone "),
        (["C-a", "M-d", "M-d", "C-y"], "one two"),
        (["C-a", "M-f", "+X"], "oneX two"),
        (["C-t"], "one tow"),
        (["C-u", "C-y", "C-y"], "one twoone two"),
        (["Up"], "older"),
        (["Up", "Down"], "one two"),
        (["C-p", "C-p", "C-p", "+!"], "oldest!"),
        (["M-<", "M->", "+!"], "one two!"),
        (["C-r", "+st"], "oldest"),
        (["C-r", "+ol", "C-r"], "oldest"),
        (["C-r", "+ol", "C-g"], "one two"),
        (["C-r", "+older", "C-e", "+!"], "older!"),
        (["C-u", "Tab", "+x"], "    x"),
    ],
)
def test_keys(keys: list[str], expected: str) -> None:
    assert _edit(*keys, text="one two", history=("oldest", "older")).text == expected


def test_combining_characters_move_with_their_base() -> None:
    assert _edit("Left", "+X", text="ae\u0301").text == "aXe\u0301"
    assert _edit("Backspace", text="ae\u0301").text == "a"


def test_actions() -> None:
    editor = _edit(text="x")
    assert editor.press("C-d") == ("\a", None)  # at the end of a line that is not empty
    assert editor.press("Enter")[1] is Action.SUBMIT
    assert editor.press("C-c")[1] is Action.INTERRUPT
    assert editor.press("Tab")[1] is Action.COMPLETE
    assert _edit().press("C-d")[1] is Action.LEAVE


def test_a_line_that_is_too_long_is_refused_with_a_bell() -> None:
    editor = LineEditor((), 80, 10)
    editor.begin(">>> ")
    assert editor.insert("x" * 11) == "\a"
    assert editor.text == ""
    assert editor.overlong
    editor.begin(">>> ")
    assert not editor.overlong
