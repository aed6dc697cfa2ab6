"""The names of an application's files, parsed and rendered: TAPs and journals.

Pure: no file is accessed. `store.layout` has the directories.
"""

from __future__ import annotations

import re

from tapd.values import Value

SUFFIX = ".tap"
ARCHIVED_SUFFIX = ".tap.gz"
SHUTDOWN_SUFFIX = "-shutdown.tap"
_DIRECTORY_SUFFIX = ".d"

CUT, DAMAGED, UNUSED = "cut", "damaged", "unused"
"""The reasons why a start kept a copy of a journal: the end of the copy's name."""

_GENERATION = re.compile(r"(generation-([0-9]{8,18}))\.tap(\.gz)?\Z")
_JOURNAL = re.compile(rf"journal-([0-9]{{8,18}})(?:\.({CUT}|{DAMAGED}|{UNUSED})(?:\.old-.+)?)?\Z")


class TapName(Value):
    """The parsed name of a TAP's file.

    Attributes:
        application: the base name of the application's files: NAME of ``NAME.tap``. For a
            generation's file, which does not have it, the name without its suffix.
        generation: the number of a generation's own file, else 0.
        is_shutdown: it is ``NAME-shutdown.tap``.
        is_archived: its pickle is compressed.
    """

    application: str
    generation: int = 0
    is_shutdown: bool = False
    is_archived: bool = False


def parse_tap_name(name: str) -> TapName:
    """Parse the name of a TAP's file.

    A TAP may have any name: one without ``.tap`` is the application's name unchanged, so
    ``x-shutdown`` is the TAP of `x-shutdown`, and ``x-shutdown.tap`` one of `x`.
    """
    if match := _GENERATION.match(name):
        return TapName(match[1], int(match[2]), is_archived=match[3] is not None)
    for suffix, is_shutdown in ((SHUTDOWN_SUFFIX, True), (SUFFIX, False)):
        if name.endswith(suffix) and name != suffix:
            return TapName(name.removesuffix(suffix), is_shutdown=is_shutdown)
    return TapName(name)


class JournalName(Value):
    """The parsed name of a journal's file.

    Attributes:
        generation: the one that the journal follows.
        copy: "" for the journal itself; for a copy the reason for it: `CUT`, `DAMAGED` or
            `UNUSED`.
    """

    generation: int
    copy: str = ""


def parse_journal_name(name: str) -> JournalName | None:
    """Parse the name of a journal or of a copy of one; None for any other file's name."""
    if match := _JOURNAL.match(name):
        return JournalName(int(match[1]), match[2] or "")
    return None


def tap_name(application: str) -> str:
    """Return the name of the TAP that was made for `application`."""
    return f"{application}{SUFFIX}"


def shutdown_name(application: str) -> str:
    """Return the name of the TAP of the newest clean stop of `application`."""
    return f"{application}{SHUTDOWN_SUFFIX}"


def directory_name(application: str) -> str:
    """Return the name of the directory that holds generations and journals."""
    return f"{application}{_DIRECTORY_SUFFIX}"


def generation_name(generation: int, *, is_archived: bool = False) -> str:
    """Return the name of a generation's file."""
    return f"generation-{generation:08}{ARCHIVED_SUFFIX if is_archived else SUFFIX}"


def journal_name(generation: int) -> str:
    """Return the name of the journal that follows `generation`."""
    return f"journal-{generation:08}"
