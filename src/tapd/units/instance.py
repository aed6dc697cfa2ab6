r"""Names of a server in systemd: its instance, its units, its user.

An application's name (see `model.application.check_name`) is usually its instance's name,
too. Two things differ for unusual names:

- A unit's name can't contain ``+``: it is written ``\x2b``, as systemd-escape(1) does. A ``-``
  stays: the units use only ``%i``, which is never unescaped.
- A user's name has only letters, digits, ``_`` and ``-``, at most 31: other servers get the
  user ``tapd-BEGINNING-HASH``.
"""

from __future__ import annotations

import hashlib
import re
import shlex

_USER_PREFIX = "tapd-"
_USER_BYTES_MAX = 31  # user names of 32 bytes and more are refused (useradd(8))
_HASH_DIGITS = 8
_UNSAFE_IN_UNIT = re.compile(r"[^A-Za-z0-9:_.@-]")
_UNSAFE_IN_USER = re.compile(r"[^A-Za-z0-9_-]")


def escape_instance(name: str) -> str:
    """Return the instance of the server `name`: the part after the @ of its units."""
    return _UNSAFE_IN_UNIT.sub(_escape_one, name)


def _escape_one(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode())


def user_name(name: str) -> str:
    """Return the user that the server `name` runs as."""
    usual = _USER_PREFIX + name
    if len(usual) <= _USER_BYTES_MAX and not _UNSAFE_IN_USER.search(name):
        return usual
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    longest = _USER_BYTES_MAX - len(_USER_PREFIX) - _HASH_DIGITS - 1
    return f"{_USER_PREFIX}{_UNSAFE_IN_USER.sub('_', name)[:longest]}-{digest}"


def has_own_user(name: str) -> bool:
    """Whether the user is ``tapd-%i``, the default in the unit."""
    return user_name(name) == _USER_PREFIX + escape_instance(name)


def typed_unit(name: str) -> str:
    """Return the name to type at a shell for the server `name`: systemctl adds the suffix."""
    return shlex.quote(f"tapd@{escape_instance(name)}")


def service_unit(name: str) -> str:
    """Return the name of the unit that runs the server `name`."""
    return f"tapd@{escape_instance(name)}.service"


def socket_unit(name: str) -> str:
    """Return the name of the unit with the ports of the server `name`."""
    return f"tapd@{escape_instance(name)}.socket"


def timer_unit(name: str) -> str:
    """Return the name of the unit that wakes the sleeping server `name`."""
    return f"tapd@{escape_instance(name)}.timer"
