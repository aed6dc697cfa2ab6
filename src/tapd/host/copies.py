"""Forks of tapd's own: a copy of the server that saves, or tries what a load dies of."""

from __future__ import annotations

import os
import signal
import warnings

from tapd.host import forks
from tapd.linux.processes import prepare_prctl, signal_at_parents_end


def fork_copy() -> int:
    """Return the process id of a copy that keeps all that this process has; 0 in the copy.

    Raises:
        OSError: no process could be made.
    """
    prepare_prctl()
    with warnings.catch_warnings():
        # 3.12 and later warn of threads. Only the forking one lives on in the copy.
        warnings.simplefilter("ignore", DeprecationWarning)
        with forks.ours():
            return os.fork()


def end_with_parent(parent: int) -> None:
    """Have this process end as soon as `parent` does; at once if it has."""
    if not signal_at_parents_end(signal.SIGKILL) or os.getppid() != parent:
        os._exit(1)
