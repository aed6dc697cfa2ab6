"""``tapctl export``: write one generation to a file."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tapd.cli.tapctl.generations import choose_entry
from tapd.cli.taps import TAP, find_tap
from tapd.errors import UsageError
from tapd.store.files import Files, replace_file, writing
from tapd.store.journal.file import split_records
from tapd.store.key import load_key
from tapd.store.layout import Layout, read_bytes
from tapd.store.tapfile import render_tail


@click.command(short_help="Write one generation to a file.")
@TAP
@click.argument("target", type=click.Path(dir_okay=False))
@click.option("--generation", "-g", type=int, help="This generation, not the newest good one.")
def export(tap: str, target: str, generation: int | None) -> None:
    """Write one generation of TAP to the file TARGET, whole and signed."""
    key = load_key()
    layout = Layout(find_tap(tap), key)
    entry = choose_entry(layout, layout.generations(), generation)
    pickle, manifest = layout.read(entry)
    if os.path.lexists(target):
        raise UsageError(f"{target}: is already there; name a new file")
    with writing(Path(target)):
        replace_file(Files(), Path(target), [pickle, render_tail(pickle, manifest, key)])
    click.echo(f"generation {entry.generation} of {manifest.name} is in {target}")
    since = [path for number, path in layout.journal_files() if number >= entry.generation]
    # The first record of each holds only the connections at its start.
    if generation is None and any(len(list(split_records(read_bytes(path)))) > 1 for path in since):
        click.echo(
            "what happened since is in its journal and not in there; of a running server, have"
            " tapctl checkpoint save it first",
            err=True,
        )
