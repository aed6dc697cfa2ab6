"""Commands about users: WHO (and WHOX), WHOIS, WHOWAS, USERHOST, ISON, AWAY."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tapd.services.irc.assistants.table import find_assistant
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.presence import update_away
from tapd.services.irc.conduct.refusal import Refused
from tapd.services.irc.conduct.reservation import is_owner
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import render_time
from tapd.services.irc.wire.masks import matches
from tapd.services.irc.wire.message import BODY_BYTES_MAX, fill_lines
from tapd.services.irc.wire.names import AWAY_BYTES_MAX, clip, fold, is_channel_like

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.state.user import User
    from tapd.services.irc.wire.message import Message

WHO_REPLIES_MAX = 1000
"""Limit of a WHO by mask. A channel is always shown whole."""

_WHOX_ORDER = "tcuihsnfdlaor"


@command("WHO")
def who(reply: Reply, message: Message) -> None:
    """Describe who is on a channel, has a nick or matches a mask (modern, "WHO message")."""
    target = message.params[0] if message.params else "*"
    flags = message.params[1] if len(message.params) > 1 else ""
    kinds, percent, fields = flags.partition("%")
    fields, _, token = fields.partition(",")
    only_opers = "o" in kinds
    for user, channel in _who_matches(reply, target):
        if only_opers and not user.is_oper:
            continue
        if percent:
            _reply_whox(reply, user, channel, fields, token)
        else:
            _reply_who(reply, user, channel)
    reply.numeric(n.RPL_ENDOFWHO, target)


def _who_matches(reply: Reply, target: str) -> Iterator[tuple[User, Channel | None]]:
    network, asker = reply.network, reply.user
    if is_channel_like(target):
        channel = network.find_channel(target)
        if channel is None or not channel.is_visible_to(asker):
            return
        for user in channel.members:
            if asker in channel.members or "i" not in user.modes or asker.is_oper:
                yield user, channel
        return
    exact = network.find_user(target)
    if exact is not None:
        yield exact, _shared_channel(asker, exact)
        return
    found = 0
    for user in network.users.values():
        if not _is_listed(asker, user) or not _who_mask_matches(target, user, network.server_name):
            continue
        yield user, _shared_channel(asker, user)
        found += 1
        if found >= WHO_REPLIES_MAX:
            return


def _who_mask_matches(mask: str, user: User, server_name: str) -> bool:
    if mask in ("*", "0"):
        return True
    if "!" in mask or "@" in mask:
        return matches(mask, user.mask)
    texts = (user.nick, user.username, user.host, user.realname, user.account, server_name)
    return any(matches(mask, text) for text in texts if text)


def _is_listed(asker: User, user: User) -> bool:
    """Whether `asker` may find `user` without knowing the nick."""
    return "i" not in user.modes or asker.is_oper or asker is user or asker.shares_channel(user)


def _shared_channel(asker: User, user: User) -> Channel | None:
    """Return a channel to show `user` on: a common one, else one that is not secret."""
    for channel in user.channels:
        if asker in channel.members:
            return channel
    if "i" in user.modes:
        return None
    return next((channel for channel in user.channels if channel.is_visible_to(asker)), None)


def _flags(reply: Reply, user: User, channel: Channel | None) -> str:
    flags = "G" if user.away else "H"
    if user.is_oper:
        flags += "*"
    if user.is_bot:
        flags += "B"
    if channel is not None:
        all_of_them = bool(reply.caps & cap.MULTI_PREFIX)
        flags += channel.symbols(user, all_of_them=all_of_them)
    return flags


def _reply_who(reply: Reply, user: User, channel: Channel | None) -> None:
    reply.numeric(
        n.RPL_WHOREPLY,
        channel.name if channel is not None else "*",
        user.username,
        user.host,
        reply.network.server_name,
        user.nick,
        _flags(reply, user, channel),
        text=f"0 {user.realname}",
    )


def _reply_whox(reply: Reply, user: User, channel: Channel | None, fields: str, token: str) -> None:
    """Reply in WHOX form: the requested fields, in a fixed order."""
    params = [
        _WHOX_FIELDS[field](reply, user, channel)
        for field in _WHOX_ORDER
        if field in fields and field not in "tr"
    ]
    if "t" in fields:
        params.insert(0, token[:3] or "0")
    reply.numeric(n.RPL_WHOSPCRPL, *params, text=user.realname if "r" in fields else None)


def _shown_ip(reply: Reply, user: User, _channel: Channel | None) -> str:
    asker = reply.user
    may_see = asker is user or reply.network.may(asker, "see")
    return user.ip if may_see else "255.255.255.255"


def _idle_text(reply: Reply, user: User, _channel: Channel | None) -> str:
    return str(max(0, int(reply.network.now_s() - user.active_s)))


_WHOX_FIELDS: dict[str, Callable[[Reply, User, Channel | None], str]] = {
    "c": lambda _s, _u, channel: channel.name if channel is not None else "*",
    "u": lambda _s, user, _c: user.username,
    "i": _shown_ip,
    "h": lambda _s, user, _c: user.host,
    "s": lambda reply, _u, _c: reply.network.server_name,
    "n": lambda _s, user, _c: user.nick,
    "f": _flags,
    "d": lambda _s, _u, _c: "0",
    "l": _idle_text,
    "a": lambda _s, user, _c: user.account or "0",
    "o": lambda _s, _u, _c: "n/a",
}


@command("WHOIS")
def whois(reply: Reply, message: Message) -> None:
    """Tell all about a user (modern, "WHOIS message")."""
    if not message.params:
        raise Refused(n.ERR_NONICKNAMEGIVEN)
    network = reply.network
    if len(message.params) > 1:
        server = message.params[0]
        asked = network.find_user(server)
        if asked is None and not matches(server, network.server_name):
            raise Refused(n.ERR_NOSUCHSERVER, server)
    nick = message.params[min(1, len(message.params) - 1)].partition(",")[0]  # TARGMAX: one
    user = network.find_user(nick)
    assistant = find_assistant(network, nick)
    if assistant is not None:
        host, text = network.server_name, assistant.summary
        reply.numeric(n.RPL_WHOISUSER, assistant.nick, assistant.nick, host, "*", text=text)
        reply.numeric(n.RPL_WHOISSERVER, assistant.nick, host, text=network.network_name)
    elif user is None:
        reply.numeric(n.ERR_NOSUCHNICK, nick)
    else:
        _reply_whois(reply, user)
    reply.numeric(n.RPL_ENDOFWHOIS, user.nick if user is not None else nick)


def _reply_whois(reply: Reply, user: User) -> None:
    network, asker = reply.network, reply.user
    nick = user.nick
    is_open = asker is user or network.may(asker, "see")
    reply.numeric(n.RPL_WHOISUSER, nick, user.username, user.host, "*", text=user.realname)
    for line in _whois_channels(reply, user, see_all=is_open):
        reply.numeric(n.RPL_WHOISCHANNELS, nick, text=line)
    reply.numeric(n.RPL_WHOISSERVER, nick, network.server_name, text=network.network_name)
    if user.is_oper:
        reply.numeric(n.RPL_WHOISOPERATOR, nick)
    if user.account:
        reply.numeric(n.RPL_WHOISACCOUNT, nick, user.account)
        if is_owner(network, user):
            reply.numeric(n.RPL_WHOISREGNICK, nick)
    if user.is_bot:
        reply.numeric(n.RPL_WHOISBOT, nick, text=f"is a bot on {network.network_name}")
    if user.sessions and all(each.is_secure for each in user.sessions):
        reply.numeric(n.RPL_WHOISSECURE, nick)
    if user.away:
        reply.numeric(n.RPL_AWAY, nick, text=user.away)
    if is_open:
        reply.numeric(n.RPL_WHOISACTUALLY, nick, f"{user.username}@{user.ip}", user.ip)
        if user.always_on or len(user.sessions) > 1:
            count = len(user.sessions)
            stays = ", and stays without any" if user.always_on else ""
            reply.numeric(n.RPL_WHOISSPECIAL, nick, text=f"has {count} clients{stays}")
        if user.modes:
            reply.numeric(n.RPL_WHOISMODES, nick, text=f"is using modes +{user.modes}")
    idle_s = max(0, int(network.now_s() - user.active_s))
    reply.numeric(n.RPL_WHOISIDLE, nick, str(idle_s), str(int(user.signon_s)))


def _whois_channels(reply: Reply, user: User, *, see_all: bool) -> Iterator[str]:
    asker = reply.user
    is_hidden = "i" in user.modes and not see_all
    words = [
        channel.symbols(user, all_of_them=bool(reply.caps & cap.MULTI_PREFIX)) + channel.name
        for channel in user.channels
        if asker in channel.members or see_all or (not is_hidden and channel.is_visible_to(asker))
    ]
    overhead = f":{reply.network.server_name} 319 {reply.nick} {user.nick} :\r\n"
    return fill_lines(words, BODY_BYTES_MAX - len(overhead.encode()))


@command("WHOWAS")
def whowas(reply: Reply, message: Message) -> None:
    """Tell who had a nick before (modern, "WHOWAS message")."""
    if not message.params or not message.params[0]:
        raise Refused(n.ERR_NONICKNAMEGIVEN)
    network = reply.network
    nick = message.params[0].partition(",")[0]  # TARGMAX: one
    count_text = message.params[1] if len(message.params) > 1 else ""
    count = int(count_text) if count_text.isascii() and count_text.isdigit() else 0
    found = 0
    for past in network.whowas.find(nick):
        reply.numeric(
            n.RPL_WHOWASUSER, past.nick, past.username, past.host, "*", text=past.realname
        )
        if past.account:
            reply.numeric(n.RPL_WHOISACCOUNT, past.nick, past.account, text="was logged in as")
        left = render_time(int(past.left_s * 1000))
        reply.numeric(n.RPL_WHOISSERVER, past.nick, network.server_name, text=left)
        found += 1
        if found == count:
            break
    if not found:
        reply.numeric(n.ERR_WASNOSUCHNICK, nick)
    reply.numeric(n.RPL_ENDOFWHOWAS, nick)


@command("USERHOST", params=1)
def userhost(reply: Reply, message: Message) -> None:
    """Tell the hosts of at most five nicks (modern, "USERHOST message")."""
    words = []
    for nick in message.params[:5]:
        user = reply.network.find_user(nick)
        if user is not None:
            star = "*" if user.is_oper else ""
            sign = "-" if user.away else "+"
            words.append(f"{user.nick}{star}={sign}{user.username}@{user.host}")
    reply.numeric(n.RPL_USERHOST, text=" ".join(words))


@command("ISON", params=1)
def ison(reply: Reply, message: Message) -> None:
    """Tell which of some nicks are there (RFC 2812 section 4.9)."""
    seen = {}
    for nick in " ".join(message.params).split():
        user = reply.network.find_user(nick)
        if user is not None:
            seen[fold(nick)] = user.nick
    reply.numeric(n.RPL_ISON, text=" ".join(seen.values()))


@command("AWAY")
def away(reply: Reply, message: Message) -> None:
    """Be away with this client, or no longer (modern, "AWAY message").

    A user of several clients is away when all of them are.
    """
    network, user = reply.network, reply.user
    text = clip(message.params[0], AWAY_BYTES_MAX) if message.params else ""
    if text != reply.session.away:
        reply.session.away = text
    update_away(network, user, text, reply)
    reply.numeric(n.RPL_NOWAWAY if text else n.RPL_UNAWAY)
