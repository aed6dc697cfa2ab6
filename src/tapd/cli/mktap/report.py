"""Prints what `tapd-mktap` would write or has made, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from tapd.cli.machine import Machine
from tapd.cli.mktap.plan import Plan, describe_addresses, start_now
from tapd.cli.mktap.request import Request
from tapd.model.application import Application
from tapd.model.server_type import Made
from tapd.model.service import Service
from tapd.store.snapshot import SaveReport
from tapd.units.instance import typed_unit


def print_plan(plan: Plan) -> None:
    """Print what ``--dry-run`` shows of a new server or service."""
    application = plan.application
    click.echo(f"# {plan.tap_path}")
    click.echo(f"# (a TAP: {application!r}, for its owner only)")
    for name, service in application.services.items():
        where = [port.address for port in application.ports if port.service is service]
        click.echo(f"#   {name}: {type(service).__qualname__} on {describe_addresses(where)}")
    print_texts(plan.texts)
    click.echo("\nNothing was written.", err=True)


def print_texts(texts: Mapping[Path, str]) -> None:
    """Print text files, each below its path."""
    for path, text in texts.items():
        click.echo(f"\n# {path}\n{text}", nl=False)


def print_losses(report: SaveReport) -> None:
    """Warn of each object that could not be saved."""
    for loss in report.losses:
        click.echo(f"tapd-mktap: not kept: {loss}", err=True)


def print_made(request: Request, machine: Machine, plan: Plan, made: Made[Service]) -> None:
    """Print what was made and how to start it; with ``--now``, start it."""
    what = f"Added {made.service.name} to" if request.append else "Made"
    services = [made.service] if request.append else list(plan.application.services.values())
    click.echo(f"{what} {plan.tap_path}: {_describe_services(plan.application, services)}.")
    if request.server_type.welcome is not None:
        for line in request.server_type.welcome(plan.application, request.options):
            click.echo(line)
    for line in made.notes:
        click.echo(line)
    if request.now:
        start_now(machine, plan.instance)
        unit = typed_unit(plan.instance)
        click.echo(f"{machine.runs_on}; see {machine.typed_systemctl} status {unit}")
    else:
        print_start_command(machine, plan)


def print_start_command(machine: Machine, plan: Plan) -> None:
    """Print the command that starts the server."""
    if plan.instance:
        click.echo(f"{machine.typed_systemctl} start {typed_unit(plan.instance)}")
    else:
        click.echo(f"tapd {plan.tap_path}")


def _describe_services(application: Application, services: Sequence[Service]) -> str:
    told = []
    for service in services:
        where = [port.address for port in application.ports if port.service is service]
        told.append(f"{service.name} on {describe_addresses(where)}" if where else service.name)
    return "; ".join(told)
