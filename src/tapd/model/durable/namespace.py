"""A Python namespace that outlives the process: a prompt's global variables.

The values are anything that people assign, so nothing in it is tracked. After each piece
of code that ran in it, `touch` has the jar compare all of it. That costs time in
proportion to the reachable data; large data belongs in tracked objects (`Persistent`,
BTrees), which are compared only when they change.

In a plain interpreter the prompt's names are those of the module ``__main__``, and
`pickle`, `typing` and `dataclasses` look up classes there by ``__module__``. A process
has one such module and may have many namespaces. So the module reads and writes the
namespace of the calling typed code: the nearest on the stack. Other callers get the
module itself.
"""

from __future__ import annotations

import builtins
import importlib
import logging
import sys
import types
import weakref
from collections.abc import Iterable
from typing import Any

from tapd.model.durable.persistent import Persistent

_log = logging.getLogger(__name__)

_IMPORTS = "import"
"""The key of the imported submodules in the state: no variable can have this name."""

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
        self._v_imports: set[str] = set()
        self._register()

    def _register(self) -> None:
        _by_dict[id(self._v_names)] = self
        _teach_main()

    @property
    def names(self) -> dict[str, Any]:
        """The global variables."""
        return self._v_names

    def touch(self) -> None:
        """Note that code ran here, so that anything in it may have changed."""
        self._p_changed = True

    def note_imports(self, modules: Iterable[str]) -> None:
        """Have submodules, as of ``import a.b``, imported again when the namespace is loaded."""
        self._v_imports.update(modules)

    def __getstate__(self) -> dict[str, Any]:
        names = self._v_names
        state = {name: value for name, value in names.items() if name != "__builtins__"}
        imported = sorted(
            each
            for each in self._v_imports
            if each in sys.modules and type(names.get(each.partition(".")[0])) is types.ModuleType
        )
        if imported:
            state[_IMPORTS] = imported
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        names = self.__dict__.get("_v_names")
        if names is None:
            names = self._v_names = {}
            self._register()
        own_builtins = names.get("__builtins__", builtins)
        names.clear()
        names["__builtins__"] = own_builtins
        names.update(state)
        self._v_imports = set(names.pop(_IMPORTS, ()))
        for module in sorted(self._v_imports):
            try:
                importlib.import_module(module)
            except Exception as error:
                _log.warning("%s can't be imported again: %s", module, error)

    def __repr__(self) -> str:
        return f"<Namespace of {len(self._v_names) - 1} names>"


def namespace_of(names: dict[str, Any]) -> Namespace | None:
    """Return the namespace whose `names` is this very dict, if any."""
    namespace = _by_dict.get(id(names))
    return namespace if namespace is not None and namespace.names is names else None


def live_namespaces() -> list[Namespace]:
    """Return all namespaces of this process."""
    return list(_by_dict.values())


# --- the module that is called __main__ ---------------------------------------


class _Main(types.ModuleType):
    """The class of ``sys.modules["__main__"]`` once there is a namespace."""

    def __getattribute__(self, name: str) -> Any:
        names = _names_of_caller()
        if names is not None:
            if name == "__dict__":
                return names
            if name in names:
                return names[name]
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        names = _names_of_caller()
        if names is not None:
            names[name] = value
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        names = _names_of_caller()
        if names is not None and name in names:
            del names[name]
        else:
            super().__delattr__(name)


def _names_of_caller() -> dict[str, Any] | None:
    """Return the global variables of the nearest typed code on the stack."""
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None:
        found = _by_dict.get(id(frame.f_globals))
        if found is not None and found.names is frame.f_globals:
            return found.names
        frame = frame.f_back
    return None


def _teach_main() -> None:
    main = sys.modules.get("__main__")
    if type(main) is types.ModuleType:
        main.__class__ = _Main


def main_names() -> dict[str, Any]:
    """Return the global variables of the real ``__main__``, whoever calls."""
    main: Any = sys.modules.get("__main__")
    if not isinstance(main, types.ModuleType):
        return {}
    return types.ModuleType.__getattribute__(main, "__dict__")  # type: ignore[no-any-return]
