"""The storm inside a booted Debian: kills by PID 1's account, restarts by systemctl.

Run by root in the system that is stormed: ``storm_on_systemd.py NAME PORT SECONDS
CLIENTS``. Prints the report, and exits with 1 where anything was not exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys

from storm import storm


def main_pid(unit: str) -> int:
    """Return the server's process id, 0 while there is none."""
    command = ["systemctl", "show", "--value", "--property=MainPID", unit]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Run the storm."""
    name, port, seconds, clients = sys.argv[1], *map(int, sys.argv[2:])
    unit = f"tapd@{name}.service"
    chance = random.Random(7)

    def strike() -> None:
        match chance.randrange(12):
            case 0:
                subprocess.run(["systemctl", "restart", "--no-block", unit], check=True)
            case 1:
                subprocess.run(["systemctl", "reload", "--no-block", unit], check=False)
            case blow:
                pid = main_pid(unit)
                if pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, {2: signal.SIGABRT, 3: signal.SIGSEGV}.get(blow, 9))

    report = asyncio.run(
        storm(
            lambda: asyncio.open_connection("127.0.0.1", port),
            strike,
            clients=clients,
            seconds=seconds,
            pause_s=(0.2, 1.5),
        )
    )
    print(report)
    for failure in report.failures[:10]:
        print("  ", failure)
    report.check()


if __name__ == "__main__":
    main()
