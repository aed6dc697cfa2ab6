"""``tapctl reset`` and ``import``: TAPs set aside and taken in."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from tapd.cli.install import (
    check_free,
    describe_addresses,
    find_machine,
    plan_installation,
    write_plan,
)
from tapd.cli.naming import TAP, find_tap
from tapd.errors import TapMissing
from tapd.image.key import load_key
from tapd.image.layout import read_bytes
from tapd.image.reset import reset as reset_files
from tapd.image.snapshot import load_application
from tapd.image.store import Store
from tapd.image.tapfile import parse_tap
from tapd.model.application import check_name
from tapd.units.instance import service_unit


@click.command()
@TAP
@click.confirmation_option("--yes", "-y", prompt="Set aside all that happened since it was made?")
def reset(tap: str) -> None:
    """Go back to the TAP that tapd-mktap made; the rest is set aside, not deleted."""
    store = Store(find_tap(tap), load_key())
    if not store.tap_path.is_file():
        raise TapMissing(f"{store.tap_path}: the TAP that was made is gone; see tapctl history")
    with store.lock():
        aside = reset_files(store)
    if aside is None:
        click.echo(f"{store.name} is as it was made already")
    else:
        click.echo(f"{store.name} is as it was made; what came since is in {aside}")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="Name of the new server and its files.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the TAP there, to be run by hand. [default: as root on a machine with systemd, "
    "install it; else the current directory]",
)
@click.option("--force", is_flag=True, help="Set an existing TAP of that name aside.")
def import_file(file: Path, name: str, directory: Path | None, force: bool) -> None:
    """Make a server from FILE, which tapctl export wrote.

    It is a server of its own from then on. What another host signed is refused;
    tapctl trust FILE shows and accepts it.
    """
    check_name(name)
    pickle, manifest = parse_tap(read_bytes(file), load_key(), str(file))
    application = load_application(pickle, file, python_path=manifest.python_path)
    application.name = name
    application.lineage = secrets.token_hex(16)
    machine = find_machine()
    plan = plan_installation(machine, application, directory)
    check_free(plan, force=force)
    write_plan(machine, plan, force=force)
    where = describe_addresses(plan.addresses)
    click.echo(f"Made {plan.tap_path} from generation {manifest.generation}: {name} on {where}.")
    if plan.instance:
        click.echo(f"systemctl start {service_unit(plan.instance).removesuffix('.service')}")
    else:
        click.echo(f"tapd {plan.tap_path}")


COMMANDS = {"reset": reset, "import": import_file}
