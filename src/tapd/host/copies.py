"""Forks of tapd's own: a copy of the server that saves, or tries what a load dies of.

Imports `host.forks`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

from tapd.host import forks

_PR_SET_PDEATHSIG = 1  # prctl(2)


def fork_copy() -> int:
    """Return the process id of a copy that keeps all that this process has; 0 in the copy.

    Raises:
        OSError: no process could be made.
    """
    _prctl()  # found before the fork: the child looks up nothing
    with warnings.catch_warnings():
        # 3.12 and later warn of threads. Only the forking one lives on in the copy.
        warnings.simplefilter("ignore", DeprecationWarning)
        with forks.ours():
            return os.fork()


def end_with_parent(parent: int) -> None:
    """Have this process end as soon as `parent` does; at once if it has."""
    if _prctl()(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != parent:
        os._exit(1)


def offer_to_oom_killer() -> None:
    """Have the kernel end this process first where memory is out: a copy can be had again."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the most


@functools.cache
def _prctl() -> Callable[..., int]:
    """Return prctl(2), which Python has no name for."""
    function: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
    return function
