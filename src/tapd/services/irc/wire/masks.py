"""Masks: ``nick!user@host`` with wildcards, and account masks.

Pure. ``*`` is any text and ``?`` any one character (RFC 2812
section 2.5); case is folded. An extended mask ``~a:ACCOUNT`` matches by account
(IRCv3 account-extban; ISUPPORT EXTBAN and ACCOUNTEXTBAN).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from tapd.services.irc.wire.names import fold

EXTENDED = "~"
ACCOUNT = "a"


@functools.lru_cache(maxsize=8192)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for the wildcards of `pattern`.

    Each part between two stars is matched at its first occurrence and never retried (an
    atomic group). That is right for globs, and a hostile mask of many stars costs no more
    than any other.
    """
    first, *others = (
        ".".join(map(re.escape, part.split("?"))) for part in re.split(r"\*+", fold(pattern))
    )
    source = first
    if others:
        source += "".join(f"(?>.*?{part})" for part in others[:-1]) + f".*{others[-1]}"
    return re.compile(rf"{source}\Z", re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    """Whether `text` matches the wildcards of `pattern`, case-folded."""
    return compile_glob(pattern).match(fold(text)) is not None


def normalize_mask(text: str) -> str:
    """Return `text` with the missing parts of ``nick!user@host`` added as ``*``."""
    if text.startswith(EXTENDED):
        return text
    nick, bang, rest = text.partition("!")
    if not bang:
        if "@" in text:
            nick, rest = "", text
        elif "." in text or ":" in text:  # no nickname has these: it is a host
            nick, rest = "", f"@{text}"
        else:
            rest = ""
    user, _, host = rest.partition("@")
    return f"{nick or '*'}!{user or '*'}@{host or '*'}"


def is_mask(text: str) -> bool:
    """Whether `text` is a valid list entry: printable, no space, a known extension."""
    if not text or " " in text or not text.isprintable():
        return False
    if text.startswith(EXTENDED):
        kind, colon, value = text[1:].partition(":")
        return bool(kind == ACCOUNT and colon and value)
    return True


def mask_matches(mask: str, sources: Iterable[str], account: str) -> bool:
    """Whether a normalized `mask` matches a user.

    Args:
        mask: from `normalize_mask`.
        sources: each of their ``nick!user@host`` (shown host, address).
        account: theirs; "" for none.
    """
    if mask.startswith(EXTENDED):
        return bool(account) and matches(mask.partition(":")[2], account)
    pattern = compile_glob(mask)
    return any(pattern.match(fold(source)) for source in sources)
