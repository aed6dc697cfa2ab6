"""Reads, changes and writes the drop-ins of one server.

Lines that people added to a file stay, and a file is rewritten only if it changes.
"""

from __future__ import annotations

import dataclasses
import grp
from collections.abc import Sequence
from pathlib import Path

from tapd.errors import StateUnwritable, UsageError
from tapd.model.address import Address
from tapd.systemd.inherited import is_spare_loopback
from tapd.units.render import (
    SocketOptions,
    change_ports_drop_in,
    new_ports_drop_in,
    ports_drop_in_path,
    without_ports,
)
from tapd.units.service import (
    ServiceOptions,
    change_service_drop_in,
    new_service_drop_in,
    service_drop_in_path,
    without_options,
)
from tapd.units.unitfile import UnitFile, parse_unit_file


@dataclasses.dataclass(frozen=True, slots=True)
class UnitOptions:
    """Options of a server's units, as given to `tapd-mktap`."""

    service: ServiceOptions = dataclasses.field(default_factory=ServiceOptions)
    socket: SocketOptions = dataclasses.field(default_factory=SocketOptions)

    @property
    def is_empty(self) -> bool:
        """Whether none was given."""
        return self == UnitOptions()

    def check(self) -> None:
        """Check the options, and that the directories and the group that they name exist.

        Raises:
            UsageError: an option is wrong.
        """
        self.service.check()
        self.socket.check()
        for path in (*(self.service.read or ()), *(self.service.write or ())):
            if not Path(path).is_dir():
                raise UsageError(f"{path}: there is no such directory to open; make it first")
        group = self.socket.group
        if group and not group.isdigit():
            try:
                grp.getgrnam(group)
            except KeyError:
                raise UsageError(
                    f"--socket-group {group}: there is no such group; make it first (addgroup)"
                ) from None


def plan_drop_ins(
    name: str,
    addresses: Sequence[Address],
    options: UnitOptions,
    directory: Path,
    *,
    is_user: bool = False,
) -> dict[Path, str]:
    """Return the new text of each drop-in of the server `name`, by path.

    Args:
        name: of the server.
        addresses: where it listens.
        options: of its units.
        directory: of the units.
        is_user: they are of the user's own service manager.

    Raises:
        UsageError: systemd can't do what the options ask for.
        UnitFileMalformed: an existing one can't be parsed.
    """
    there = [address for address in addresses if not is_spare_loopback(address, addresses)]
    ports_path = ports_drop_in_path(name, directory)
    ports = _read(ports_path) or new_ports_drop_in(name)
    texts = {ports_path: change_ports_drop_in(ports, there, options.socket).render()}
    service_path = service_drop_in_path(name, directory)
    service = _read(service_path) or new_service_drop_in(name, is_user=is_user)
    service = change_service_drop_in(service, options.service)
    if service.has_settings or service_path.exists():
        texts[service_path] = service.render()
    return texts


def _read(path: Path) -> UnitFile | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return parse_unit_file(text, str(path))


def changed_texts(texts: dict[Path, str]) -> dict[Path, str]:
    """Return those of `texts` that differ from the files on disk."""
    return {
        path: text
        for path, text in texts.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def write_texts(texts: dict[Path, str]) -> None:
    """Write the files that change.

    Raises:
        StateUnwritable: a file or a directory can't be written.
    """
    for path, text in changed_texts(texts).items():
        make_directory(path.parent, 0o755)
        _write_text(path, text)


def plan_removal(name: str, directory: Path, *, is_user: bool = False) -> dict[Path, str]:
    """Return the drop-ins of the server `name` without the lines that tapd-mktap wrote.

    Returns:
        By path the lines that people added; "" for none.

    Raises:
        UnitFileMalformed: one of them can't be parsed.
    """
    left = {}
    for path, strip in (
        (ports_drop_in_path(name, directory), without_ports),
        (
            service_drop_in_path(name, directory),
            lambda unit: without_options(unit, name, is_user=is_user),
        ),
    ):
        unit = _read(path)
        if unit is not None:
            stripped = strip(unit)
            left[path] = stripped.render() if stripped.has_settings else ""
    return left


def remove_drop_ins(left: dict[Path, str]) -> None:
    """Write what is left of each file, and remove the file where nothing is left.

    Raises:
        StateUnwritable: a file can't be removed or written.
    """
    for path, text in left.items():
        if text:
            _write_text(path, text)
            continue
        try:
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
        except OSError as error:
            raise StateUnwritable(f"{path}: can't be removed ({error.strerror})") from error


def make_directory(path: Path, mode: int) -> None:
    """Make `path` with `mode` and its parents with 0755, whatever the umask."""
    try:
        for directory in (*reversed(path.parents), path):
            if not directory.is_dir():
                directory.mkdir()
                directory.chmod(mode if directory == path else 0o755)
    except OSError as error:
        raise StateUnwritable(
            f"{path}: the directory can't be made ({error.strerror}); fix that and run it again"
        ) from error


def _write_text(path: Path, text: str) -> None:
    """Replace `path` atomically, so that systemd never reads half of it."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise StateUnwritable(
            f"{path}: can't be written ({error.strerror}); fix that and run it again"
        ) from error
