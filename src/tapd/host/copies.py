"""tapd's own forks: copies of the server that save, or try a suspicious call."""

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
    """Fork a copy that keeps everything; return its process id, or 0 in the copy.

    Raises:
        OSError: no process could be created.
    """
    _prctl()  # looked up before the fork: the child must not import
    with warnings.catch_warnings():
        # Python 3.12 and later warn about threads; the copy uses only the forking one.
        warnings.simplefilter("ignore", DeprecationWarning)
        with forks.ours():
            return os.fork()


def end_with_parent(parent: int) -> None:
    """Make this process end as soon as `parent` does, or now if it has ended."""
    if _prctl()(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != parent:
        os._exit(1)


def offer_to_oom_killer() -> None:
    """Make the kernel kill this process first if memory runs out: a copy is replaceable."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the maximum


@functools.cache
def _prctl() -> Callable[..., int]:
    """Return prctl(2), which Python does not wrap."""
    function: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
    return function
