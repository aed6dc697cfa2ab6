"""Detects copies of the process made by fork(2), even those made by C code.

The kernel clears a page of memory in every child (MADV_WIPEONFORK of madvise(2)). C code and
`ctypes` run none of Python's fork hooks. Reading the page costs a quarter of getpid(2), which
is a system call.
"""

from __future__ import annotations

import mmap
import os
from typing import Protocol

_MADV_WIPEONFORK = 18  # asm-generic/mman-common.h; since Linux 4.14


class OwnMemory(Protocol):
    """Its item 0 is 1 in the process that made it, and 0 in each copy of that process."""

    def __getitem__(self, index: int, /) -> int: ...


class _Numbered:
    """The same answer by getpid(2), for kernels without MADV_WIPEONFORK."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._getpid = os.getpid

    def __getitem__(self, _index: int) -> int:
        return int(self._getpid() == self._pid)


def own_memory() -> OwnMemory:
    """Return an object whose item 0 is 1 in this process and 0 in each copy of it."""
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(_MADV_WIPEONFORK)
    except OSError:
        page.close()
        return _Numbered()
    page[0] = 1
    return page
