"""A password check in a thread that survives a kill.

An argon2 hash takes tens of milliseconds on purpose, so a thread computes it, when it
is the turn of the peer's address (`net.turn.fair_queue`). A thread dies with its process:
so what is checked is durable, its secret sealed, and the process that goes on checks
it again. The answer is taken once, and only while the connection waits for it.

A server type derives a class from `SecretCheck` that says what is computed, who is
counted for it, and what becomes of the answer. Its session begins the check again in
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
"""A function for a thread, which touches no state, and its arguments."""


class CheckingSession(TypingProtocol):
    """What a check asks of the session that waits for it.

    Attributes:
        check: what it waits for; None for nothing.
    """

    check: Any

    @property
    def service(self) -> Service:
        """Whose connection it is."""

    @property
    def is_connected(self) -> bool:
        """Whether there is somebody to answer."""


class SecretCheck(Persistent):
    """One check that a session waits for; the session has it as `check` until it is answered.

    Attributes:
        session: whose it is.
        sealed: the secret, sealed.
    """

    session: Any

    def __init__(self, session: CheckingSession, sealed: bytes) -> None:
        """Make a check that nobody waits for yet.

        Args:
            session: whose it is.
            sealed: the secret, sealed by its service's `sealer`.
        """
        self.session = session
        self.sealed = sealed

    # --- what a server type says ------------------------------------------------------

    def work(self, secret: str) -> Work:
        """Return what a thread computes."""
        raise NotImplementedError

    def group(self) -> str:
        """Return who is counted for it (`model.access.peers`)."""
        raise NotImplementedError

    def group_max(self) -> int:
        """Return how many may wait for its group."""
        return QUEUE_GROUP_MAX

    def answered(self, result: Any, error: Any) -> None:
        """Take what the thread returned or raised; the session waits for it no more."""
        raise NotImplementedError

    # --- the check --------------------------------------------------------------------

    def secret(self) -> str:
        """Return the secret."""
        opened: bytes = self.session.service.sealer.open(self.sealed) or b""
        return opened.decode("utf-8", "replace")

    def begin(self) -> str:
        """Have it computed, in this process.

        Returns:
            "" where it will be; else why not, in words for people. The session waits for
            it no more then.
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
        """Hand on the answer, if it is still waited for."""
        if self.is_wanted():
            self.session.check = None
            self.answered(result, error)
