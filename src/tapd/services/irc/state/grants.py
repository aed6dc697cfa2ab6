"""Channel registration: founder, access list, autokicks and mode lock.

All of it is data of its `Channel`. ChanServ changes it; joining, MODE and TOPIC read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict
from tapd.services.irc.wire.mode_changes import Change, render_changes
from tapd.services.irc.wire.modes import is_at_least
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.state.accounts import IrcAccount
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.user import User

CHANSERV = "ChanServ"
GRANTS_MAX = 200
AUTOKICKS_MAX = 100

LEVELS = {"admin": "a", "op": "o", "halfop": "h", "voice": "v"}
"""Levels of an access list, highest first, and the ranks that they give. The founder's is q."""


class Grant(NamedTuple):
    """One entry of an access list.

    Attributes:
        account: its account, as it was registered.
        level: of `LEVELS`.
        by: the account that added it.
        since_s: when.
    """

    account: str
    level: str
    by: str
    since_s: float


class Autokick(NamedTuple):
    """A mask of users who are kept out, independent of the channel's bans."""

    mask: str
    reason: str
    by: str
    since_s: float


class ChannelRegistration(Persistent):
    """The registration data of a channel.

    Attributes:
        founder: the account that owns it.
        registered_s: when.
        grants: fields of a `Grant`, by folded account.
        autokicks: fields of an `Autokick`, by folded mask.
        description: for INFO.
        keeps_topic: the topic stays when the last member leaves.
        locks_topic: only members with the level op or higher change the topic.
        mode_lock: (letter, whether it is on, parameter) of each locked mode.
    """

    description = ""
    keeps_topic = True
    locks_topic = False
    mode_lock: tuple[tuple[str, bool, str], ...] = ()

    def __init__(self, founder: str, registered_s: float) -> None:
        self.founder = founder
        self.registered_s = registered_s
        self.grants: dict[str, Grant] = TrackedDict()
        self.autokicks: dict[str, Autokick] = TrackedDict()

    def __repr__(self) -> str:
        return f"<ChannelRegistration of {self.founder}>"

    def is_founder(self, account: str) -> bool:
        """Whether an account is the founder's."""
        return bool(account) and fold(account) == fold(self.founder)

    def rank_of(self, account: str) -> str:
        """Return the rank of an account here; "" for none."""
        if self.is_founder(account):
            return "q"
        grant = self.grants.get(fold(account)) if account else None
        return "" if grant is None else LEVELS[grant.level]

    def allows(self, account: str, needed: str) -> bool:
        """Whether an account has the rank `needed`, or a higher one."""
        return is_at_least(self.rank_of(account), needed)

    def autokick_of(self, user: User) -> Autokick | None:
        """Return the autokick that matches `user`; None for none."""
        if self.rank_of(user.account):
            return None
        return next((each for each in self.autokicks.values() if user.matches(each.mask)), None)

    def forbids(self, change: Change) -> bool:
        """Whether the mode lock forbids a change."""
        for letter, is_on, param in self.mode_lock:
            if letter == change.letter:
                return change.on != is_on or (is_on and param != (change.param or ""))
        return False

    def mode_lock_text(self) -> str:
        """Return the mode lock as it is typed; "" for none."""
        changes = [Change(is_on, letter, param or None) for letter, is_on, param in self.mode_lock]
        return " ".join(render_changes(changes)) if changes else ""


def rank_at_join(channel: Channel, user: User) -> str:
    """Return the rank that `user` gets when they join `channel`."""
    if channel.registration is not None:
        return channel.registration.rank_of(user.account)
    return "" if channel.members else "o"


def channels_of(network: Network, account: IrcAccount) -> Iterator[Channel]:
    """Yield the channels whose founder is an account."""
    for channel in network.channels.values():
        if channel.registration is not None and channel.registration.is_founder(account.name):
            yield channel


def forget_account(network: Network, account: IrcAccount) -> list[Channel]:
    """Remove an account from all access lists; return the channels that it had founded.

    They are no longer registered.
    """
    founded = list(channels_of(network, account))
    for channel in founded:
        channel.registration = None
        network.drop_if_empty(channel)
    folded = fold(account.name)
    for channel in network.channels.values():
        if channel.registration is not None and folded in channel.registration.grants:
            del channel.registration.grants[folded]
    return founded
