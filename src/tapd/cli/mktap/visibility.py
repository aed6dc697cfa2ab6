"""Checks that the sandboxed unit ``tapd@NAME.service`` can read a directory of code.

ProtectHome= hides /home, /root and /run/user, PrivateTmp= the temporary directories, and
the unit's user owns nothing but its state, so the code must be world-readable.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from tapd.errors import UsageError

_HIDDEN = {
    "/home": "ProtectHome=",
    "/root": "ProtectHome=",
    "/run/user": "ProtectHome=",
    "/tmp": "PrivateTmp=",  # noqa: S108 - the unit's own setting, not a file of ours
    "/var/tmp": "PrivateTmp=",  # noqa: S108 - the same
}


def find_hindrance(directory: Path) -> str:
    """Return why the unit can't read code in `directory`; "" if it can."""
    directory = directory.resolve()
    for hidden, setting in _HIDDEN.items():
        if directory.is_relative_to(hidden):
            return f"the unit can't see {hidden} ({setting})"
    return find_closed(directory, directory.parents)


def find_closed(directory: Path, parents: Sequence[Path]) -> str:
    """Return which of `directory` and its `parents` is not world-accessible; "" for none."""
    for path in (directory, *parents):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            return f"{path}: {error.strerror}"
        if not mode & stat.S_IXOTH or (path == directory and not mode & stat.S_IROTH):
            return f"{path} is not for all to read, and the server has a user of its own"
    return ""


def check_visible(directories: Sequence[str]) -> None:
    """Check that the unit can read code in all of `directories`.

    Raises:
        UsageError: it can't; the message says why.
    """
    for directory in directories:
        if hindrance := find_hindrance(Path(directory)):
            raise UsageError(
                f"the code lies in {directory}, and {hindrance}: install it as a package for the "
                "system's Python, or put it into a directory such as /srv/NAME (chmod a+rX), and "
                "give that as --path; or make a TAP to be run by hand: --directory"
            )
