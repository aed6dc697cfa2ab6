"""A Python namespace that outlives the process: a prompt's global variables.

The values are anything that people assign, so nothing in it is tracked: after
each piece of code that ran in it, `touch` has the jar look at all of it. What
it costs grows with what is reachable; large data belongs in tracked objects
(`Persistent`, BTrees), which are looked at only when they change.
"""

from __future__ import annotations

import builtins
import weakref
from typing import Any

from tapd.model.persistent import Persistent

_by_dict: weakref.WeakValueDictionary[int, Namespace] = weakref.WeakValueDictionary()


class Namespace(Persistent):
    """Global variables for typed code.

    Attributes:
        names: the dict itself, given to `exec` as globals. It is the same
            object for the namespace's whole life in one process.
    """

    _p_convert = False  # its values stay as they were typed

    def __init__(self) -> None:
        self._v_names: dict[str, Any] = {"__builtins__": builtins}
        _by_dict[id(self._v_names)] = self

    @property
    def names(self) -> dict[str, Any]:
        """The global variables."""
        return self._v_names

    def touch(self) -> None:
        """Say that code ran here, so anything in it may have changed."""
        self._p_changed = True

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self._v_names.items() if name != "__builtins__"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        names = self.__dict__.get("_v_names")
        if names is None:
            names = self._v_names = {}
            _by_dict[id(names)] = self
        names.clear()
        names["__builtins__"] = builtins
        names.update(state)

    def __repr__(self) -> str:
        return f"<Namespace of {len(self._v_names) - 1} names>"


def namespace_of(names: dict[str, Any]) -> Namespace | None:
    """Return the namespace whose `names` is this very dict, if any."""
    namespace = _by_dict.get(id(names))
    return namespace if namespace is not None and namespace.names is names else None


def live_namespaces() -> list[Namespace]:
    """Return all namespaces of this process."""
    return list(_by_dict.values())
