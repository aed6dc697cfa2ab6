"""When a durable object counts as unchanged: before its state is taken.

Code of somebody else's may run between any two steps of a commit: a signal's handler, a
``__del__``, a hook of the very object. What it changes from then on is reported, and is
due in the next commit; a state that was taken first would lose it.

Imports `model` and, of this room, what tells classes apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tapd.image.evolution.names import name_of
from tapd.image.reduction.parts import durable_state, has_safe_state
from tapd.model.durable.persistent import Tracked, has_usual_setattr, set_mark


class Settling:
    """Marks objects as unchanged, and knows of which classes that is quickly done."""

    def __init__(self) -> None:
        self._safe: set[type] = set()  # whose ``__getstate__`` is not their authors'
        self._unguarded: set[type] = set()  # whose assignments run no code of their author

    def settle(self, obj: Any) -> None:
        """Count `obj` as unchanged."""
        cls = type(obj)
        if cls in self._unguarded:
            obj._p_changed = False
            return
        set_mark(obj, "_p_changed", False)
        if has_usual_setattr(cls) and name_of(cls) is not None:
            self._unguarded.add(cls)

    def unsettle(self, obj: Any) -> None:
        """Undo `settle`: `obj` was not dumped."""
        if not obj._p_changed:
            set_mark(obj, "_p_changed", True)

    def settle_again(self, obj: Any) -> None:
        """Count `obj` as unchanged whose author's ``__getstate__`` was asked once more."""
        cls = type(obj)
        if cls not in self._safe and not (issubclass(cls, Tracked) or has_safe_state(cls)):
            self.settle(obj)

    def take_state(self, obj: Any) -> Any:
        """Return the state of `obj`, no tracked container, which counts as unchanged from then on.

        Raises:
            CannotKeep: its author's ``__getstate__`` failed.
        """
        self.settle(obj)
        cls = type(obj)
        if cls in self._safe:
            return obj.__getstate__()
        if has_safe_state(cls) and name_of(cls) is not None:
            self._safe.add(cls)
        state = durable_state(obj)
        if obj._p_changed:  # by its author's ``__getstate__``
            self.settle(obj)
        return state

    def dump(self, objects: Sequence[Any], dump: Callable[[], Any]) -> Any:
        """Return what `dump` returns of `objects`, which count as unchanged from then on.

        Where one was changed meanwhile it is dumped once more: that may be a hook of its own,
        which changes it each time, or somebody else's code.
        """
        for obj in objects:
            self.settle(obj)
        dumped = dump()
        if any(obj._p_changed for obj in objects):
            for obj in objects:
                self.settle(obj)
            dumped = dump()
            for obj in objects:
                self.settle(obj)
        return dumped
