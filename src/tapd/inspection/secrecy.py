"""Recognizes secrets in a graph, by their names and by their format.

People look into a TAP for its structure. An administrator's screen is seen by others, pasted
into reports and kept in terminal histories, so `tapctl` shows secrets only on request. Names
are no proof, so everything that sounds like a secret is hidden, and a little more.
"""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(
    r"pass(word|wd|phrase)|secret|sealed|token|credential|api_?key|private_?key|signing_?key"
    r"|(?<![a-z])(pwd|psk|otp|pin|salt|hmac)(?![a-z])|_hash\b",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"\$(argon2(id|i|d)|2[abxy]|[156y]|scrypt|pbkdf2[a-z0-9-]*)\$|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\{(SSHA|SHA|CRYPT|PBKDF2)[0-9]*\}"
)
_LOOKED_AT_MAX = 200
_KINDS = frozenset({str, bytes, bytearray, int, float, complex})


def is_secret_name(label: str) -> bool:
    """Whether a value called `label` (an attribute, a key) is a secret or contains one."""
    return _NAME.search(label) is not None


def is_secret_value(value: Any) -> bool:
    """Whether `value` looks like a password hash or a private key."""
    if type(value) is bytes:
        value = value[:_LOOKED_AT_MAX].decode("latin-1")
    return type(value) is str and _VALUE.match(value[:_LOOKED_AT_MAX]) is not None


def hide(value: Any) -> str:
    """Return a replacement for the scalar `value`; "" if `value` gives nothing away."""
    if type(value) not in _KINDS or value in ("", b""):
        return ""
    return f"({type(value).__name__}, hidden)"
