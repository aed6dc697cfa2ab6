"""`tapd` by hand whose server may open few files while the file FEW_FILES says how many."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from tapd.cli.tapd.command import is_managed, main
from tapd.host.manager.by_hand import manage
from tapd.systemd.logs import configure_logging

if __name__ == "__main__":
    if is_managed(os.environ):
        limit = Path(os.environ["FEW_FILES"])
        if limit.exists():
            files = int(limit.read_text())
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        main()
    configure_logging("few")
    sys.exit(manage(Path(sys.argv[1]), [sys.executable, *sys.argv], os.environ))
