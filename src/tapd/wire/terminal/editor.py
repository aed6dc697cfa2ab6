"""The line editor: keys in, screen updates out.

Sans-IO. Every method returns the text that updates the terminal from its old to its new state.
The editor's state is the line, the cursor and a few strings, so another process can continue a
half-typed line. The keys are those of emacs and readline.

The cursor's screen position is never stored. It follows from the prompt, the text before the
cursor and the terminal's width (`keys.advance`). To make it unambiguous, text that ends
exactly at the right margin is followed by CR LF: terminals disagree about the cursor there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from tapd.model.durable.persistent import Persistent
from tapd.wire.terminal.keys import advance, show

WIDTH_DEFAULT = 80
_WIDTH_MIN = 10
_BELL = "\a"
_ERASE_BELOW = "\x1b[J"
_INDENT = 4


class Action(Enum):
    """What a key asks of the session, besides editing."""

    SUBMIT = "submit"
    INTERRUPT = "interrupt"
    LEAVE = "leave"
    COMPLETE = "complete"


class LineEditor(Persistent):
    """Edits one line.

    Attributes:
        prompt: the text before the line.
        text: the line.
        cursor: an index into `text`.
        width: of the terminal, in cells.
        characters_max: a longer line is refused; `overlong` is set then.
        history: earlier lines, oldest first; the session appends to it.
        history_back: how many lines back the shown one is; 0 is the new line.
        stash: the new line, while an earlier one is shown.
        killed: the text that C-y inserts.
        search: the text that C-r searches for; None outside of a search.
    """

    def __init__(self, history: Sequence[str], width: int, characters_max: int) -> None:
        self.prompt = ""
        self.text = ""
        self.cursor = 0
        self.width = WIDTH_DEFAULT
        self.characters_max = characters_max
        self.overlong = False
        self.history = history
        self.history_back = 0
        self.stash = ""
        self.killed = ""
        self.kill_goes_on = False
        self.search: str | None = None
        self.resize(width)

    # --- the session's side ---------------------------------------------------

    def begin(self, prompt: str) -> str:
        """Start a new, empty line after `prompt`."""
        if self.prompt != prompt:
            self.prompt = prompt
        if self.text:
            self.text = ""
            self.cursor = 0
        if self.history_back or self.stash:
            self.history_back = 0
            self.stash = ""
        if self.overlong:
            self.overlong = False
        return prompt

    def resize(self, width: int) -> None:
        """Set the terminal's width; 0 if unknown."""
        width = width if width >= _WIDTH_MIN else WIDTH_DEFAULT
        if width != self.width:
            self.width = width

    def hide(self) -> str:
        """Erase prompt and line; the cursor is then where the prompt began."""
        row, column = self._place(self.cursor)
        return self._travel((row, column), (0, 0)) + _ERASE_BELOW

    def show(self) -> str:
        """Draw prompt and line from the first column on."""
        return self._draw_from(0, with_prompt=True)

    def leave(self) -> str:
        """Move below the line, as after submitting it."""
        end = self._place(len(self.text))
        moved = self._travel(self._place(self.cursor), end)
        return moved if end[1] == 0 and end[0] else moved + "\r\n"

    def insert(self, text: str) -> str:
        """Insert `text` at the cursor.

        At the end of the line, which is the hot path, the result does not depend on how the
        text was split.
        """
        if self.search is not None:
            return "".join(self._search_for(self.search + character, 0) for character in text)
        if self.kill_goes_on:
            self.kill_goes_on = False
        old = self.text
        if len(old) + len(text) > self.characters_max:
            self.overlong = True
            return _BELL
        if self.cursor < len(old):
            return self._replace(self.cursor, self.cursor, text)
        self.text = old + text
        self.cursor = len(self.text)
        column = advance(self.prompt + old, 0, 0, self.width)[1]
        if text.isascii() and text.isprintable() and column + len(text) < self.width:
            return text
        return _append(text, column, self.width)

    def takes_whole_line(self, size: int) -> bool:
        """Whether a line of `size` cells would be shown and submitted unchanged."""
        untouched = not (self.text or self.kill_goes_on or self.overlong or self.history_back)
        return untouched and self.search is None and len(self.prompt) + size < self.width

    def press(self, key: str) -> tuple[str, Action | None]:
        """Handle a key that is not text; return the screen update and the action."""
        if self.search is None:
            return self._press(key)
        if key == "Backspace":
            return self._search_for(self.search[:-1], 0), None
        if key == "C-r":
            return self._search_for(self.search, self.history_back + 1), None
        if key in ("C-g", "C-c"):
            return self._end_search(keep=False), None
        ended = self._end_search(keep=True)
        screen, action = self._press(key)
        return ended + screen, action

    def _press(self, key: str) -> tuple[str, Action | None]:
        if self.kill_goes_on and key not in _KILLS:
            self.kill_goes_on = False
        if key == "Tab" and not self.text[: self.cursor].strip(" "):
            return self.insert(" " * (_INDENT - self.cursor % _INDENT)), None
        if key in _ACTIONS and not (key == "C-d" and self.text):
            return "", _ACTIONS[key]
        name = _KEYS.get(key)
        if name is None:
            return "", None
        method: Callable[[], str] = getattr(self, name)
        return method(), None

    # --- drawing --------------------------------------------------------------

    def _place(self, index: int) -> tuple[int, int]:
        """Return row and column of the cursor before ``text[index]``."""
        return advance(self._shown_prompt() + self.text[:index], 0, 0, self.width)

    def _shown_prompt(self) -> str:
        return self.prompt if self.search is None else f"(search) {self.search!r}: "

    @staticmethod
    def _travel(here: tuple[int, int], there: tuple[int, int]) -> str:
        """Return the sequence that moves the cursor between two positions of the line."""
        (row, column), (to_row, to_column) = here, there
        vertical = ""
        if row > to_row:
            vertical = f"\x1b[{row - to_row}A"
        elif row < to_row:
            vertical = f"\x1b[{to_row - row}B"
        if to_column == column:
            return vertical
        if to_column == 0:
            return vertical + "\r"
        if to_column < column:
            back = column - to_column
            return vertical + ("\b" * back if back <= 4 else f"\x1b[{back}D")
        return f"{vertical}\x1b[{to_column - column}C"

    def _draw_from(self, index: int, *, with_prompt: bool = False) -> str:
        """Draw ``text[index:]`` at its position, then place the cursor."""
        drawn = show(self.text[index:])
        if with_prompt:
            drawn = self._shown_prompt() + drawn
        end = self._place(len(self.text))
        if end[1] == 0 and drawn:
            drawn += "\r\n"
        if self.cursor == len(self.text):
            return drawn
        return drawn + self._travel(end, self._place(self.cursor))

    def _replace(self, start: int, end: int, new: str) -> str:
        """Replace ``text[start:end]`` by `new` and put the cursor after it."""
        here, there = self._place(self.cursor), self._place(start)
        tail = self.text[end:]
        behind = len(self.text) > start
        self.text = self.text[:start] + new + tail
        self.cursor = start + len(new)
        erased = _ERASE_BELOW if behind else ""
        return self._travel(here, there) + erased + self._draw_from(start)

    def _move(self, index: int) -> str:
        here, there = self._place(self.cursor), self._place(index)
        self.cursor = index
        return self._travel(here, there)

    def _set_line(self, text: str) -> str:
        return self._replace(0, len(self.text), text)

    # --- moving ---------------------------------------------------------------

    def _before(self, index: int) -> int:
        """Return the index of the character before `index`, skipping combining characters."""
        index -= 1
        while index > 0 and advance(self.text[index], 0, 0, 99) == (0, 0):
            index -= 1
        return max(index, 0)

    def _after(self, index: int) -> int:
        index += 1
        while index < len(self.text) and advance(self.text[index], 0, 0, 99) == (0, 0):
            index += 1
        return min(index, len(self.text))

    def _word_before(self, index: int) -> int:
        while index and not _is_word(self.text[index - 1]):
            index -= 1
        while index and _is_word(self.text[index - 1]):
            index -= 1
        return index

    def _word_after(self, index: int) -> int:
        size = len(self.text)
        while index < size and not _is_word(self.text[index]):
            index += 1
        while index < size and _is_word(self.text[index]):
            index += 1
        return index

    def _key_home(self) -> str:
        return self._move(0)

    def _key_end(self) -> str:
        return self._move(len(self.text))

    def _key_back(self) -> str:
        return self._move(self._before(self.cursor))

    def _key_forward(self) -> str:
        return self._move(self._after(self.cursor))

    def _key_word_back(self) -> str:
        return self._move(self._word_before(self.cursor))

    def _key_word_forward(self) -> str:
        return self._move(self._word_after(self.cursor))

    # --- deleting -------------------------------------------------------------

    def _key_backspace(self) -> str:
        if not self.cursor:
            return _BELL
        return self._replace(self._before(self.cursor), self.cursor, "")

    def _key_delete(self) -> str:
        at = self.cursor
        return self._replace(at, self._after(at), "") if at < len(self.text) else _BELL

    def _kill(self, start: int, end: int) -> str:
        """Delete a range and keep it for C-y, joined to the text killed just before."""
        part = self.text[start:end]
        if not self.kill_goes_on:
            self.killed = part
        elif end == self.cursor:
            self.killed = part + self.killed
        else:
            self.killed += part
        self.kill_goes_on = True
        return self._replace(start, end, "") if part else ""

    def _key_kill_end(self) -> str:
        return self._kill(self.cursor, len(self.text))

    def _key_kill_start(self) -> str:
        return self._kill(0, self.cursor)

    def _key_kill_word_back(self) -> str:
        return self._kill(self._word_before(self.cursor), self.cursor)

    def _key_kill_word_forward(self) -> str:
        return self._kill(self.cursor, self._word_after(self.cursor))

    def _key_rubout(self) -> str:
        """Kill back to white space."""
        index = len(self.text[: self.cursor].rstrip())
        while index and not self.text[index - 1].isspace():
            index -= 1
        return self._kill(index, self.cursor)

    def _key_yank(self) -> str:
        return self.insert(self.killed)

    def _key_transpose(self) -> str:
        at = min(self.cursor, len(self.text) - 1)
        if at < 1:
            return _BELL
        return self._replace(at - 1, at + 1, self.text[at] + self.text[at - 1])

    def _key_clear(self) -> str:
        return "\x1b[H\x1b[2J" + self.show()

    # --- history --------------------------------------------------------------

    def _recall(self, back: int) -> str:
        if not 0 <= back <= len(self.history) or back == self.history_back:
            return _BELL
        if not self.history_back:
            self.stash = self.text
        self.history_back = back
        return self._set_line(self.history[-back] if back else self.stash)

    def _key_earlier(self) -> str:
        return self._recall(self.history_back + 1)

    def _key_later(self) -> str:
        return self._recall(self.history_back - 1)

    def _key_earliest(self) -> str:
        return self._recall(len(self.history))

    def _key_latest(self) -> str:
        return self._recall(0)

    def _key_search(self) -> str:
        if not self.history_back:
            self.stash = self.text
        erased = self.hide()
        self.search = ""
        return erased + self.show()

    def _search_for(self, wanted: str, back: int) -> str:
        """Show the newest line that contains `wanted`, from `back` lines back on."""
        erased = self.hide()
        back = max(back, 1)
        found = False
        while wanted and back <= len(self.history) and not found:
            found = wanted in self.history[-back]
            back += not found
        self.search = wanted
        if found:
            self.history_back = back
            self.text = self.history[-back]
            self.cursor = self.text.rfind(wanted)
        return erased + self.show() + ("" if found or not wanted else _BELL)

    def _end_search(self, *, keep: bool) -> str:
        erased = self.hide()
        self.search = None
        if not keep:
            self.history_back = 0
            self.text = self.stash
            self.cursor = len(self.text)
        return erased + self.show()

    def __repr__(self) -> str:
        return f"<LineEditor {self.text!r}>"


def _append(text: str, column: int, width: int) -> str:
    """Return the sequence that shows `text` from `column` on, with CR LF after each full row."""
    pieces = []
    for character in text:
        shown = show(character)
        row, column = advance(shown, 0, column, width)
        pieces.append(shown + "\r\n" if row and not column else shown)
    return "".join(pieces)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_ACTIONS = {
    "Enter": Action.SUBMIT,
    "C-c": Action.INTERRUPT,
    "C-d": Action.LEAVE,
    "Tab": Action.COMPLETE,
}

_KEYS = {
    "C-a": "_key_home", "Home": "_key_home",
    "C-e": "_key_end", "End": "_key_end",
    "C-b": "_key_back", "Left": "_key_back",
    "C-f": "_key_forward", "Right": "_key_forward",
    "M-b": "_key_word_back", "C-Left": "_key_word_back", "M-Left": "_key_word_back",
    "M-f": "_key_word_forward", "C-Right": "_key_word_forward", "M-Right": "_key_word_forward",
    "Backspace": "_key_backspace",
    "C-d": "_key_delete", "Delete": "_key_delete",
    "C-k": "_key_kill_end",
    "C-u": "_key_kill_start",
    "C-w": "_key_rubout",
    "M-Backspace": "_key_kill_word_back",
    "M-d": "_key_kill_word_forward",
    "C-y": "_key_yank",
    "C-t": "_key_transpose",
    "C-l": "_key_clear",
    "C-p": "_key_earlier", "Up": "_key_earlier",
    "C-n": "_key_later", "Down": "_key_later",
    "M-<": "_key_earliest",
    "M->": "_key_latest",
    "C-r": "_key_search",
}  # fmt: skip

_KILLS = frozenset(("C-k", "C-u", "C-w", "M-Backspace", "M-d"))
