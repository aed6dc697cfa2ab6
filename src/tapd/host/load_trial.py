"""Poison objects: finds the object whose load kills the process, and loads without it.

Loading runs authors' code (``__setstate__``, ``__new__``, the import of a module), which may
kill the process, and every next one as well. A file counts the loads that have begun and not
ended. After `DEATHS_FREE` of them, every second load announces each call of an author's code
before it makes it (`image.hooks.announce`), by its number in the load. Loads read the same
bytes in the same order, so a number always means the same call.

A kill from outside may hit any call, even the same one twice, if kills come a fixed time after
each start. So the call during which a load died is only a suspect. The next load tries it in a
copy of itself, which goes on from there to the next announced call. If the copy gets there, the
call is cleared. If it dies, or hangs for `HANGS_S`, the call raises instead of being made. That
costs its object, which is kept as it was saved like everything that does not load
(`image.evolution.salvage`). A million such objects may exist, so once `NUMBERS_MAX` calls of
one name have killed loads, no call of that name is made any more.

The names of the calls to skip, each with its code's file, are kept. So the next load starts
without these calls, and other loads of the same state (`store.poison.avoiding`) do not die of
them. They are tried again once that code has changed.

The file is one line of JSON. A stop requested during a load does not count as a death.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

from tapd import events
from tapd.errors import CannotKeep
from tapd.host.own_forks import end_with_parent, fork_copy
from tapd.image import hooks
from tapd.linux.processes import offer_to_oom_killer
from tapd.store.poison import LOADING_NAME, call_name, code_of, read_loading, still_banned

_log = logging.getLogger(__name__)

DEATHS_FREE = 2
NUMBERS_MAX = 2
HANGS_S = 30.0
_LOOK_MS = 250
_STOPS = (signal.SIGTERM, signal.SIGINT)
_ALIVE_EACH = 1 << 14
"""Calls between two signs of life to the manager: a load that announces calls is slow."""


class LoadTrial:
    """One load of the state in `directory`; a context manager.

    Attributes:
        deaths: how many loads were killed since the last conviction.
        before_s: when the previous load last wrote the file, by the clock.
    """

    def __init__(self, directory: Path, keep_alive: Callable[[], object] = lambda: None) -> None:
        """Read what earlier loads left.

        Args:
            directory: ``NAME.d``, locked.
            keep_alive: called now and then while calls are announced.
        """
        self._path = directory / LOADING_NAME
        self._keep_alive = keep_alive
        known = read_loading(self._path)
        self.before_s = 0.0
        with contextlib.suppress(OSError):
            self.before_s = self._path.stat().st_mtime
        self.deaths: int = known.get("deaths", 0)
        self._at: int = known.get("at", 0)
        self._what: str = known.get("what", "")
        self._skipped: dict[int, str] = {int(at): what for at, what in known.get("skipped", [])}
        self._banned = still_banned(known.get("banned", {}))
        self._survived: int | None = None  # in a copy that tries a call: the pipe for success
        self._told: set[str] = set()
        self._count = 0
        self._fd = -1
        self._bytes = 0
        self._rest = b""
        self._handlers: dict[int, Any] = {}

    @property
    def is_careful(self) -> bool:
        """Whether calls are announced.

        Only in every second load, since it is slow: if kills from outside come faster than a
        slow load ends, a fast one may get through.
        """
        is_its_turn = self.deaths >= DEATHS_FREE and self.deaths % 2 == 0
        return is_its_turn or bool(self._banned or self._skipped)

    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptor of the file while it is open."""
        return () if self._fd < 0 else (self._fd,)

    def __enter__(self) -> Self:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with contextlib.suppress(OSError):  # a full disk: then a killing load is not detected
            self._fd = os.open(self._path, flags, 0o600)
        self._set_rest()
        self._write(self._at, self._what)
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._bytes)
        if self.is_careful:
            hooks.announce = self._announce
        with contextlib.suppress(ValueError):  # not the main thread
            self._handlers = {number: signal.signal(number, self._stop) for number in _STOPS}
        return self

    def __exit__(self, *_error: object) -> None:
        if self._survived is not None:
            self._tell_survival()
        hooks.announce = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._leave()

    def _leave(self) -> None:
        """Record that this load was not killed; remove the file if there is nothing else in it."""
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        names = {*self._banned, *self._skipped.values()}
        banned = {name: code for name in names if (code := code_of(name)) is not None}
        with contextlib.suppress(OSError):
            if not banned:
                self._path.unlink()
                return
            temporary = self._path.with_name(f".{LOADING_NAME}.new")
            temporary.write_text(json.dumps({"deaths": 0, "banned": banned}) + "\n")
            temporary.replace(self._path)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """End as usual: somebody asked for the stop, so no call is to blame."""
        self._leave()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _announce(self, called: object) -> None:
        """Record that `called` is called next.

        Raises:
            CannotKeep: it has killed every time.
        """
        if self._survived is not None:
            self._tell_survival()
        self._count = count = self._count + 1
        if not count % _ALIVE_EACH:
            self._keep_alive()
        what = call_name(called)
        if self._skipped.get(count) == what or what in self._banned:
            self._refuse(what)
        # The previous load died under this number; the name guards against changed code.
        if count == self._at and what == self._what and self._is_deadly():
            self._convict(count, what)
            self._refuse(what)
        # Before the call, so that the file names it if the process dies.
        self._write(count, what)

    def _convict(self, count: int, what: str) -> None:
        """Skip the call in this load and all later ones."""
        self._skipped[count] = what
        names = [*self._skipped.values()]
        if names.count(what) >= NUMBERS_MAX and not what.startswith("builtins:"):
            self._banned[what] = ("", 0)
        self.deaths = DEATHS_FREE  # count for the next culprit from here
        self._set_rest()
        self._write(0, "")

    def _is_deadly(self) -> bool:
        """Try the next call in a copy of this process; return whether it dies.

        Returns twice. The copy goes on with the load and exits at its next call.
        """
        parent = os.getpid()
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                copy = fork_copy()
            except OSError:
                os.close(reading)
                os.close(writing)
                raise
        except OSError as error:
            _log.warning("what a load died of can't be tried in a process of its own: %s", error)
            return False
        if copy == 0:
            end_with_parent(parent)
            os.setpgid(0, 0)  # a call may kill its process group
            offer_to_oom_killer()
            os.close(reading)
            self._fd, self._survived = -1, writing
            for number in _STOPS:
                signal.signal(number, signal.SIG_DFL)
            logging.disable()  # the original logs the same lines
            return False
        os.close(writing)
        return not self._has_survived(copy, reading)

    def _has_survived(self, copy: int, reading: int) -> bool:
        """Return whether the copy reports survival before it ends or takes too long."""
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        end_s = time.monotonic() + HANGS_S
        has_ended = False
        while not (poll.poll(_LOOK_MS) or has_ended) and time.monotonic() < end_s:
            self._keep_alive()
            has_ended = os.waitpid(copy, os.WNOHANG)[0] != 0  # its children may hold the pipe
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(reading, 1)
        os.close(reading)
        if not has_ended:
            os.kill(copy, signal.SIGKILL)
            os.waitpid(copy, 0)
        return bool(said)

    def _tell_survival(self) -> NoReturn:
        """Exit: this copy has reached its next call."""
        assert self._survived is not None
        with contextlib.suppress(OSError):
            os.write(self._survived, b"+")
        os._exit(0)

    def _refuse(self, what: str) -> NoReturn:
        self._tell(what)
        raise CannotKeep("it killed the server each time it was loaded")

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.error(
                "%s killed the server each time it was loaded; it is kept as it was saved, until "
                "its code changes",
                what,
                extra=events.SKIPPED(TAPD_POISON="load"),
            )

    def _set_rest(self) -> None:
        rest = {
            "deaths": self.deaths + 1,
            "skipped": list(self._skipped.items()),
            "banned": self._banned,
        }
        self._rest = json.dumps(rest).encode()[1:] + b"\n"

    def _write(self, at: int, what: str) -> None:
        """Record the next call. What remains of a longer earlier line is ignored."""
        if self._fd < 0:
            return
        line = b'{"at": %d, "what": %b, ' % (at, json.dumps(what).encode())
        self._bytes = len(line) + len(self._rest)
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, line + self._rest, 0)
