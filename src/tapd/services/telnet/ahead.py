"""Typed-ahead input in the form of old TAPs, before `model.protocols.kept`.

Only a load creates these: `session.ShellSession.upgrade_to_version_2` converts them.
"""

from __future__ import annotations

from typing import Any

from tapd.model.durable.persistent import Persistent
from tapd.model.timer import Timer


class TypedAhead(Persistent):
    """The typed-ahead input of one session.

    Attributes:
        session: the session.
        data: the input, decoded from the wire; sealed if `is_sealed`.
        is_sealed: whether it came during the login.
        timer: was to run it.
    """

    session: Any
    data: bytes
    is_sealed: bool
    timer: Timer | None

    def run(self) -> None:
        """Do nothing: the timer's callback, which a load must find."""

    def end(self) -> None:
        """Clear it."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
