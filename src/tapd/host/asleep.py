"""``NAME.d/asleep``: since when a server sleeps, and when it is to be woken.

The server writes it last of all; systemd's ExecStopPost= reads it to plan a start, the
next start reads and removes it, and `tapctl` shows it.
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
    """What a server that sleeps left behind.

    Attributes:
        since_s: when it went to sleep, in seconds since the epoch.
        due_s: when it is to be woken; inf for by a client only.
    """

    since_s: float
    due_s: float

    @property
    def slept(self) -> str:
        """How long it slept until now, for people."""
        seconds = max(0.0, time.time() - self.since_s)
        for unit, size in (("days", 86400), ("hours", 3600), ("min", 60)):
            if seconds >= 2 * size:
                return f"{seconds / size:.0f} {unit}"
        return f"{seconds:.0f} s"


def save_sleep(directory: Path, due_s: float) -> None:
    """Write ``asleep``: the whole second in which a timer is due, or nothing.

    Raises:
        OSError: it can't be written. Timers then run at the next client's wake-up.
    """
    path = directory / ASLEEP_NAME
    new = path.with_name(f".{ASLEEP_NAME}.new")
    # Rounded up: woken a moment early, it would find nothing due and sleep on.
    new.write_text(f"{math.ceil(due_s) if due_s < 1e11 else ''}\n", encoding="ascii")
    new.replace(path)


def read_sleep(directory: Path) -> Sleep | None:
    """Return what is known of the sleep of the server that `directory` is of; None without one."""
    path = directory / ASLEEP_NAME
    try:
        text = path.read_text(encoding="ascii").strip()
        since_s = path.stat().st_mtime
    except (OSError, ValueError):
        return None
    is_time = text.isdigit() and len(text) <= _DUE_DIGITS_MAX  # else damaged: no clock shows it
    return Sleep(since_s, float(text) if is_time else math.inf)


def take_sleep(directory: Path) -> Sleep | None:
    """Return what is known of the sleep that this start ends, and forget it."""
    sleep = read_sleep(directory)
    if sleep is not None:
        with contextlib.suppress(OSError):
            (directory / ASLEEP_NAME).unlink()
    return sleep


def sleep_fields(directory: Path) -> dict[str, float]:
    """Return what `tapctl` says of a sleep, in seconds since the epoch; nothing without one."""
    sleep = read_sleep(directory)
    if sleep is None:
        return {}
    fields = {"asleep_since_s": round(sleep.since_s, 3)}
    if sleep.due_s < math.inf:
        fields["wakes_at_s"] = sleep.due_s
    return fields
