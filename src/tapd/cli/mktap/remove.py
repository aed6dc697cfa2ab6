"""``tapd-mktap --remove NAME``: stop a server for good and remove its units.

Its state stays, so that ``tapd-mktap TYPE --name NAME`` brings it back. ``--purge``
removes the state as well, and asks first. Lines that people added to drop-ins always stay.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from tapd.cli.client import connect
from tapd.cli.machine import Machine
from tapd.cli.mktap.dropins import plan_removal, remove_drop_ins
from tapd.errors import StateLocked, StateUnwritable, TapMissing, UsageError
from tapd.model.application import check_name
from tapd.units.instance import service_unit, socket_unit, timer_unit
from tapd.units.render import ports_drop_in_path


def remove_server(machine: Machine, name: str, *, purge: bool, yes: bool) -> None:
    """Remove the installed server `name`.

    Raises:
        UsageError: this machine has no servers to remove, or there is no terminal to
            confirm ``--purge``.
        TapMissing: there is no such server.
        UnitFileMalformed: a drop-in can't be parsed.
        ServiceManagerFailed: it could not be stopped; nothing was removed.
    """
    check_name(name)
    if not machine.is_system:
        raise UsageError(
            "--remove is for servers that systemd runs, and needs root (or --user); a TAP that is "
            "run by hand is a file: remove it"
        )
    tap = machine.installed_path(name)
    directory = tap.parent
    drop_in = ports_drop_in_path(name, machine.unit_directory)
    if not directory.exists() and not drop_in.exists():
        raise TapMissing(f"{name}: there is no server of that name; see tapctl list")
    left = plan_removal(name, machine.unit_directory, is_user=machine.is_user)
    if purge and not yes:
        _ask(name, directory)
    units = (socket_unit(name), service_unit(name))
    # Stopping the socket unit stops the server, which saves itself, and its timer.
    if machine.is_active(socket_unit(name)):  # one without ports can't be loaded, nor stopped
        machine.run_systemctl("stop", *units)
    machine.run_systemctl("stop", service_unit(name))
    if machine.is_active(timer_unit(name)):
        machine.run_systemctl("stop", timer_unit(name))
    machine.run_systemctl("disable", "--quiet", *units)
    if (client := connect(tap)) is not None:
        client.__exit__()
        raise StateLocked(f"{tap}: somebody runs it by hand; stop that first")
    remove_drop_ins(left)
    machine.run_systemctl("daemon-reload")
    if purge:
        _purge(directory)
        click.echo(f"Removed the server {name} and all of its state.")
    else:
        click.echo(f"Removed the server {name}. Its state stays in {directory}.")
    for path in (path for path, text in left.items() if text):
        click.echo(f"{path}: what you wrote there stays.")


def _ask(name: str, directory: Path) -> None:
    if not sys.stdin.isatty():
        raise UsageError("--purge removes all of a server's state: give --yes, too")
    click.confirm(
        f"Remove all that the server {name} ever saved, in {directory}? There is no way back.",
        abort=True,
        err=True,
    )


def _purge(directory: Path) -> None:
    """Remove the state; with DynamicUser= `directory` is a symbolic link to it."""
    try:
        if directory.is_symlink():
            target = directory.resolve()
            directory.unlink()
            directory = target
        if directory.exists():
            shutil.rmtree(directory)
    except OSError as error:
        raise StateUnwritable(f"{directory}: can't be removed ({error.strerror})") from error
