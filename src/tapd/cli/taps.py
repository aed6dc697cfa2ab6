"""Finds TAPs by name or path, and the control sockets of their servers."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from tapd.errors import TapMissing
from tapd.host.control import CONTROL_NAME
from tapd.store.names import SUFFIX, directory_name, parse_tap_name, tap_name
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
    name = parse_tap_name(path.name).application
    if path.is_file():
        return path
    # Its TAP may be gone, or be meant without .tap.
    if (path.parent / directory_name(name)).is_dir():
        usual = path.with_name(tap_name(name))
        is_other = parse_tap_name(usual.name).application != name  # x-shutdown.tap is one of x
        return path if is_other or path.name.endswith(SUFFIX) else usual
    if "/" not in text:
        directories = [Path(), state_directory / text, own_state_directory() / text]
        for directory in directories:
            found = directory / tap_name(text)
            if found.exists() or (directory / directory_name(text)).is_dir():
                return found
    raise TapMissing(
        f"{text}: there is no such TAP, neither a file nor an installed server; see tapctl list"
    )


def taps_in(directory: Path) -> list[Path]:
    """Return the path of the TAP of each application in `directory`; the file may be gone."""
    names = {
        parse_tap_name(path.name).application
        for path in directory.glob(f"*{SUFFIX}")
        if not path.name.startswith(".") and path.is_file()
    }
    return [directory / tap_name(name) for name in sorted(names)]


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
    name = parse_tap_name(tap.name).application
    directory = tap.resolve().parent
    paths = [directory / directory_name(name) / CONTROL_NAME]
    # systemd makes /var/lib/tapd/NAME a symbolic link (DynamicUser=), so resolve it.
    if directory == (state_directory / name).resolve():
        paths.insert(0, RUNTIME_DIRECTORY / name / CONTROL_NAME)
    return paths


TAP = click.argument("tap", shell_complete=complete_tap)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
