"""The TAPs that a person means by a name or a path, and where their servers answer."""

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
    """Return what holds a person's own servers (tapd-mktap --user)."""
    return Path.home() / ".local" / "state" / "tapd"


def find_tap(text: str, *, state_directory: Path = STATE_DIRECTORY) -> Path:
    """Return the file of the TAP that a person means.

    Raises:
        TapMissing: there is none of that name, neither here nor installed.
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
    """Return where the TAP of each application in `directory` lies or would lie."""
    names = {
        parse_tap_name(path.name).application
        for path in directory.glob(f"*{SUFFIX}")
        if not path.name.startswith(".") and path.is_file()
    }
    return [directory / tap_name(name) for name in sorted(names)]


def complete_tap(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Return the names that `incomplete` may become: installed servers, and TAPs here."""
    here = [path.name for path in taps_in(Path())]
    names = [path.name for path in installed_directories()] + here
    return [name for name in names if name.startswith(incomplete)]


def installed_directories() -> list[Path]:
    """Return those of the installed servers: the machine's, which may be closed to us, and ours."""
    found: list[Path] = []
    for state_directory in (STATE_DIRECTORY, own_state_directory()):
        with contextlib.suppress(OSError):
            found += sorted(state_directory.iterdir())
    return found


def control_paths(tap: Path, *, state_directory: Path = STATE_DIRECTORY) -> list[Path]:
    """Return where the server of `tap` may have its control socket, the likeliest first."""
    name = parse_tap_name(tap.name).application
    directory = tap.resolve().parent
    paths = [directory / directory_name(name) / CONTROL_NAME]
    # /var/lib/tapd/NAME is a symbolic link once the server's user was made.
    if directory == (state_directory / name).resolve():
        paths.insert(0, RUNTIME_DIRECTORY / name / CONTROL_NAME)
    return paths


TAP = click.argument("tap", shell_complete=complete_tap)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
