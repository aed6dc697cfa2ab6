"""ChanServ: ranks of members, invitations and bans. OP, DEOP, ..., INVITE, UNBAN.

ChanServ makes the changes, so the client need not be an operator on the channel, or even
be on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.assistants.chanserv import registered_channel
from tapd.services.irc.assistants.table import CHANSERV, Refused, Words
from tapd.services.irc.conduct.announce import chanserv_mask, set_modes
from tapd.services.irc.state.grants import LEVELS
from tapd.services.irc.wire.delivery import event_by
from tapd.services.irc.wire.isupport import MODE_CHANGES_MAX
from tapd.services.irc.wire.mode_changes import Change

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply

_NEEDED = {"a": "q", "o": "o", "h": "o", "v": "h"}
"""The rank in the access list that is needed to give or take a rank."""


def _add_rank_commands(level: str, verb: str) -> None:
    """Add the commands that give and take the rank of a level."""
    letter = LEVELS[level]

    @CHANSERV.command(verb, "<channel> [nick]", needs_account=True)
    def give(reply: Reply, words: Words) -> None:
        _change_rank(reply, words, Change(on=True, letter=letter))

    @CHANSERV.command(f"DE{verb}", "<channel> [nick]", needs_account=True)
    def take(reply: Reply, words: Words) -> None:
        _change_rank(reply, words, Change(on=False, letter=letter))

    give.__doc__ = f"Give members of a channel the rank {level}; without nicks, yourself."
    take.__doc__ = f"Take the rank {level} from members of a channel; without nicks, yourself."


def _change_rank(reply: Reply, words: Words, change: Change) -> None:
    network = reply.network
    channel, registration = registered_channel(reply, words[0], _NEEDED[change.letter])
    changes = []
    for nick in words[1 : 1 + MODE_CHANGES_MAX] or [reply.user.nick]:
        user = network.find_user(nick)
        if user is None or user not in channel.members:
            CHANSERV.say(reply, f"{nick} is not on {channel.name}")
        elif not change.on and user is not reply.user and registration.rank_of(user.account):
            CHANSERV.say(reply, f"{user.nick} is on the access list")
        else:
            changes.append(change._replace(param=user.nick))
    set_modes(network, channel, changes)


for _level, _verb in (("admin", "PROTECT"), ("op", "OP"), ("halfop", "HALFOP"), ("voice", "VOICE")):
    _add_rank_commands(_level, _verb)


@CHANSERV.command("INVITE", "<channel>", needs_account=True)
def invite(reply: Reply, words: Words) -> None:
    """Be invited to a channel on which you have a level."""
    network, user = reply.network, reply.user
    channel, _registration = registered_channel(reply, words[0], "v")
    if user in channel.members:
        raise Refused(f"You are on {channel.name}")
    user.add_invite(channel)
    event = event_by(
        network, chanserv_mask(network), "INVITE", user.nick, trailing=channel.name
    )  # fmt: skip
    user.send(event.outgoing(), reply)


@CHANSERV.command("UNBAN", "<channel>", needs_account=True)
def unban(reply: Reply, words: Words) -> None:
    """Take the bans off a channel that are about you; it takes the level op."""
    channel, _registration = registered_channel(reply, words[0], "o")
    bans = channel.lists.get("b", {})
    masks = [mask for mask in bans if reply.user.matches(mask)]
    for start in range(0, len(masks), MODE_CHANGES_MAX):
        part = masks[start : start + MODE_CHANGES_MAX]
        changes = [Change(on=False, letter="b", param=mask) for mask in part]
        set_modes(reply.network, channel, changes)
    CHANSERV.say(reply, f"{len(masks)} bans on {channel.name} were about you.")
