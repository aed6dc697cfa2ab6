"""Where a new TAP and its unit files go, and putting them there.

Imports `errors`, `model`, `image`, `systemd`, `units` and `host`. A plan is
made first and is a value, so that ``--dry-run`` prints exactly what would be
written; a machine that systemd booted gets a TAP under ``/var/lib/tapd`` and a
drop-in for its ports, any other place the TAP alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tapd.cli.mktap.dropins import UnitOptions, make_directory, plan_drop_ins, write_texts
from tapd.cli.mktap.visibility import check_visible
from tapd.cli.taps import own_state_directory
from tapd.errors import (
    ServiceManagerFailed,
    StateUnwritable,
    TapExists,
    TapMissing,
    UsageError,
)
from tapd.model.address import Address
from tapd.model.application import Application
from tapd.store.generations import Store
from tapd.store.key import find_key_path, load_key
from tapd.store.names import parse_tap_name, tap_name
from tapd.store.snapshot import SaveReport
from tapd.store.state import Restored, State
from tapd.units.instance import service_unit, socket_unit
from tapd.units.render import STATE_DIRECTORY, UNIT_DIRECTORY

LINGERING = "/var/lib/systemd/linger"
"""Has a file for each user whose service manager runs without a login (systemd-logind(8))."""

FOR_UNITS = (
    "options of units (--allow-network and the like, --idle-exit, --socket-mode) are for servers "
    "that systemd runs; tapd itself has --idle-exit, --socket-mode and --socket-group"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """The places of one machine, and whether systemd runs it.

    Attributes:
        is_system: this process may install servers: it is root's, and systemd
            booted the machine (sd_booted(3)); or they are a person's own.
        is_user: they are: the service manager is that person's (``systemctl --user``).
        state_directory: holds a directory for each installed server.
        unit_directory: holds the administrator's units.
        systemctl: the command.
    """

    is_system: bool
    state_directory: Path = STATE_DIRECTORY
    unit_directory: Path = UNIT_DIRECTORY
    systemctl: tuple[str, ...] = ("systemctl",)
    is_user: bool = False

    @property
    def typed_systemctl(self) -> str:
        """What people type to reach the service manager."""
        return "systemctl --user" if self.is_user else "systemctl"

    @property
    def runs_on(self) -> str:
        """What is said of a server that was enabled and started."""
        if not self.is_user or Path(LINGERING, getpass.getuser()).exists():
            return "It runs, and will after a boot"
        return (
            "It runs while you are logged in (loginctl enable-linger has it run without, and after "
            "a boot)"
        )

    def installed_path(self, name: str) -> Path:
        """Return where the TAP of the installed server `name` lies."""
        return self.state_directory / name / tap_name(name)

    def installed_name(self, path: Path) -> str:
        """Return which installed server's TAP `path` is; "" where it is none."""
        name = parse_tap_name(path.name).application
        # /var/lib/tapd/NAME is a symbolic link once the server's user was made.
        if path.parent.resolve() == (self.state_directory / name).resolve():
            return name
        return ""

    def is_active(self, unit: str) -> bool:
        """Whether `unit` is there and runs, listens or is about to."""
        command = [*self.systemctl, "is-active", "--quiet", unit]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def run_systemctl(self, *arguments: str) -> None:
        """Run systemctl.

        Raises:
            ServiceManagerFailed: it can't be run, or it failed; the message has
                the last line that it wrote.
        """
        command = [*self.systemctl, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise ServiceManagerFailed(f"{command[0]}: can't be run: {error.strerror}") from error
        if done.returncode:
            said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0]
            raise ServiceManagerFailed(
                f"{' '.join(command)}: {said}; see journalctl -xe, fix it and run it again"
            )


def find_machine() -> Machine:
    """Return the machine that this process runs on."""
    return Machine(is_system=os.geteuid() == 0 and Path("/run/systemd/system").is_dir())


def find_user_machine() -> Machine:
    """Return the places of this person's own service manager.

    Raises:
        UsageError: there is none to be reached.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() == 0 or not runtime or not Path(runtime, "systemd").is_dir():
        raise UsageError(
            "--user: there is no service manager of yours (systemctl --user) to be reached; log in "
            "as yourself, not as root; without it the TAP is made here, for tapd to run"
        )
    return Machine(
        is_system=True,
        state_directory=own_state_directory(),
        unit_directory=Path.home() / ".config" / "systemd" / "user",
        systemctl=("systemctl", "--user"),
        is_user=True,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written for one application.

    Attributes:
        application: to be stored.
        tap_path: where its TAP goes.
        instance: its name for systemd; "" for one that is run by hand.
        texts: the text files, by path.
        state: where it came from, for one that gets another service.
        restored: how it was when it was loaded from there.
    """

    application: Application
    tap_path: Path
    instance: str
    texts: dict[Path, str]
    state: State | None = None
    restored: Restored | None = None

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
    """Plan a new application: for systemd where `directory` is None and the machine has it.

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


def plan_addition(
    machine: Machine, state: State, restored: Restored, options: UnitOptions | None = None
) -> Plan:
    """Plan to store the application that was `restored` from `state` and has a new service."""
    application = restored.application
    path = state.store.tap_path
    instance = machine.installed_name(path) if machine.is_system else ""
    if instance:
        check_visible(application.python_path)
    options = options or UnitOptions()
    options.check()
    texts = _texts(machine, application, options) if instance else {}
    return Plan(application, path, instance, texts, state, restored)


@contextlib.contextmanager
def opened_tap(path: Path) -> Iterator[tuple[State, Restored]]:
    """Load an application that isn't running, and keep it from being started meanwhile.

    Yields:
        Its state, and the application as its last process left it.

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
    if plan.state is None and not force and os.path.lexists(plan.tap_path):
        raise TapExists(
            f"{plan.tap_path}: is already there; give another --name, or --force to set it aside"
        )


def write_plan(machine: Machine, plan: Plan, *, force: bool) -> SaveReport:
    """Write the TAP, then the text files, then have systemd read them.

    Raises:
        TapExists: there is a TAP of that name, and `force` is false.
        StateUnwritable: a file or a directory can't be written.
        ServiceManagerFailed: systemd did not take the new units.
    """
    if plan.state is not None and plan.restored is not None:
        # With its streams: a restart that is under way loses no connection by this.
        report = plan.state.resave(plan.restored)
    else:
        if plan.instance:
            make_directory(plan.tap_path.parent, 0o700)
        elif not plan.tap_path.parent.is_dir():
            raise UsageError(f"--directory {plan.tap_path.parent}: is no directory; make it first")
        key = load_key(create=True)
        report = Store(plan.tap_path, key).create(plan.application, force=force)
    try:
        write_texts(plan.texts)
    except StateUnwritable as error:
        if plan.state is not None:
            raise
        # Its generated password, too, was shown to nobody.
        raise StateUnwritable(f"{error} with --force: the TAP was made before") from error
    if plan.instance:
        machine.run_systemctl("daemon-reload")
    return report


def start_now(machine: Machine, instance: str) -> None:
    """Enable and start the installed server `instance`."""
    machine.run_systemctl("enable", "--quiet", socket_unit(instance), service_unit(instance))
    machine.run_systemctl("start", service_unit(instance))


def describe_addresses(addresses: Sequence[Address]) -> str:
    """Return `addresses` as people write them, for a sentence."""
    return ", ".join(str(address) for address in addresses)
