"""``tapd FILE.tap`` by hand, with starts that do not wait, each by ``life.sh``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tapd.host.manager.by_hand import manage
from tapd.host.manager.manager import ManagerOptions
from tapd.systemd.logs import configure_logging

if __name__ == "__main__":
    configure_logging("faults")
    here = Path(__file__).parent
    start = ["/bin/sh", str(here / "life.sh"), sys.executable, str(here / "served.py")]
    options = ManagerOptions(restart_s=0.01, restart_max_s=0.5)
    sys.exit(manage(Path(sys.argv[1]), [*start, *sys.argv[1:]], os.environ, options))
