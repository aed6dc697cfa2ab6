"""Commands of IRC operators: OPER, KILL, REHASH, WALLOPS."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tapd import events
from tapd.errors import UsageError
from tapd.services.irc.commands.channels import known_user
from tapd.services.irc.conduct import audit
from tapd.services.irc.conduct.announce import announce_user_modes
from tapd.services.irc.conduct.checking import password_matches, start_check
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.login import note_refused_login
from tapd.services.irc.conduct.registration import read_motd
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import event_of
from tapd.services.irc.wire.mode_changes import Change
from tapd.services.irc.wire.names import QUIT_BYTES_MAX, clip

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message

_log = logging.getLogger(__name__)


@command("OPER", params=2)
def oper(reply: Reply, message: Message) -> None:
    """Become an IRC operator (modern, "OPER message")."""
    name, password = message.params[:2]
    entry = reply.network.opers.get(name)
    password_hash = "" if entry is None else entry.password_hash
    start_check(reply, password, password_matches, (password_hash,), _oper_checked, (name,))


def _oper_checked(reply: Reply, ok: bool | None, name: str) -> None:
    network, user = reply.network, reply.user
    if not ok or name not in network.opers:
        note_refused_login(
            reply.session, _log, f"OPER {name} failed: {user.mask} at {reply.session.ip}",
            events.LOGIN_REFUSED(TAPD_PEER=reply.session.ip, TAPD_USER=user.mask, TAPD_OPER=name),
        )  # fmt: skip
        text = f"OPER {name} failed: {audit.describe(reply.session)}"
        audit.tell_opers(network, "s", text, reply)
        reply.numeric(n.ERR_PASSWDMISMATCH)
        return
    user.oper = name
    audit.note_action(reply, "OPER", name)
    network.set_user_mode(user, "o", on=True)
    reply.numeric(n.RPL_YOUREOPER)
    announce_user_modes(network, user, [Change(on=True, letter="o")], reply)


@command("KILL", params=1, privilege="kill")
def kill(reply: Reply, message: Message) -> None:
    """End a user's connections (modern, "KILL message")."""
    network, killer = reply.network, reply.user
    user = known_user(reply, message.params[0])
    comment = message.params[1] if len(message.params) > 1 else "No reason given"
    comment = clip(comment, QUIT_BYTES_MAX)
    outgoing = event_of(killer, network, "KILL", user.nick, trailing=comment).outgoing()
    reason = f"Killed ({killer.nick} ({comment}))"
    for session in user.sessions:
        each = reply.to(session)
        each.send(outgoing)
        each.close(reason)
    if network.users.get(user.folded) is user:  # one who stays without a connection
        network.remove_user(user, reason)


@command("REHASH", privilege="rehash")
def rehash(reply: Reply, _message: Message) -> None:
    """Read the message of the day's file again (modern, "REHASH message")."""
    network = reply.network
    reply.numeric(n.RPL_REHASHING, network.motd_file or "*")
    if not network.motd_file:
        return
    try:
        network.motd = read_motd(network.motd_file)
    except UsageError as error:
        reply.notice(f"REHASH: {error}")


@command("WALLOPS", params=1, privilege="wallops")
def wallops(reply: Reply, message: Message) -> None:
    """Write to all who set +w (modern, "WALLOPS message")."""
    network = reply.network
    outgoing = event_of(reply.user, network, "WALLOPS", trailing=message.params[0]).outgoing()
    for user in network.users.values():
        if "w" in user.modes:
            user.send(outgoing, reply)
