"""Plans the files of a new TAP and its units, then writes them.

A plan is a value, so that ``--dry-run`` prints exactly what would be written. Where
systemd runs servers, the TAP goes to ``/var/lib/tapd`` and its ports into a drop-in;
anywhere else there is only the TAP.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tapd.cli.machine import Machine
from tapd.cli.mktap.dropins import UnitOptions, make_directory, plan_drop_ins, write_texts
from tapd.cli.mktap.visibility import check_visible
from tapd.errors import (
    StateUnwritable,
    TapExists,
    TapMissing,
    UsageError,
)
from tapd.model.address import Address
from tapd.model.application import Application
from tapd.store.generations import Store
from tapd.store.key import find_key_path, load_key
from tapd.store.names import tap_name
from tapd.store.snapshot import SaveReport
from tapd.store.state import Restored, State
from tapd.units.instance import service_unit, socket_unit

FOR_UNITS = (
    "options of units (--allow-network and the like, --idle-exit, --socket-mode) are for servers "
    "that systemd runs; tapd itself has --idle-exit, --socket-mode and --socket-group"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The files of one application.

    Attributes:
        application: to be stored.
        tap_path: where its TAP goes.
        instance: its name for systemd; "" for one that is run by hand.
        texts: the text files, by path.
    """

    application: Application
    tap_path: Path
    instance: str
    texts: dict[Path, str]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens."""
        return tuple(port.address for port in self.application.ports)


def find_tap_path(machine: Machine, name: str, directory: Path | None) -> Path:
    """Return where the TAP of a server `name` goes."""
    if not machine.is_system or directory is not None:
        return (directory or Path()) / tap_name(name)
    return machine.installed_path(name)


def plan_installation(
    machine: Machine,
    application: Application,
    directory: Path | None,
    options: UnitOptions | None = None,
) -> Plan:
    """Plan a new application: installed, unless `directory` is given or systemd runs nothing here.

    Raises:
        UsageError: systemd can't run it with these ports or options.
    """
    name = application.name
    options = options or UnitOptions()
    options.check()
    tap_path = find_tap_path(machine, name, directory)
    if not machine.is_system or directory is not None:
        if not options.is_empty:
            raise UsageError(FOR_UNITS)
        return Plan(application, tap_path, "", {})
    check_visible(application.python_path)
    texts = _texts(machine, application, options)
    return Plan(application, tap_path, name, texts)


def _texts(machine: Machine, application: Application, options: UnitOptions) -> dict[Path, str]:
    return plan_drop_ins(
        application.name,
        [port.address for port in application.ports],
        options,
        machine.unit_directory,
        is_user=machine.is_user,
    )


def plan_addition(machine: Machine, state: State, restored: Restored, options: UnitOptions) -> Plan:
    """Plan to store the application that was `restored` from `state` and has a new service.

    Raises:
        UsageError: systemd can't run it with these ports or options.
    """
    application = restored.application
    path = state.store.tap_path
    instance = machine.installed_name(path) if machine.is_system else ""
    if instance:
        check_visible(application.python_path)
    options.check()
    texts = _texts(machine, application, options) if instance else {}
    return Plan(application, path, instance, texts)


@contextlib.contextmanager
def opened_tap(path: Path) -> Iterator[tuple[State, Restored]]:
    """Load an application that does not run, and lock its TAP for the length of the block.

    Yields:
        The files, and the application as its last process left it.

    Raises:
        TapMissing: there is no such TAP.
        StateLocked: it runs.
        TapdError: it can't be loaded.
    """
    if not path.is_file():
        raise TapMissing(f"{path}: there is no such TAP to add to; check the path")
    key_path, _ = find_key_path(os.environ, is_root=os.geteuid() == 0)
    state = State(path, load_key(create=key_path.exists()))
    with state.store.lock():
        yield state, state.restore()


def check_free(plan: Plan, *, force: bool) -> None:
    """Check that nothing would be overwritten.

    Raises:
        TapExists: there is a TAP of that name, and `force` is false.
    """
    if not force and os.path.lexists(plan.tap_path):
        raise TapExists(
            f"{plan.tap_path}: is already there; give another --name, or --force to set it aside"
        )


def write_new(machine: Machine, plan: Plan, *, force: bool) -> SaveReport:
    """Write a new TAP, then the text files, then have systemd read them.

    Raises:
        TapExists: there is a TAP of that name, and `force` is false.
        StateUnwritable: a file or a directory can't be written.
        ServiceManagerFailed: systemd did not take the new units.
    """
    if plan.instance:
        make_directory(plan.tap_path.parent, 0o700)
    elif not plan.tap_path.parent.is_dir():
        raise UsageError(f"--directory {plan.tap_path.parent}: is no directory; make it first")
    key = load_key(create=True)
    report = Store(plan.tap_path, key).create(plan.application, force=force)
    try:
        _install_units(machine, plan)
    except StateUnwritable as error:
        # Run again, it needs --force: that is no loss, as nobody was told the password
        # that may have been generated.
        raise StateUnwritable(f"{error} with --force: the TAP was made before") from error
    return report


def write_addition(machine: Machine, plan: Plan, state: State, restored: Restored) -> SaveReport:
    """Save the changed application as a new generation, then do as for a new one.

    Raises:
        StateUnwritable: a file or a directory can't be written.
        ServiceManagerFailed: systemd did not take the new units.
    """
    # The streams are saved, too: a restart that is under way loses no connection.
    report = state.resave(restored)
    _install_units(machine, plan)
    return report


def _install_units(machine: Machine, plan: Plan) -> None:
    write_texts(plan.texts)
    if plan.instance:
        machine.run_systemctl("daemon-reload")


def start_now(machine: Machine, instance: str) -> None:
    """Enable and start the installed server `instance`."""
    machine.run_systemctl("enable", "--quiet", socket_unit(instance), service_unit(instance))
    machine.run_systemctl("start", service_unit(instance))


def describe_addresses(addresses: Sequence[Address]) -> str:
    """Return `addresses` as people write them, for a sentence."""
    return ", ".join(str(address) for address in addresses)
