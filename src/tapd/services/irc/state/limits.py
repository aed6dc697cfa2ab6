"""Limits and rate limits of a network, and the counters for them.

The limits are durable settings; 0 always means no limit. The counters are volatile: after
a kill, the next process counts the connections anew, and rate limits start fresh.

**One rule for all rate limits** (`next_due`), the generic cell rate algorithm: a burst, and
then as many again per window, evenly. Its state is one number: the time when all of the
burst is available again.
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
"""The interval of checks of the waiting room."""
KEYS_MAX = 20_000
"""Limit of addresses with a known rate; beyond it, long-quiet ones are forgotten."""


def next_due(due_s: float, now_s: float, count: float, window_s: float) -> float | None:
    """Return the new state after one more event; None if it exceeds the rate.

    Args:
        due_s: the old state; 0 for none.
        now_s: the time.
        count: the burst.
        window_s: the time in which the whole burst becomes available again.
    """
    # A clock that was set back must not make clients wait longer than the window.
    due_s = min(max(due_s, now_s), now_s + window_s) + window_s / count
    return due_s if due_s - now_s <= window_s * 1.000001 else None


class Pace:
    """The rate of events by key (an address). Volatile."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}
        self._keys_max = KEYS_MAX

    def take(self, key: str, now_s: float, count: float, window_s: float) -> bool:
        """Count an event of `key`; return whether it is allowed. A `count` of 0 is no limit."""
        due_s = self._next(key, now_s, count, window_s)
        if due_s is None:
            return False
        if len(self._due_s) >= self._keys_max:
            self._due_s = {each: due for each, due in self._due_s.items() if due > now_s}
            # If few can be forgotten, don't search again at each new one.
            self._keys_max = max(KEYS_MAX, 2 * len(self._due_s))
        self._due_s[key] = due_s
        return True

    def is_free(self, key: str, now_s: float, count: float, window_s: float) -> bool:
        """Whether one more event of `key` is allowed, without counting it."""
        return self._next(key, now_s, count, window_s) is not None

    def _next(self, key: str, now_s: float, count: float, window_s: float) -> float | None:
        return next_due(self._due_s.get(key, 0.0), now_s, count, window_s) if count else 0.0


class Limits(Persistent):
    """The limits of a network. Each is 0 for none.

    Attributes:
        lines_per_s, burst_lines: of commands from one client; costly ones
            count as several (`flood.COSTS`).
        flood_bytes: input of a client over its rate; above this it is disconnected.
        connections: of all clients.
        connections_per_address, connections_per_network: of one address, of one network.
        v4_bits, v6_bits: the prefix lengths of a network.
        connections_per_minute: new ones, of one address (IPv6: of one /64).
        half_registered: incomplete registrations; beyond it the oldest is closed.
        accounts_per_hour: account registrations from one address.
        nick_changes_per_minute, new_targets_per_minute: of one user; targets are
            message targets that are not among the last `RECENT_TARGETS`.
        exempt: networks (and ``localhost``, for UNIX sockets) without limits on the number
            and rate of connections.
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
        """The cost of one command, in seconds of a client's time; 0 if there is no limit."""
        return 1 / self.lines_per_s if self.lines_per_s and self.burst_lines else 0.0

    @property
    def burst_s(self) -> float:
        """How far a client may be ahead of its rate."""
        line_s = self.line_s
        return (self.burst_lines - 1) * line_s if line_s else float("inf")


class ClientPace:
    """How far a client is ahead of its rate limits. Volatile: a kill forgives it.

    Attributes:
        due_s: when the lines that it sent are paid for.
        nick_due_s: the same for changes of nick.
        target_due_s: the same for messages to new targets.
        targets: recent targets, by folded nick, oldest first.
    """

    __slots__ = ("due_s", "nick_due_s", "target_due_s", "targets")

    def __init__(self) -> None:
        self.due_s = 0.0
        self.nick_due_s = 0.0
        self.target_due_s = 0.0
        self.targets: dict[str, None] = {}


class Crowd:
    """The number of connections by address and network. Volatile: made from the sessions."""

    def __init__(self, sessions: Iterable[Counted], limits: Limits) -> None:
        self._counts: dict[str, int] = {}
        self._bits = (limits.v4_bits, limits.v6_bits)
        self._counted: dict[Any, tuple[str, str]] = {}  # the keys of each session
        self.total = 0
        for session in sessions:
            if session.ip:
                self.add(session)

    def is_made_for(self, limits: Limits) -> bool:
        """Whether the prefix lengths are still those that this was made with."""
        return self._bits == (limits.v4_bits, limits.v6_bits)

    def add(self, session: Counted) -> None:
        """Count a session by its address; idempotent."""
        if session not in self._counted:
            keys = self._counted[session] = (session.ip, self.network_of(session.ip))
            self.total += 1
            for key in keys:
                self._counts[key] = self._counts.get(key, 0) + 1

    def remove(self, session: Counted) -> None:
        """Uncount a session; does nothing if it is not counted."""
        keys = self._counted.pop(session, None)
        if keys is None:
            return
        self.total -= 1
        for key in keys:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def network_of(self, address: str) -> str:
        """Return the key of the network around `address`; it is never an address's key."""
        return f"net {network_key(address, *self._bits)}"

    def why_full(self, address: str, limits: Limits) -> str:
        """Return why `address` can't have one more connection; "" if it can."""
        if limits.connections and self.total >= limits.connections:
            return "Too many connections"
        if 0 < limits.connections_per_address <= self._counts.get(address, 0):
            return "Too many connections from your address"
        if 0 < limits.connections_per_network <= self._counts.get(self.network_of(address), 0):
            return "Too many connections from your network"
        return ""


class WaitingRoom(Persistent):
    """Paused sessions that exceeded their rate.

    Attributes:
        timer: wakes all of them; None if nobody waits.
    """

    timer: Timer | None = None
    _v_sessions: dict[Waiting, None] | None = None

    def enter(self, session: Waiting) -> None:
        """Pause `session` until it is woken."""
        session.transport.pause_reading()
        self.enter_again(session)

    def enter_again(self, session: Waiting) -> None:
        """Add a session that was paused in the process before, or is paused already."""
        if self._v_sessions is None:
            self._v_sessions = {}
        self._v_sessions[session] = None
        if self.timer is None or not self.timer.is_pending:
            self.timer = session.network.application.call_later(WAKE_S, self.wake)

    def wake(self) -> None:
        """Resume all sessions as far as their rates allow; the others come back."""
        self.timer = None
        waiting, self._v_sessions = self._v_sessions or {}, None
        for session in waiting:
            if session.is_connected and session.check is None:
                session.transport.resume_reading()  # which runs the kept input (`reading_resumed`)
