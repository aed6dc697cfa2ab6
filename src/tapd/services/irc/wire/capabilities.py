"""Capabilities (IRCv3 capability negotiation): one table, and bits for the fast path.

**The bits are in TAPs**: an assigned number is never changed or reused.

To add one: give it a bit and a line in `CAPABILITIES`. A value that depends on the
network (``sasl=PLAIN``) is a function of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapd.services.irc.wire.roles import Offering

MESSAGE_TAGS = 1 << 0
SERVER_TIME = 1 << 1
BATCH = 1 << 2
LABELED_RESPONSE = 1 << 3
ECHO_MESSAGE = 1 << 4
ACCOUNT_NOTIFY = 1 << 5
ACCOUNT_TAG = 1 << 6
EXTENDED_JOIN = 1 << 7
AWAY_NOTIFY = 1 << 8
MULTI_PREFIX = 1 << 9
USERHOST_IN_NAMES = 1 << 10
INVITE_NOTIFY = 1 << 11
CHGHOST = 1 << 12
SETNAME = 1 << 13
STANDARD_REPLIES = 1 << 14
CAP_NOTIFY = 1 << 15
SASL = 1 << 16
CHATHISTORY = 1 << 17
EVENT_PLAYBACK = 1 << 18
READ_MARKER = 1 << 19
ACCOUNT_REGISTRATION = 1 << 20
MULTILINE = 1 << 21
MESSAGE_REDACTION = 1 << 22
EXTENDED_MONITOR = 1 << 23
STS = 1 << 24

MULTILINE_BYTES_MAX = 4096
"""Limit of a multiline message, in bytes, with one byte for each end of a line."""
MULTILINE_LINES_MAX = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Capability:
    """One capability.

    Attributes:
        bit: its bit in `Session.caps`.
        specification: where it is specified.
        value: returns the text after "=" for CAP 302 clients; "" for none.
            None if it has no value.
        available: whether a network offers it; None for always.
        is_told_only: it can't be requested, and is not listed without its value.
    """

    bit: int
    specification: str
    value: Callable[[Offering], str] | None = None
    available: Callable[[Offering], bool] | None = None
    is_told_only: bool = False


CAPABILITIES: dict[str, Capability] = {
    "account-notify": Capability(ACCOUNT_NOTIFY, "ircv3.net/specs/extensions/account-notify"),
    "account-tag": Capability(ACCOUNT_TAG, "ircv3.net/specs/extensions/account-tag"),
    "away-notify": Capability(AWAY_NOTIFY, "ircv3.net/specs/extensions/away-notify"),
    "batch": Capability(BATCH, "ircv3.net/specs/extensions/batch"),
    "cap-notify": Capability(CAP_NOTIFY, "ircv3.net/specs/extensions/capability-negotiation"),
    "chghost": Capability(CHGHOST, "ircv3.net/specs/extensions/chghost"),
    "draft/account-registration": Capability(
        ACCOUNT_REGISTRATION,
        "ircv3.net/specs/extensions/account-registration",
        lambda _: "before-connect,custom-account-name",
        lambda network: network.may_register,
    ),
    "draft/chathistory": Capability(CHATHISTORY, "ircv3.net/specs/extensions/chathistory"),
    "draft/event-playback": Capability(EVENT_PLAYBACK, "ircv3.net/specs/extensions/chathistory"),
    "draft/message-redaction": Capability(
        MESSAGE_REDACTION, "ircv3.net/specs/extensions/message-redaction"
    ),
    "draft/multiline": Capability(
        MULTILINE,
        "ircv3.net/specs/extensions/multiline",
        lambda _: f"max-bytes={MULTILINE_BYTES_MAX},max-lines={MULTILINE_LINES_MAX}",
    ),
    "draft/read-marker": Capability(READ_MARKER, "ircv3.net/specs/extensions/read-marker"),
    "echo-message": Capability(ECHO_MESSAGE, "ircv3.net/specs/extensions/echo-message"),
    "extended-join": Capability(EXTENDED_JOIN, "ircv3.net/specs/extensions/extended-join"),
    "extended-monitor": Capability(EXTENDED_MONITOR, "ircv3.net/specs/extensions/extended-monitor"),
    "invite-notify": Capability(INVITE_NOTIFY, "ircv3.net/specs/extensions/invite-notify"),
    "labeled-response": Capability(LABELED_RESPONSE, "ircv3.net/specs/extensions/labeled-response"),
    "message-tags": Capability(MESSAGE_TAGS, "ircv3.net/specs/extensions/message-tags"),
    "multi-prefix": Capability(MULTI_PREFIX, "ircv3.net/specs/extensions/multi-prefix"),
    "sasl": Capability(
        SASL, "ircv3.net/specs/extensions/sasl-3.2", lambda network: network.sasl_mechanisms
    ),
    "server-time": Capability(SERVER_TIME, "ircv3.net/specs/extensions/server-time"),
    "setname": Capability(SETNAME, "ircv3.net/specs/extensions/setname"),
    "standard-replies": Capability(STANDARD_REPLIES, "ircv3.net/specs/extensions/standard-replies"),
    "sts": Capability(
        STS,
        "ircv3.net/specs/extensions/sts",
        lambda network: network.sts,
        lambda network: bool(network.sts),
        is_told_only=True,
    ),
    "userhost-in-names": Capability(
        USERHOST_IN_NAMES, "ircv3.net/specs/extensions/userhost-in-names"
    ),
}


def offered(network: Offering) -> dict[str, Capability]:
    """Return the capabilities that `network` offers, by name."""
    return {
        name: each
        for name, each in CAPABILITIES.items()
        if each.available is None or each.available(network)
    }


def names_of(caps: int) -> list[str]:
    """Return the names of the capabilities in the bits `caps`."""
    return [name for name, each in CAPABILITIES.items() if caps & each.bit]
