"""MONITOR: who wants to know when a nickname comes and goes (IRCv3 monitor).

Kept by folded nick, so that a
user who comes costs one look-up however many lists there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import Outgoing
from tapd.services.irc.wire.isupport import MONITOR_TARGETS_MAX
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.wire.roles import Listener, Person


class Monitors(Persistent):
    """All monitor lists.

    Attributes:
        watchers: the sessions that watch a folded nick (values are None).
        lists: what a session watches: the nick as it wrote it, by folded nick.
    """

    def __init__(self) -> None:
        self.watchers: dict[str, dict[Listener, None]] = TrackedDict()
        self.lists: dict[Listener, dict[str, str]] = TrackedDict()

    def targets(self, session: Listener) -> list[str]:
        """Return what `session` watches."""
        return list(self.lists.get(session, {}).values())

    def add(self, session: Listener, nick: str) -> bool:
        """Have `session` watch `nick`; return whether there was room."""
        folded = fold(nick)
        watched = self.lists.setdefault(session, TrackedDict())
        if folded not in watched:
            if len(watched) >= MONITOR_TARGETS_MAX:
                return False
            watched[folded] = nick
            self.watchers.setdefault(folded, TrackedDict())[session] = None
        return True

    def remove(self, session: Listener, nick: str) -> None:
        """Have `session` watch `nick` no more."""
        folded = fold(nick)
        watched = self.lists.get(session)
        if watched is None or watched.pop(folded, None) is None:
            return
        watchers = self.watchers[folded]
        del watchers[session]
        if not watchers:
            del self.watchers[folded]
        if not watched:
            del self.lists[session]

    def clear(self, session: Listener) -> None:
        """Have `session` watch nobody."""
        for nick in self.targets(session):
            self.remove(session, nick)

    def tell_online(self, user: Person) -> None:
        """Tell who watches the nick of `user` that it is there."""
        for session in self._watching(user.nick):
            session.reply(n.RPL_MONONLINE, text=user.mask)

    def tell_offline(self, nick: str) -> None:
        """Tell who watches `nick` that it is gone."""
        for session in self._watching(nick):
            session.reply(n.RPL_MONOFFLINE, text=nick)

    def tell_change(self, user: Person, outgoing: Outgoing, having: int) -> None:
        """Tell watchers with extended-monitor what they would see on a shared channel."""
        wanted = having | cap.EXTENDED_MONITOR
        for session in self._watching(user.nick):
            if session.caps & wanted == wanted and not session.user.shares_channel(user):
                session.send(outgoing)

    def _watching(self, nick: str) -> Iterable[Listener]:
        return tuple(self.watchers.get(fold(nick), ()))
