"""Checks that take long, such as that of a password, and survive a kill.

Imports `session`'s parts by reference only. A hash takes tens of milliseconds on
purpose, so it is computed in a thread. The session reads nothing meanwhile. A
thread dies with its process, so what is to be checked is kept (sealed), and
checked again by the process that goes on.

**To add one**: a function ``check(secret, *args) -> bool`` that runs in a thread
and touches no state, and a function ``then(session, ok, *args)`` that runs in a
turn. Both are kept by name, so they are functions of modules.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tapd.model.accounts import verify_password
from tapd.model.persistent import Persistent

if TYPE_CHECKING:
    from tapd.services.irc.session import Session

log = logging.getLogger(__name__)

Then = Callable[..., None]


class Check(Persistent):
    """One check that a session waits for.

    Attributes:
        session: whose it is.
        sealed: the secret, sealed.
        check: the function that runs in a thread.
        check_args: its arguments after the secret.
        then: what is called with the outcome.
        then_args: its arguments after session and outcome.
        label: of the command that began it; None for none.
    """

    def __init__(
        self,
        session: Session,
        secret: str,
        check: Callable[..., Any],
        check_args: tuple[Any, ...],
        then: Then,
        then_args: tuple[Any, ...],
    ) -> None:
        self.session = session
        sealer = session.network.application.runtime.sealer
        self.sealed = sealer.seal(secret.encode())
        self.check = check
        self.check_args = check_args
        self.then = then
        self.then_args = then_args
        self.label = session._v_label

    def begin(self) -> None:
        """Start it, in this process."""
        runtime = self.session.network.application.runtime
        secret = (runtime.sealer.open(self.sealed) or b"").decode()
        runtime.run_blocking(self.check, (secret, *self.check_args), self._finished)

    def _finished(self, result: Any, error: Any) -> None:
        session = self.session
        if session.check is not self or not session.is_connected:
            return
        if error is not None:
            log.error("%r: a check failed", session, exc_info=error)
        session.check = None
        if self.label is not None:
            session.begin_label(self.label)
        try:
            self.then(session, result if error is None else None, *self.then_args)
        finally:
            session.flush_label()
        if session.check is None and session.is_connected:
            session.resume_after_check()


def start_check(
    session: Session,
    secret: str,
    check: Callable[..., Any],
    check_args: tuple[Any, ...],
    then: Then,
    then_args: tuple[Any, ...] = (),
) -> None:
    """Have `session` wait for ``check(secret, *check_args)``, then call `then`.

    ``then(session, result, *then_args)`` runs in a turn; the result is None where
    the check itself failed.
    """
    check_object = Check(session, secret, check, check_args, then, then_args)
    session.pause_for(check_object)
    check_object.begin()


_KEY = secrets.token_bytes(32)
_ACCEPTED_MAX = 10_000
_accepted: dict[str, bytes] = {}
"""A keyed digest of the password that a hash was found to be of, in this process only."""


def password_matches(password: str, password_hash: str) -> bool:
    """Whether `password` is that of `password_hash`; for `start_check`.

    The same password is not worked out twice: when a network of thousands comes
    back after a reboot, that would take it minutes.
    """
    digest = hashlib.blake2b(password.encode(), key=_KEY).digest()
    if hmac.compare_digest(_accepted.get(password_hash, b""), digest):
        return True
    if not verify_password(password_hash, password):
        return False
    if len(_accepted) >= _ACCEPTED_MAX:
        _accepted.clear()
    _accepted[password_hash] = digest
    return True
