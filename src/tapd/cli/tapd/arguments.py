"""What `tapd` is told on its command line.

A unit's command line is plain: options in full and one TAP. That is read here, for
argparse costs each start 5 ms of a waiting client's time; whatever is not so plain,
and --help, is `cli.tapd.usage`'s, which has argparse say what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tapd.values import Value


class Arguments(Value):
    """The command line of `tapd`, as it was typed but for numbers.

    Attributes:
        tap: the TAP, or its shutdown TAP.
        sync: ``always``, ``never`` or seconds.
        checkpoint: seconds between two saves of the whole TAP while it changes.
        audit: ``off``, or how much memory the audit after a checkpoint may take.
        idle_exit: seconds with nothing to do until the server sleeps; 0 for never.
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
"""What an option's text is made into."""


def read_arguments(words: Sequence[str]) -> Arguments:
    """Return what `words` say; where they are wrong, or ask for help, exit as argparse does."""
    plain = read_plain(words)
    if plain is not None:
        return plain
    from tapd.cli.tapd.usage import parser  # noqa: PLC0415 - argparse, seldom

    return Arguments(**vars(parser().parse_args(words)))


def read_plain(words: Sequence[str]) -> Arguments | None:
    """Return what `words` say, or None where that takes argparse."""
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
