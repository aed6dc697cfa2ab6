"""Operator entries: the IRC operators and their privileges."""

from __future__ import annotations

from tapd.model.durable.persistent import Persistent

ALL_PRIVILEGES = "*"
PRIVILEGES = {
    "kill": "end another user's connection (KILL)",
    "rehash": "read the configuration's files again (REHASH)",
    "wallops": "write to all who set +w (WALLOPS)",
    "accounts": "manage accounts and registered channels (NickServ, ChanServ)",
    "see": "see addresses, hidden channels and invisible users",
    "ban": "ban, exempt from bans, and list both (KLINE, DLINE, XLINE, ELINE, STATS)",
    "lockdown": "say who may come in at all (LOCKDOWN)",
    "force": "act for others (SAJOIN, SAPART, SANICK, SAMODE)",
    "host": "give a user another host (CHGHOST)",
    "flood": "write as fast as one likes",
}
"""The privileges that commands can require, by name; to add one, add a line."""


class Oper(Persistent):
    """One entry.

    Attributes:
        name: as given to OPER.
        password_hash: argon2.
        privileges: names of `PRIVILEGES`, or `ALL_PRIVILEGES`.
    """

    def __init__(
        self, name: str, password_hash: str, privileges: tuple[str, ...] = (ALL_PRIVILEGES,)
    ) -> None:
        self.name = name
        self.password_hash = password_hash
        self.privileges = privileges

    def __repr__(self) -> str:
        return f"<Oper {self.name}>"
