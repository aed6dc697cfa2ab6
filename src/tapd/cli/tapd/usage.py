"""The argparse parser of `tapd`: --help, abbreviations and usage errors.

Imported only for a command line that `cli.tapd.arguments` does not parse.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from tapd.cli.tapd.arguments import KINDS, Arguments
from tapd.version import __version__


class _Parser(argparse.ArgumentParser):
    """Exits with EX_USAGE (sysexits.h) on a usage error."""

    def error(self, message: str) -> NoReturn:
        """Print usage and error, and exit with 64 (EX_USAGE)."""
        if message.startswith("unrecognized arguments: -f"):  # twistd's way to name the TAP
            message += "; the TAP is named without -f"
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; its namespace has the fields of `Arguments`."""
    made = _Parser(
        prog="tapd",
        description="Run the server in a TAP, as it was when it last ended.",
        epilog="Make a TAP with tapd-mktap; look into one with tapctl show.",
    )
    made.add_argument("tap", metavar="FILE.tap", help="the TAP, or its -shutdown.tap")
    made.add_argument(
        "--sync",
        metavar="always|SECONDS|never",
        help="how often the journal is synced against a power cut (default: every second); "
        "always: before every reply",
    )
    made.add_argument(
        "--checkpoint",
        metavar="SECONDS",
        help="time between two saves of the whole TAP while it changes (default: 900)",
    )
    made.add_argument(
        "--audit",
        metavar="MEMORY|off",
        help="after a save, compare what a kill would have restored with what is in memory, if "
        "that takes no more than MEMORY (default: 512M)",
    )
    made.add_argument(
        "--idle-exit",
        metavar="SECONDS",
        help="save and end after so long without a connection or a timer; the next client or "
        "timer starts it again (default: never)",
    )
    made.add_argument(
        "--socket-mode",
        metavar="MODE",
        help="who may connect to UNIX sockets, in octal (default: 0600). Under systemd its socket "
        "unit says so: tapd-mktap --socket-mode",
    )
    made.add_argument("--socket-group", metavar="GROUP", help="the group of UNIX sockets")
    made.add_argument("--version", action="version", version=f"tapd {__version__}")
    for action in made._actions:  # noqa: SLF001 - argparse has no other list of them
        if action.dest in KINDS:
            action.type = KINDS[action.dest]
            action.default = getattr(Arguments, action.dest)
    return made
