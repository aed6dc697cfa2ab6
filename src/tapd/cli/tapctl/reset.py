"""``tapctl reset``: go back to the TAP that tapd-mktap made."""

from __future__ import annotations

import click

from tapd.cli.taps import TAP, find_tap
from tapd.errors import TapMissing
from tapd.store.generations import Store
from tapd.store.key import load_key
from tapd.store.reset import reset as reset_files


@click.command(short_help="Back to the TAP that tapd-mktap made.")
@TAP
@click.option("--yes", "-y", is_flag=True, help="Confirm the action without prompting.")
def reset(tap: str, yes: bool) -> None:
    """Go back to the TAP that tapd-mktap made; the rest is set aside, not deleted."""
    store = Store(find_tap(tap), load_key())
    if not store.tap_path.is_file():
        raise TapMissing(f"{store.tap_path}: the TAP that was made is gone; see tapctl history")
    with store.lock():
        if not yes:  # asked only once the lock is held: a running server is refused before
            click.confirm("Set aside all that happened since it was made?", abort=True)
        aside = reset_files(store)
    if aside is None:
        click.echo(f"{store.name} is as it was made already")
    else:
        click.echo(f"{store.name} is as it was made; what came since is in {aside}")
