"""Fast parser for the command line of `tapd`.

A unit's command line is plain: long options and one TAP. It is parsed here, because
argparse costs every start 5 ms of a waiting client's time. Everything else, errors
and --help included, goes to argparse (`cli.tapd.usage`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tapd.values import Value


class Arguments(Value):
    """The command line of `tapd`: numbers parsed, all else as typed.

    Attributes:
        tap: the TAP, or its shutdown TAP.
        sync: ``always``, ``never`` or seconds.
        checkpoint: seconds between two saves of the whole TAP while it changes.
        audit: ``off``, or the memory limit of the audit after a checkpoint.
        idle_exit: idle seconds until the server sleeps; 0 for never.
        socket_mode: of UNIX sockets, in octal.
        socket_group: of UNIX sockets.
    """

    tap: str
    sync: str = "1"
    checkpoint: float = 900.0
    audit: str = "512M"
    idle_exit: float = 0.0
    socket_mode: str = "0600"
    socket_group: str | None = None


KINDS: dict[str, Callable[[str], Any]] = {
    "sync": str,
    "checkpoint": float,
    "audit": str,
    "idle_exit": float,
    "socket_mode": str,
    "socket_group": str,
}
"""The type of each option's value."""


def parse_plain(words: Sequence[str]) -> Arguments | None:
    """Parse a plain command line; return None for one that needs argparse."""
    given: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        name, value = "tap", word
        if word.startswith("-"):
            name, equals, value = word.removeprefix("--").partition("=")
            name = name.replace("-", "_")
            if not equals:
                value = next(rest, "-")
            if value.startswith("-") or "_" in word.partition("=")[0]:
                return None
        if name in given or (word.startswith("-") and name not in KINDS):
            return None
        try:
            given[name] = KINDS.get(name, str)(value)
        except ValueError:
            return None
    return Arguments(**given) if "tap" in given else None
