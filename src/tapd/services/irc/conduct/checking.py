"""Password checks of IRC clients (`model.access.check`), and their results.

The session reads no input while it waits. If too many checks are queued, the client is
told; a client that is not registered yet is disconnected.

**To add one**: a function ``check(secret, *args) -> bool`` that runs in a thread
and touches no state, and a function ``then(reply, ok, *args)`` that runs in a
turn. Both are saved by name, so they must be module-level functions.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tapd.model.access.accounts import verify_password
from tapd.model.access.check import SecretCheck, Work
from tapd.model.access.peers import group_of_host, group_of_peer
from tapd.model.application import QUEUE_GROUP_MAX, QUEUE_MAX
from tapd.wire.addresses import LOCAL

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Client, Reply

_log = logging.getLogger(__name__)

Then = Callable[..., None]


class Check(SecretCheck):
    """One check that a client waits for.

    Attributes:
        check: the function that runs in a thread.
        check_args: its arguments after the secret.
        then: called with the result.
        then_args: its arguments after session and result.
        label: of the command that started it; None for none.
    """

    session: Client

    def __init__(
        self,
        session: Client,
        secret: str,
        check: Callable[..., Any],
        check_args: tuple[Any, ...],
        then: Then,
        then_args: tuple[Any, ...],
        label: str,
    ) -> None:
        super().__init__(session, session.service.sealer.seal(secret.encode()))
        self.check = check
        self.check_args = check_args
        self.then = then
        self.then_args = then_args
        self.label = label or None

    def work(self, secret: str) -> Work:
        """Return the function and its arguments."""
        return self.check, (secret, *self.check_args)

    def group(self) -> str:
        """Return the group of the client's own address."""
        session = self.session
        if session.ip == LOCAL:
            return group_of_peer(None, session.transport.get_extra_info("socket"))
        return group_of_host(session.ip)

    def group_max(self) -> int:
        """Return a higher limit for addresses exempt from limits: many clients may share one."""
        session, network = self.session, self.session.network
        is_exempt = network.limits.is_exempt(session.ip) or network.fronts.is_gateway(session.ip)
        return QUEUE_MAX // 2 if is_exempt else QUEUE_GROUP_MAX

    def begin(self, reply: Reply | None = None) -> str:
        """Start the check in this process; if too many are queued, tell the client and give up.

        Args:
            reply: where the client is told; None for the session itself.
        """
        session = self.session
        if self.check is password_matches and _is_accepted(self.secret(), self.check_args[0]):
            session.check = self
            # A known password costs nothing, so it never waits.
            session.service.application.runtime.call(lambda: self.take_answer(True, None))
            return ""
        refused = super().begin()
        if refused:
            _refuse(session if reply is None else reply, refused)
        return refused

    def answered(self, result: Any, error: Any) -> None:
        """Call `then`, answer under the label, and read on."""
        session = self.session
        if error is not None:
            _log.error("%r: a check failed", session, exc_info=error)
        reply = session.answering(self.label)
        try:
            self.then(reply, result if error is None else None, *self.then_args)
        finally:
            reply.finish()
        if session.check is None and session.is_connected:
            session.resume_after_check()


def start_check(
    reply: Reply,
    secret: str,
    check: Callable[..., Any],
    check_args: tuple[Any, ...],
    then: Then,
    then_args: tuple[Any, ...] = (),
) -> None:
    """Have a client wait for ``check(secret, *check_args)``, then call `then`.

    ``then(reply, result, *then_args)`` runs in a turn, and answers under the label of
    the command that started it; the result is None if the check itself failed.
    """
    session = reply.session
    check_object = Check(session, secret, check, check_args, then, then_args, reply.label)
    if not check_object.begin(reply):
        reply.postpone()
        session.pause_for(check_object)


def _refuse(reply: Reply, why: str) -> None:
    """Tell a client that its password can't be checked now; before registration, close it."""
    session = reply.session
    session.end_sasl()
    session.network.application.runtime.tell(
        _log, "unchecked", f"a password from {session.ip} was not checked: {why}", peer=session.ip
    )
    text = f"{why}; try again later"
    if session.is_registered:
        reply.notice(text)
    else:
        reply.close(text)


_KEY = secrets.token_bytes(32)
_ACCEPTED_MAX = 10_000
_accepted: dict[str, bytes] = {}
"""A keyed digest of the password that matched each hash, in this process only."""


def password_matches(password: str, password_hash: str) -> bool:
    """Whether `password` matches `password_hash`; for `start_check`.

    Matches are cached: after a reboot, thousands of reconnecting clients would otherwise
    take minutes of hashing.
    """
    if _is_accepted(password, password_hash):
        return True
    if not verify_password(password_hash, password):
        return False
    if len(_accepted) >= _ACCEPTED_MAX:
        _accepted.clear()
    _accepted[password_hash] = _digest(password)
    return True


def _digest(password: str) -> bytes:
    return hashlib.blake2b(password.encode(), key=_KEY).digest()


def _is_accepted(password: str, password_hash: str) -> bool:
    """Whether `password` has matched `password_hash` before."""
    return hmac.compare_digest(_accepted.get(password_hash, b""), _digest(password))
