"""``tapctl reset``, ``export``, ``import`` and ``trust``: TAPs set aside, given away, taken in."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import click

from tapd.cli.machine import find_machine
from tapd.cli.mktap.plan import (
    check_free,
    describe_addresses,
    plan_installation,
    write_new,
)
from tapd.cli.progress import Progress
from tapd.cli.tapctl.show import choose_entry, manifest_lines
from tapd.cli.taps import TAP, find_tap
from tapd.errors import TapMissing, UsageError
from tapd.inspection.graph import printable
from tapd.model.application import Application, check_name
from tapd.store.adoption import find_strangers, names_of_all, sign_all
from tapd.store.files import Files, replace_file, writing
from tapd.store.generations import Store
from tapd.store.journal.file import split_records
from tapd.store.key import load_key
from tapd.store.layout import Layout, read_bytes
from tapd.store.reset import reset as reset_files
from tapd.store.snapshot import load_application
from tapd.store.tapfile import parse_tap, render_tail
from tapd.units.instance import service_unit


@click.command(short_help="Back to the TAP that tapd-mktap made.")
@TAP
@click.option("--yes", "-y", is_flag=True, help="Confirm the action without prompting.")
def reset(tap: str, yes: bool) -> None:
    """Go back to the TAP that tapd-mktap made; the rest is set aside, not deleted."""
    store = Store(find_tap(tap), load_key())
    if not store.tap_path.is_file():
        raise TapMissing(f"{store.tap_path}: the TAP that was made is gone; see tapctl history")
    with store.lock():
        if not yes:  # asked only of what can be done
            click.confirm("Set aside all that happened since it was made?", abort=True)
        aside = reset_files(store)
    if aside is None:
        click.echo(f"{store.name} is as it was made already")
    else:
        click.echo(f"{store.name} is as it was made; what came since is in {aside}")


@click.command("import", short_help="Make a server from an exported file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="Name of the new server and its files.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the TAP there, to be run by hand. [default: as root on a machine with systemd, "
    "install it; else the current directory]",
)
@click.option(
    "--port",
    "ports",
    multiple=True,
    metavar="[SERVICE=]PORT",
    help="Listen there instead of where it did: PORT, HOST:PORT, unix:/PATH, as for tapd-mktap. "
    "Several services: say which. May be repeated.",
)
@click.option("--force", is_flag=True, help="Set an existing TAP of that name aside.")
def import_file(
    file: Path, name: str, directory: Path | None, ports: tuple[str, ...], force: bool
) -> None:
    """Make a server from FILE, which tapctl export wrote.

    It is a server of its own from then on. What another host signed is refused;
    tapctl trust FILE shows and accepts it.
    """
    check_name(name)
    pickle, manifest = parse_tap(read_bytes(file), load_key(), str(file))
    application = load_application(pickle, file, python_path=manifest.python_path)
    application.name = name
    application.lineage = secrets.token_hex(16)
    change_ports(application, ports)
    machine = find_machine()
    plan = plan_installation(machine, application, directory)
    check_free(plan, force=force)
    write_new(machine, plan, force=force)
    where = describe_addresses(plan.addresses)
    click.echo(f"Made {plan.tap_path} from generation {manifest.generation}: {name} on {where}.")
    if plan.instance:
        click.echo(f"systemctl start {service_unit(plan.instance).removesuffix('.service')}")
    else:
        click.echo(f"tapd {plan.tap_path}")


def change_ports(application: Application, ports: Sequence[str]) -> None:
    """Have services listen where `ports` say, each ``[SERVICE=]PORT``, and nowhere else.

    A service of which nothing is said keeps its ports.

    Raises:
        UsageError: there is no such service or address, or it isn't said which.
    """
    wanted: dict[str, list[str]] = {}
    listening = list(dict.fromkeys(port.service.name for port in application.ports))
    for text in ports:
        name, equals, where = text.rpartition("=")
        if not equals:
            candidates = listening or list(application.services)
            if len(candidates) != 1:
                raise UsageError(
                    f"--port {text}: say of which service, as in --port"
                    f" {candidates[0] if candidates else 'SERVICE'}={text}; there are:"
                    f" {', '.join(application.services)}"
                )
            name = candidates[0]
        elif name not in application.services:
            raise UsageError(
                f"--port {text}: there is no service {name!r}; there are:"
                f" {', '.join(application.services)}"
            )
        wanted.setdefault(name, []).append(where)
    application.ports[:] = [port for port in application.ports if port.service.name not in wanted]
    for name, places in wanted.items():
        for where in places:
            application.listen(where, application.services[name])


# --- export ---------------------------------------------------------------------------


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
    # The first record of each says only which connections there were.
    if generation is None and any(len(list(split_records(read_bytes(path)))) > 1 for path in since):
        click.echo(
            "what happened since is in its journal and not in there; of a running server, have"
            " tapctl checkpoint save it first",
            err=True,
        )


# --- trust ----------------------------------------------------------------------------


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


COMMANDS = {"export": export, "import": import_file, "reset": reset, "trust": trust}
