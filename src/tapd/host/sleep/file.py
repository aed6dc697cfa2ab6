"""The file ``NAME.d/asleep``: since when a server sleeps, and when to wake it.

The server writes it last of all. systemd's ExecStopPost= reads it to plan a start, the next
start reads and removes it, and `tapctl` shows it.
"""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

from tapd.values import Value

ASLEEP_NAME = "asleep"
_DUE_DIGITS_MAX = 11


class Sleep(Value):
    """What a sleeping server left behind.

    Attributes:
        since_s: when it went to sleep, in seconds since the epoch.
        due_s: when to wake it; inf if only a client does.
    """

    since_s: float
    due_s: float

    @property
    def slept(self) -> str:
        """How long it has slept, for people."""
        seconds = max(0.0, time.time() - self.since_s)
        for unit, size in (("days", 86400), ("hours", 3600), ("min", 60)):
            if seconds >= 2 * size:
                return f"{seconds / size:.0f} {unit}"
        return f"{seconds:.0f} s"


def save_sleep(directory: Path, due_s: float) -> None:
    """Write ``asleep``: the second in which a timer is due, or nothing.

    Raises:
        OSError: it can't be written. Timers then run when the next client wakes the
            server.
    """
    path = directory / ASLEEP_NAME
    new = path.with_name(f".{ASLEEP_NAME}.new")
    # Rounded up: woken a moment too early, the server would go to sleep again.
    new.write_text(f"{math.ceil(due_s) if due_s < 1e11 else ''}\n", encoding="ascii")
    new.replace(path)


def read_sleep(directory: Path) -> Sleep | None:
    """Return the sleep of the server of `directory`; None if it does not sleep."""
    path = directory / ASLEEP_NAME
    try:
        text = path.read_text(encoding="ascii").strip()
        since_s = path.stat().st_mtime
    except (OSError, ValueError):
        return None
    is_time = text.isdigit() and len(text) <= _DUE_DIGITS_MAX  # else damaged
    return Sleep(since_s, float(text) if is_time else math.inf)


def take_sleep(directory: Path) -> Sleep | None:
    """Return the sleep that this start ends, and remove the file."""
    sleep = read_sleep(directory)
    if sleep is not None:
        with contextlib.suppress(OSError):
            (directory / ASLEEP_NAME).unlink()
    return sleep


def sleep_fields(directory: Path) -> dict[str, float]:
    """Return what `tapctl` shows of a sleep, in seconds since the epoch; {} without one."""
    sleep = read_sleep(directory)
    if sleep is None:
        return {}
    fields = {"asleep_since_s": round(sleep.since_s, 3)}
    if sleep.due_s < math.inf:
        fields["wakes_at_s"] = sleep.due_s
    return fields
