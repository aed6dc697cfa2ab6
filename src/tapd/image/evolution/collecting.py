"""Which stand-ins a restoring made: it is asked when all is loaded.

Imports nothing of this room, so that whatever makes stand-ins may tell.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class Registry:
    """The stand-ins that one restoring made.

    Weakly held: those of an attempt that was given up count no more when they are gone.

    Attributes:
        is_read_in_c: the C unpickler is at work, and would call any function on them.
    """

    def __init__(self) -> None:
        self.is_read_in_c = False
        self._made: dict[int, Callable[[], Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._made)

    def add(self, stand_in: Any) -> None:
        """Take note of a stand-in."""
        try:
            self._made[id(stand_in)] = weakref.ref(stand_in)
        except TypeError:  # one whose class has slots alone
            self._made[id(stand_in)] = lambda: stand_in

    def discard(self, stand_in: Any) -> None:
        """Forget what is itself again."""
        self._made.pop(id(stand_in), None)

    def clear(self) -> None:
        """Begin anew."""
        self._made.clear()

    def alive(self) -> list[Any]:
        """Return those that are still there."""
        found = [refer() for refer in self._made.values()]
        return [each for each in found if hasattr(type(each), "broken_name")]


_registries: list[Registry] = []
"""Those of the restorings that run now, innermost last (`definitions.restoring`)."""


def begin_collecting(registry: Registry) -> None:
    """Have `registry` take note of each stand-in that is made, until `end_collecting`."""
    _registries.append(registry)


def end_collecting() -> None:
    """Go back to the registry before."""
    _registries.pop()


def note(stand_in: Any) -> None:
    """Take note of a stand-in that was made, or that an object became."""
    if _registries:
        _registries[-1].add(stand_in)


class NotInC(Exception):
    """A stand-in is to be made; the C unpickler would call a function for another class on it."""


def leave_c() -> None:
    """Have the `Salvager` read on, where it is not it that does.

    Raises:
        NotInC: it is the C unpickler.
    """
    if _registries and _registries[-1].is_read_in_c:
        raise NotInC("there are stand-ins in it")
