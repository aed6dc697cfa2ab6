"""Logs the lifecycle events of a daemon, such as its start, saves, audits and stop.

Each line is an event of `tapd.events` with its fields. Nothing is decided here.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from typing import TYPE_CHECKING

from tapd import events
from tapd.host.sleep.file import Sleep
from tapd.host.upgrade import name_modules
from tapd.image.unfit import NAMED_MAX
from tapd.net.turn.recovery import Resumed
from tapd.net.turn.turn import Turn
from tapd.store.snapshot import SaveReport
from tapd.store.state import Restored
from tapd.version import __version__

if TYPE_CHECKING:
    from tapd.host.audited import Audited

_log = logging.getLogger("tapd.host")


def tell_start(restored: Restored, resumed: Resumed, turn: Turn, sleep: Sleep | None) -> None:
    """Log what was started, from what, and where it listens."""
    application = restored.application
    loaded = restored.loaded
    history = restored.history
    is_resumed = bool(history.records) or loaded.generation > 1
    event = events.RESUMED if is_resumed else events.STARTED
    _log.info(
        "%s %r from %s (generation %d, saved %s; journal records: %d), Python %s, tapd %s",
        "resumed" if is_resumed else "started", application.name, loaded.path.name,
        loaded.generation, loaded.saved_at, restored.records, sys.version.split()[0],
        __version__,
        extra=event(
            TAPD_GENERATION=loaded.generation,
            TAPD_TAP=loaded.path,
            TAPD_RECORDS=restored.records,
            TAPD_CONNECTIONS=len(resumed.streams) + len(resumed.accepted),
        ),
    )  # fmt: skip
    if sleep is not None:
        is_due = sleep.due_s <= time.time() + 1  # the file holds a whole second, rounded up
        _log.info(
            "woken by %s after %s asleep", "a timer" if is_due else "a client", sleep.slept,
            extra=events.WOKEN(TAPD_WOKEN_BY="timer" if is_due else "client"),
        )  # fmt: skip
    if not history.clean and history.records:
        goes_on = len(resumed.streams) + len(resumed.accepted)
        _log.warning(
            "the process before was killed; connections that go on: %d, ended meanwhile: %d",
            goes_on, len(resumed.ended),
            extra=events.KILLED_BEFORE(
                TAPD_CONNECTIONS=goes_on,
                TAPD_CONNECTIONS_ENDED=len(resumed.ended),
                TAPD_DEATHS=history.level + 1,
            ),
        )  # fmt: skip
    elif resumed.streams:
        _log.info("connections that go on: %d", len(resumed.streams))
    _tell_unfit(restored)
    for listener in turn.listeners:
        _log.info("%s answers on %s", listener.service.name, listener)
    for port in turn.ports:
        _log.info("%s answers on %s", port.port.service.name, port)


def _tell_unfit(restored: Restored) -> None:
    """Log the objects that the installed code can't load."""
    unfit = restored.kept.losses()
    for loss in unfit[:NAMED_MAX]:
        _log.error(
            "unfit, kept as it was saved: %s (%s): %s", loss.path, loss.type_name, loss.reason,
            extra=events.UNFIT(TAPD_OBJECT=loss.path, TAPD_OBJECT_TYPE=loss.type_name),
        )  # fmt: skip
    if len(unfit) > NAMED_MAX:
        _log.error(
            "unfit, kept as they were saved: %d more; tapctl verify --upgrade names them",
            len(unfit) - NAMED_MAX,
        )


def tell_crash_loop(text: str, deaths: int) -> None:
    """Log that the next start is delayed."""
    _log.error("%s", text, extra=events.CRASH_LOOP(TAPD_DEATHS=deaths))


def tell_code_renewed(changed: list[str]) -> None:
    """Log that the next process runs new code."""
    _log.info(
        "new code of %s: tried, and it loads this state; going on with it", name_modules(changed),
        extra=events.RELOADED(TAPD_MODULES=" ".join(changed)),
    )  # fmt: skip


def tell_code_refused(changed: list[str], error: Exception) -> None:
    """Log why new code is refused and the old code goes on."""
    _log.error(
        "%s. Mend it and reload again", error,
        extra=events.CODE_REFUSED(TAPD_MODULES=" ".join(changed)),
    )  # fmt: skip


def tell_saved(report: SaveReport) -> None:
    """Log a saved generation, and its losses."""
    _log.info(
        "saved %s (generation %d): %d bytes in %.3f s", report.path.name, report.generation,
        report.size_bytes, report.duration_s,
        extra=events.SAVED(
            TAPD_GENERATION=report.generation,
            TAPD_TAP=report.path,
            TAPD_BYTES=report.size_bytes,
            TAPD_LOSSES=len(report.losses),
        ),
    )  # fmt: skip
    for loss in report.losses:
        _log.warning(
            "not saved: %s (%s): %s", loss.path, loss.type_name, loss.reason,
            extra=events.LOSS(TAPD_OBJECT=loss.path, TAPD_OBJECT_TYPE=loss.type_name),
        )  # fmt: skip


def tell_save_failed(error: Exception) -> None:
    """Log a failed save."""
    _log.error(
        "checkpoint failed: %s (the last good TAP and the journal stay)", error,
        extra=events.SAVE_FAILED(),
    )  # fmt: skip


def tell_audited(audited: Audited) -> None:
    """Log what a kill would have restored differently; nothing if all is well."""
    for each in audited.differences:
        path = each.path or "the application"
        what = (
            f"a kill would have restored {each.one}, memory holds {each.other}"
            if each.other_path is None
            else f"and {each.other_path}: a kill would have restored "
            + ("one object, memory holds two" if each.is_one else "two objects, memory holds one")
        )
        lasts = each.path in audited.lasting
        _log.error(
            "audit of generation %d: %s (in a %s) %s; %s", audited.generation, path, each.owner,
            what,
            "the new generation has it like that, too: please report it" if lasts
            else "the new generation has what memory holds",
            extra=events.DIFFERENCE(
                TAPD_GENERATION=audited.generation,
                TAPD_OBJECT=path,
                TAPD_OBJECT_TYPE=each.owner,
            ),
        )  # fmt: skip
    if audited.reason:
        _log.warning(
            "audit of generation %d: %s of it was compared: %s", audited.generation,
            "not all" if audited.objects else "nothing", audited.reason,
        )  # fmt: skip


def tell_unstalled() -> None:
    """Log that the disk accepts records again."""
    _log.info("the journal can be written again; going on", extra=events.UNSTALLED())


def tell_stopping(name: str, connections: int) -> None:
    """Log that the server stops."""
    _log.info("stopping %r", name, extra=events.STOPPING(TAPD_CONNECTIONS=connections))


def tell_asleep(idle_exit_s: float, due_s: float) -> str:
    """Log that the server goes to sleep; return what wakes it."""
    wakes = "a client wakes it"
    fields = {}
    if due_s < math.inf:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(due_s))
        wakes += f", or the timer that is due at {at}"
        fields["TAPD_WAKE_AT"] = at
    _log.info(
        "asleep: nothing to do for %g s; %s", idle_exit_s, wakes, extra=events.ASLEEP(**fields)
    )
    return wakes
