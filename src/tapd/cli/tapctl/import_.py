"""``tapctl import``: make a server from an exported file."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import click

from tapd.cli.machine import find_machine
from tapd.cli.mktap.plan import check_free, describe_addresses, plan_installation, write_new
from tapd.errors import UsageError
from tapd.model.application import Application, check_name
from tapd.store.key import load_key
from tapd.store.layout import read_bytes
from tapd.store.snapshot import load_application
from tapd.store.tapfile import parse_tap
from tapd.units.instance import service_unit


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
    """Replace the ports of the services that `ports` name, each as ``[SERVICE=]PORT``.

    A service that is not named keeps its ports.

    Raises:
        UsageError: there is no such service or address, or it is not clear which service.
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
