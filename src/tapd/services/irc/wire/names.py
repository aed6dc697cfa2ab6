"""Names: validation and case folding of nicknames, channel names and user names.

Pure. The case mapping is ``ascii`` (ISUPPORT CASEMAPPING): A to Z fold to a to z and
nothing else does. A client can do that in one line, and ``[x]`` and ``{x}`` stay distinct.
"""

from __future__ import annotations

import re
import string

CASEMAPPING = "ascii"
CHANNEL_TYPES = "#"

NICK_BYTES_MAX = 32
CHANNEL_BYTES_MAX = 64
USERNAME_BYTES_MAX = 18
HOST_BYTES_MAX = 63
REALNAME_BYTES_MAX = 150
TOPIC_BYTES_MAX = 390
AWAY_BYTES_MAX = 300
KICK_BYTES_MAX = 300
QUIT_BYTES_MAX = 300
KEY_BYTES_MAX = 32

_FOLD = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_NICK = re.compile(r"[A-Za-z\[\]\\`_^{|}][-A-Za-z0-9\[\]\\`_^{|}]*\Z")
_NOT_IN_CHANNEL = re.compile(r"[\x00-\x20,\x7f]")
_NOT_IN_USERNAME = re.compile(r"[^-A-Za-z0-9._\[\]\\`^{|}~]")
_NOT_IN_KEY = re.compile(r"[\x00-\x20,:\x7f]")


def fold(name: str) -> str:
    """Return `name` in the form used for comparison and indexes."""
    return name.lower() if name.isascii() else name.translate(_FOLD)


def is_nick(text: str) -> bool:
    """Whether `text` is a valid nickname (RFC 2812 section 2.3.1, with a longer limit)."""
    return len(text) <= NICK_BYTES_MAX and _NICK.match(text) is not None


def is_channel_like(text: str) -> bool:
    """Whether `text` looks like a channel name, valid or not."""
    return text[:1] in CHANNEL_TYPES and text != ""


def is_channel_name(text: str) -> bool:
    """Whether `text` is a valid channel name (RFC 2812 section 1.3).

    Invisible characters (a zero-width space, a change of direction) are not allowed:
    two channels that look the same are a trap.
    """
    return (
        is_channel_like(text)
        and 1 < len(text.encode()) <= CHANNEL_BYTES_MAX
        and _NOT_IN_CHANNEL.search(text) is None
        and text.isprintable()
    )


def is_key(text: str) -> bool:
    """Whether `text` is a valid channel key (RFC 2812 section 2.3.1)."""
    return 0 < len(text.encode()) <= KEY_BYTES_MAX and _NOT_IN_KEY.search(text) is None


def clean_username(text: str) -> str:
    """Return `text` reduced to the characters allowed between ``!`` and ``@``; may be ""."""
    return _NOT_IN_USERNAME.sub("", text)[: USERNAME_BYTES_MAX - 1]


def clip(text: str, bytes_max: int) -> str:
    """Return `text` cut to `bytes_max` bytes of UTF-8, between characters."""
    if len(text) * 4 <= bytes_max:
        return text
    data = text.encode()
    return text if len(data) <= bytes_max else data[:bytes_max].decode("utf-8", "ignore")
