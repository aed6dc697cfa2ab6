"""Audit of operators' actions and clients' events: the journal, and notices to operators.

`Session.run` itself records every command that needs a privilege, so none can be
forgotten; the assistants call `note_action` for operators' actions.

User mode ``s`` receives notices of bans, floods, operators' actions and failed OPER.
User mode ``c`` receives connects and disconnects.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tapd.services.irc import events

if TYPE_CHECKING:
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Client, Reply

_log = logging.getLogger(__name__)


def describe(session: Client) -> str:
    """Return a client's identity with the real address, for operators."""
    user = session.user
    return f"{user.nick or '*'}!{user.username or '*'}@{session.ip or '?'}"


def note_action(reply: Reply, action: str, detail: str) -> None:
    """Log an operator's action.

    Args:
        reply: where the operator's command answers.
        action: the command.
        detail: its arguments.
    """
    session, user = reply.session, reply.user
    _log.info(
        "operator %s (%s at %s): %s %s", user.oper, user.mask, session.ip, action, detail,
        extra=events.OPERATOR_ACTED(
            TAPD_USER=user.mask, TAPD_PEER=session.ip, TAPD_OPER=user.oper, TAPD_ACTION=action,
            TAPD_DETAIL=detail,
        ),
    )  # fmt: skip
    text = f"{user.nick} ({user.oper}) used {action} {detail}".rstrip()
    tell_opers(session.network, "s", text, reply)


def tell_opers(network: Network, letter: str, text: str, reply: Reply | None = None) -> None:
    """Send a notice to the operators who have set the user mode `letter`.

    Args:
        network: theirs.
        letter: see there.
        text: the notice.
        reply: of the command that caused it, whose client may be one of them.
    """
    if not network.counts[letter]:
        return
    for user in network.users.values():
        if letter in user.modes and user.is_oper:
            for session in user.sessions:
                where = session if reply is None else reply.to(session)
                where.notice(f"*** {text}")
