"""WHOWAS: previous owners of nicknames. Bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDeque
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.wire.roles import Person

ENTRIES_MAX = 2000


class Past(NamedTuple):
    """A user who had a nick until they changed it or left."""

    nick: str
    username: str
    host: str
    realname: str
    account: str
    left_s: float


class Whowas(Persistent):
    """The last `ENTRIES_MAX` of them, oldest first."""

    def __init__(self) -> None:
        self.entries: TrackedDeque[Past] = TrackedDeque((), ENTRIES_MAX)

    def add(self, user: Person, now_s: float) -> None:
        """Record `user` under the present nick."""
        self.entries.append(
            Past(user.nick, user.username, user.host, user.realname, user.account, now_s)
        )

    def find(self, nick: str) -> Iterator[Past]:
        """Yield previous owners of `nick`, newest first."""
        folded = fold(nick)
        return (entry for entry in reversed(self.entries) if fold(entry.nick) == folded)
