"""MONITOR: be told when nicknames come and go (IRCv3 monitor)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.isupport import MONITOR_TARGETS_MAX
from tapd.services.irc.wire.message import fill_lines
from tapd.services.irc.wire.names import is_nick

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.wire.isupport import MONITOR_TARGETS_MAX
from tapd.services.irc.wire.message import Message

LINE_BYTES_MAX = 400


@command("MONITOR", params=1)
def monitor(session: Session, message: Message) -> None:
    """Add to (+), take from (-), clear (C), list (L) or check (S) the nicks watched."""
    monitors = session.network.monitors
    verb = message.params[0].upper()
    nicks = message.params[1].split(",") if len(message.params) > 1 else []
    if verb in ("+", "-") and not nicks:
        session.reply(n.ERR_NEEDMOREPARAMS, "MONITOR")
    elif verb == "+":
        _add(session, nicks)
    elif verb == "-":
        for nick in nicks:
            monitors.remove(session, nick)
    elif verb == "C":
        monitors.clear(session)
    elif verb == "L":
        _reply(session, n.RPL_MONLIST, monitors.targets(session))
        session.reply(n.RPL_ENDOFMONLIST)
    elif verb == "S":
        _tell_state(session, monitors.targets(session))


def _add(session: Session, nicks: list[str]) -> None:
    added = []
    for index, nick in enumerate(nicks):
        if not is_nick(nick):
            continue
        if not session.network.monitors.add(session, nick):
            rest = ",".join(nicks[index:])
            session.reply(n.ERR_MONLISTFULL, str(MONITOR_TARGETS_MAX), rest[:LINE_BYTES_MAX])
            break
        added.append(nick)
    _tell_state(session, added)


def _tell_state(session: Session, nicks: list[str]) -> None:
    online = []
    offline = []
    for nick in nicks:
        user = session.network.find_user(nick)
        if user is None:
            offline.append(nick)
        else:
            online.append(user.mask)
    _reply(session, n.RPL_MONONLINE, online)
    _reply(session, n.RPL_MONOFFLINE, offline)


def _reply(session: Session, numeric: n.Numeric, words: Iterable[str]) -> None:
    for line in fill_lines(words, LINE_BYTES_MAX):
        session.reply(numeric, text=line.replace(" ", ","))
