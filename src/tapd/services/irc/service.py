"""The IRC service: accepts connections and ends overdue ones, over `state.network.Network`.

A timer sweeps what is overdue: registrations, clients that answer no PING, bans,
history, users without a client. Everything else is started by a client's command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapd.services.irc.conduct import admission, audit, presence
from tapd.services.irc.conduct.session import Session
from tapd.services.irc.settings.server import SETTINGS
from tapd.services.irc.state.network import Network

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Client

SWEEP_S = 15.0
"""The interval of the sweep; one timer for all clients."""


class IrcNetwork(Network):
    """The IRC network as a service; this is the class that a TAP names."""

    protocol = Session
    settable = SETTINGS

    def start(self) -> None:
        """Start the sweep."""
        self._v_clock = self.application.runtime.now_s
        if self.sweeper is None or not self.sweeper.is_pending:
            self.sweeper = self.application.call_later(SWEEP_S, self.sweep)

    def build_protocol(self, peer: Any) -> Session:
        """Return a new session.

        Raises:
            PeerError: connections from that address exceed the rate limit.
        """
        admission.check_pace(self, peer)
        return Session()

    def sweep(self) -> None:
        """End what is overdue: registrations, and clients that answer no PING."""
        # First: the sweep must go on even if something below fails.
        self.sweeper = self.application.call_later(SWEEP_S, self.sweep)
        now_s = self.now_s()
        for ban in self.bans.expire(now_s):
            audit.tell_opers(self, "s", f"Ban {ban.mask} has expired")
        for session in list(self.half_registered):
            if now_s - session.made_s > self.registration_s and session.is_connected:
                session.close("Registration timed out")
        for session in list(self.registered_sessions()):
            self._check_silence(session, now_s)
            if session.batch is not None:
                session.batch.check_age(session, now_s)
        presence.expire(self, now_s)
        logs = (each.log for each in self.channels.values() if each.log is not None)
        self.history.prune(now_s, logs)

    def _check_silence(self, session: Client, now_s: float) -> None:
        if not session.is_connected:
            return
        silent_s = now_s - session.heard_s
        if silent_s > self.ping_s + self.ping_timeout_s and session.is_pinged:
            session.close(f"Ping timeout: {int(silent_s)} seconds")
        elif silent_s > self.ping_s and not session.is_pinged:
            session.note_ping()
            session.send_from_server("PING", trailing=self.server_name, source="")
