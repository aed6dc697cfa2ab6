"""A password check that runs in a thread and is started again after a kill.

An argon2 hash takes tens of milliseconds on purpose, so a thread computes it; the peers'
addresses take turns (`net.turn.fair_queue`). A thread dies with its process. So the check
is a durable object with the secret sealed, and the next process starts it again. The
result is delivered once, and only while the connection waits for it.

A server type derives a class from `SecretCheck`, which defines the computation, the group
that it counts for, and the handling of the result. Its session restarts the check in
`connection_resumed`, and reads no input meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import Protocol as TypingProtocol

from tapd.model.application import QUEUE_GROUP_MAX
from tapd.model.durable.persistent import Persistent
from tapd.model.service import Service

Work = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function that runs in a thread and touches no state, and its arguments."""


class CheckingSession(TypingProtocol):
    """What a check needs of the session that waits for it.

    Attributes:
        check: the check that it waits for, if any.
    """

    check: Any

    @property
    def service(self) -> Service:
        """The service of the connection."""

    @property
    def is_connected(self) -> bool:
        """Whether the connection is still there."""


class SecretCheck(Persistent):
    """One check that a session waits for; it is the session's `check` until it is done.

    Attributes:
        session: the session that waits.
        sealed: the secret, sealed.
    """

    session: Any

    def __init__(self, session: CheckingSession, sealed: bytes) -> None:
        """Make a check; it has not begun.

        Args:
            session: the session that will wait.
            sealed: the secret, sealed by its service's `sealer`.
        """
        self.session = session
        self.sealed = sealed

    # --- what a server type defines ---------------------------------------------------

    def work(self, secret: str) -> Work:
        """Return the function and arguments that a thread runs."""
        raise NotImplementedError

    def group(self) -> str:
        """Return the group that the check counts for (`model.access.peers`)."""
        raise NotImplementedError

    def group_max(self) -> int:
        """Return how many checks of its group may wait."""
        return QUEUE_GROUP_MAX

    def answered(self, result: Any, error: Any) -> None:
        """Handle the thread's result or error; the session no longer waits."""
        raise NotImplementedError

    # --- the check --------------------------------------------------------------------

    def secret(self) -> str:
        """Return the secret."""
        opened: bytes = self.session.service.sealer.open(self.sealed) or b""
        return opened.decode("utf-8", "replace")

    def begin(self) -> str:
        """Start the computation, in this process.

        Returns:
            "" if it was queued; else the reason why not, for people. The session no longer
            waits then.
        """
        self.session.check = self
        function, args = self.work(self.secret())
        refused: str = self.session.service.application.runtime.run_in_queue(
            function, args, self.take_answer,
            is_wanted=self.is_wanted, group=self.group(), group_max=self.group_max(),
        )  # fmt: skip
        if refused:
            self.session.check = None
        return refused

    def is_wanted(self) -> bool:
        """Whether its session still waits for it."""
        return self.session.check is self and self.session.is_connected

    def take_answer(self, result: Any, error: Any) -> None:
        """Deliver the result, if the session still waits for it."""
        if self.is_wanted():
            self.session.check = None
            self.answered(result, error)
