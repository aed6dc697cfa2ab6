"""A channel: members with ranks, topic, modes and lists; and its audience.

The audience is the members' live sessions, in groups of equal capabilities; messages fan
out over it. It is volatile, made on demand and then kept up to date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict
from tapd.model.protocol import Transport
from tapd.services.irc.wire.delivery import Outgoing
from tapd.services.irc.wire.modes import (
    CHANNEL_MODES,
    SILENCING,
    Kind,
    is_at_least,
    sort_ranks,
    symbols_of,
)
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.state.grants import ChannelRegistration
    from tapd.services.irc.state.history import Log
    from tapd.services.irc.state.reply import Client
    from tapd.services.irc.state.user import User


class Group(dict["Client", Transport]):
    """Sessions with the same capabilities, and their transports.

    Attributes:
        transports: as one tuple, for `Transport.write_many`; () if not made yet.
    """

    __slots__ = ("transports",)

    def __init__(self) -> None:
        super().__init__()
        self.transports: tuple[Transport, ...] = ()


Audience = dict[int, Group]
FOUND_MAX = 1024
"""Limit of users whose list matches are cached."""
ListEntry = tuple[str, float]
"""Who added an entry of a list, and when (seconds since the epoch)."""


class Channel(Persistent):
    """One channel.

    Attributes:
        name: as its first member wrote it.
        created_s: when.
        topic, topic_by, topic_s: the topic, who set it and when; "" for none.
        members: the ranks of each member, highest first; in the order of joining.
        modes: the parameter ("" if there is none) of each mode that is set,
            except lists and ranks.
        lists: the entries of each list mode, by mask; changed by `add_entry` and
            `remove_entry` only.
        log: its history; None if there is none (yet).
        registration: of a registered channel, which stays when its last member leaves;
            None for others.
    """

    topic = ""
    topic_by = ""
    topic_s = 0.0
    log: Log | None = None
    registration: ChannelRegistration | None = None
    knocked_s = 0.0
    _v_audience: Audience | None = None
    _v_found: dict[tuple[str, str, str, str], bool] | None = None

    def __init__(self, name: str, created_s: float) -> None:
        self.name = name
        self.created_s = created_s
        self.members: dict[User, str] = TrackedDict()
        self.modes: dict[str, str] = TrackedDict({"n": "", "t": ""})
        self.lists: dict[str, dict[str, ListEntry]] = TrackedDict()

    def __repr__(self) -> str:
        return f"<Channel {self.name} of {len(self.members)}>"

    @property
    def folded(self) -> str:
        """The name in the form used by indexes."""
        return fold(self.name)

    @property
    def registered(self) -> bool:
        """Whether the channel stays when its last member leaves."""
        return self.registration is not None

    # --- who is here ---------------------------------------------------------------

    def add(self, user: User, ranks: str = "") -> None:
        """Add a member."""
        self.members[user] = ranks
        user.channels[self] = None
        for session in user.sessions:
            self.add_session(session)

    def remove(self, user: User) -> None:
        """Remove a member."""
        del self.members[user]
        user.channels.pop(self, None)
        for session in user.sessions:
            self.remove_session(session)

    def set_rank(self, user: User, letter: str, *, on: bool) -> bool:
        """Give or take a rank; return whether that changed anything."""
        ranks = self.members[user]
        if (letter in ranks) == on:
            return False
        self.members[user] = sort_ranks(set(ranks) ^ {letter})
        return True

    def has_rank(self, user: User, needed: str) -> bool:
        """Whether `user` is a member of rank `needed` or higher."""
        return is_at_least(self.members.get(user, ""), needed)

    def symbols(self, user: User, *, all_of_them: bool) -> str:
        """Return the symbols before the nick of `user`: the highest, or all."""
        symbols = symbols_of(self.members.get(user, ""))
        return symbols if all_of_them else symbols[:1]

    def is_visible_to(self, user: User) -> bool:
        """Whether `user` may know that the channel exists."""
        return "s" not in self.modes or user in self.members or user.is_oper

    # --- what is set -----------------------------------------------------------------

    def in_list(self, letter: str, user: User) -> bool:
        """Whether an entry of the list `letter` matches `user`.

        The result is cached until the list changes: it is needed for each message of a member
        without rank.
        """
        entries = self.lists.get(letter)
        if not entries:
            return False
        found = self._v_found
        if found is None or len(found) > FOUND_MAX:
            found = self._v_found = {}
        who = (letter, user.mask, user.ip, user.account)
        known = found.get(who)
        if known is None:
            known = found[who] = any(map(user.matches, entries))
        return known

    def find_entry(self, letter: str, mask: str) -> str | None:
        """Return the entry of a list equal to `mask`, case-folded; None for none."""
        folded = fold(mask)
        return next((each for each in self.lists.get(letter, ()) if fold(each) == folded), None)

    def add_entry(self, letter: str, mask: str, by: str, now_s: float) -> None:
        """Add a normalized mask to a list."""
        entries = self.lists.get(letter)
        if entries is None:
            entries = self.lists[letter] = TrackedDict()
        entries[mask] = (by, now_s)
        self._v_found = None

    def remove_entry(self, letter: str, mask: str) -> None:
        """Remove an existing entry from a list."""
        del self.lists[letter][mask]
        self._v_found = None

    def is_banned(self, user: User) -> bool:
        """Whether a ban matches `user` and no exception does."""
        return self.in_list("b", user) and not self.in_list("e", user)

    def why_silent(self, user: User, command: str, text: str) -> str:
        """Return why `user` may not send `text` here; "" if they may."""
        ranks = self.members.get(user)
        is_member = ranks is not None
        if is_member and SILENCING.isdisjoint(self.modes):  # the usual case
            return "you are banned (+b)" if not ranks and self.is_banned(user) else ""
        ranks = ranks or ""
        for letter in self.modes:
            mode = CHANNEL_MODES.get(letter)
            if mode is None or mode.speech is None or (is_member and mode.is_for_outsiders):
                continue
            if mode.exempt and is_at_least(ranks, mode.exempt):
                continue
            reason = mode.speech(self, user, command, text)
            if reason:
                return reason
        return "you are banned (+b)" if not ranks and self.is_banned(user) else ""

    def mode_text(self, *, with_key: bool) -> list[str]:
        """Return the modes that are set as parameters of RPL_CHANNELMODEIS."""
        letters = sorted(self.modes)
        params = [
            self.modes[letter] if with_key or letter != "k" else "*"
            for letter in letters
            if CHANNEL_MODES[letter].kind is not Kind.FLAG
        ]
        return ["+" + "".join(letters), *params]

    # --- who hears ---------------------------------------------------------------------

    @property
    def audience(self) -> Audience:
        """The members' live sessions and their transports, by capabilities; no group is empty."""
        audience = self._v_audience
        if audience is None:
            audience = self._v_audience = {}
            for user in self.members:
                for session in user.sessions:
                    self.add_session(session)
        return audience

    def add_session(self, session: Client) -> None:
        """Add a member's session to the audience."""
        audience = self._v_audience
        if audience is not None and session.is_connected:
            group = audience.get(session.caps)
            if group is None:
                group = audience[session.caps] = Group()
            group[session] = session.transport
            group.transports = ()

    def remove_session(self, session: Client) -> None:
        """Remove a session from the audience."""
        if self._v_audience is not None:
            group = self._v_audience.get(session.caps)
            if group is not None:
                group.pop(session, None)
                group.transports = ()
                if not group:
                    del self._v_audience[session.caps]

    def broadcast(
        self,
        outgoing: Outgoing,
        *,
        skip: Client | None = None,
        having: int = 0,
        lacking: int = 0,
    ) -> None:
        """Send to all members.

        Args:
            outgoing: the message.
            skip: a session that is left out: the one whose command caused it, which may get
                the message as part of a labeled response.
            having: only to sessions with all of these capabilities.
            lacking: only to sessions with none of these.
        """
        skipped = None if skip is None else skip.live_transport
        for caps, group in self.audience.items():
            if caps & having != having or caps & lacking:
                continue
            transports = group.transports
            if not transports:
                transports = group.transports = tuple(group.values())
            transports[0].write_many(transports, outgoing.render(caps), skipped)

    def broadcast_to_rank(
        self, outgoing: Outgoing, needed: str, *, skip: Client | None = None, having: int = 0
    ) -> None:
        """Send to the members of rank `needed` and higher (STATUSMSG, KNOCK)."""
        for user, ranks in self.members.items():
            if is_at_least(ranks, needed):
                for session in user.sessions:
                    if session is not skip and session.caps & having == having:
                        session.send(outgoing)
