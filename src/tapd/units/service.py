"""Renders the drop-in with a server's options and permissions.

Pure. The unit confines a server as far as possible. Each option here relaxes one restriction;
`docs/running.md` describes the cost.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path, PurePosixPath

from tapd.errors import UsageError
from tapd.units.instance import escape_instance, has_own_user, service_unit, user_name
from tapd.units.render import UNIT_DIRECTORY, escape_specifiers
from tapd.units.unitfile import UnitFile

SERVICE_DROP_IN = "10-tapd-mktap.conf"
"""Its number sorts before override.conf of `systemctl edit`: people's own settings win."""

_OPTIONS = "TAPD_MADE_OPTIONS="
_HOMES = ("/home", "/root", "/run/user")
_NETWORK = (
    ("PrivateNetwork", "no"),
    ("IPAddressDeny", ""),
    ("RestrictAddressFamilies", "AF_INET AF_INET6"),
)
_MEMORY = re.compile(r"[1-9][0-9]*[KMGT]?\Z|[1-9][0-9]?%\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Options of `tapd-mktap`; None leaves a setting unchanged.

    Attributes:
        idle_exit_s: idle seconds after which a server sleeps; 0 for never.
        network: whether it may open connections.
        read, write: further directories that it may read, or change.
        memory_max: the memory limit, as MemoryMax= takes it; "none".
    """

    idle_exit_s: float | None = None
    network: bool | None = None
    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None
    memory_max: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no option was given."""
        return self == ServiceOptions()

    def check(self) -> None:
        """Check them.

        Raises:
            UsageError: one is malformed.
        """
        if self.idle_exit_s is not None and not 0 <= self.idle_exit_s < 1e9:
            raise UsageError(f"--idle-exit {self.idle_exit_s:g}: write seconds, or 0 for never")
        for flag, paths in (("--allow-read", self.read), ("--allow-write", self.write)):
            for path in paths or ():
                _check_path(flag, path)
        if self.memory_max not in (None, "none") and not _MEMORY.match(str(self.memory_max)):
            raise UsageError(
                f"--memory-max {self.memory_max}: write bytes, with K, M, G or T behind them, a "
                "percentage, or none"
            )


def _check_path(flag: str, path: str) -> None:
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or str(pure) == "/":
        raise UsageError(f"{flag} {path}: write the whole path of a directory, such as /srv/files")
    if re.search(r"[\s:\\\"']", path) or not path.isprintable():
        raise UsageError(f"{flag} {path}: systemd takes no blanks, colons, quotes or \\ in it here")


def service_drop_in_path(name: str, directory: Path = UNIT_DIRECTORY) -> Path:
    """Return the path of the drop-in with the options of the server `name`."""
    return directory / f"{service_unit(name)}.d" / SERVICE_DROP_IN


def new_service_drop_in(name: str, *, is_user: bool = False) -> UnitFile:
    """Return the drop-in of the server `name` before any option.

    With `is_user` it is for a person's own service manager, where the user is that person.
    """
    unit = UnitFile().comment(
        f"How the server {name} runs, written by tapd-mktap. A later tapd-mktap changes what\n"
        "it was told to and leaves every other line as it is; for settings of your own there\n"
        f"is also: systemctl edit {service_unit(name)}"
    )
    is_escaped = escape_instance(name) != name
    if has_own_user(name) or (is_user and not is_escaped):
        return unit
    unit = unit.section("Service")
    if not is_user:
        unit = unit.comment("The name is not one that a user can have.")
        unit = unit.setting("User", user_name(name))
    if not is_escaped:
        return unit
    unit = unit.comment("Directories have the server's name, not the unit's, which is escaped.")
    if not is_user:
        for key in ("StateDirectory", "RuntimeDirectory"):
            unit = unit.setting(key, "").setting(key, f"tapd/{name}")
    directory = f"%h/.local/state/tapd/{name}" if is_user else f"/var/lib/tapd/{name}"
    return (
        unit.setting("WorkingDirectory", directory)
        .setting("ExecStart", "")
        .setting(
            "ExecStart",
            f"/usr/bin/tapd $TAPD_MADE_OPTIONS $TAPD_OPTIONS {directory}/{name}.tap",
        )
        .setting("ExecStopPost", "")
        .setting("ExecStopPost", render_stopped(name, directory, is_user=is_user))
    )


def render_stopped(name: str, directory: str, *, is_user: bool) -> str:
    """Return the value of ``ExecStopPost=``, which plans the next start of a sleeping server."""
    plus, manager = ("", " --user") if is_user else ("+", "")
    return f"{plus}/usr/lib/tapd/stopped %i {directory}/{name}.d/asleep{manager}"


def change_service_drop_in(unit: UnitFile, options: ServiceOptions) -> UnitFile:
    """Return `unit` with these options; everything else in it stays.

    Raises:
        UsageError: an option is malformed.
    """
    options.check()
    if options.idle_exit_s is not None:
        idle = f"{_OPTIONS}--idle-exit={options.idle_exit_s:g}"
        unit = unit.with_values(
            "Service", "Environment", [idle] if options.idle_exit_s else [], _is_options
        )
    if options.network is not None:
        for key, value in _NETWORK:
            unit = unit.with_values("Service", key, [value] if options.network else [])
    for key, paths in (("BindReadOnlyPaths", options.read), ("BindPaths", options.write)):
        if paths is not None:
            unit = unit.with_values("Service", key, [escape_specifiers(path) for path in paths])
    if options.read is not None or options.write is not None:
        opened = unit.values("Service", "BindReadOnlyPaths") + unit.values("Service", "BindPaths")
        is_home = any(
            PurePosixPath(path).is_relative_to(home) for path in opened for home in _HOMES
        )
        # Other home directories stay hidden.
        unit = unit.with_values("Service", "ProtectHome", ["tmpfs"] if is_home else [])
    if options.memory_max is not None:
        values = [] if options.memory_max == "none" else [escape_specifiers(options.memory_max)]
        # After a number systemd takes a single % literally; %% would be wrong.
        unit = unit.with_values(
            "Service", "MemoryMax", [value.replace("%%", "%") for value in values]
        )
    return unit


def without_options(unit: UnitFile, name: str, *, is_user: bool = False) -> UnitFile:
    """Return a drop-in without the lines that tapd-mktap wrote."""
    made = change_service_drop_in(
        unit,
        ServiceOptions(idle_exit_s=0, network=False, read=(), write=(), memory_max="none"),
    )
    own = list(new_service_drop_in(name, is_user=is_user).settings("Service"))
    for key in dict.fromkeys(key for key, _value in own):
        values = [value for other, value in own if other == key]
        made = made.with_values("Service", key, [], values.__contains__)
    return made


def _is_options(value: str) -> bool:
    return value.strip("\"'").startswith(_OPTIONS)
