"""Marks durable objects as unchanged, always before their state is read.

Foreign code may run between any two steps of a commit: a signal handler, a ``__del__``, a hook
of the object itself. A change it makes after the mark is reported and goes into the next
commit. If the state were read before the mark, that change would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tapd.image.evolution.names import name_of
from tapd.image.reduction.parts import durable_state, has_safe_state
from tapd.model.durable.persistent import Tracked, has_usual_setattr, set_mark


class Settling:
    """Marks objects as unchanged, and remembers for which classes a shortcut is safe."""

    def __init__(self) -> None:
        self._safe: set[type] = set()  # classes without a ``__getstate__`` by their author
        self._unguarded: set[type] = set()  # classes without a ``__setattr__`` by their author

    def settle(self, obj: Any) -> None:
        """Mark `obj` as unchanged."""
        cls = type(obj)
        if cls in self._unguarded:
            obj._p_changed = False
            return
        set_mark(obj, "_p_changed", False)
        if has_usual_setattr(cls) and name_of(cls) is not None:
            self._unguarded.add(cls)

    def unsettle(self, obj: Any) -> None:
        """Undo `settle`, since `obj` was not dumped."""
        if not obj._p_changed:
            set_mark(obj, "_p_changed", True)

    def settle_again(self, obj: Any) -> None:
        """Mark `obj` as unchanged if its author's ``__getstate__`` may have changed it since."""
        cls = type(obj)
        if cls not in self._safe and not (issubclass(cls, Tracked) or has_safe_state(cls)):
            self.settle(obj)

    def take_state(self, obj: Any) -> Any:
        """Mark `obj` as unchanged and return its state. Not for tracked containers.

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
        """Mark `objects` as unchanged and return ``dump()``, which pickles them.

        If one of them changed during the dump, dump once more, and not a third time: it may be
        a hook of its own that changes it every time.
        """
        for obj in objects:
            self.settle(obj)
        dumped = dump()
        # Changed during the dump: the first result may hold half of the change.
        if any(obj._p_changed for obj in objects):
            for obj in objects:
                self.settle(obj)
            dumped = dump()
            # A hook that changes the object at each dump would keep it dirty for ever.
            for obj in objects:
                self.settle(obj)
        return dumped
