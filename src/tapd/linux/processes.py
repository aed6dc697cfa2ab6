"""Process control by prctl(2) and clone(2), and the limit of open files (getrlimit(2)).

Python has neither call, so they go through `ctypes`, which is imported at the first
one: most commands need none.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl(2), linux/prctl.h
_PR_SET_NAME = 15  # likewise
_CLONE_FILES = 0x400  # clone(2), linux/sched.h
_SYS_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "armv7l": 120, "ppc64le": 120}
"""The number of the system call by machine: asm/unistd.h of each."""
_OOM_SCORE_MAX = 1000  # proc(5), oom_score_adj


@functools.cache
def _c_library() -> Any:
    import ctypes  # noqa: PLC0415 - most commands need none

    return ctypes.CDLL(None, use_errno=True)


def prepare_prctl() -> None:
    """Look prctl(2) up now, so that a forked child needs no lookup.

    Another thread may hold a lock of the dynamic loader at the fork.
    """
    _ = _c_library().prctl


def signal_at_parents_end(number: int) -> bool:
    """Have the kernel send this process the signal `number` once its parent has ended.

    The parent may have ended before, which getppid(2) tells.

    Returns:
        Whether the kernel will; a filter of system calls may refuse it.
    """
    return bool(_c_library().prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) == 0)


def set_process_name(name: bytes) -> None:
    """Name this thread, and so its process in ps(1), by at most 15 bytes."""
    _c_library().prctl(_PR_SET_NAME, name, 0, 0, 0)


def can_share_files() -> bool:
    """Whether `fork_sharing_files` knows this machine's system calls."""
    return os.uname().machine in _SYS_CLONE


def fork_sharing_files() -> int:
    """Fork a process that shares this one's table of open files (clone(2), CLONE_FILES).

    None of Python's fork hooks run. Both processes go on behind the call.

    Returns:
        The child's process id; 0 in the child.

    Raises:
        OSError: no process could be made.
    """
    import ctypes  # noqa: PLC0415 - as above

    library, number = _c_library(), _SYS_CLONE[os.uname().machine]
    pid = int(library.syscall(number, _CLONE_FILES | signal.SIGCHLD, 0, 0, 0, 0))
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return pid


def offer_to_oom_killer() -> None:
    """Have the OOM killer choose this process first: it can be replaced."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE_MAX), encoding="ascii")


def open_files() -> list[int]:
    """Return this process's open descriptors, including the one of the listing itself."""
    names = os.listdir("/proc/self/fd")  # noqa: PTH208 - names are all we want
    return [int(name) for name in names]


def open_files_max() -> int:
    """Return how many files this process may open; `sys.maxsize` if there is no limit."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def raise_open_files(wanted: int) -> None:
    """Raise the soft limit of open files to `wanted`, or up to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
