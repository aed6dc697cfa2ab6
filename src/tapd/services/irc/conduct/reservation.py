"""Reserved nicks: who may use a nick that belongs to an account.

`Accounts.owner_of` knows the account that reserves a nick. The network's
`nick_protection` decides about other users:

| value | another user who takes the nick |
|---|---|
| ``strict`` | is refused (433) |
| ``grace`` | is asked to log in, and is renamed after `Network.nick_grace_s` |
| ``off`` | may have it |

In all three the owner can get it back: whoever has it then is renamed.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tapd.services.irc.state.grants import CHANSERV
from tapd.services.irc.wire.message import render_body
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.state.accounts import IrcAccount
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.state.user import User

NICKSERV = "NickServ"
ASSISTANT_NICKS = frozenset({fold(NICKSERV), fold(CHANSERV)})
_FIRST_GUEST = 1000


def owner_other_than(network: Network, user: User, nick: str) -> IrcAccount | None:
    """Return the account that owns `nick`, unless `user` is logged in to it; None for none."""
    owner = network.accounts.owner_of(nick)
    if owner is None or fold(owner.name) == fold(user.account):
        return None
    return owner


def is_owner(network: Network, user: User) -> bool:
    """Whether the nick of `user` is reserved for the account that they are logged in to."""
    owner = network.accounts.owner_of(user.nick)
    return owner is not None and fold(owner.name) == fold(user.account)


def is_refused(network: Network, user: User, nick: str) -> bool:
    """Whether `user` can't have `nick`, even though it is not in use."""
    if fold(nick) in ASSISTANT_NICKS:
        return True
    is_strict = network.nick_protection == "strict"
    return is_strict and owner_other_than(network, user, nick) is not None


def protect(network: Network, user: User, reply: Reply | None = None) -> None:
    """Check whether a registered user may keep their present nick."""
    if network.nick_protection == "off" or owner_other_than(network, user, user.nick) is None:
        return
    if network.nick_protection == "strict":  # they had been logged in to its account
        rename_to_guest(network, user, reply)
        return
    grace_s = network.nick_grace_s
    _tell(
        network, user,
        f"The nick {user.nick} is somebody's: log in (/msg NickServ IDENTIFY <password>) or "
        f"choose another within {grace_s:g} seconds.",
        reply,
    )  # fmt: skip
    network.application.call_later(grace_s, grace_is_over, network, user, user.folded)


def grace_is_over(network: Network, user: User, folded: str) -> None:
    """Rename `user` if they still have the nick and are not its owner."""
    if network.nick_protection == "off" or network.users.get(folded) is not user:
        return
    if owner_other_than(network, user, folded) is not None:
        rename_to_guest(network, user)


def rename_to_guest(network: Network, user: User, reply: Reply | None = None) -> None:
    """Rename a registered user to a guest nick."""
    nicks = (f"Guest{number}" for number in itertools.count(_FIRST_GUEST))
    free = next(each for each in nicks if _is_free(network, each))
    network.change_nick(user, free, reply)
    _tell(network, user, f"That nick is somebody's; you are {free} now.", reply)


def _is_free(network: Network, nick: str) -> bool:
    return network.find_user(nick) is None and network.accounts.owner_of(nick) is None


def _tell(network: Network, user: User, text: str, reply: Reply | None) -> None:
    source = f"{NICKSERV}!{NICKSERV}@{network.server_name}"
    for session in user.sessions:
        where = session if reply is None else reply.to(session)
        where.send_body(render_body(source, "NOTICE", (session.nick,), text))
