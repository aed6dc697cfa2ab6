"""Parses and validates the daemon's options."""

from __future__ import annotations

from pathlib import Path

from tapd.errors import UsageError
from tapd.values import Value

ASLEEP_STATUS = 150
"""Exit status of a server that went to sleep (150 to 199 are an application's, by the LSB).

The unit names it: it counts as a success, and is the only end by itself that does not
restart the server at once.
"""


class DaemonOptions(Value):
    """The options of `tapd`.

    Attributes:
        path: the TAP.
        sync: "always", "never", or seconds between two syncs of the journal.
        checkpoint_s: seconds between two checkpoints while there are changes.
        journal_bytes_max: journal size at which a checkpoint is made earlier.
        keep_generations: how many TAPs are kept.
        keep_days: for how many days at least.
        idle_exit_s: idle seconds after which the server saves itself and ends, until a
            client or timer wakes it; 0 for never.
        audit_bytes: memory limit of the audit after a checkpoint; 0 for no audit.
    """

    path: Path
    sync: str | float = 1.0
    checkpoint_s: float = 900.0
    journal_bytes_max: int = 64 << 20
    keep_generations: int = 10
    keep_days: float = 7.0
    idle_exit_s: float = 0.0
    audit_bytes: int = 512 << 20


def parse_sync(text: str) -> str | float:
    """Parse ``always``, ``never`` or a number of seconds.

    Raises:
        UsageError: it is none of these.
    """
    if text in ("always", "never"):
        return text
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.001 <= seconds <= 3600:
        raise UsageError(f"--sync {text}: write always, never, or seconds from 0.001 to 3600")
    return seconds


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_audit(text: str) -> int:
    """Parse ``off`` (0) or an amount of memory in bytes, or with K, M or G.

    Raises:
        UsageError: it is none of these.
    """
    if text == "off":
        return 0
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    try:
        size = int(float(number) * _UNITS[unit])
    except (ValueError, OverflowError, KeyError):
        size = 0
    if size < _UNITS["M"]:
        raise UsageError(f"--audit {text}: write off, or an amount of memory from 1M on, as 512M")
    return size
