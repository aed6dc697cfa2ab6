"""A unit file as a value: parsed, queried, changed, and rendered without loss.

The syntax is systemd.syntax(7): sections in brackets, ``Key=value`` lines, comments by # or ;,
and lines continued by a trailing backslash. Parsed parts keep their text, byte for byte, so
that comments and spacing of an edited file survive.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from tapd.errors import UnitFileMalformed

_BLANK = " \t\r\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Comment:
    """A comment or an empty line.

    Attributes:
        text: as in the file, with its line end.
    """

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """The head of a section.

    Attributes:
        name: without the brackets.
        text: as in the file, with its line end.
    """

    name: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One assignment.

    Attributes:
        key: left of the equals sign.
        value: right of it; continued lines are joined by a space.
        text: as in the file, with its line ends.
    """

    key: str
    value: str
    text: str


Part = Comment | Section | Setting


def all_of(_value: str) -> bool:
    """Return true: every value is replaced."""
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class UnitFile:
    """A unit file; each method that adds returns a new one.

    Attributes:
        parts: in the order of the file.
    """

    parts: tuple[Part, ...] = ()

    def comment(self, text: str = "") -> Self:
        """Add `text` as a comment, line by line; an empty text adds an empty line."""
        lines = text.split("\n")
        comments = (Comment(f"# {line}\n" if line else "\n") for line in lines)
        return dataclasses.replace(self, parts=(*self.parts, *comments))

    def section(self, name: str) -> Self:
        """Begin the section `name`, after an empty line."""
        if not name or "]" in name or not name.isprintable():
            raise ValueError(f"{name!r} can't be a section's name")
        gap = () if not self.parts or self.parts[-1] == Comment("\n") else (Comment("\n"),)
        return dataclasses.replace(self, parts=(*self.parts, *gap, Section(name, f"[{name}]\n")))

    def setting(self, key: str, value: str) -> Self:
        """Add ``key=value`` to the section begun last.

        The value is written unchanged: specifiers and quotes are up to the caller (see
        `render.escape_specifiers`).

        Raises:
            ValueError: the line would not be read back as intended.
        """
        if not any(isinstance(part, Section) for part in self.parts):
            raise ValueError(f"{key}= belongs into a section; begin one first")
        setting = Setting(key, value, f"{key}={value}\n")
        try:
            is_same = parse_unit_file(f"[S]\n{setting.text}").parts[1:] == (setting,)
        except UnitFileMalformed:
            is_same = False
        if not is_same:
            raise ValueError(f"{key}={value!r} can't stand in a unit file")
        return dataclasses.replace(self, parts=(*self.parts, setting))

    def with_values(
        self, section: str, key: str, values: Sequence[str], is_mine: Callable[[str], bool] = all_of
    ) -> Self:
        """Set the values of `key` in `section`; every other line stays.

        Args:
            section: its name; appended if it is missing and there are values.
            key: its assignments are replaced, at the position of the first.
            values: one line each; none removes the assignments.
            is_mine: whether a given value is to be replaced; others stay.
        """
        mine = {
            index
            for index, (place, part) in enumerate(self._placed())
            if place == section
            and isinstance(part, Setting)
            and part.key == key
            and is_mine(part.value)
        }
        end = self._end_of(section)
        if end is None:
            return self.section(section).with_values(section, key, values) if values else self
        old = [part.value for index, part in enumerate(self.parts) if index in mine]  # type: ignore[union-attr]  # settings all
        if old == list(values):
            return self
        new = UnitFile().section(section)
        for value in values:
            new = new.setting(key, value)
        at = min(mine, default=end)
        before = tuple(_ended(part) for part in self.parts[:at])
        after = tuple(
            part for index, part in enumerate(self.parts) if index >= at and index not in mine
        )
        return dataclasses.replace(self, parts=(*before, *new.parts[1:], *after))

    def _placed(self) -> Iterator[tuple[str, Part]]:
        """Yield each part with the name of its section."""
        current = ""
        for part in self.parts:
            if isinstance(part, Section):
                current = part.name
            yield current, part

    def _end_of(self, section: str) -> int | None:
        """Return the position after the last assignment (or the head) of `section`."""
        places = [
            index + 1
            for index, (place, part) in enumerate(self._placed())
            if place == section and not isinstance(part, Comment)
        ]
        return places[-1] if places else None

    @property
    def has_settings(self) -> bool:
        """Whether it has any assignment."""
        return any(isinstance(part, Setting) for part in self.parts)

    def settings(self, section: str) -> Iterator[tuple[str, str]]:
        """Yield key and value of each assignment in `section`, which may occur several times."""
        for place, part in self._placed():
            if isinstance(part, Setting) and place == section:
                yield part.key, part.value

    def values(self, section: str, key: str) -> list[str]:
        """Return the list of values of `key`: an empty assignment resets it."""
        found: list[str] = []
        for name, value in self.settings(section):
            if name == key:
                found = [*found, value] if value else []
        return found

    def value(self, section: str, key: str, default: str = "") -> str:
        """Return the last value of `key`."""
        return next((v for k, v in reversed(list(self.settings(section))) if k == key), default)

    def render(self) -> str:
        """Return the file's text."""
        return "".join(part.text for part in self.parts)


def _ended(part: Part) -> Part:
    """Return `part` with a line end, which the last line of a file may lack."""
    text = part.text if part.text.endswith("\n") else part.text + "\n"
    if isinstance(part, Setting) and len(parse_unit_file(f"[S]\n{text}K=V\n").parts) < 3:
        text += "\n"  # a continued line: an empty line ends it
    return part if text == part.text else dataclasses.replace(part, text=text)


def parse_unit_file(text: str, source: str = "unit file") -> UnitFile:
    """Parse the text of a unit file or a drop-in.

    Args:
        text: of the whole file.
        source: names the file in the message.

    Raises:
        UnitFileMalformed: a line is not a section, assignment or comment, or an
            assignment precedes every section.
    """
    parts: list[Part] = []
    lines = [line for line in re.split(r"(?<=\n)", text) if line]
    has_section = False
    index = 0
    while index < len(lines):
        start = index
        line = lines[index]
        index += 1
        bare = line.strip(_BLANK)
        if not bare or bare[0] in "#;":
            parts.append(Comment(line))
            continue
        if bare.startswith("[") and bare.endswith("]") and len(bare) > 2:
            has_section = True
            parts.append(Section(bare[1:-1], line))
            continue
        pieces = []
        while True:
            piece = line.rstrip("\r\n")
            if not piece.endswith("\\"):
                pieces.append(piece)
                break
            pieces.append(piece[:-1])
            # Comments between continued lines are skipped (systemd.syntax(7)).
            while index < len(lines) and lines[index].lstrip(_BLANK)[:1] in ("#", ";"):
                index += 1
            if index == len(lines):
                break
            line = lines[index]
            index += 1
        key, equals, value = " ".join(pieces).partition("=")
        if not equals or not key.strip(_BLANK):
            raise UnitFileMalformed(
                f"{source}: line {start + 1} is neither Key=value, [Section] nor a comment; "
                "fix or remove it"
            )
        if not has_section:
            raise UnitFileMalformed(
                f"{source}: line {start + 1} stands above every [Section]; move or remove it"
            )
        parts.append(Setting(key.strip(_BLANK), value.strip(_BLANK), "".join(lines[start:index])))
    return UnitFile(tuple(parts))
