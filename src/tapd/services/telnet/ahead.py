"""What a client typed ahead, as TAPs had it before `model.protocols.kept`.

Only a load makes these: `session.ShellSession.upgrade_to_version_2` takes the input over.
"""

from __future__ import annotations

from typing import Any

from tapd.model.durable.persistent import Persistent
from tapd.model.timer import Timer


class TypedAhead(Persistent):
    """What one session's client typed ahead.

    Attributes:
        session: whose input it is.
        data: the input, decoded from the wire; sealed where `is_sealed`.
        is_sealed: whether it came during the login.
        timer: was to run it.
    """

    session: Any
    data: bytes
    is_sealed: bool
    timer: Timer | None

    def run(self) -> None:
        """Do nothing: what the timer calls, which a load has to find."""

    def end(self) -> None:
        """Forget it."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
