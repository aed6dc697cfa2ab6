"""Finds TAPs by name or path, and the control sockets of their servers."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from tapd.errors import TapMissing
from tapd.host.control import CONTROL_NAME
from tapd.store.layout import SHUTDOWN_SUFFIX, SUFFIX
from tapd.units.render import STATE_DIRECTORY

RUNTIME_DIRECTORY = Path("/run/tapd")


def own_state_directory() -> Path:
    """Return the state directory of the user's own servers (tapd-mktap --user)."""
    return Path.home() / ".local" / "state" / "tapd"


def find_tap(text: str, *, state_directory: Path = STATE_DIRECTORY) -> Path:
    """Return the path of the TAP that `text` names: a file, or an installed server.

    Raises:
        TapMissing: there is no such file or server.
    """
    path = Path(text)
    stem = path.name.removesuffix(SHUTDOWN_SUFFIX).removesuffix(SUFFIX)
    if path.is_file():
        return path
    if (path.parent / f"{stem}.d").is_dir():  # its TAP may be gone, or be meant without .tap
        return path if path.name.endswith(SUFFIX) else path.with_name(f"{stem}{SUFFIX}")
    if "/" not in text:
        directories = [Path(), state_directory / text, own_state_directory() / text]
        for found in (directory / f"{text}{SUFFIX}" for directory in directories):
            if found.exists() or found.with_suffix(".d").is_dir():
                return found
    raise TapMissing(
        f"{text}: there is no such TAP, neither a file nor an installed server; see tapctl list"
    )


def taps_in(directory: Path) -> list[Path]:
    """Return the path of the TAP of each application in `directory`; the file may be gone."""
    names = {
        path.name.removesuffix(SHUTDOWN_SUFFIX).removesuffix(SUFFIX)
        for path in directory.glob(f"*{SUFFIX}")
        if not path.name.startswith(".") and path.is_file()
    }
    return [directory / f"{name}{SUFFIX}" for name in sorted(names)]


def complete_tap(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete a name: installed servers, and TAPs of the current directory."""
    here = [path.name for path in taps_in(Path())]
    names = [path.name for path in installed_directories()] + here
    return [name for name in names if name.startswith(incomplete)]


def installed_directories() -> list[Path]:
    """Return the directories of installed servers: the machine's, if readable, and the user's."""
    found: list[Path] = []
    for state_directory in (STATE_DIRECTORY, own_state_directory()):
        with contextlib.suppress(OSError):
            found += sorted(state_directory.iterdir())
    return found


def control_paths(tap: Path, *, state_directory: Path = STATE_DIRECTORY) -> list[Path]:
    """Return the possible paths of the control socket of `tap`, the likeliest first."""
    name = tap.name.removesuffix(SHUTDOWN_SUFFIX).removesuffix(SUFFIX)
    directory = tap.resolve().parent
    paths = [directory / f"{name}.d" / CONTROL_NAME]
    # systemd makes /var/lib/tapd/NAME a symbolic link (DynamicUser=), so resolve it.
    if directory == (state_directory / name).resolve():
        paths.insert(0, RUNTIME_DIRECTORY / name / CONTROL_NAME)
    return paths


TAP = click.argument("tap", shell_complete=complete_tap)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
