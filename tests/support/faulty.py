"""The daemon with a fault in it: it is killed when it passes a named point.

Runs the embedded manager, and itself as its child. FAULT_POINT names the point and FAULT_HIT
which passing of it is fatal; the first process to get there takes the file
FAULT_ONCE with it, so that the next one goes on. Without FAULT_POINT every
point passed is written to FAULT_TRACE. FAULT_WATCHDOG_S and FAULT_CHECKPOINT_S
make these come often.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tapd.cli.tapd.command import is_managed
from tapd.host import daemon, status
from tapd.host.manager.manager import ManagerOptions, run_manager
from tapd.host.options import DaemonOptions
from tapd.model.address import parse_address
from tapd.systemd.logs import configure_logging

_point = os.environ.get("FAULT_POINT")
_hit = int(os.environ.get("FAULT_HIT", "1"))
_once = Path(os.environ.get("FAULT_ONCE", ""))
_passed: dict[str, int] = {}


def fault(name: str) -> None:
    """Die here, if it is the place and the time."""
    _passed[name] = _passed.get(name, 0) + 1
    if _point is None:
        if "FAULT_TRACE" in os.environ and _passed[name] == 1:
            with Path(os.environ["FAULT_TRACE"]).open("a") as trace:
                trace.write(name + "\n")
    elif name == _point and _passed[name] == _hit and _once.exists():
        _once.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    configure_logging("faulty")
    if is_managed(os.environ):
        status.STATUS_S = 0.02  # how often segments are compacted
        options = DaemonOptions(
            Path(sys.argv[1]), checkpoint_s=float(os.environ.get("FAULT_CHECKPOINT_S", "900"))
        )
        sys.exit(daemon.Daemon(options, os.environ, fault).run())
    sys.exit(
        run_manager(
            parse_address(os.environ["FAULT_ADDRESS"]),
            [sys.executable, *sys.argv],
            os.environ,
            ManagerOptions(
                name="faulty",
                restart_s=0.01,
                restart_max_s=0.5,  # the storm is a crash loop, and no fault of the server
                watchdog_s=float(os.environ.get("FAULT_WATCHDOG_S", "30")),
            ),
        )
    )
