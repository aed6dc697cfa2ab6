"""The generations of a TAP, for several commands: choosing, checking and printing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapd.cli.output import render_size, render_time
from tapd.cli.progress import Progress
from tapd.errors import TapForeign, TapMissing
from tapd.store.layout import Entry, Layout


def choose_entry(
    layout: Layout, entries: Sequence[Entry], generation: int | None, *, strangers: bool = False
) -> Entry:
    """Return the newest good one of `entries`, or that of `generation`.

    Args:
        layout: of the files.
        entries: to choose from, newest first.
        generation: which one is wanted.
        strangers: where none is good, accept one that another key signed.

    Raises:
        TapMissing: there is none.
        TapdError: what is wrong with the one that is wanted.
    """
    wanted = [entry for entry in entries if generation in (None, entry.generation)]
    good = next((entry for entry in wanted if entry.error is None), None)
    if good is not None:
        return good
    if strangers:
        strange = next((entry for entry in wanted if isinstance(entry.error, TapForeign)), None)
        if strange is not None:
            return strange
    if wanted and wanted[0].error:
        raise wanted[0].error
    there = ", ".join(str(entry.generation or "?") for entry in entries)
    raise TapMissing(
        f"{layout.named_path}: there is no generation {generation}; there are: {there}"
        if generation is not None and entries
        else f"{layout.named_path}: there is no TAP; make one with tapd-mktap"
    )


def verify_all(layout: Layout) -> list[Entry]:
    """Return all generations, newest first, every byte of each checked."""
    entries = layout.generations()
    checked = []
    with Progress("checking", sum(entry.size_bytes for entry in entries)) as progress:
        for entry in entries:
            checked.append(layout.verified(entry))
            progress.advance(entry.size_bytes)
    return checked


def entry_data(entry: Entry) -> dict[str, Any]:
    """Return what `--json` prints of a generation."""
    manifest = entry.manifest
    return {
        "generation": entry.generation,
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "saved_at": manifest.saved_at if manifest else None,
        "clean": manifest.clean if manifest else None,
        "losses": manifest.loss_count if manifest else None,
        "unfit": manifest.unfit_count if manifest else None,
        "archived": entry.is_archived,
        "error": str(entry.error) if entry.error else None,
    }


def entry_row(entry: Entry) -> list[str]:
    """Return the cells of a generation: number, time, size, file and notes."""
    manifest = entry.manifest
    notes = []
    if manifest is None:
        notes.append(str(entry.error))
    else:
        notes.extend(["clean stop"] * manifest.clean)
        notes.extend([f"{manifest.loss_count} lost"] * bool(manifest.loss_count))
        notes.extend([f"{manifest.unfit_count} unfit"] * bool(manifest.unfit_count))
        notes.extend(["compressed"] * entry.is_archived)
    return [
        str(entry.generation or "?"), render_time(entry.saved_at_s), render_size(entry.size_bytes),
        entry.path.name, ", ".join(notes),
    ]  # fmt: skip
