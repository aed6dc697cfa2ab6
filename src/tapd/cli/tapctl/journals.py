"""Reports for ``tapctl verify`` and ``rollback`` whether journals are torn or damaged.

Changes no file and runs no code of a TAP, so root can use it on any TAP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tapd.cli.output import render_size
from tapd.store.journal.aside import kept_copies
from tapd.store.journal.chain import Fault, Segment, Source, read_beside
from tapd.store.journal.file import journal_key
from tapd.store.journal.sync_mark import SyncMark
from tapd.store.layout import Entry, Layout
from tapd.store.lock import holder_of

_OUTLOOK = {
    Fault.TORN: "a start cuts that and keeps a copy",
    Fault.DAMAGED: "a start goes on with the {records} before it and keeps a copy",
    Fault.SHORT: "put it back before the next start if you have it; "
    "a start goes on with the {records} that are left",
    Fault.MISSING: "put it back before the next start if you have it; a start goes on without it",
    Fault.FOREIGN: "a start sets it aside",
    Fault.UNUSED: "a start sets it aside",
}
"""What the next start does with a journal, by its fault."""


def find_segments(layout: Layout, entries: Sequence[Entry]) -> list[Segment]:
    """Return the journals beside `entries`, newest first, with what is wrong with each.

    The list is empty where no TAP is good, as there is nothing to apply journals to.

    Raises:
        TapdError: one can't be read.
    """
    good = next((entry.manifest for entry in entries if entry.manifest is not None), None)
    if good is None:
        return []
    key = journal_key(layout.key)
    # A running server may be in the middle of writing a record: a torn one is no fault.
    is_running = holder_of(layout.journal_directory) is not None
    mark = SyncMark(layout.journal_directory, key, good.lineage).read()
    segments = read_beside(Source(layout, key, good.lineage, mark), entries)
    return [
        segment.replace(fault=None, problem="")
        if is_running and segment.fault is Fault.TORN
        else segment
        for segment in reversed(segments)
    ]


def segment_data(segment: Segment) -> dict[str, Any]:
    """Return what `--json` prints of a journal."""
    contents = segment.contents
    return {
        "generation": segment.generation,
        "path": str(segment.path),
        "records": len(contents.payloads) if contents else 0,
        "size_bytes": contents.size if contents else 0,
        "fault": segment.fault.value if segment.fault else None,
        "error": segment.problem or None,
    }


def segment_line(segment: Segment, entries: Sequence[Entry]) -> str:
    """Return the state of a journal in one line; `entries` are the generations."""
    records = _count(segment)
    if segment.fault is None:
        return f"journal {segment.generation}: good; {records}"
    newest = next((entry.generation for entry in entries if entry.error is None), 0)
    if segment.generation < newest:
        outlook = f"no start needs it while generation {newest} is good"
    else:
        outlook = _OUTLOOK[segment.fault].format(records=records)
    told = f"{segment.problem}; {outlook}"
    colour = "red" if segment.fault.is_hole else "yellow"
    return f"journal {segment.generation}: {click.style(told, fg=colour)}"


def segment_note(segment: Segment) -> str:
    """Return how many records a journal adds to its generation, and its fault."""
    if segment.contents is None:
        return segment.fault.value if segment.fault else ""
    return _count(segment) + (f", then {segment.fault.value}" if segment.fault else "")


def copy_lines(layout: Layout) -> list[str]:
    """Return a line for each damaged journal that a start set aside."""
    copies = kept_copies(layout.journal_directory)
    return [f"kept aside: {path} ({render_size(path.lstat().st_size)})" for path in copies]


def start_line(entries: Sequence[Entry], segments: Sequence[Segment]) -> str:
    """Return a line that says what a start would load."""
    good = next((entry for entry in entries if entry.error is None), None)
    if good is None:
        return "a start loads nothing: no generation is good"
    records = 0
    for segment in segments:
        if segment.generation >= good.generation and segment.contents is not None:
            records += len(segment.contents.payloads)
    return f"a start loads generation {good.generation} and applies {_many(records)} of journals"


def _count(segment: Segment) -> str:
    return _many(len(segment.contents.payloads) if segment.contents else 0)


def _many(records: int) -> str:
    return f"{records} record{'' if records == 1 else 's'}"
