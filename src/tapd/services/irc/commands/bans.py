"""Bans and exempts: KLINE, DLINE, XLINE, ELINE, their opposites, and their lists in STATS.

The usual syntax: ``KLINE [SOFT] [MYSELF] [DURATION] MASK [:REASON[|PRIVATE]]``.
A duration is a number of minutes or ``1d12h``; 0, or none, is permanent. SOFT admits
logged-in clients. A ban that matches the operator is refused without MYSELF.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tapd.services.irc.conduct.admission import apply_ban, subject_of
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.refusal import Fail, Refused
from tapd.services.irc.state.bans import (
    BANS_MAX,
    Ban,
    Kind,
    key_of,
    normalize_address,
    parse_duration,
    render_duration,
)
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.masks import is_mask, normalize_mask
from tapd.services.irc.wire.names import clip, fold

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message

MASK_BYTES_MAX = 200
REASON_BYTES_MAX = 250


class _Asked(NamedTuple):
    """An operator's request, parsed."""

    mask: str
    reason: str
    private: str
    duration_s: float
    is_soft: bool
    bans_self: bool


def _parse(params: tuple[str, ...]) -> _Asked | None:
    words = list(params)
    flags = set()
    while words and words[0].upper() in ("SOFT", "MYSELF"):
        flags.add(words.pop(0).upper())
    duration_s = parse_duration(words[0]) if len(words) > 1 else None
    if duration_s is not None:
        del words[0]
    if not words:
        return None
    mask = words.pop(0)
    reason, _, private = " ".join(words).partition("|")
    return _Asked(
        mask, clip(reason.strip(), REASON_BYTES_MAX), clip(private.strip(), REASON_BYTES_MAX),
        duration_s or 0.0, "SOFT" in flags, "MYSELF" in flags,
    )  # fmt: skip


def _address_of(reply: Reply, text: str) -> str | None:
    """Return the network that `text` names, or a user's address."""
    user = reply.network.find_user(text)
    return normalize_address(user.ip if user is not None else text)


def _mask_of(reply: Reply, text: str) -> str | None:
    """Return the mask that `text` names; of a nick, everybody at its user's address."""
    user = reply.network.find_user(text)
    if user is not None:
        return f"*!*@{user.ip}"
    if not is_mask(text) or len(text.encode()) > MASK_BYTES_MAX:
        return None
    mask = fold(normalize_mask(text))
    head, _, host = mask.rpartition("@")
    network = normalize_address(host) if "/" in host else None
    return f"{head}@{network}" if network is not None else mask


def _realname_of(_reply: Reply, text: str) -> str | None:
    r"""Return a mask of real names, in which ``\s`` is a space."""
    return fold(text.replace("\\s", " ")) if len(text.encode()) <= MASK_BYTES_MAX else None


def _exempt_of(reply: Reply, text: str) -> str | None:
    return normalize_address(text) or _mask_of(reply, text)


_READERS: dict[Kind, Callable[[Reply, str], str | None]] = {
    Kind.MASK: _mask_of,
    Kind.ADDRESS: _address_of,
    Kind.REALNAME: _realname_of,
}


def _add(reply: Reply, message: Message, kind: Kind, *, is_exempt: bool = False) -> None:
    network, verb = reply.network, message.command
    asked = _parse(message.params)
    if asked is None:
        raise Refused(n.ERR_NEEDMOREPARAMS, verb)
    mask = (_exempt_of if is_exempt else _READERS[kind])(reply, asked.mask)
    if mask is None:
        raise Fail("INVALID_MASK", asked.mask, text="That can't be banned", is_own=True)
    if is_exempt and normalize_address(mask) is not None:
        kind = Kind.ADDRESS
    now_s = network.now_s()
    expires_s = now_s + asked.duration_s if asked.duration_s else 0.0
    ban = Ban(
        kind, mask, asked.reason, asked.private, reply.user.oper, now_s, expires_s,
        asked.is_soft, is_exempt,
    )  # fmt: skip
    if not is_exempt and not asked.bans_self and ban.is_about(subject_of(reply.session)):
        raise Fail("BANS_YOU", asked.mask, text="It is about you; add MYSELF", is_own=True)
    if len(network.bans.entries) >= BANS_MAX and ban.key not in network.bans.entries:
        raise Fail("LIST_FULL", asked.mask, text="There are too many bans", is_own=True)
    network.bans.add(ban)
    how_long = f"for {render_duration(asked.duration_s)}" if asked.duration_s else "for ever"
    if is_exempt:
        reply.notice(f"{verb}: {mask} is exempt {how_long}")
        return
    reply.notice(f"{verb}: {mask} is banned {how_long}")
    count = apply_ban(network, ban, reply)
    if count and reply.is_registered:
        reply.notice(f"{verb}: {count} connections were closed")


def _remove(reply: Reply, message: Message, kind: Kind, *, is_exempt: bool = False) -> None:
    network, verb, text = reply.network, message.command, message.params[0]
    kinds = (Kind.ADDRESS, Kind.MASK) if is_exempt else (kind,)
    for each in kinds:
        mask = _READERS[each](reply, text)
        if mask and network.bans.remove(key_of(each, mask, is_exempt=is_exempt)):
            reply.notice(f"{verb}: {mask} is {'exempt' if is_exempt else 'banned'} no more")
            return
    raise Fail("NO_SUCH_BAN", text, text="There is no such entry", is_own=True)


@command("KLINE", params=1, privilege="ban")
def kline(reply: Reply, message: Message) -> None:
    """Ban by mask, or by account: ``~a:ACCOUNT``."""
    _add(reply, message, Kind.MASK)


@command("UNKLINE", params=1, privilege="ban")
def unkline(reply: Reply, message: Message) -> None:
    """Take away a ban by mask."""
    _remove(reply, message, Kind.MASK)


@command("DLINE", params=1, privilege="ban")
def dline(reply: Reply, message: Message) -> None:
    """Ban an address or a network (``192.0.2.0/24``), or the address of a nick."""
    _add(reply, message, Kind.ADDRESS)


@command("UNDLINE", params=1, privilege="ban")
def undline(reply: Reply, message: Message) -> None:
    """Take away a ban of an address or a network."""
    _remove(reply, message, Kind.ADDRESS)


@command("XLINE", params=1, privilege="ban")
def xline(reply: Reply, message: Message) -> None:
    r"""Ban by real name; a space in it is ``\s``."""
    _add(reply, message, Kind.REALNAME)


@command("UNXLINE", params=1, privilege="ban")
def unxline(reply: Reply, message: Message) -> None:
    """Take away a ban by real name."""
    _remove(reply, message, Kind.REALNAME)


@command("ELINE", params=1, privilege="ban")
def eline(reply: Reply, message: Message) -> None:
    """Exempt a mask or a network from bans; a network from limits of connections, too."""
    _add(reply, message, Kind.MASK, is_exempt=True)


@command("UNELINE", params=1, privilege="ban")
def uneline(reply: Reply, message: Message) -> None:
    """Take away an exempt."""
    _remove(reply, message, Kind.MASK, is_exempt=True)


LISTS: dict[str, tuple[Kind | None, n.Numeric, str]] = {
    "k": (Kind.MASK, n.RPL_STATSKLINE, "K"),
    "d": (Kind.ADDRESS, n.RPL_STATSDLINE, "D"),
    "x": (Kind.REALNAME, n.RPL_STATSXLINE, "X"),
    "e": (None, n.RPL_STATSELINE, "E"),
}
"""The lists that STATS shows, by letter: content, numeric, and first word."""


def send_bans(reply: Reply, letter: str) -> None:
    """Send one of `LISTS` to an operator (RFC 1459 section 6.2, 216)."""
    kind, numeric, word = LISTS[letter]
    network = reply.network
    if not network.may(reply.user, "ban"):
        reply.numeric(n.ERR_NOPRIVILEGES)  # the end of STATS follows
        return
    now_s = network.now_s()
    for ban in network.bans.listed(kind, now_s):
        left = render_duration(ban.expires_s - now_s) if ban.expires_s else "0"
        soft = "soft, " if ban.is_soft else ""
        private = f" | {ban.private}" if ban.private else ""
        reply.numeric(
            numeric, word, ban.mask.replace(" ", "\\s"), left, ban.by,
            text=f"{soft}{ban.reason}{private}",
        )  # fmt: skip
