"""The Debian package of this tree, and booted Debians that it is installed in."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from booted import Booted
from debian_root import debian_root

TOP = Path(__file__).parents[2]
SUITES = ("bookworm", "trixie")


def build_package(directory: Path, version: str = "") -> Path:
    """Build the package into `directory`, under another version if given; return the .deb."""
    command = [str(TOP / "tools" / "build-deb"), str(directory), *([version] if version else [])]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


def put(system: Booted, package: Path) -> str:
    """Put the package into the system and return where it is."""
    path = f"/root/{package.name}"
    system.write(path, package.read_bytes())
    return path


def install_package(system: Booted, package: Path) -> None:
    """Install the package as an administrator would, from a file."""
    path = put(system, package)
    system.run("apt-get", "install", "--yes", "--no-install-recommends", path, timeout_s=120)


def packaged_debians() -> Iterator[Booted]:
    """Yield each Debian, booted and with the package, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        package = build_package(Path(directory))
        for suite in SUITES:
            with Booted(suite, debian_root(suite), Path(directory, suite)) as debian:
                install_package(debian, package)
                yield debian
