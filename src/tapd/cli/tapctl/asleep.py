"""Who sleeps: a server that went to sleep, and whose ports somebody holds open since.

Who stops those, by `systemctl stop` or Ctrl-C, stops the server, and nothing of it
runs that could note it down. Imports `model` and `host`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tapd.host.asleep import sleep_fields
from tapd.model.address import parse_address


def describe_sleep(directory: Path, ports: Sequence[str]) -> dict[str, float]:
    """Return what is said of the sleep of a server that does not run; nothing if it was stopped.

    Args:
        directory: of its journal.
        ports: where it listens, as they are written.
    """
    fields = sleep_fields(directory)
    if fields and ports:
        from tapd.host.manager.binding import is_open  # noqa: PLC0415 - few sleep, and all wait for it

        addresses = [address for port in ports for address in parse_address(port)]
        if not any(map(is_open, addresses)):
            return {}
    return fields
