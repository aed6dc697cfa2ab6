"""Retention: which generations are kept, and which of those are compressed.

Changes files through `store.files`; the caller holds the lock.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tapd.errors import TapdError
from tapd.store.files import Files, replace_file, sync_directory
from tapd.store.layout import Entry, Layout
from tapd.store.names import generation_name
from tapd.store.tapfile import render_archived_tap

PLAIN_COUNT = 2
"""How many of the newest generations are never compressed: those that a start may need."""


def prune_generations(
    layout: Layout,
    files: Files,
    keep_count: int,
    keep_age_s: float | None,
    known_good: int | None,
) -> list[Path]:
    """Remove generations beyond a count and an age.

    The newest that verifies and the one before it always stay, and so do all newer ones,
    even damaged: they are evidence, and the disk can perhaps be repaired.

    Args:
        layout: of the application.
        files: changes the disk.
        keep_count: how many to keep at most, whether they verify or not.
        keep_age_s: the age limit of a generation, in seconds; None: no limit.
        known_good: a generation that was just written or loaded, so that it need not be
            verified again.

    Returns:
        The paths of the removed files.
    """
    entries = _own_generations(layout)
    newest_good = next(
        (
            position
            for position, entry in enumerate(entries)
            if entry.error is None and (entry.generation == known_good or _reads(layout, entry))
        ),
        None,
    )
    if newest_good is None:
        return []
    removed = []
    now_s = time.time()
    for position, entry in enumerate(entries):
        is_old = keep_age_s is not None and now_s - entry.saved_at_s > keep_age_s
        if position > newest_good + 1 and (position >= keep_count or is_old):
            files.unlink(entry.path)
            removed.append(entry.path)
    if removed:
        sync_directory(files, layout.journal_directory)
    return removed


def archive_generations(layout: Layout, files: Files) -> None:
    """Compress all generations but the newest ones; takes seconds for large ones.

    Raises:
        OSError: one can't be written; nothing is lost.
    """
    for entry in _own_generations(layout)[PLAIN_COUNT:]:
        if entry.error is None and not entry.is_archived:
            _archive(layout, files, entry)


def _own_generations(layout: Layout) -> list[Entry]:
    """Return the generations in ``NAME.d``, newest first, without those of other lineages."""
    lineage = layout.lineage()
    return [
        entry
        for entry in layout.entries()
        if entry.path.parent == layout.journal_directory
        and (entry.manifest is None or entry.manifest.lineage == lineage)
    ]


def _reads(layout: Layout, entry: Entry) -> bool:
    try:
        layout.read(entry)
    except TapdError:
        return False
    return True


def _archive(layout: Layout, files: Files, entry: Entry) -> None:
    """Compress a generation, keeping its time; remove the plain file once that is durable."""
    try:
        pickle, manifest = layout.read(entry)
    except TapdError:
        return  # damaged meanwhile: left as it is
    path = entry.path.with_name(generation_name(entry.generation, is_archived=True))
    replace_file(files, path, [render_archived_tap(pickle, manifest, layout.key)])
    with contextlib.suppress(OSError):
        os.utime(path, (entry.saved_at_s, entry.saved_at_s))
    files.unlink(entry.path)
    sync_directory(files, layout.journal_directory)
