"""Registry of the stand-ins created by a load.

It imports nothing of tapd, so that every module that creates stand-ins can import it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class Registry:
    """The stand-ins created by one load.

    Holds weak references: stand-ins of an abandoned attempt no longer count once they are
    freed.

    Attributes:
        is_read_in_c: the C unpickler is at work; it would call arbitrary functions on
            stand-ins.
    """

    def __init__(self) -> None:
        self.is_read_in_c = False
        self._made: dict[int, Callable[[], Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._made)

    def add(self, stand_in: Any) -> None:
        """Register a stand-in."""
        try:
            self._made[id(stand_in)] = weakref.ref(stand_in)
        except TypeError:  # its class has slots only
            self._made[id(stand_in)] = lambda: stand_in

    def discard(self, stand_in: Any) -> None:
        """Remove an object that is itself again."""
        self._made.pop(id(stand_in), None)

    def clear(self) -> None:
        """Remove all."""
        self._made.clear()

    def alive(self) -> list[Any]:
        """Return those that still exist."""
        found = [refer() for refer in self._made.values()]
        return [each for each in found if hasattr(type(each), "broken_name")]


_registries: list[Registry] = []
"""Registries of the current loads, innermost last (`definitions.restoring`)."""


def begin_collecting(registry: Registry) -> None:
    """Register stand-ins in `registry` until `end_collecting`."""
    _registries.append(registry)


def end_collecting() -> None:
    """Return to the previous registry."""
    _registries.pop()


def note(stand_in: Any) -> None:
    """Register a stand-in that was created, or that an object was turned into."""
    if _registries:
        _registries[-1].add(stand_in)


class NotInC(Exception):
    """A stand-in is needed; the C unpickler would call functions on it that its class lacks."""


def leave_c() -> None:
    """Make the C unpickler give up, so that the `Salvager` takes over.

    Raises:
        NotInC: the C unpickler is at work.
    """
    if _registries and _registries[-1].is_read_in_c:
        raise NotInC("there are stand-ins in it")
