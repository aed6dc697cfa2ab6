"""Plain containers in durable objects become tracked ones, which can tell of their changes.

Imports `model` only; the jar calls it for each object before its state is pickled.
"""

from __future__ import annotations

import collections
from typing import Any

from tapd.model.persistent import PLAIN_TO_TRACKED, Tracked


class Conversion:
    """Replaces plain containers by tracked ones; remembers which became which.

    The memory lasts for one commit, so that references to one list that were
    stored in several objects of a turn go on to refer to one list.
    """

    def __init__(self) -> None:
        self._memory: dict[int, tuple[Any, Any]] = {}

    def clear(self) -> None:
        """Forget; ids are about to be used again."""
        if self._memory:
            self._memory = {}

    def convert(self, obj: Any) -> None:
        """Replace the plain containers directly in the durable object `obj`."""
        if not getattr(obj, "_p_convert", True):
            return
        if isinstance(obj, Tracked):
            self._convert_container(obj)
            return
        attributes = getattr(obj, "__dict__", None)
        if attributes is not None:
            plain = [
                name
                for name, value in attributes.items()
                if _holds_plain(value) and not name.startswith("_v_")
            ]
            for name in plain:
                attributes[name] = self.tracked(attributes[name])
        elif hasattr(obj, "items") and not _is_inner_node(obj):
            for key, value in list(obj.items()):
                if _holds_plain(value):
                    obj[key] = self.tracked(value)

    def _convert_container(self, obj: Any) -> None:
        if isinstance(obj, dict):
            touched = obj if obj._p_delta is None else obj._p_delta  # type: ignore[attr-defined]
            for key in [key for key in touched if key in obj and _holds_plain(obj[key])]:
                dict.__setitem__(obj, key, self.tracked(obj[key]))
        elif isinstance(obj, list):
            for index in range(obj._p_delta or 0, len(obj)):  # type: ignore[attr-defined]
                if _holds_plain(obj[index]):
                    list.__setitem__(obj, index, self.tracked(obj[index]))
        elif not isinstance(obj, (set, bytearray)):  # a deque
            appended = obj._p_delta
            if appended is None or appended > len(obj):
                values = list(obj)
            else:
                values = [obj[index] for index in range(-appended, 0)]
            for index, value in enumerate(values, -len(values)):
                if _holds_plain(value):
                    collections.deque.__setitem__(obj, index, self.tracked(value))

    def tracked(self, value: Any) -> Any:
        """Return the tracked container for a plain one; tuples are rebuilt around theirs."""
        cls = type(value)
        if cls is tuple:
            return tuple(self.tracked(item) if _holds_plain(item) else item for item in value)
        known = self._memory.get(id(value))
        if known is not None:
            return known[1]
        if cls is collections.deque:
            result = PLAIN_TO_TRACKED[cls]((), value.maxlen)
        else:
            result = PLAIN_TO_TRACKED[cls]()
        self._memory[id(value)] = (value, result)  # before its contents: they may lead back
        if cls is dict:
            for key, item in value.items():
                dict.__setitem__(result, key, self.tracked(item) if _holds_plain(item) else item)
        elif cls is set or cls is bytearray:
            result.__ior__(value) if cls is set else result.extend(value)
        else:
            result.extend(self.tracked(item) if _holds_plain(item) else item for item in value)
        return result


def _is_inner_node(obj: Any) -> bool:
    """Whether `obj` is a BTree whose items are in buckets of their own."""
    return hasattr(obj, "_firstbucket") and len(obj.__getstate__() or ()) > 1


def _holds_plain(value: Any) -> bool:
    cls = type(value)
    return cls in PLAIN_TO_TRACKED or (cls is tuple and any(map(_holds_plain, value)))
