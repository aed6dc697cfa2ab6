"""``tapctl rollback``: make an earlier generation the newest again."""

from __future__ import annotations

import click

from tapd.cli.output import table
from tapd.cli.tapctl.generations import choose_entry, entry_row, verify_all
from tapd.cli.tapctl.journals import copy_lines, find_segments, segment_note, start_line
from tapd.cli.taps import TAP, find_tap
from tapd.errors import UsageError
from tapd.store.generations import Store
from tapd.store.key import load_key
from tapd.store.layout import Layout


@click.command(short_help="Make an earlier generation the newest again.")
@TAP
@click.argument("generation", type=int, required=False)
@click.option("--yes", "-y", is_flag=True, help="Confirm the action without prompting.")
def rollback(tap: str, generation: int | None, yes: bool) -> None:
    """Make GENERATION the newest again; the server must be stopped.

    Without GENERATION, list what can be had, and how far each journal goes.
    """
    path, key = find_tap(tap), load_key()
    store, layout = Store(path, key), Layout(path, key)
    if generation is None and yes:
        raise UsageError("rollback --yes: say which GENERATION; without --yes they are listed")
    if generation is None:
        _list_offers(layout, tap)
        return
    with store.lock():
        choose_entry(layout, layout.generations(), generation)  # fail before asking
        if not yes:
            click.confirm("Go back? What was saved since stays in the past", abort=True)
        report = store.rollback(generation)
    click.echo(f"generation {generation} is the newest again, as {report.generation}")


def _list_offers(layout: Layout, tap: str) -> None:
    entries = verify_all(layout)
    segments = find_segments(layout, entries)
    notes = {segment.generation: segment_note(segment) for segment in segments}
    header = (">GENERATION", "SAVED", ">SIZE", "FILE", "JOURNAL", "NOTES")
    rows = [
        [*row[:-1], notes.get(entry.generation, ""), row[-1]]
        for entry, row in zip(entries, map(entry_row, entries), strict=True)
    ]
    for line in [
        *table(header, rows),
        *copy_lines(layout),
        start_line(entries, segments),
    ]:
        click.echo(line)
    click.echo(
        f"To go back to one, as it was saved and without its journal: tapctl rollback {tap}"
        " GENERATION"
    )
