"""A load that kills: find the object that does it, and have the state load without it.

Loading runs code of authors (``__setstate__``, ``__new__``, the import of a module), which
may kill the process, and each next one as well. A file says how many loads have begun and
not ended. After `DEATHS_FREE` of them, each of an author's calls is announced in it before
it is made (`image.hooks.announce`), by its number in the load. A load reads the same bytes
in the same order each time, so the number finds the same call again. What dies under the
same number `TRIES` times raises from then on in the place of being called, which costs its
object and no other: it is kept as it was saved, as all that does not load (`image.salvage`).
There may be a million such objects, so what has killed under `NUMBERS_MAX` numbers by the
name of one class is called for none of that class.

The file is one line of JSON. It is there during a load alone, so a kill leaves it.

Imports `events` and `image`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tapd import events
from tapd.errors import CannotKeep
from tapd.image import hooks
from tapd.image.files import open_regular

log = logging.getLogger(__name__)

NAME = "loading"
DEATHS_FREE = 2
TRIES = 2
NUMBERS_MAX = 2
_BYTES_MAX = 1 << 20


class LoadTrial:
    """One load of the state in `directory`, for the length of a ``with`` block.

    Attributes:
        deaths: how many loads before this one were killed since one found something out.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        known = _read(self._path)
        self.deaths: int = known.get("deaths", 0)
        self._at: int = known.get("at", 0)
        self._what: str = known.get("what", "")
        self._tries: int = known.get("tries", 0)
        self._skipped: dict[int, str] = {int(at): what for at, what in known.get("skipped", [])}
        self._told: set[str] = set()
        self._count = 0
        self._fd = -1
        if self._at and self._tries >= TRIES:
            self._skipped[self._at] = self._what
            self._at, self.deaths = 0, DEATHS_FREE
        names = [name for name in self._skipped.values() if not name.startswith("builtins:")]
        self._banned = {name for name in names if names.count(name) >= NUMBERS_MAX}

    @property
    def is_careful(self) -> bool:
        """Whether calls are announced."""
        return self.deaths >= DEATHS_FREE

    def descriptors(self) -> tuple[int, ...]:
        """Return the number of its file, while that is open."""
        return () if self._fd < 0 else (self._fd,)

    def __enter__(self) -> Self:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with contextlib.suppress(OSError):  # a full disk: then a load that kills is not found out
            self._fd = os.open(self._path, flags, 0o600)
        self._write(self._at, self._what, self._tries)
        if self.is_careful:
            hooks.announce = self._announce
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        hooks.announce = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _announce(self, called: object) -> None:
        """Write down that `called` is called next.

        Raises:
            CannotKeep: it has killed each time.
        """
        self._count = count = self._count + 1
        what = _name(called)
        if self._skipped.get(count) == what or what in self._banned:
            self._tell(what)
            raise CannotKeep("it killed the server each time it was loaded")
        tries = self._tries + 1 if count == self._at and what == self._what else 1
        self._write(count, what, tries)

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.error(
                "%s killed the server each time it was loaded; it is kept as it was saved", what,
                extra=events.SKIPPED(TAPD_POISON="load"),
            )  # fmt: skip

    def _write(self, at: int, what: str, tries: int) -> None:
        if self._fd < 0:
            return
        line = json.dumps(
            {
                "deaths": self.deaths + 1,
                "at": at,
                "what": what,
                "tries": tries,
                "skipped": list(self._skipped.items()),
            }
        ).encode()
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, line.ljust(512) + b"\n", 0)


def _read(path: Path) -> dict[str, Any]:
    """Return what the loads before this one left; nothing where it makes no sense."""
    try:
        with open_regular(path) as file:
            known = json.loads(file.read(_BYTES_MAX))
        return known if type(known) is dict and _is_sound(known) else {"deaths": 1}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError):
        return {"deaths": 1}


def _is_sound(known: dict[str, Any]) -> bool:
    numbers = all(type(known.get(name)) is int for name in ("deaths", "at", "tries"))
    skipped = known.get("skipped")
    return (
        numbers
        and type(known.get("what")) is str
        and type(skipped) is list
        and all(type(each) is list and [*map(type, each)] == [int, str] for each in skipped)
    )


def _name(called: object) -> str:
    """Return what tells one call from another, without an object's own code."""
    if type(called) is str:
        return called
    cls: Any = called if issubclass(type(called), type) else type(called)
    try:
        return f"{type.__getattribute__(cls, '__module__')}:{cls.__qualname__}"[:200]
    except BaseException:
        return "an object"
