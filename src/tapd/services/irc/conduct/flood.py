"""Flood protection: the cost of commands, and the waiting room of clients over their rate.

A client has a burst of commands and then a few per second. A client over its rate is not
read any more: its input stays in the kernel, so that it feels backpressure. One timer
checks all waiting clients every `WAKE_S`. Input that was read already is kept with the
session; above `Limits.flood_bytes` the connection is closed.

The rate's state is volatile, so a kill forgives it. Waiting is durable, since the
transport's pause is.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tapd.services.irc import events
from tapd.services.irc.conduct import audit
from tapd.services.irc.state.limits import next_due
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Client
    from tapd.services.irc.state.user import User
    from tapd.services.irc.wire.message import Message, Rejected

_log = logging.getLogger(__name__)

RECENT_TARGETS = 10
"""Recent targets of a user, to whom further messages are not counted."""

COSTS = {
    "AUTHENTICATE": 0.5, "CAP": 0.5, "PING": 0.5, "PONG": 0.2,
    "CHATHISTORY": 2.0, "INVITE": 2.0, "JOIN": 1.5, "KNOCK": 2.0, "LIST": 5.0, "MONITOR": 2.0,
    "NAMES": 2.0, "NICK": 2.0, "OPER": 4.0, "REGISTER": 4.0, "SETNAME": 2.0, "TOPIC": 1.5,
    "WHO": 4.0, "WHOIS": 1.5, "WHOWAS": 2.0,
}  # fmt: skip
"""The cost of a command, in commands; 1 if it is not listed."""
_PER_TARGET = frozenset({"JOIN", "NOTICE", "PRIVMSG", "TAGMSG"})
_IN_BATCH = 0.2
"""The cost of a line of a multiline message (draft/multiline)."""


def cost_of(message: Message | Rejected, batch: str = "") -> float:
    """Return the cost of a message, in commands.

    Args:
        message: the message.
        batch: the reference of the multiline message that the client is sending.
    """
    cost = COSTS.get(message.command, 1.0)
    if batch and message.tags.get("batch") == batch:
        return cost * _IN_BATCH
    params = getattr(message, "params", ())
    if params and message.command in _PER_TARGET and "," in params[0]:
        cost *= 1 + params[0].count(",")
    return cost


def note_line(session: Client, line_s: float, message: Message | Rejected | None = None) -> None:
    """Count a client's line; None as `message` is a command of cost 1.

    Args:
        session: the client.
        line_s: the cost of one command, in seconds of the client's time.
        message: the line's message.
    """
    cost = 1.0
    if message is not None:
        cost = cost_of(message, session.batch.reference if session.batch is not None else "")
    pace = session.pace
    pace.due_s = max(pace.due_s, session.heard_s) + line_s * cost


def hold(session: Client, waiting: bytes) -> bytes:
    """Pause a session that exceeds its rate; close it if too much input waits.

    Returns:
        The input to keep.
    """
    if not 0 < session.network.limits.flood_bytes < len(waiting):
        session.network.waiting_room.enter(session)
        return waiting
    _close_flooder(session, len(waiting))
    return b""


def _close_flooder(session: Client, waiting_bytes: int) -> None:
    user = session.user
    session.network.application.runtime.tell(
        _log, "flood", f"flood of {waiting_bytes} bytes from {session} at {session.ip}: closed",
        peer=session.ip, level=logging.WARNING,
        extra=events.FLOOD_CLOSED(TAPD_PEER=session.ip, TAPD_USER=user.nick),
    )  # fmt: skip
    audit.tell_opers(session.network, "s", f"Flood: {audit.describe(session)} was disconnected")
    session.close("Excess flood")


def nick_wait_s(session: Client) -> float:
    """Count a change of nick; return how long the client must wait for it, 0 if not."""
    network = session.network
    count = network.limits.nick_changes_per_minute
    due_s = _take(session, session.pace.nick_due_s, count)
    if due_s is None:
        return 60 / count
    session.pace.nick_due_s = due_s
    return 0.0


def target_wait_s(session: Client, target: User) -> float:
    """Count a message to `target`; return how long the client must wait, 0 if not.

    Recent targets cost nothing, nor do users who wrote to this client.
    """
    count = session.network.limits.new_targets_per_minute
    if not count or target is session.user:
        return 0.0
    recent = session.pace.targets
    key = fold(target.nick)
    if key not in recent:
        due_s = _take(session, session.pace.target_due_s, count)
        if due_s is None:
            return 60 / count
        session.pace.target_due_s = due_s
        _remember(recent, key)
    for each in target.sessions:
        _remember(each.pace.targets, session.user.folded)
    return 0.0


def _remember(recent: dict[str, None], key: str) -> None:
    recent.pop(key, None)
    recent[key] = None
    if len(recent) > RECENT_TARGETS:
        del recent[next(iter(recent))]


def _take(session: Client, due_s: float, count: float) -> float | None:
    network = session.network
    if not count:
        return due_s
    taken = next_due(due_s, network.now_s(), count, 60.0)
    return due_s if taken is None and network.may(session.user, "flood") else taken
