"""The status of a running server, for systemd's status line and for `tapctl status`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from tapd.image.unfit import NAMED_MAX
from tapd.net.turn.turn import Turn
from tapd.store.snapshot import kept_in
from tapd.systemd.notify import Notifier
from tapd.values import Value
from tapd.version import __version__

if TYPE_CHECKING:
    from tapd.host.audited import Audited

STATUS_S = 5.0


class Saved(Value):
    """The last generation that is safe on the disk.

    Attributes:
        generation: its number.
        at_s: when, in seconds since the epoch.
        losses: how many objects could not be saved.
        records: how many journal records there were by then.
    """

    generation: int
    at_s: float
    losses: int
    records: int


class Vitals:
    """Figures of one process's service.

    Attributes:
        turn: serves the connections.
        saved: the last save.
        replayed: how many journal records were replayed at the start.
        started_s: when serving began, on the monotonic clock.
        audited: the last audit of this process, as `tapctl status` shows it.
        found: the last audit that found something.
    """

    def __init__(self, turn: Turn, saved: Saved, replayed: int) -> None:
        self.turn = turn
        self.saved = saved
        self.replayed = replayed
        self.started_s = time.monotonic()
        self.audited: dict[str, Any] | None = None
        self.found: dict[str, Any] | None = None

    def note_audited(self, audited: Audited) -> None:
        """Store the result of an audit."""
        self.audited = {
            "generation": audited.generation,
            "objects": audited.objects,
            "parts": audited.parts,
            "at_s": round(time.time(), 3),
            "reason": audited.reason,
            "differences": [
                {"path": each.path, "class": each.owner} for each in audited.differences
            ],
        }
        if audited.differences:
            self.found = self.audited

    @property
    def records(self) -> int:
        """How many journal records there are since the loaded TAP."""
        return self.replayed + self.turn.commits.turns

    @property
    def unprotected(self) -> int:
        """How many connections would end with the process."""
        return sum(not stream.is_protected for stream in self.turn.streams.values())

    def line(self) -> str:
        """Return the line for ``systemctl status``."""
        saved = time.strftime("%H:%M:%S", time.localtime(self.saved.at_s))
        count = len(self.turn.streams)
        text = (
            f"{count} connection{'' if count == 1 else 's'}; "
            f"generation {self.saved.generation} of {saved}"
        )
        unprotected = self.unprotected
        if unfit := len(kept_in(self.turn.application)):
            text += f"; objects that do not fit the code: {unfit}"
        return f"{text}; {unprotected} connections unprotected" if unprotected else text

    def describe(self) -> dict[str, Any]:
        """Return the data for `tapctl status`, as JSON; times are seconds since the epoch."""
        turn, saved = self.turn, self.saved
        unfit = kept_in(turn.application)
        return {
            "name": turn.application.name,
            "state": "stalled" if turn.commits.is_stalled else "running",
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self.started_s, 3),
            "ports": [str(port.address) for port in turn.application.ports],
            "connections": len(turn.streams),
            "unprotected": self.unprotected,
            "generation": saved.generation,
            "saved_at_s": round(saved.at_s, 3),
            "losses": saved.losses,
            "unfit": [loss.as_dict() for loss in unfit[:NAMED_MAX]],
            "unfit_count": len(unfit),
            "journal_bytes": turn.commits.journal.size if turn.commits.journal is not None else 0,
            "records_since": self.records - saved.records,
            "audited": self.audited,
            "audit_found": self.found,
            "deaths": turn.trials.level,
            "python": sys.version.split()[0],
            "tapd": __version__,
        }


async def keep_status(vitals: Vitals, notifier: Notifier) -> None:
    """Send status changes to the service manager, periodically."""
    turn = vitals.turn
    last = ""
    while True:
        await asyncio.sleep(STATUS_S)
        turn.connections.vault.compact(1000)
        turn.connections.protect_again()
        if not turn.commits.is_stalled and (status := vitals.line()) != last:
            last = status
            notifier.status(status)
