"""The daemon with a fault in it: it is killed when it passes a named point.

Runs the embedded manager, and itself as its child. FAULT_POINT names the point and FAULT_HIT
which passing of it is fatal; the first process to get there takes the file
FAULT_ONCE with it, so that the next one goes on. Without FAULT_POINT every
point passed is written to FAULT_TRACE.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tapd.cli.tapd import is_managed
from tapd.host import daemon
from tapd.host.manager import ManagerOptions, run_manager
from tapd.host.options import DaemonOptions
from tapd.model.address import parse_address
from tapd.systemd.logs import configure_logging

_point = os.environ.get("FAULT_POINT")
_hit = int(os.environ.get("FAULT_HIT", "1"))
_once = Path(os.environ["FAULT_ONCE"])
_passed: dict[str, int] = {}


def fault(name: str) -> None:
    """Die here, if it is the place and the time."""
    _passed[name] = _passed.get(name, 0) + 1
    if _point is None:
        if _passed[name] == 1:
            with Path(os.environ["FAULT_TRACE"]).open("a") as trace:
                trace.write(name + "\n")
    elif name == _point and _passed[name] == _hit and _once.exists():
        _once.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    configure_logging("faulty")
    if is_managed(os.environ):
        daemon.STATUS_S = 0.02  # how often segments are compacted
        sys.exit(daemon.Daemon(DaemonOptions(Path(sys.argv[1])), os.environ, fault).run())
    sys.exit(
        run_manager(
            parse_address(os.environ["FAULT_ADDRESS"]),
            [sys.executable, *sys.argv],
            os.environ,
            ManagerOptions(name="faulty", restart_s=0.01),
        )
    )
