"""`heapq` for tracked lists: its C functions bypass the methods of a list.

Importing this module replaces them, in `heapq` and in all modules that imported them
under the same name, with functions that report a `TrackedList` first. A plain list
costs one more comparison.
"""

from __future__ import annotations

import functools
import heapq
import sys
import types
from collections.abc import Callable
from typing import Any

from tapd.model.durable.tracked import TrackedList, report

_CHANGING = (
    "heapify", "heappop", "heappush", "heappushpop", "heapreplace",
    # Public from 3.14 on; before, `heapq.merge` and `nlargest` use some of them.
    "heapify_max", "heappop_max", "heappush_max", "heappushpop_max", "heapreplace_max",
    "_heapify_max", "_heappop_max", "_heapreplace_max",
)  # fmt: skip


def _reporting(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def changing(heap: Any, *args: Any) -> Any:
        if isinstance(heap, TrackedList):
            report(heap)
        return function(heap, *args)

    return changing


def teach_heapq() -> None:
    """Have `heapq` report changes of tracked lists; idempotent."""
    replaced = {}
    for name in _CHANGING:
        function = getattr(heapq, name, None)
        if type(function) is types.BuiltinFunctionType:
            replaced[function] = _reporting(function)
            setattr(heapq, name, replaced[function])
    if not replaced:
        return
    for module_name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", None)
        if type(names) is not dict or module_name == "_heapq":
            continue
        for name in _CHANGING:  # searching all modules takes milliseconds
            value = names.get(name)
            if type(value) is types.BuiltinFunctionType and value in replaced:
                names[name] = replaced[value]
