"""ISUPPORT (005): the server's limits and features; one table of tokens.

A token is a function of the network that returns its value: "" for a token without one,
None to omit it. To add one, write a line in `TOKENS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tapd.services.irc.wire import masks, modes, names
from tapd.services.irc.wire.modes import Kind

if TYPE_CHECKING:
    from tapd.services.irc.wire.roles import Described

TOKENS_PER_LINE = 13
"""A message has 15 parameters: the client, the tokens, and the text."""

LIST_ENTRIES_MAX = 100
TARGETS_MAX = 4
MODE_CHANGES_MAX = 6
MONITOR_TARGETS_MAX = 128
PLAYBACK_MAX = 100
"""Limit of events that one command returns (CHATHISTORY)."""

_MANY_TARGETS = ("NOTICE", "PRIVMSG", "TAGMSG")
_ONE_TARGET = ("KICK", "NAMES", "WHOIS", "WHOWAS")


def _channel_modes(_network: Described) -> str:
    kinds = (Kind.LIST, Kind.ALWAYS, Kind.WHEN_SET, Kind.FLAG)
    return ",".join("".join(sorted(modes.letters_of(kind))) for kind in kinds)


def _target_limits(_network: Described) -> str:
    limits = dict.fromkeys(_MANY_TARGETS, str(TARGETS_MAX)) | dict.fromkeys(_ONE_TARGET, "1")
    limits |= {"JOIN": "", "LIST": "", "PART": "", "MONITOR": ""}
    return ",".join(f"{command}:{limits[command]}" for command in sorted(limits))


def _list_limits(_network: Described) -> str:
    # One pair per letter: letters in one pair would share its limit.
    return ",".join(f"{each}:{LIST_ENTRIES_MAX}" for each in sorted(modes.letters_of(Kind.LIST)))


TOKENS: dict[str, Callable[[Described], str | None]] = {
    "ACCOUNTEXTBAN": lambda _: masks.ACCOUNT,
    "AWAYLEN": lambda _: str(names.AWAY_BYTES_MAX),
    "BOT": lambda _: "B",
    "CASEMAPPING": lambda _: names.CASEMAPPING,
    "CHANLIMIT": lambda network: f"{names.CHANNEL_TYPES}:{network.channels_per_user_max}",
    "CHANMODES": _channel_modes,
    "CHANNELLEN": lambda _: str(names.CHANNEL_BYTES_MAX),
    "CHANTYPES": lambda _: names.CHANNEL_TYPES,
    "CHATHISTORY": lambda _: str(PLAYBACK_MAX),
    "ELIST": lambda _: "CMNTU",
    "EXCEPTS": lambda _: "e",
    "EXTBAN": lambda _: f"{masks.EXTENDED},{masks.ACCOUNT}",
    "HOSTLEN": lambda _: str(names.HOST_BYTES_MAX),
    "INVEX": lambda _: "I",
    "KEYLEN": lambda _: str(names.KEY_BYTES_MAX),
    "KICKLEN": lambda _: str(names.KICK_BYTES_MAX),
    "KNOCK": lambda _: "",
    "MAXLIST": _list_limits,
    "MAXTARGETS": lambda _: str(TARGETS_MAX),
    "MODES": lambda _: str(MODE_CHANGES_MAX),
    "MONITOR": lambda _: str(MONITOR_TARGETS_MAX),
    "MSGREFTYPES": lambda _: "msgid,timestamp",
    "NAMELEN": lambda _: str(names.REALNAME_BYTES_MAX),
    "NETWORK": lambda network: escape_token(network.network_name),
    "NICKLEN": lambda _: str(names.NICK_BYTES_MAX),
    "PREFIX": lambda _: f"({modes.RANKS}){modes.PREFIX_SYMBOLS}",
    "SAFELIST": lambda _: "",
    "STATUSMSG": lambda _: modes.PREFIX_SYMBOLS,
    "TARGMAX": _target_limits,
    "TOPICLEN": lambda _: str(names.TOPIC_BYTES_MAX),
    "USERLEN": lambda _: str(names.USERNAME_BYTES_MAX),
    "UTF8ONLY": lambda _: "",
    "WHOX": lambda _: "",
}


def escape_token(text: str) -> str:
    r"""Return `text` as a token's value: space, ``=`` and backslash as ``\xHH``."""
    return "".join(
        f"\\x{ord(character):02X}" if character in " =\\" else character for character in text
    )


def isupport_lines(network: Described) -> list[list[str]]:
    """Return the tokens, as many per line as fit into a message."""
    tokens = []
    for name, value_of in TOKENS.items():
        value = value_of(network)
        if value is not None:
            tokens.append(f"{name}={value}" if value else name)
    return [
        tokens[start : start + TOKENS_PER_LINE] for start in range(0, len(tokens), TOKENS_PER_LINE)
    ]
