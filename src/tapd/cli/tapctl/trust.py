"""``tapctl trust``: re-sign another host's files, after showing what code they would run."""

from __future__ import annotations

from pathlib import Path

import click

from tapd.cli.progress import Progress
from tapd.cli.tapctl.show import manifest_lines
from tapd.cli.taps import TAP, find_tap
from tapd.errors import TapMissing
from tapd.inspection.graph import printable
from tapd.store.adoption import find_strangers, names_of_all, sign_all
from tapd.store.files import writing
from tapd.store.generations import Store
from tapd.store.key import load_key


@click.command(short_help="Accept what another host signed.")
@TAP
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
def trust(tap: str, yes: bool) -> None:
    """Accept TAP, which another host or key signed, after showing what it would run.

    All of an application is accepted together: every generation, and the journals
    of what happened since. A file that lies alone is accepted alone.
    """
    path, key = find_tap(tap), load_key(create=True)
    store = Store(path, key)
    with Progress("looking for what is strange"):
        strangers = find_strangers(store)
    for text in strangers.passed_over:
        click.echo(f"left as it is: {printable(text)}", err=True)
    if strangers.newest is None:
        raise TapMissing(f"{path}: there is no TAP that can be read")
    if not strangers:
        click.echo(f"{path}: is signed with this host's key already")
        return
    newest = strangers.newest
    for line in manifest_lines(Path(newest.source), newest.manifest, newest, trusted=False):
        click.echo(line)
    with Progress("reading what it would run"):
        names, called = names_of_all(strangers)
    click.echo("it refers to:")
    for name in names:
        note = click.style("  (called)", fg="red") if name in called else ""
        click.echo(f"  {printable(name)}{note}")
    click.echo("to be signed:")
    for each in strangers.taps:
        click.echo(f"  {printable(str(each.path))}: generation {each.manifest.generation}")
    for journal in strangers.journals:
        count = len(journal.payloads)
        many = "record, which" if count == 1 else "records, which"
        click.echo(f"  {printable(str(journal.path))}: {count} {many} nothing verifies")
    if not yes:
        click.confirm("Loading it runs code of these. Sign it with this host's key?", abort=True)
    with store.lock(), writing(path):
        sign_all(store, strangers)
    count = len(strangers.taps) + len(strangers.journals)
    click.echo(f"{path}: signed with key {key.key_id}{f' ({count} files)' if count > 1 else ''}")
