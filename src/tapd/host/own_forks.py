"""Forks tapd's own child processes, which save the state or try out a suspicious call."""

from __future__ import annotations

import os
import signal
import warnings

from tapd.host import forks
from tapd.linux.processes import prepare_prctl, signal_at_parents_end


def fork_copy() -> int:
    """Fork a copy that keeps everything; return its process id, or 0 in the copy.

    Raises:
        OSError: no process could be created.
    """
    prepare_prctl()
    with warnings.catch_warnings():
        # Python 3.12 and later warn about threads; the copy uses only the forking one.
        warnings.simplefilter("ignore", DeprecationWarning)
        with forks.ours():
            return os.fork()


def end_with_parent(parent: int) -> None:
    """Make this process end as soon as `parent` does, or now if it has ended."""
    if not signal_at_parents_end(signal.SIGKILL) or os.getppid() != parent:
        os._exit(1)
