"""Audit: checks that a kill right now would restore what is in memory.

It runs in the child process of a checkpoint, after the new generation is safe and reported. It
restores the generation before and its journals, as a start would, and compares the result with
memory as it was at the fork. Both are in one process, so the live graph must not be changed:
the load has definitions, namespaces and durable objects of its own. If that would take too much
memory, each audit covers one part (`audit_part`).

Restoring runs the hooks of classes (``__setstate__``), as every start does. The child is a copy
that ends afterwards. It has none of the server's descriptors, writes no file and reaches nobody
(`_be_harmless`). Any error only becomes the reason of an incomplete audit.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tapd.errors import StateUnwritable, TapMissing
from tapd.host.audited import Audited
from tapd.host.saving import audit_part
from tapd.host.saving.audit_part import LiveObjects, Part, PartFile
from tapd.image.likeness.differences import Outcome
from tapd.image.likeness.graphs import Likeness
from tapd.image.paths import find_path
from tapd.image.tracking.jar import Jar
from tapd.linux import memory
from tapd.model.application import Application
from tapd.model.durable.persistent import is_durable_type
from tapd.store.journal.chain import JournalGone
from tapd.store.key import Key
from tapd.store.state import Restored, State
from tapd.values import Value

DIFFERENCES_MAX = 20
DEADLINE_S = 600.0
MEMORY_FACTOR = 24
"""Memory for restoring a TAP and comparing all of it, per byte of the file
(`bench_audit`)."""

_NICE_MOST = 19


class Audit(Value):
    """Parameters of an audit; created before the fork, run in the child.

    Attributes:
        path: of the TAP.
        key: verifies it.
        base: the generation from which a kill would have restored.
        generation: the one that the child has saved from the same memory.
        memory_bytes: the memory limit.
        deadline_s: the time limit.
    """

    path: Path
    key: Key
    base: int
    generation: int
    memory_bytes: int = memory.NO_LIMIT
    deadline_s: float = DEADLINE_S

    def run(self, application: Application) -> Audited:
        """Compare; never raises. The process is unusable afterwards."""
        started_s, processor_s = time.monotonic(), time.process_time()
        outcome = Audited(self.generation, self.base)
        memory.forget_peak()  # the save took memory, too
        before_bytes = memory.resident_bytes()
        limits = None
        try:
            # Half of what is free: others must not run short for it.
            allowed = min(self.memory_bytes, memory.available_bytes() // 2)
            parts = parts_for(self._size_bytes(), allowed)
            with contextlib.suppress(OSError, ValueError):  # a filter may refuse it
                limits = memory.limit_address_space(allowed)
            if parts == 1:
                self._part_file().remove()
                _be_harmless()
                outcome = self._compare(application, outcome)
            else:
                jar = application._p_jar
                live = LiveObjects(jar)
                # Before `_be_harmless`, which forbids writing: this stores the next part.
                part = self._change_part(jar, live, parts)
                _be_harmless()
                if part is None:
                    outcome = outcome.replace(reason=self._postponed(allowed))
                else:
                    outcome = self._compare_part(part, live, application, outcome)
        except (_Overtaken, JournalGone):
            outcome = outcome.replace(reason=_OVERTAKEN)
        except TapMissing as error:
            # A later save may have compressed or removed the base since it was listed.
            reason = _OVERTAKEN if self._has_later() else _failed(self.base, error)
            outcome = outcome.replace(reason=reason)
        except BaseException as error:  # such as SystemExit of an author's hook
            outcome = outcome.replace(reason=_failed(self.base, error))
        with contextlib.suppress(Exception):
            if limits is not None:
                memory.restore_address_space(limits)
        return outcome.replace(
            duration_s=time.monotonic() - started_s,
            processor_s=time.process_time() - processor_s,
            memory_bytes=max(0, memory.peak_bytes() - before_bytes),
        )

    def _has_later(self) -> bool:
        """Whether a generation was saved after the one of this audit."""
        entries = State(self.path, self.key).store.entries()
        return any(each.generation > self.generation for each in entries)

    def _size_bytes(self) -> int:
        entries = State(self.path, self.key).store.entries()
        generations = self.base, self.generation
        return max(
            (each.size_bytes for each in entries if each.generation in generations), default=0
        )

    def _change_part(self, jar: Jar, live: LiveObjects, parts: int) -> Part | None:
        """Return the part to compare, and store the next one."""
        file = self._part_file()
        part = file.read(self.base)
        with contextlib.suppress(StateUnwritable):  # the next audit reports that it has no part
            file.write(live, jar, self.generation, parts)
        return part

    def _part_file(self) -> PartFile:
        return PartFile(State(self.path, self.key).store.journal_directory / "audit", self.key)

    def _postponed(self, allowed: int) -> str:
        told = "--audit allows" if allowed == self.memory_bytes else "is to spare"
        needed = self._size_bytes() * MEMORY_FACTOR
        return (
            f"all of it takes about {needed >> 20} MiB of memory, and {allowed >> 20} MiB {told}; "
            "a part is compared each time from the next generation on"
        )

    def _compare(self, application: Application, outcome: Audited) -> Audited:
        deadline_s = time.monotonic() + self.deadline_s
        restored = self._restore(self.base)
        self._check_was_there()
        found = _walk(restored.application, application, deadline_s)
        del restored
        lasting = frozenset[str]()
        if found.differences:
            # This generation was saved from the same memory, so a difference is no missed change:
            # the round trip is not faithful, or is not meant to be.
            saved = self._restore(self.generation)
            again = _walk(saved.application, application, deadline_s)
            lasting = frozenset(each.path for each in again.differences)
        return _told(outcome, found, lasting)

    def _compare_part(
        self, part: Part, live: LiveObjects, application: Application, outcome: Audited
    ) -> Audited:
        found, lasting = audit_part.compare(
            part,
            live,
            application._p_jar,
            State(self.path, self.key).changes_until(self.base, self.generation),
            functools.partial(_path_in, application),
            differences_max=DIFFERENCES_MAX,
            deadline_s=time.monotonic() + self.deadline_s,
        )
        self._check_was_there()
        return _told(outcome.replace(parts=part.parts), found, lasting)

    def _restore(self, base: int) -> Restored:
        """Restore generation `base` as a start would have done right before this save."""
        state = State(self.path, self.key)
        state.make_jar = _NumbersAlone
        return state.restore_until(base, self.generation)

    def _check_was_there(self) -> None:
        """Check, after reading the journals, that none of them had been deleted before.

        The server saves on meanwhile. Files are deleted in order, the base's first.

        Raises:
            _Overtaken: some may have been missing.
        """
        if not State(self.path, self.key).store.journal_path(self.base).exists():
            raise _Overtaken


_OVERTAKEN = "a later save deleted the journal before it was read"


class _Overtaken(Exception):
    """Later saves deleted the files being read."""


def _walk(restored: Application, live: Application, deadline_s: float) -> Outcome:
    likeness = Likeness(differences_max=DIFFERENCES_MAX, deadline_s=deadline_s)
    return likeness.compare(restored, live)


def _told(outcome: Audited, found: Outcome, lasting: frozenset[str]) -> Audited:
    # A class that defines its own state may give another one after a restore.
    differences = tuple(
        each for each in found.differences if not (each.path in lasting and each.is_hooked)
    )
    return outcome.replace(
        objects=found.objects,
        differences=differences,
        lasting=tuple(each.path for each in differences if each.path in lasting),
        reason="" if found.is_whole else "its time was over",
    )


class _NumbersAlone(Jar):
    """A jar for a graph that nobody will change: it numbers objects and watches nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._is_numbered = False

    def _number(self, durables: Iterable[Any]) -> dict[int, Any]:
        known = [obj for obj in durables if is_durable_type(type(obj))]
        self._is_numbered = bool(known) and all(obj._p_oid is not None for obj in known)
        return super()._number(known)

    def _take_in(self, rest: Sequence[Any]) -> None:
        if not self._is_numbered:  # not saved by a server yet: number all objects the usual way
            super()._take_in(rest)
            return
        for obj in rest:
            self._settle(obj)


def parts_for(size: int, allowed: int) -> int:
    """Return the number of parts that a TAP's audit needs to fit into memory."""
    needed = size * MEMORY_FACTOR
    return 1 if needed <= allowed else -(-needed * _PART_FACTOR // max(allowed, 1))


_PART_FACTOR = 2
"""Safety factor of a part: objects differ in size, and all of them are indexed."""


def _path_in(live: Application, path: str, obj: Any) -> str:
    """Return the path from the application of a difference inside of a durable object."""
    place = find_path(live, obj).removeprefix("application").removeprefix(".")
    return f"{place or f'(object {obj._p_oid})'}{path}".removeprefix(".")


def _failed(base: int, error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return "there was not enough memory"
        cause = cause.__cause__
    return f"generation {base} could not be restored: {type(error).__name__}: {error!s:.300}"


# --- isolating the child ----------------------------------------------------


_DENIED = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.kill",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "os.setxattr", "shutil.", "sqlite3.connect", "syslog.",
    "ftplib.", "smtplib.", "http.", "urllib.", "poplib.", "imaplib.", "tempfile.", "pty.",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    """Raise if a restored object is about to have an effect outside (`sys.addaudithook`)."""
    if event == "open":
        flags = args[2]
        if not (isinstance(flags, int) and flags & _WRITING):
            return
    elif not event.startswith(_DENIED):
        return
    raise PermissionError(f"{event}: an audit restores state; nothing is done with it")


def _be_harmless() -> None:
    """Drop output, network and writing, and run at the lowest priority."""
    logging.disable(logging.CRITICAL)
    sys.dont_write_bytecode = True
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    os.close(nowhere)
    sys.addaudithook(_refuse)
    with contextlib.suppress(OSError):  # a seccomp filter may refuse it
        os.nice(_NICE_MOST)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
