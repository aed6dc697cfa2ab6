"""Timers that outlive the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import Protocol as TypingProtocol

from tapd.model.durable.persistent import Persistent


class TimersOwner(TypingProtocol):
    """What a timer needs of its application (`model.application.Application`)."""

    @property
    def delayeds(self) -> dict[int, Timer]:
        """Pending timers, by key."""


class Timer(Persistent):
    """A call that is due once, at a wall-clock time.

    Made by `Application.call_later`. A timer that falls due while the server is
    down runs as soon as it is up again.

    Attributes:
        key: its number within the application.
        due_s: when it is due, in seconds since the epoch.
        function: the callback: a bound method of a durable object, or a function
            that can be imported or was typed at a prompt.
        args: its arguments.
    """

    def __init__(
        self,
        application: TimersOwner,
        key: int,
        due_s: float,
        function: Callable[..., object],
        args: tuple[Any, ...],
    ) -> None:
        self.application = application
        self.key = key
        self.due_s = due_s
        self.function = function
        self.args = args

    @property
    def is_pending(self) -> bool:
        """Whether it has neither run nor been cancelled."""
        return self.application.delayeds.get(self.key) is self

    def cancel(self) -> None:
        """Cancel it. Does nothing if it has run or was cancelled."""
        if self.is_pending:
            del self.application.delayeds[self.key]

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", repr(self.function))
        return f"<Timer {self.key}: {name} at {self.due_s:.3f}>"
