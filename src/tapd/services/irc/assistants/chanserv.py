"""ChanServ: registered channels. REGISTER, DROP, INFO, ACCESS, FLAGS, AUTOKICK, TRANSFER, SET.

The rank of an account in the channel's access list decides what its users may do. An IRC
operator with the privilege ``accounts`` has a founder's rights.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from tapd.services.irc.assistants.confirming import check_code, code_for
from tapd.services.irc.assistants.nickserv import day, known_account, own_account
from tapd.services.irc.assistants.table import CHANSERV, Refused, Words
from tapd.services.irc.conduct.announce import give_ranks, set_modes
from tapd.services.irc.conduct.membership import remove_member
from tapd.services.irc.state.grants import (
    AUTOKICKS_MAX,
    GRANTS_MAX,
    LEVELS,
    Autokick,
    ChannelRegistration,
    Grant,
    channels_of,
)
from tapd.services.irc.wire.masks import is_mask, matches, normalize_mask
from tapd.services.irc.wire.mode_changes import Change, parse_changes
from tapd.services.irc.wire.modes import CHANNEL_MODES, Kind, is_at_least
from tapd.services.irc.wire.names import KICK_BYTES_MAX, TOPIC_BYTES_MAX, clip, fold

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.reply import Reply

_log = logging.getLogger(__name__)

LISTED_MAX = 100
_RANK_NAMES = {"q": "the founder", **{rank: f"the level {name}" for name, rank in LEVELS.items()}}


def registered_channel(
    reply: Reply, name: str, needed: str = ""
) -> tuple[Channel, ChannelRegistration]:
    """Return a registered channel, after a check of the client's rank.

    Args:
        reply: the client's.
        name: the channel's.
        needed: the lowest allowed rank; "" for everybody.

    Raises:
        Refused: it is not registered, or the client's rank is too low.
    """
    channel = reply.network.find_channel(name)
    if channel is None or channel.registration is None:
        raise Refused(f"{name} is not registered")
    registration, user = channel.registration, reply.user
    if needed and not registration.allows(user.account, needed):
        if not reply.network.may(user, "accounts"):
            least = "" if needed == "q" else " or a higher one"
            raise Refused(f"That takes {_RANK_NAMES[needed]}{least} on {channel.name}")
        _log.info("ChanServ: %s acts on %s as an operator", user.mask, channel.name)
    return channel, registration


def _outranks(reply: Reply, registration: ChannelRegistration, level: str) -> bool:
    """Whether the client may give and take `level`: it must be below their own."""
    if reply.network.may(reply.user, "accounts"):
        return True
    own = registration.rank_of(reply.user.account)
    return is_at_least(own, LEVELS[level]) and own != LEVELS[level]


@CHANSERV.command("REGISTER", "<channel> [description]", needs_account=True)
def register(reply: Reply, words: Words) -> None:
    """Register a channel on which you are an operator.

    It stays when everybody has left, with topic, modes, lists and history, and you are its
    founder.
    """
    network, user, account = reply.network, reply.user, own_account(reply)
    channel = network.find_channel(words[0])
    if channel is None or not channel.has_rank(user, "o"):
        raise Refused(f"You are no operator on {words[0]}: join it first")
    if channel.registration is not None:
        raise Refused(f"{channel.name} is registered already")
    if len(list(channels_of(network, account))) >= network.channels_per_account_max:
        raise Refused(f"You have {network.channels_per_account_max} channels already")
    registration = ChannelRegistration(account.name, network.now_s())
    registration.description = _description(words[1:])
    channel.registration = registration
    _log.info("channel %s registered by %s", channel.name, user.mask)
    CHANSERV.say(reply, f"{channel.name} is registered; you are its founder.")
    give_ranks(network, user)


def _description(words: Words) -> str:
    return clip(" ".join(words), TOPIC_BYTES_MAX)


@CHANSERV.command("DROP", "<channel> [code]")
def drop(reply: Reply, words: Words) -> None:
    """Give up a channel; a code is asked for first. Who is there stays there."""
    channel, registration = registered_channel(reply, words[0], "q")
    code = code_for(reply.network, "channel", channel.name, registration.registered_s)
    if len(words) < 2:
        CHANSERV.say(
            reply,
            f"{channel.name} will be nobody's, its access list is forgotten, and when it is "
            "empty, all of it.",
            f"If you are sure, write: DROP {channel.name} {code}",
        )
        return
    check_code(words[1], code)
    channel.registration = None
    reply.network.drop_if_empty(channel)
    _log.info("channel %s dropped by %s", channel.name, reply.user.mask)
    CHANSERV.say(reply, f"{channel.name} is registered no more.")


@CHANSERV.command("INFO", "<channel>")
def info(reply: Reply, words: Words) -> None:
    """Tell about a registered channel."""
    channel, registration = registered_channel(reply, words[0])
    allowed = registration.allows(reply.user.account, "v")
    if not (allowed or channel.is_visible_to(reply.user)):
        raise Refused(f"{words[0]} is not registered")
    since, founder = day(registration.registered_s), registration.founder
    options = [name for name, is_on in _flags(registration).items() if is_on]
    CHANSERV.say(
        reply,
        f"{channel.name}: registered {since}, founder {founder}.",
        f"Options: {', '.join(options) or 'none'}.",
    )
    if allowed and registration.mode_lock:  # it may contain a key
        CHANSERV.say(reply, f"Mode lock: {registration.mode_lock_text()}")
    if registration.description:
        CHANSERV.say(reply, registration.description)


def _flags(registration: ChannelRegistration) -> dict[str, bool]:
    return {"KEEPTOPIC": registration.keeps_topic, "TOPICLOCK": registration.locks_topic}


@CHANSERV.command("LIST", "[mask]", privilege="accounts")
def list_channels(reply: Reply, words: Words) -> None:
    """List registered channels, those that match a mask."""
    mask = words[0] if words else "*"
    found = [
        (channel.name, channel.registration.founder)
        for channel in reply.network.channels.values()
        if channel.registration is not None and matches(mask, channel.name)
    ]
    CHANSERV.say(reply, *(f"{name}: {founder}" for name, founder in found[:LISTED_MAX]))
    CHANSERV.say(reply, f"{len(found)} channels, {min(len(found), LISTED_MAX)} shown.")


# --- access -------------------------------------------------------------------------------------


@CHANSERV.command("ACCESS", "<channel> [verb] [account] [level]", needs_account=True)
def access(reply: Reply, words: Words) -> None:
    """Show or change who has which rank on a channel whenever they join.

    ACCESS CHANNEL LIST: shows the list.

    ACCESS CHANNEL ADD ACCOUNT LEVEL: adds an account, or changes its level: admin, op, halfop
    or voice. One may give the levels below one's own.

    ACCESS CHANNEL DEL ACCOUNT: takes one away; one's own always.
    """
    verb = words[1].upper() if len(words) > 1 else "LIST"
    if verb == "LIST":
        _list_access(reply, words[0])
    elif verb == "ADD" and len(words) > 3:
        _grant(reply, words[0], words[2], words[3].lower())
    elif verb == "DEL" and len(words) > 2:
        _revoke(reply, words[0], words[2])
    else:
        raise Refused("Write: ACCESS <channel> LIST, ADD <account> <level> or DEL <account>")


@CHANSERV.command("FLAGS", "<channel> [account] [change]", needs_account=True)
def flags(reply: Reply, words: Words) -> None:
    """Show or change the access list, in letters: +a admin, +o op, +h halfop, +v voice, - none."""
    if len(words) < 3:
        _list_access(reply, words[0])
        return
    sign, letter = words[2][:1], words[2][1:].lower()
    level = next((name for name, rank in LEVELS.items() if rank == letter), "")
    if sign == "+" and level:
        _grant(reply, words[0], words[1], level)
    elif sign == "-":
        _revoke(reply, words[0], words[1])
    else:
        raise Refused("Write: FLAGS <channel> <account> +a, +o, +h, +v or -")


def _list_access(reply: Reply, name: str) -> None:
    channel, registration = registered_channel(reply, name, "v")
    order = list(LEVELS)
    grants = sorted(registration.grants.values(), key=lambda each: order.index(each.level))
    CHANSERV.say(
        reply,
        f"Access to {channel.name}:",
        f"{registration.founder}: founder",
        *(f"{each.account}: {each.level}, by {each.by} on {day(each.since_s)}" for each in grants),
    )


def _grant(reply: Reply, name: str, account_name: str, level: str) -> None:
    network = reply.network
    channel, registration = registered_channel(reply, name, "o")
    if level not in LEVELS:
        raise Refused(f"There is no level {level[:32]}; there are: {', '.join(LEVELS)}")
    account = known_account(reply, account_name)
    folded = fold(account.name)
    if registration.is_founder(account.name):
        raise Refused(f"{account.name} is the founder (see TRANSFER)")
    before = registration.grants.get(folded)
    may_change = before is None or _outranks(reply, registration, before.level)
    if not _outranks(reply, registration, level) or not may_change:
        raise Refused("You can give and take levels below your own only")
    if before is None and len(registration.grants) >= GRANTS_MAX:
        raise Refused(f"The list is full: {GRANTS_MAX} entries")
    by = reply.user.account
    registration.grants[folded] = Grant(account.name, level, by, network.now_s())
    _log.info("%s: %s has level %s, by %s", channel.name, account.name, level, reply.user.mask)
    CHANSERV.say(reply, f"{account.name} has the level {level} on {channel.name}.")
    for user in list(channel.members):
        if user.account == account.name:
            give_ranks(network, user)


def _revoke(reply: Reply, name: str, account_name: str) -> None:
    channel, registration = registered_channel(reply, name)
    folded = fold(account_name)
    grant = registration.grants.get(folded)
    if grant is None:
        account = reply.network.accounts.owner_of(account_name)
        folded = fold(account.name) if account is not None else folded
        grant = registration.grants.get(folded)
    is_own = grant is not None and fold(reply.user.account) == folded
    if not is_own:
        registered_channel(reply, name, "o")
    if grant is None:
        raise Refused(f"{account_name} is not on the list of {channel.name}")
    if not is_own and not _outranks(reply, registration, grant.level):
        raise Refused("You can give and take levels below your own only")
    del registration.grants[folded]
    _log.info("%s: %s has no level, by %s", channel.name, grant.account, reply.user.mask)
    CHANSERV.say(reply, f"{grant.account} has no level on {channel.name} any more.")


@CHANSERV.command("TRANSFER", "<channel> <account> [code]", needs_account=True)
def transfer(reply: Reply, words: Words) -> None:
    """Make another account the founder of your channel; a code is asked for first."""
    network = reply.network
    channel, registration = registered_channel(reply, words[0], "q")
    account = known_account(reply, words[1])
    if registration.is_founder(account.name):
        raise Refused(f"{account.name} is the founder")
    if len(list(channels_of(network, account))) >= network.channels_per_account_max:
        raise Refused(f"{account.name} has as many channels as one can have")
    kind = f"transfer to {fold(account.name)}"
    code = code_for(network, kind, channel.name, registration.registered_s)
    if len(words) < 3:
        CHANSERV.say(
            reply, f"If you are sure, write: TRANSFER {channel.name} {account.name} {code}"
        )
        return
    check_code(words[2], code)
    registration.founder = account.name
    registration.grants.pop(fold(account.name), None)
    _log.info("channel %s is %s's, by %s", channel.name, account.name, reply.user.mask)
    CHANSERV.say(reply, f"{account.name} is the founder of {channel.name} now.")


@CHANSERV.command("AUTOKICK", "<channel> [verb] [mask] [reason]", needs_account=True)
def autokick(reply: Reply, words: Words) -> None:
    """Show or change who is kept out of a channel, whatever its bans are.

    AUTOKICK CHANNEL LIST, ADD MASK REASON, or DEL MASK. A mask is nick!user@host with * and ?,
    or ~a: and an account. Who is on the access list is never kept out.
    """
    channel, registration = registered_channel(reply, words[0], "h")
    verb = words[1].upper() if len(words) > 1 else "LIST"
    if verb == "LIST":
        lines = [f"{each.mask}: {each.reason}" for each in registration.autokicks.values()]
        CHANSERV.say(reply, f"Kept out of {channel.name}:", *(lines or ["nobody"]))
        return
    if verb not in ("ADD", "DEL") or len(words) < 3:
        raise Refused("Write: AUTOKICK <channel> LIST, ADD <mask> <reason> or DEL <mask>")
    registered_channel(reply, words[0], "o")
    if not is_mask(words[2]) or len(words[2]) > 200:
        raise Refused("That is no mask")
    mask = normalize_mask(words[2])
    if verb == "DEL":
        if registration.autokicks.pop(fold(mask), None) is None:
            raise Refused(f"{mask} is not on the list")
        CHANSERV.say(reply, f"{mask} is not kept out any more.")
        return
    if len(registration.autokicks) >= AUTOKICKS_MAX:
        raise Refused(f"The list is full: {AUTOKICKS_MAX} entries")
    reason = clip(" ".join(words[3:]), KICK_BYTES_MAX) or "You are kept out"
    entry = Autokick(mask, reason, reply.user.account, reply.network.now_s())
    registration.autokicks[fold(mask)] = entry
    CHANSERV.say(reply, f"{mask} is kept out of {channel.name}.")
    for user in list(channel.members):
        if registration.autokick_of(user) is not None:
            remove_member(reply.network, channel, user, reason)


# --- SET ------------------------------------------------------------------------------------------


@CHANSERV.command("SET", "<channel> <option> [value]", needs_account=True)
def set_option(reply: Reply, words: Words) -> None:
    """Change a channel: TOPICLOCK, KEEPTOPIC, MLOCK or DESC; the founder may.

    SET CHANNEL TOPICLOCK on: only who has the level op or higher changes the topic.

    SET CHANNEL KEEPTOPIC off: the topic goes when the last member does.

    SET CHANNEL MLOCK +nt-i: modes that nobody changes; without any, none are locked.

    SET CHANNEL DESC TEXT: what INFO tells.
    """
    option = _OPTIONS.get(words[1].upper())
    if option is None:
        raise Refused(f"There is no option {words[1][:32]}; there are: {', '.join(_OPTIONS)}")
    channel, registration = registered_channel(reply, words[0], "q")
    option(reply, channel, registration, words[2:])


def _is_on(words: Words) -> bool:
    if not words or words[0].upper() not in ("ON", "OFF"):
        raise Refused("Write on or off")
    return words[0].upper() == "ON"


def _set_topic_lock(
    reply: Reply, channel: Channel, registration: ChannelRegistration, words: Words
) -> None:
    registration.locks_topic = _is_on(words)
    state = "locked" if registration.locks_topic else "not locked"
    CHANSERV.say(reply, f"The topic of {channel.name} is {state}.")


def _set_keep_topic(
    reply: Reply, channel: Channel, registration: ChannelRegistration, words: Words
) -> None:
    registration.keeps_topic = _is_on(words)
    stays = "stays" if registration.keeps_topic else "goes"
    CHANSERV.say(reply, f"The topic of {channel.name} {stays} when the last member goes.")


def _set_description(
    reply: Reply, channel: Channel, registration: ChannelRegistration, words: Words
) -> None:
    registration.description = _description(words)
    CHANSERV.say(reply, f"INFO tells that of {channel.name}.")


def _set_mode_lock(
    reply: Reply, channel: Channel, registration: ChannelRegistration, words: Words
) -> None:
    lock: dict[str, tuple[str, bool, str]] = {}
    for change in parse_changes(words[0], words[1:]) if words else []:
        lock[change.letter] = (change.letter, change.on, _locked_value(change))
    registration.mode_lock = tuple(lock.values())
    changes = [Change(is_on, letter, value or None) for letter, is_on, value in lock.values()]
    set_modes(reply.network, channel, changes)
    text = registration.mode_lock_text() or "nothing"
    CHANSERV.say(reply, f"Locked on {channel.name}: {text}")


def _locked_value(change: Change) -> str:
    """Return the parameter of a mode that is to be locked.

    Raises:
        Refused: it can't be locked so.
    """
    mode = CHANNEL_MODES.get(change.letter)
    if mode is None or mode.kind in (Kind.LIST, Kind.PREFIX):
        raise Refused(f"The mode {change.letter} can't be locked")
    if not change.on or mode.kind is Kind.FLAG:
        return ""
    try:
        return mode.check(change.param or "") if mode.check is not None else change.param or ""
    except ValueError as error:
        raise Refused(f"+{change.letter}: {error}") from error


_OPTIONS: dict[str, Callable[[Reply, Channel, ChannelRegistration, Words], None]] = {
    "TOPICLOCK": _set_topic_lock,
    "KEEPTOPIC": _set_keep_topic,
    "MLOCK": _set_mode_lock,
    "DESC": _set_description,
}
