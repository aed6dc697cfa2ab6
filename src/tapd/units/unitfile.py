"""A unit file as a value: parsed, looked into, added to, and rendered as it was.

Imports only `errors`. The syntax is that of systemd.syntax(7): sections in
brackets, ``Key=value`` lines, comments by # or ;, and lines continued by a
backslash at their end. What was parsed keeps its text, byte for byte, so that a
file which people have edited comes back with their comments and their spacing.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Self

from tapd.errors import UnitFileMalformed

_BLANK = " \t\r\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Comment:
    """A comment or an empty line.

    Attributes:
        text: as it stands in the file, with its line's end.
    """

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """The head of a section.

    Attributes:
        name: without the brackets.
        text: as it stands in the file, with its line's end.
    """

    name: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One assignment.

    Attributes:
        key: left of the equals sign.
        value: right of it; continued lines are joined by a space each.
        text: as it stands in the file, with its lines' ends.
    """

    key: str
    value: str
    text: str


Part = Comment | Section | Setting


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
        """Begin the section `name`; an empty line sets it off from what stands above."""
        if not name or "]" in name or not name.isprintable():
            raise ValueError(f"{name!r} can't be a section's name")
        gap = () if not self.parts or self.parts[-1] == Comment("\n") else (Comment("\n"),)
        return dataclasses.replace(self, parts=(*self.parts, *gap, Section(name, f"[{name}]\n")))

    def setting(self, key: str, value: str) -> Self:
        """Add ``key=value`` to the section begun last.

        The value is written as it is: specifiers and quotes are the caller's
        (see `render.escape_specifiers`).

        Raises:
            ValueError: the line would not be read back as it was meant.
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

    def settings(self, section: str) -> Iterator[tuple[str, str]]:
        """Yield key and value of each assignment in `section`, wherever it continues."""
        current = ""
        for part in self.parts:
            if isinstance(part, Section):
                current = part.name
            elif isinstance(part, Setting) and current == section:
                yield part.key, part.value

    def values(self, section: str, key: str) -> list[str]:
        """Return the list that `key` stands for: an empty assignment begins it anew."""
        found: list[str] = []
        for name, value in self.settings(section):
            if name == key:
                found = [*found, value] if value else []
        return found

    def value(self, section: str, key: str, default: str = "") -> str:
        """Return what `key` was set to last."""
        return next((v for k, v in reversed(list(self.settings(section))) if k == key), default)

    def render(self) -> str:
        """Return the file's text."""
        return "".join(part.text for part in self.parts)


def parse_unit_file(text: str, source: str = "unit file") -> UnitFile:
    """Parse the text of a unit file or a drop-in.

    Args:
        text: of the whole file.
        source: names the file in the message.

    Raises:
        UnitFileMalformed: a line is no section, no assignment and no comment,
            or an assignment stands above every section.
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
                f"{source}: line {start + 1} is neither Key=value, [Section] nor a comment"
            )
        if not has_section:
            raise UnitFileMalformed(f"{source}: line {start + 1} stands above every [Section]")
        parts.append(Setting(key.strip(_BLANK), value.strip(_BLANK), "".join(lines[start:index])))
    return UnitFile(tuple(parts))
