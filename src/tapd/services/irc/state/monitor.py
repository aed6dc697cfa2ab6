"""MONITOR lists: notifications of nicknames that come and go (IRCv3 monitor).

Indexed by folded nick, so a user who connects costs one look-up, however many lists
there are.
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
    from tapd.services.irc.wire.roles import Answer, Person


class Monitors(Persistent):
    """All monitor lists.

    Attributes:
        watchers: the sessions that watch a folded nick (values are None).
        lists: what a session watches: the nick as it wrote it, by folded nick.
    """

    def __init__(self) -> None:
        self.watchers: dict[str, dict[Answer, None]] = TrackedDict()
        self.lists: dict[Answer, dict[str, str]] = TrackedDict()

    def targets(self, session: Answer) -> list[str]:
        """Return the targets that `session` monitors."""
        return list(self.lists.get(session, {}).values())

    def add(self, session: Answer, nick: str) -> bool:
        """Add `nick` to the list of `session`; return whether there was room."""
        folded = fold(nick)
        watched = self.lists.setdefault(session, TrackedDict())
        if folded not in watched:
            if len(watched) >= MONITOR_TARGETS_MAX:
                return False
            watched[folded] = nick
            self.watchers.setdefault(folded, TrackedDict())[session] = None
        return True

    def remove(self, session: Answer, nick: str) -> None:
        """Remove `nick` from the list of `session`."""
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

    def clear(self, session: Answer) -> None:
        """Clear the list of `session`."""
        for nick in self.targets(session):
            self.remove(session, nick)

    def tell_online(self, user: Person, reply: Answer | None = None) -> None:
        """Tell the watchers of the nick of `user` that it is online; as part of `reply`, if any."""
        for each in self._watching(user.nick, reply):
            each.numeric(n.RPL_MONONLINE, text=user.mask)

    def tell_offline(self, nick: str, reply: Answer | None = None) -> None:
        """Tell the watchers of `nick` that it is offline; as part of `reply`, if any."""
        for each in self._watching(nick, reply):
            each.numeric(n.RPL_MONOFFLINE, text=nick)

    def tell_change(
        self, user: Person, outgoing: Outgoing, having: int, reply: Answer | None = None
    ) -> None:
        """Tell watchers with extended-monitor of changes seen on shared channels."""
        wanted = having | cap.EXTENDED_MONITOR
        for each in self._watching(user.nick, reply):
            if each.caps & wanted == wanted and not each.user.shares_channel(user):
                each.send(outgoing)

    def _watching(self, nick: str, reply: Answer | None) -> Iterable[Answer]:
        watchers = tuple(self.watchers.get(fold(nick), ()))
        return watchers if reply is None else map(reply.to, watchers)
