"""The machine that servers are installed on: its directories and its service manager."""

from __future__ import annotations

import dataclasses
import getpass
import os
import subprocess
from pathlib import Path

from tapd.cli.taps import own_state_directory
from tapd.errors import ServiceManagerFailed, UsageError
from tapd.store.names import parse_tap_name, tap_name
from tapd.units.render import STATE_DIRECTORY, UNIT_DIRECTORY

LINGERING = "/var/lib/systemd/linger"
"""Has a file for each user whose service manager runs without a login (systemd-logind(8))."""


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """The directories of one machine, and its service manager.

    Attributes:
        is_system: whether this process may install servers: as root on a machine that
            systemd booted (sd_booted(3)), or for the user's own service manager.
        state_directory: has a directory for each installed server.
        unit_directory: has the administrator's units.
        systemctl: the command.
        is_user: the service manager is the user's own (``systemctl --user``).
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
        """Until when a server runs that was enabled and started, as a sentence."""
        if not self.is_user or Path(LINGERING, getpass.getuser()).exists():
            return "It runs, and will after a boot"
        return (
            "It runs while you are logged in (loginctl enable-linger has it run without, and after "
            "a boot)"
        )

    def installed_path(self, name: str) -> Path:
        """Return the path of the TAP of the installed server `name`."""
        return self.state_directory / name / tap_name(name)

    def installed_name(self, path: Path) -> str:
        """Return the name of the installed server whose TAP `path` is; "" for any other path."""
        name = parse_tap_name(path.name).application
        # systemd makes /var/lib/tapd/NAME a symbolic link (DynamicUser=), so resolve it.
        if path.parent.resolve() == (self.state_directory / name).resolve():
            return name
        return ""

    def is_active(self, unit: str) -> bool:
        """Whether `unit` is active: it runs or listens."""
        command = [*self.systemctl, "is-active", "--quiet", unit]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def run_systemctl(self, *arguments: str) -> None:
        """Run systemctl.

        Raises:
            ServiceManagerFailed: it can't be run, or it failed; the message has
                the first line of its error output.
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
    """Return the machine as the user's own service manager has it.

    Raises:
        UsageError: no such service manager can be reached.
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
