"""The other Pythons of this machine, each with what tapd's image room needs.

Looked for in TAPD_TEST_PYTHONS (paths, separated as in PATH), on PATH, and with
pyenv where that is installed. Each gets a virtual environment in the cache
outside the checkout, made once for each set of constraints.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from debian_root import cache_directory

import tapd

MINORS = (11, 12, 13)
_CONSTRAINTS = Path(__file__).parents[2] / "requirements" / "constraints.txt"
_PACKAGES = ("BTrees", "argon2-cffi", "click", "persistent")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(tapd.__file__).parents[1])}


def _version(python: str) -> tuple[int, ...]:
    """Return major and minor version; empty where it does not run (as pyenv's shims may not)."""
    probe = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else ()


def _candidates() -> list[str]:
    told = os.environ.get("TAPD_TEST_PYTHONS")
    if told:
        return told.split(os.pathsep)
    found = [shutil.which(f"python3.{minor}") for minor in MINORS]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        if root.returncode == 0:
            versions = Path(root.stdout.strip()) / "versions"
            found += sorted(map(str, versions.glob("3.*/bin/python")), reverse=True)
    return [path for path in found if path is not None]


@functools.cache
def other_pythons() -> dict[str, str]:
    """Return an interpreter for each other minor version that is here, by ``3.MINOR``."""
    chosen: dict[str, str] = {}
    for path in _candidates():
        version = _version(path)
        name = ".".join(map(str, version))
        if (
            name not in chosen
            and version[:1] == (3,)
            and version[1] in MINORS
            and version != sys.version_info[:2]
        ):
            environment = _environment(path, name)
            if environment is not None:
                chosen[name] = environment
    return chosen


def _environment(python: str, name: str) -> str | None:
    """Return the Python of a virtual environment of `python`; None where it can't be made."""
    digest = hashlib.sha256(_CONSTRAINTS.read_bytes() + python.encode()).hexdigest()[:12]
    directory = cache_directory() / f"python-{name}-{digest}"
    own = directory / "bin" / "python"
    done = directory / "done"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not done.exists():
            pip = [str(own), "-m", "pip", "--quiet", "--disable-pip-version-check"]
            for command in (
                [python, "-m", "venv", "--clear", str(directory)],
                [*pip, "install", "-c", str(_CONSTRAINTS), *_PACKAGES],
            ):
                made = subprocess.run(command, capture_output=True, text=True, check=False)
                if made.returncode != 0:
                    print(f"Python {name} can't be used: {made.stderr}", file=sys.stderr)
                    return None
            done.touch()
    return str(own)
