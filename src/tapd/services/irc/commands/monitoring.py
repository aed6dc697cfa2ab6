"""MONITOR: be told when nicknames come and go (IRCv3 monitor)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.refusal import Refused
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.isupport import MONITOR_TARGETS_MAX
from tapd.services.irc.wire.message import fill_lines
from tapd.services.irc.wire.names import is_nick

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message

LINE_BYTES_MAX = 400


@command("MONITOR", params=1)
def monitor(reply: Reply, message: Message) -> None:
    """Add to (+), take from (-), clear (C), list (L) or check (S) the nicks watched."""
    monitors = reply.network.monitors
    verb = message.params[0].upper()
    nicks = message.params[1].split(",") if len(message.params) > 1 else []
    if verb in ("+", "-") and not nicks:
        raise Refused(n.ERR_NEEDMOREPARAMS, "MONITOR")
    if verb == "+":
        _add(reply, nicks)
    elif verb == "-":
        for nick in nicks:
            monitors.remove(reply.session, nick)
    elif verb == "C":
        monitors.clear(reply.session)
    elif verb == "L":
        _reply(reply, n.RPL_MONLIST, monitors.targets(reply.session))
        reply.numeric(n.RPL_ENDOFMONLIST)
    elif verb == "S":
        _tell_state(reply, monitors.targets(reply.session))


def _add(reply: Reply, nicks: list[str]) -> None:
    added = []
    for index, nick in enumerate(nicks):
        if not is_nick(nick):
            continue
        if not reply.network.monitors.add(reply.session, nick):
            rest = ",".join(nicks[index:])
            reply.numeric(n.ERR_MONLISTFULL, str(MONITOR_TARGETS_MAX), rest[:LINE_BYTES_MAX])
            break
        added.append(nick)
    _tell_state(reply, added)


def _tell_state(reply: Reply, nicks: list[str]) -> None:
    online = []
    offline = []
    for nick in nicks:
        user = reply.network.find_user(nick)
        if user is None:
            offline.append(nick)
        else:
            online.append(user.mask)
    _reply(reply, n.RPL_MONONLINE, online)
    _reply(reply, n.RPL_MONOFFLINE, offline)


def _reply(reply: Reply, numeric: n.Numeric, words: Iterable[str]) -> None:
    for line in fill_lines(words, LINE_BYTES_MAX):
        reply.numeric(numeric, text=line.replace(" ", ","))
