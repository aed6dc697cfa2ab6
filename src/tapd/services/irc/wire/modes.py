"""Modes: one table for channels, one for users.

A mode's entry has functions that refuse a message or a JOIN, so a mode is added in one
place. The four kinds are those of ISUPPORT CHANMODES (types A to D), and PREFIX for ranks.

| kind | ``+m`` takes a parameter | ``-m`` takes one |
|---|---|---|
| LIST (A) | yes; without one it shows the list | yes |
| ALWAYS (B) | yes | yes (not checked) |
| WHEN_SET (C) | yes | no |
| FLAG (D) | no | no |
| PREFIX | a nickname | a nickname |
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tapd.services.irc.wire import names
from tapd.services.irc.wire import numerics as n

if TYPE_CHECKING:
    from tapd.services.irc.wire.roles import Person, Place

SpeechRule = Callable[["Place", "Person", str, str], str]
EntryRule = Callable[["Place", "Person", str], n.Numeric | None]


class Kind(enum.Enum):
    """When a mode takes a parameter."""

    LIST = "A"
    ALWAYS = "B"
    WHEN_SET = "C"
    FLAG = "D"
    PREFIX = "PREFIX"


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelMode:
    """One channel mode.

    Attributes:
        letter: of the mode.
        kind: when it takes a parameter.
        meaning: one line about it.
        symbol: before a nickname, for a rank.
        needs: the lowest rank that may change it.
        check: returns a normalized parameter, or raises `ValueError`.
        speech: given channel, user, command and text, returns why a message is
            refused; "" if it is not. Not called for members of rank `exempt` or higher.
        exempt: see `speech`.
        is_for_outsiders: `speech` is not called for members at all.
        entry: given channel, user and key, returns the numeric that refuses a JOIN.
            Not called for invited users.
        listing: RPL_ numerics of an entry and of the end, for a list.
    """

    letter: str
    kind: Kind
    meaning: str
    symbol: str = ""
    needs: str = "o"
    check: Callable[[str], str] | None = None
    speech: SpeechRule | None = None
    exempt: str = ""
    is_for_outsiders: bool = False
    entry: EntryRule | None = None
    listing: tuple[n.Numeric, n.Numeric] | None = None


RANKS = "qaohv"
"""Letters of the ranks, highest first."""

_FORMATTING = re.compile("[\x02\x03\x04\x0f\x11\x16\x1d\x1e\x1f]")


def _check_key(text: str) -> str:
    if not names.is_key(text):
        raise ValueError("a key has no space, comma or colon, and at most 32 bytes")
    return text


def _check_limit(text: str) -> str:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
    if not number:
        raise ValueError("a limit is a number from 1 up")
    return str(number)


def _is_ctcp(text: str) -> bool:
    return text[:1] == "\x01" and not text.startswith("\x01ACTION ")


def _no_ctcp(_channel: Place, _user: Person, command: str, text: str) -> str:
    return "CTCPs are not allowed here (+C)" if command != "TAGMSG" and _is_ctcp(text) else ""


def _no_formatting(_channel: Place, _user: Person, _command: str, text: str) -> str:
    return "colours and formatting are not allowed here (+c)" if _FORMATTING.search(text) else ""


def _moderated(_channel: Place, _user: Person, _command: str, _text: str) -> str:
    return "the channel is moderated (+m)"


def _registered_speech(_channel: Place, user: Person, _command: str, _text: str) -> str:
    return "" if user.account else "you must be logged in to an account to speak here (+M)"


def _no_outsiders(_channel: Place, _user: Person, _command: str, _text: str) -> str:
    return "you are not on the channel (+n)"


def _no_notices(_channel: Place, _user: Person, command: str, _text: str) -> str:
    return "notices are not allowed here (+T)" if command == "NOTICE" else ""


def _wants_key(channel: Place, _user: Person, key: str) -> n.Numeric | None:
    return None if key == channel.modes["k"] else n.ERR_BADCHANNELKEY


def _has_limit(channel: Place, _user: Person, _key: str) -> n.Numeric | None:
    full = len(channel.members) >= int(channel.modes["l"])
    return n.ERR_CHANNELISFULL if full else None


def _invite_only(channel: Place, user: Person, _key: str) -> n.Numeric | None:
    return None if channel.in_list("I", user) else n.ERR_INVITEONLYCHAN


def _registered_only(_channel: Place, user: Person, _key: str) -> n.Numeric | None:
    return None if user.account else n.ERR_NEEDREGGEDNICK


CHANNEL_MODES: dict[str, ChannelMode] = {
    mode.letter: mode
    for mode in (
        ChannelMode("q", Kind.PREFIX, "founder", symbol="~", needs="q"),
        ChannelMode("a", Kind.PREFIX, "protected operator", symbol="&", needs="q"),
        ChannelMode("o", Kind.PREFIX, "operator", symbol="@", needs="o"),
        ChannelMode("h", Kind.PREFIX, "half operator", symbol="%", needs="o"),
        ChannelMode("v", Kind.PREFIX, "voice", symbol="+", needs="h"),
        ChannelMode(
            "b", Kind.LIST, "bans: who matches can't join or speak", needs="h",
            listing=(n.RPL_BANLIST, n.RPL_ENDOFBANLIST),
        ),
        ChannelMode(
            "e", Kind.LIST, "exceptions from bans", needs="h",
            listing=(n.RPL_EXCEPTLIST, n.RPL_ENDOFEXCEPTLIST),
        ),
        ChannelMode(
            "I", Kind.LIST, "exceptions from +i", needs="h",
            listing=(n.RPL_INVEXLIST, n.RPL_ENDOFINVEXLIST),
        ),
        ChannelMode(
            "k", Kind.ALWAYS, "a key is needed to join", check=_check_key, entry=_wants_key
        ),
        ChannelMode(
            "l", Kind.WHEN_SET, "most members", check=_check_limit, entry=_has_limit
        ),
        ChannelMode("C", Kind.FLAG, "no CTCP but ACTION", speech=_no_ctcp),
        ChannelMode(
            "M", Kind.FLAG, "only who is logged in speaks", speech=_registered_speech, exempt="v"
        ),
        ChannelMode("R", Kind.FLAG, "only who is logged in joins", entry=_registered_only),
        ChannelMode("T", Kind.FLAG, "no notices", speech=_no_notices, exempt="h"),
        ChannelMode("c", Kind.FLAG, "no colours or formatting", speech=_no_formatting),
        ChannelMode("i", Kind.FLAG, "only who is invited joins", entry=_invite_only),
        ChannelMode("m", Kind.FLAG, "only voice and up speaks", speech=_moderated, exempt="v"),
        ChannelMode(
            "n", Kind.FLAG, "only members speak", speech=_no_outsiders, is_for_outsiders=True
        ),
        ChannelMode("s", Kind.FLAG, "hidden from who is not on it"),
        ChannelMode("t", Kind.FLAG, "only half operators and up change the topic"),
    )
}  # fmt: skip

SILENCING = frozenset(
    letter
    for letter, mode in CHANNEL_MODES.items()
    if mode.speech is not None and not mode.is_for_outsiders
)
"""Modes that may refuse a member's message."""

PREFIX_SYMBOLS = "".join(CHANNEL_MODES[letter].symbol for letter in RANKS)
SYMBOL_OF = {letter: CHANNEL_MODES[letter].symbol for letter in RANKS}
RANK_OF_SYMBOL = {symbol: letter for letter, symbol in SYMBOL_OF.items()}


def letters_of(kind: Kind) -> str:
    """Return the letters of the channel modes of one kind, in the table's order."""
    return "".join(mode.letter for mode in CHANNEL_MODES.values() if mode.kind is kind)


def is_at_least(ranks: str, needed: str) -> bool:
    """Whether `ranks` (sorted, highest first) include rank `needed` or a higher one."""
    return bool(ranks) and RANKS.index(ranks[0]) <= RANKS.index(needed)


def symbols_of(ranks: str) -> str:
    """Return the symbols of `ranks`, highest first."""
    return "".join(SYMBOL_OF[letter] for letter in ranks)


def sort_ranks(letters: set[str]) -> str:
    """Return `letters` sorted as ranks are kept: highest first."""
    return "".join(letter for letter in RANKS if letter in letters)


@dataclasses.dataclass(frozen=True, slots=True)
class UserMode:
    """One user mode.

    Attributes:
        letter: of the mode.
        meaning: one line about it.
        settable: the user may set it by MODE.
        for_opers: only an operator may set it, and loses it with the rank.
        removable: the user may unset it by MODE.
    """

    letter: str
    meaning: str
    settable: bool = True
    for_opers: bool = False
    removable: bool = True


USER_MODES: dict[str, UserMode] = {
    mode.letter: mode
    for mode in (
        UserMode("B", "is a bot (IRCv3 bot-mode)"),
        UserMode("R", "only who is logged in may send messages"),
        UserMode("T", "no CTCP but ACTION"),
        UserMode("c", "receives notices of who comes and goes", for_opers=True),
        UserMode("i", "invisible: left out of lists where no channel is shared"),
        UserMode("o", "IRC operator", settable=False),
        UserMode("r", "is logged in to an account", settable=False, removable=False),
        UserMode("s", "receives notices of bans, floods and operators' actions", for_opers=True),
        UserMode("w", "receives WALLOPS"),
    )
}
