"""Which values of a graph are somebody's secret, by their names and by their looks.

Imports nothing of tapd. Whoever looks into a TAP wants its shape, and an
administrator's screen is seen by others, is pasted into reports and kept in
terminals' histories: so `tapctl` shows a secret only when it is asked to. A name
can't be sure; that is why all that sounds like one is hidden, and a little more.
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
    """Whether what is called `label` (an attribute, a key) is a secret, or holds some."""
    return _NAME.search(label) is not None


def is_secret_value(value: Any) -> bool:
    """Whether `value` looks like the hash of a password or a private key."""
    if type(value) is bytes:
        value = value[:_LOOKED_AT_MAX].decode("latin-1")
    return type(value) is str and _VALUE.match(value[:_LOOKED_AT_MAX]) is not None


def hide(value: Any) -> str:
    """Return what is shown in place of the scalar `value`; "" where it gives nothing away."""
    if type(value) not in _KINDS or value in ("", b""):
        return ""
    return f"({type(value).__name__}, hidden)"
