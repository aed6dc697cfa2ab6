"""``tapd FILE.tap`` as the manager's child, whose saving children can be under strace.

strace counts the calls of each process by itself, so one that follows all of them would
kill the server long before the child has made as many.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tapd.cli.tapd.command import main
from tapd.host import own_forks as copies
from tapd.host.saving import checkpoint

_TRACED = re.compile(r"^TracerPid:\t[1-9]", re.MULTILINE)


def _be_traced() -> None:
    """Have this process run under strace from here on, where a file says so."""
    directory = Path(os.environ["FAULTS_DIRECTORY"])
    counted = directory / "count-saver"
    number = int(counted.read_text()) + 1
    counted.write_text(f"{number}\n")
    asked = directory / f"strace-saver-{number}"
    if asked.exists():
        options = asked.read_text().split()
        os.posix_spawnp("strace", ["strace", *options, "-p", str(os.getpid())], os.environ)
        while not _TRACED.search(Path("/proc/self/status").read_text()):
            os.sched_yield()


def _fork() -> int:
    pid = _FORK()
    if pid == 0:
        _be_traced()
    return pid


_FORK = copies.fork_copy

if __name__ == "__main__":
    vars(checkpoint)["fork_copy"] = _fork
    main()
