"""Bans of the network, and exempts from them.

Pure state and matching; `admission` applies them. There are three kinds (`Kind`), each
with its usual command: by mask (KLINE; an account is the mask ``~a:ACCOUNT``), by address
(DLINE) and by real name (XLINE). An exempt (ELINE) is of a mask or an address.

The host of a mask may be a network: ``*!*@192.0.2.0/24``. An expired ban has no effect
from that second on; the sweep removes it later.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict
from tapd.services.irc.wire import masks
from tapd.services.irc.wire.names import fold
from tapd.wire.addresses import NetworkIndex, parse_network

BANS_MAX = 10_000
"""Limit of all kinds together."""
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhdwy])+\Z")
_PART = re.compile(r"([0-9]+)([smhdwy])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
DURATION_S_MAX = 100 * 365 * 86400


class Kind(enum.StrEnum):
    """What a ban is compared with; the letter is that of STATS."""

    MASK = "k"
    ADDRESS = "d"
    REALNAME = "x"


class Subject(NamedTuple):
    """A client, as bans see it.

    Attributes:
        nick, username, realname: theirs; "" before they are known.
        hosts: all of their hosts: shown, cloak and address.
        ip: their address.
        account: theirs; "" for none.
    """

    nick: str
    username: str
    realname: str
    hosts: tuple[str, ...]
    ip: str
    account: str


class Ban(NamedTuple):
    """One ban, or exempt.

    Attributes:
        kind: what is compared.
        mask: what it is compared with, normalized.
        reason: for the banned client.
        private: for operators only.
        by: who set it.
        made_s, expires_s: since the epoch; the latter 0 for never.
        is_soft: logged-in clients (SASL) are not banned.
        is_exempt: it is an exempt.
    """

    kind: Kind
    mask: str
    reason: str
    private: str
    by: str
    made_s: float
    expires_s: float = 0.0
    is_soft: bool = False
    is_exempt: bool = False

    @property
    def key(self) -> str:
        """The key of the ban; a second ban with the same key replaces it."""
        return key_of(self.kind, self.mask, is_exempt=self.is_exempt)

    def is_about(self, subject: Subject) -> bool:
        """Whether it matches; soft ones never match logged-in clients."""
        if self.is_soft and subject.account:
            return False
        match self.kind:
            case Kind.MASK:
                return mask_matches(self.mask, subject)
            case Kind.ADDRESS:
                return subject.ip in _index_of(self.mask)
            case Kind.REALNAME:
                return masks.matches(self.mask, subject.realname)


def key_of(kind: Kind, mask: str, *, is_exempt: bool) -> str:
    """Return the key of a ban."""
    return f"{'e' if is_exempt else ''}{kind.value} {fold(mask)}"


@functools.lru_cache(maxsize=1024)
def _index_of(network: str) -> NetworkIndex:
    return NetworkIndex([network])


def mask_matches(mask: str, subject: Subject) -> bool:
    """Whether a normalized mask, whose host may be a network, matches `subject`."""
    head, _, host = mask.rpartition("@")
    if "/" in host and not mask.startswith(masks.EXTENDED):
        return subject.ip in _index_of(host) and masks.matches(
            head, f"{subject.nick}!{subject.username}"
        )
    sources = [f"{subject.nick}!{subject.username}@{each}" for each in subject.hosts]
    return masks.mask_matches(mask, sources, subject.account)


def parse_duration(text: str) -> float | None:
    """Return the seconds of ``1d12h``, or of a number of minutes; None if it is neither.

    0 is permanent. A number alone is minutes, as in most servers' KLINE.
    """
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return min(float(text) * 60, DURATION_S_MAX)
    if _DURATION.match(text) is None:
        return None
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return min(float(seconds), DURATION_S_MAX)


def render_duration(seconds: float) -> str:
    """Return a duration for people, as `parse_duration` takes it."""
    left, parts = int(seconds), []
    for unit, length in reversed(_SECONDS.items()):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def normalize_address(text: str) -> str | None:
    """Return the network of a ban by address, in normal form; None if it is invalid."""
    network = parse_network(text.strip("[]"))
    if network is None:
        return None
    return str(network if network.prefixlen < network.max_prefixlen else network.network_address)


class Bans(Persistent):
    """All of them.

    Attributes:
        entries: by `key_of`, in the order of setting.
    """

    _v_index: NetworkIndex | None = None
    _v_others: tuple[Ban, ...] | None = None

    def __init__(self) -> None:
        self.entries: dict[str, Ban] = TrackedDict()

    def __repr__(self) -> str:
        return f"<Bans: {len(self.entries)}>"

    def add(self, ban: Ban) -> None:
        """Add a ban, or replace the one of the same kind and mask."""
        self.entries.pop(ban.key, None)
        self.entries[ban.key] = ban
        self._forget_index()

    def remove(self, key: str) -> Ban | None:
        """Remove a ban; return it, None if there is none."""
        self._forget_index()
        return self.entries.pop(key, None)

    def expire(self, now_s: float) -> list[Ban]:
        """Remove expired bans; return them."""
        gone = [ban for ban in self.entries.values() if 0 < ban.expires_s <= now_s]
        for ban in gone:
            del self.entries[ban.key]
        if gone:
            self._forget_index()
        return gone

    def listed(self, kind: Kind | None, now_s: float) -> Iterator[Ban]:
        """Yield the active bans of one kind, or the exempts for None."""
        for ban in self.entries.values():
            matches = ban.is_exempt if kind is None else ban.kind is kind and not ban.is_exempt
            if matches and not 0 < ban.expires_s <= now_s:
                yield ban

    def find(self, subject: Subject, now_s: float) -> Ban | None:
        """Return the ban that applies to `subject`; None if there is none or an exempt applies."""
        if not self.entries:
            return None
        candidates = [*self._of_address(subject.ip), *self._others]
        valid = [
            ban for ban in candidates if not 0 < ban.expires_s <= now_s and ban.is_about(subject)
        ]
        if any(ban.is_exempt for ban in valid):
            return None
        return next(iter(valid), None)

    def find_address(self, ip: str, now_s: float) -> Ban | None:
        """Return the ban of the address `ip`, whatever the user; None for none."""
        if not self.entries or self.is_exempt_address(ip, now_s):
            return None
        valid = (ban for ban in self._of_address(ip) if not 0 < ban.expires_s <= now_s)
        return next(valid, None)

    def is_exempt_address(self, ip: str, now_s: float) -> bool:
        """Whether an exempt matches the address `ip`."""
        return bool(self.entries) and any(
            ban.is_exempt and not 0 < ban.expires_s <= now_s for ban in self._of_address(ip)
        )

    def _of_address(self, ip: str) -> list[Ban]:
        if self._v_index is None:
            self._v_index = NetworkIndex(
                {ban.mask for ban in self.entries.values() if ban.kind is Kind.ADDRESS}
            )
        keys = [
            key_of(Kind.ADDRESS, mask, is_exempt=is_exempt)
            for mask in self._v_index.find(ip)
            for is_exempt in (False, True)
        ]
        return [self.entries[key] for key in keys if key in self.entries]

    @property
    def _others(self) -> tuple[Ban, ...]:
        if self._v_others is None:
            self._v_others = tuple(
                ban for ban in self.entries.values() if ban.kind is not Kind.ADDRESS
            )
        return self._v_others

    def _forget_index(self) -> None:
        self._v_index = self._v_others = None
