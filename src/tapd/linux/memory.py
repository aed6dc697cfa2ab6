"""Memory use and limits of this process: proc(5), cgroups(7), setrlimit(2)."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterable
from pathlib import Path

NO_LIMIT = 1 << 62
_STATUS = Path("/proc/self/status")
_CGROUPS = Path("/sys/fs/cgroup")


def _virtual_bytes() -> int:
    """Return the size of this process's address space, which RLIMIT_AS limits."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def limit_address_space(more: int) -> tuple[int, int]:
    """Have allocations of `more` bytes beyond today's size fail with MemoryError.

    The limit holds for the whole process (setrlimit(2), RLIMIT_AS): this is for commands
    and for copies, not for a server. An existing lower limit stays.

    Returns:
        The previous limits, for `restore_address_space`.

    Raises:
        OSError, ValueError: a filter of system calls refuses it, or today's size is unknown.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [each for each in (soft, hard) if each != resource.RLIM_INFINITY]
    limit = min([*limits, _virtual_bytes() + more])
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    return soft, hard


def restore_address_space(limits: tuple[int, int]) -> None:
    """Undo `limit_address_space`."""
    resource.setrlimit(resource.RLIMIT_AS, limits)


def resident_bytes() -> int:
    """Return this process's resident memory; 0 if unknown."""
    return _field(_STATUS, "VmRSS:")


def peak_bytes() -> int:
    """Return the peak of resident memory since its start, or since `forget_peak`."""
    return _field(_STATUS, "VmHWM:")


def forget_peak() -> None:
    """Reset the count of `peak_bytes` (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def available_bytes() -> int:
    """Return the free memory of the machine, within the limits of control groups."""
    free: list[int] = [_field(Path("/proc/meminfo"), "MemAvailable:") or NO_LIMIT]
    free += _cgroup_bytes()
    return min(free)


def _field(path: Path, name: str) -> int:
    """Return a field of a file of proc(5), which are in kB."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def _cgroup_bytes() -> Iterable[int]:
    """Yield the memory left in each control group's limit (cgroups(7), version 2)."""
    try:
        text = Path("/proc/self/cgroup").read_text()
        group = next(line[3:] for line in text.splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return
    directory = _CGROUPS / group.strip("/")
    while directory != directory.parent and directory.is_relative_to(_CGROUPS):
        with contextlib.suppress(OSError, ValueError):
            used = int((directory / "memory.current").read_text())
            for name in ("memory.max", "memory.high"):
                limit = (directory / name).read_text().strip()
                if limit != "max":
                    yield max(0, int(limit) - used)
        directory = directory.parent
