"""What operators did and what befell clients: the journal, and notices to operators.

Imports `events`; knows the network by reference only. Every command that needs a
privilege is noted by `Session.run` itself, so none can be forgotten; services call
`note_action` for what they let operators do.

User mode ``s`` receives these notices: bans, floods, what operators do, who fails to
become one. User mode ``c`` receives who comes and goes.
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
    """Return who a client is, with the real address, for operators."""
    user = session.user
    return f"{user.nick or '*'}!{user.username or '*'}@{session.ip or '?'}"


def note_action(reply: Reply, action: str, detail: str) -> None:
    """Note that an operator did something.

    Args:
        reply: where the operator's command answers.
        action: the command.
        detail: what with.
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
        text: what they are told.
        reply: of the command that brought it about, whose client may be one of them.
    """
    if not network.counts[letter]:
        return
    for user in network.users.values():
        if letter in user.modes and user.is_oper:
            for session in user.sessions:
                where = session if reply is None else reply.to(session)
                where.notice(f"*** {text}")
