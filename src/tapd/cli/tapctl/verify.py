"""``tapctl verify``: check every generation and journal of a TAP.

No code of the TAP is run, except with ``--upgrade``, which says so.
"""

from __future__ import annotations

import sys

import click

from tapd.cli.output import describe_loss, emit, render_size
from tapd.cli.progress import Progress
from tapd.cli.tapctl.generations import choose_entry, entry_data, verify_all
from tapd.cli.tapctl.journals import copy_lines, find_segments, segment_data, segment_line
from tapd.cli.taps import JSON, TAP, find_tap
from tapd.errors import JournalDamaged, TapMissing, UpgradeRefused
from tapd.store.key import load_key
from tapd.store.layout import Entry, Layout


@click.command(short_help="Check every generation and journal of a TAP.")
@TAP
@JSON
@click.option("--upgrade", is_flag=True, help="Also load it with the code installed: runs that.")
def verify(tap: str, as_json: bool, upgrade: bool) -> None:
    """Check all generations and journals of TAP: damage, signature, what else is wrong."""
    layout = Layout(find_tap(tap), load_key())
    entries = verify_all(layout)
    rehearsed = _rehearse(layout, choose_entry(layout, entries, None)) if upgrade else None
    bad = [entry for entry in entries if entry.error]
    segments = find_segments(layout, entries)
    data = {
        "generations": [entry_data(entry) for entry in entries],
        "journals": [segment_data(segment) for segment in segments],
        "rehearsal": rehearsed,
    }

    def lines() -> list[str]:
        told = [
            f"generation {entry.generation or '?'}: "
            + (click.style(str(entry.error), fg="red") if entry.error else _good(entry))
            for entry in entries
        ]
        told += [segment_line(segment, entries) for segment in segments]
        told += copy_lines(layout)
        return [*told, rehearsed] if rehearsed else told

    emit(as_json, data, lines)
    if entries and (manifest := entries[0].manifest) is not None and manifest.unfit_count:
        unfit = manifest.unfit_count
        raise UpgradeRefused(
            f"objects in generation {entries[0].generation} that the code which saved it could not "
            f"take: {unfit}; first: {describe_loss(manifest.unfit[0])}. They are kept as they "
            "were: fix the class, or go back to the code that fits, and they come back"
        )
    if bad or not entries:
        sys.exit(bad[0].error.exit_status if bad and bad[0].error else TapMissing.exit_status)
    if any(segment.fault is not None and segment.fault.is_hole for segment in segments):
        sys.exit(JournalDamaged.exit_status)


def _good(entry: Entry) -> str:
    unfit = entry.manifest.unfit_count if entry.manifest else 0
    return click.style(f"good; objects kept unfit: {unfit}", fg="red") if unfit else "good"


def _rehearse(layout: Layout, entry: Entry) -> str:
    """Load a generation and the journals since, as a reload tries new code; change nothing.

    Raises:
        TapdError: the reload would be refused for this.
    """
    from tapd.host.upgrade import load_with_present_code  # noqa: PLC0415 - the only one to load

    with Progress(f"loading {render_size(entry.size_bytes)}"):
        restored = load_with_present_code(layout, entry)
    many = "s" if restored.records > 1 else ""
    since = f", with {restored.records} journal record{many} since," if restored.records else ""
    told = f"{restored.application!r} with the code installed"
    return f"generation {entry.generation}{since} loads as {told}"
