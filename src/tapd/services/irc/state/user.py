"""A user: a nickname and its owner, apart from the connections.

A user has one session, or several (all on one nick), or none (always-on users who are
away). A half-registered client has a user, too, which is in no index yet: its nick is ""
or the requested one.

Each change of an attribute writes the whole user as one record, so frequently changing or
growing data is in containers of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict
from tapd.services.irc.wire.masks import mask_matches
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.reply import Client, Reply
    from tapd.services.irc.wire.delivery import Outgoing


class User(Persistent):
    """A user on the network, or a client's user before registration.

    Attributes:
        nick: as they write it; "" before NICK.
        username, realname: from USER; "" before it.
        host: the host that others see.
        ip: their address.
        cloak: the host that others would see if they were not logged in.
        vhost: the host that an operator gave them; "" for none.
        account: the account they are logged in to; "" for none.
        modes: letters of `modes.USER_MODES` that are set, sorted.
        away: why they are away; "" when they are not.
        oper: the name of the operator entry they used; "" for none.
        guest_id: distinguishes them from later users of the nick; given at registration.
        always_on: they stay when their last session ends.
        signon_s: when they registered.
        active_s: when they last sent a message, within `ACTIVE_S`.
        left_s: when their last session ended; 0 while there is one.
        sessions: their connections.
        channels: those they are on, in the order of joining (values are None).
        invites: channels that they were invited to, by folded name; None for none.
    """

    nick = ""
    username = ""
    realname = ""
    account = ""
    modes = ""
    away = ""
    oper = ""
    guest_id = ""
    vhost = ""
    always_on = False
    signon_s = 0.0
    active_s = 0.0
    left_s = 0.0
    invites: dict[str, Channel] | None = None
    _v_mask = ""

    def __init__(self, ip: str, host: str) -> None:
        self.ip = ip
        self.host = self.cloak = host
        self.sessions: tuple[Client, ...] = ()
        self.channels: dict[Channel, None] = TrackedDict()

    def __repr__(self) -> str:
        return f"<User {self.nick or '(unregistered)'}>"

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute; update the mask if it depends on it."""
        super().__setattr__(name, value)
        if name in _IN_MASK:
            super().__setattr__("_v_mask", "")

    @property
    def mask(self) -> str:
        """``nick!user@host``, as others see it; the same object in all of their messages."""
        mask = self._v_mask
        if not mask:
            mask = self._v_mask = f"{self.nick}!{self.username}@{self.host}"
        return mask

    @property
    def identity(self) -> str:
        """The owner of their conversations (see `history`): the account, or a guest."""
        return f"account:{fold(self.account)}" if self.account else f"guest:{self.guest_id}"

    @property
    def folded(self) -> str:
        """The nick in the form used by indexes."""
        return fold(self.nick)

    @property
    def is_oper(self) -> bool:
        """Whether they are an IRC operator."""
        return "o" in self.modes

    @property
    def is_bot(self) -> bool:
        """Whether they are a bot (IRCv3 bot-mode)."""
        return "B" in self.modes

    def matches(self, mask: str) -> bool:
        """Whether a normalized mask matches this user, by shown host or by the cloak.

        Not by a cloaked address: a channel's operator could find it out by a binary search
        with bans.
        """
        sources = [self.mask]
        if self.cloak != self.host:
            sources.append(f"{self.nick}!{self.username}@{self.cloak}")
        return mask_matches(mask, sources, self.account)

    def send(self, outgoing: Outgoing, reply: Reply | None = None, *, having: int = 0) -> None:
        """Send to all their clients; last, by its `reply`, to the one whose command it is.

        Args:
            outgoing: the message.
            reply: where the command answers; None if there is no command.
            having: only to clients with all of these capabilities.
        """
        asking = None if reply is None else reply.session
        for session in self.sessions:
            if session is not asking and session.caps & having == having:
                session.send(outgoing)
        if reply is not None and asking in self.sessions and reply.caps & having == having:
            reply.send(outgoing)

    def set_mode(self, letter: str, *, on: bool) -> bool:
        """Set or clear a user mode; return whether that changed anything."""
        if (letter in self.modes) == on:
            return False
        self.modes = "".join(sorted(self.modes + letter)) if on else self.modes.replace(letter, "")
        return True

    def add_invite(self, channel: Channel) -> None:
        """Record an invitation to `channel`."""
        if self.invites is None:
            self.invites = TrackedDict()
        if len(self.invites) >= INVITES_MAX and channel.folded not in self.invites:
            del self.invites[next(iter(self.invites))]  # the oldest
        self.invites[channel.folded] = channel

    def has_invite(self, channel: Channel) -> bool:
        """Whether they were invited to this very `channel` (not an earlier one of its name)."""
        return self.invites is not None and self.invites.get(channel.folded) is channel

    def drop_invite(self, channel: Channel) -> None:
        """Remove an invitation, if there is one."""
        if self.invites is not None:
            self.invites.pop(channel.folded, None)

    def shares_channel(self, other: User) -> bool:
        """Whether both are on a common channel."""
        few, many = sorted((self.channels, other.channels), key=len)
        return any(channel in many for channel in few)


_IN_MASK = frozenset({"nick", "username", "host"})

INVITES_MAX = 50
"""Limit of a user's invitations: others make them, so they are bounded."""

ACTIVE_S = 10.0
"""`User.active_s` is written at most this often, so that a message costs no record of it."""
