"""How much and how fast: the limits of a network, and what counts against them.

The limits are durable settings; 0 is none, everywhere. What is
counted is volatile: a process that follows a killed one counts the connections anew,
and forgives whoever was too fast.

**One rule for everything that has a pace** (`next_due`): so many at once, and then as
many again in the window's time, evenly. What is kept of it is one number: when all of
it would be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tapd.model.durable.persistent import Persistent
from tapd.wire.addresses import LOCAL, NetworkIndex, network_key

if TYPE_CHECKING:
    from tapd.model.timer import Timer
    from tapd.services.irc.wire.roles import Counted, Waiting

WAKE_S = 0.5
"""How often those who wait in the waiting room are looked at."""
KEYS_MAX = 20_000
"""Addresses whose pace is known at once; then those who have long been quiet go."""


def next_due(due_s: float, now_s: float, count: float, window_s: float) -> float | None:
    """Return what to keep when one more thing is done; None where that is too fast.

    Args:
        due_s: what was kept the last time; 0 for never.
        now_s: the time.
        count: how many are allowed at once.
        window_s: how long it takes until as many are allowed again.
    """
    # A clock that was put back must not make anybody wait longer than the window.
    due_s = min(max(due_s, now_s), now_s + window_s) + window_s / count
    return due_s if due_s - now_s <= window_s * 1.000001 else None


class Pace:
    """The pace of many, by key (an address). Volatile."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}
        self._keys_max = KEYS_MAX

    def take(self, key: str, now_s: float, count: float, window_s: float) -> bool:
        """Note that `key` does it once more; return whether it may. A `count` of 0 is no limit."""
        due_s = self._next(key, now_s, count, window_s)
        if due_s is None:
            return False
        if len(self._due_s) >= self._keys_max:
            self._due_s = {each: due for each, due in self._due_s.items() if due > now_s}
            # Where few could go, they are not looked through again for each that comes.
            self._keys_max = max(KEYS_MAX, 2 * len(self._due_s))
        self._due_s[key] = due_s
        return True

    def is_free(self, key: str, now_s: float, count: float, window_s: float) -> bool:
        """Whether `key` may do it once more; nothing is noted."""
        return self._next(key, now_s, count, window_s) is not None

    def _next(self, key: str, now_s: float, count: float, window_s: float) -> float | None:
        return next_due(self._due_s.get(key, 0.0), now_s, count, window_s) if count else 0.0


class Limits(Persistent):
    """The limits of a network. Each is 0 for none.

    Attributes:
        lines_per_s, burst_lines: of commands from one client; those that cost more
            count as several (`flood.COSTS`).
        flood_bytes: input of a client that is over its pace; with more it is closed.
        connections: of everybody.
        connections_per_address, connections_per_network: of one address, of one network.
        v4_bits, v6_bits: what a network is.
        connections_per_minute: new ones, of one address (IPv6: of one /64).
        half_registered: registrations that are under way; the oldest goes.
        accounts_per_hour: accounts that one address can register.
        nick_changes_per_minute, new_targets_per_minute: of one user; targets are
            those of messages who were not among the last `RECENT_TARGETS`.
        exempt: networks (and ``localhost``, for UNIX sockets) whose number and pace of
            connections is not limited.
    """

    lines_per_s = 2.0
    burst_lines = 20
    flood_bytes = 16_384
    connections = 0
    connections_per_address = 16
    connections_per_network = 64
    v4_bits = 24
    v6_bits = 64
    connections_per_minute = 30
    half_registered = 500
    accounts_per_hour = 6
    nick_changes_per_minute = 6
    new_targets_per_minute = 20
    exempt: tuple[str, ...] = ("127.0.0.0/8", "::1", LOCAL)

    _v_exempt: tuple[tuple[str, ...], NetworkIndex] | None = None

    def is_exempt(self, address: str) -> bool:
        """Whether connections from `address` are not counted."""
        known = self._v_exempt
        if known is None or known[0] is not self.exempt:
            known = self._v_exempt = (self.exempt, NetworkIndex(self.exempt))
        return address in known[1]

    @property
    def line_s(self) -> float:
        """What one command costs, in seconds of a client's time; 0 where there is no limit."""
        return 1 / self.lines_per_s if self.lines_per_s and self.burst_lines else 0.0

    @property
    def burst_s(self) -> float:
        """How far a client may be ahead of its pace."""
        line_s = self.line_s
        return (self.burst_lines - 1) * line_s if line_s else float("inf")


class ClientPace:
    """How far a client is ahead of its limits. Volatile: a kill forgives it.

    Attributes:
        due_s: when it has paid for the lines that it sent.
        nick_due_s: the same for changes of nick.
        target_due_s: the same for messages to people that it had not written to.
        targets: whom it wrote to lately, by folded nick, oldest first.
    """

    __slots__ = ("due_s", "nick_due_s", "target_due_s", "targets")

    def __init__(self) -> None:
        self.due_s = 0.0
        self.nick_due_s = 0.0
        self.target_due_s = 0.0
        self.targets: dict[str, None] = {}


class Crowd:
    """How many connections there are from where. Volatile: made from the sessions."""

    def __init__(self, sessions: Iterable[Counted], limits: Limits) -> None:
        self._counts: dict[str, int] = {}
        self._bits = (limits.v4_bits, limits.v6_bits)
        self._counted: dict[Any, tuple[str, str]] = {}  # the keys of each session
        self.total = 0
        for session in sessions:
            if session.ip:
                self.add(session)

    def is_made_for(self, limits: Limits) -> bool:
        """Whether networks are still as large as when this was made."""
        return self._bits == (limits.v4_bits, limits.v6_bits)

    def add(self, session: Counted) -> None:
        """Count a session by its address; once."""
        if session not in self._counted:
            keys = self._counted[session] = (session.ip, self.network_of(session.ip))
            self.total += 1
            for key in keys:
                self._counts[key] = self._counts.get(key, 0) + 1

    def remove(self, session: Counted) -> None:
        """Count a session no more; does nothing where it was not counted."""
        keys = self._counted.pop(session, None)
        if keys is None:
            return
        self.total -= 1
        for key in keys:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def network_of(self, address: str) -> str:
        """Return the key of the network around `address`, which is none of an address."""
        return f"net {network_key(address, *self._bits)}"

    def why_full(self, address: str, limits: Limits) -> str:
        """Return why there can't be one more connection from `address`; "" where there can."""
        if limits.connections and self.total >= limits.connections:
            return "Too many connections"
        if 0 < limits.connections_per_address <= self._counts.get(address, 0):
            return "Too many connections from your address"
        if 0 < limits.connections_per_network <= self._counts.get(self.network_of(address), 0):
            return "Too many connections from your network"
        return ""


class WaitingRoom(Persistent):
    """Who is too fast and has to wait.

    Attributes:
        timer: wakes all of them; None where nobody waits.
    """

    timer: Timer | None = None
    _v_sessions: dict[Waiting, None] | None = None

    def enter(self, session: Waiting) -> None:
        """Read no more of `session` until it is woken."""
        session.transport.pause_reading()
        self.enter_again(session)

    def enter_again(self, session: Waiting) -> None:
        """Take in a session which waited in the process before, or is paused by now."""
        if self._v_sessions is None:
            self._v_sessions = {}
        self._v_sessions[session] = None
        if self.timer is None or not self.timer.is_pending:
            self.timer = session.network.application.call_later(WAKE_S, self.wake)

    def wake(self) -> None:
        """Have everybody go on as far as the pace allows; who is too fast comes back."""
        self.timer = None
        waiting, self._v_sessions = self._v_sessions or {}, None
        for session in waiting:
            if session.is_connected and session.check is None:
                session.transport.resume_reading()  # which runs what was kept (`reading_resumed`)
