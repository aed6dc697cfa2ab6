"""Commands of IRC operators: OPER, KILL, REHASH, WALLOPS."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tapd import events
from tapd.errors import UsageError
from tapd.services.irc.conduct import audit
from tapd.services.irc.conduct.checking import password_matches, start_check
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.login import note_refused_login
from tapd.services.irc.conduct.registration import read_motd
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import event_of
from tapd.services.irc.wire.names import QUIT_BYTES_MAX, clip

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.wire.message import Message

log = logging.getLogger(__name__)


@command("OPER", params=2)
def oper(session: Session, message: Message) -> None:
    """Become an IRC operator (modern, "OPER message")."""
    name, password = message.params[:2]
    entry = session.network.opers.get(name)
    password_hash = "" if entry is None else entry.password_hash
    start_check(session, password, password_matches, (password_hash,), _oper_checked, (name,))


def _oper_checked(session: Session, ok: bool | None, name: str) -> None:
    network, user = session.network, session.user
    if not ok or name not in network.opers:
        note_refused_login(
            session, log, f"OPER {name} failed: {user.mask} at {session.ip}",
            events.LOGIN_REFUSED(TAPD_PEER=session.ip, TAPD_USER=user.mask, TAPD_OPER=name),
        )  # fmt: skip
        audit.tell_opers(network, "s", f"OPER {name} failed: {audit.describe(session)}")
        session.reply(n.ERR_PASSWDMISMATCH)
        return
    user.oper = name
    audit.note_action(session, "OPER", name)
    network.set_user_mode(user, "o", on=True)
    session.reply(n.RPL_YOUREOPER)
    outgoing = event_of(user, network, "MODE", user.nick, "+o").outgoing()
    user.send(outgoing, skip=session)
    session.send(outgoing)


@command("KILL", params=1, privilege="kill")
def kill(session: Session, message: Message) -> None:
    """End a user's connections (modern, "KILL message")."""
    network, killer = session.network, session.user
    user = network.find_user(message.params[0])
    if user is None:
        session.reply(n.ERR_NOSUCHNICK, message.params[0])
        return
    comment = message.params[1] if len(message.params) > 1 else "No reason given"
    comment = clip(comment, QUIT_BYTES_MAX)
    outgoing = event_of(killer, network, "KILL", user.nick, trailing=comment).outgoing()
    reason = f"Killed ({killer.nick} ({comment}))"
    for each in user.sessions:
        each.send(outgoing)
        each.close(reason)
    if network.users.get(user.folded) is user:  # one who stays without a connection
        network.remove_user(user, reason)


@command("REHASH", privilege="rehash")
def rehash(session: Session, _message: Message) -> None:
    """Read the message of the day's file again (modern, "REHASH message")."""
    network = session.network
    session.reply(n.RPL_REHASHING, network.motd_file or "*")
    if not network.motd_file:
        return
    try:
        network.motd = read_motd(network.motd_file)
    except UsageError as error:
        session.notice(f"REHASH: {error}")


@command("WALLOPS", params=1, privilege="wallops")
def wallops(session: Session, message: Message) -> None:
    """Write to all who set +w (modern, "WALLOPS message")."""
    network = session.network
    outgoing = event_of(session.user, network, "WALLOPS", trailing=message.params[0]).outgoing()
    for user in network.users.values():
        if "w" in user.modes:
            user.send(outgoing)
