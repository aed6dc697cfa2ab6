"""The telnet service: limits, the shared namespace, and a session for each connection."""

from __future__ import annotations

import logging
from typing import Any

from tapd.host.prompt import streams
from tapd.model.access.accounts import Account
from tapd.model.access.peers import group_of_peer
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.tracked import TrackedDeque
from tapd.model.protocol import Protocol, Transport
from tapd.model.service import Service
from tapd.model.setting import ACCOUNT_SETTINGS, choice_setting, number_setting
from tapd.services.telnet.login import render_peer
from tapd.services.telnet.session import ShellSession

_log = logging.getLogger("tapd.services.telnet")

_SHARE = 4  # by default, one address may have one in so many of the connections
_NAMESPACE_KEY = "shell_namespace"
_HISTORY_KEY = "shell_history"


class TurnedAway(Protocol):
    """A connection beyond a limit: it is told so and closed."""

    why = "Too many connections"

    def connection_made(self, transport: Transport) -> None:
        """Send the reason, and close."""
        transport.write(f"{self.why}; try again later.\r\n".encode())
        transport.close()


class ShellFactory(Service):
    """A Python prompt over telnet, for the application's accounts.

    Attributes:
        namespace: the global variables that all logins share.
        private: whether each account has a namespace of its own instead.
        tries_max: wrong passwords after which the connection is closed.
        failure_delay_s: the wait after the first wrong password; it doubles.
        login_time_s: how long a login may take.
        line_bytes_max: the longest line; longer ones are dropped.
        block_characters_max: the longest statement of several lines, or paste.
        connections_max: at once; more are turned away.
        connections_per_address_max: of them from one address; 0 for no limit. A quarter
            of `connections_max` where nothing else was set.
        history_lines_max: kept for each account.
        connection_count: open sessions.
    """

    settable = {
        **ACCOUNT_SETTINGS,
        "namespace": choice_setting(
            "private",
            "shared by all logins, or private to each account",
            {"shared": False, "private": True},
        ),
        "tries": number_setting("tries_max", "wrong passwords that close a connection"),
        "login-time": number_setting("login_time_s", "seconds a login may take", whole=False),
        "line-length": number_setting("line_bytes_max", "longest line, in KiB", factor=1024),
        "connections": number_setting("connections_max", "connections at once"),
        "connections-per-address": number_setting(
            "connections_per_address_max",
            "connections at once from one address; 0 for no limit; else a quarter of all",
            least=0,
        ),
        "history": number_setting("history_lines_max", "lines kept for each account", least=0),
    }

    _per_address_max: int | None = None

    def __init__(self, *, private: bool = False) -> None:
        self.namespace = _new_namespace()
        self.private = private
        self.tries_max = 3
        self.failure_delay_s = 1.0
        self.login_time_s = 120.0
        self.line_bytes_max = 65536
        self.block_characters_max = 1048576
        self.connections_max = 1000
        self.history_lines_max = 1000
        self.connection_count = 0

    def build_protocol(self, peer: Any) -> Protocol:
        """Return a new session, or a protocol that refuses the connection."""
        if self.connection_count >= self.connections_max:
            self.application.runtime.tell(
                _log, "full", f"{self!r}: {self.connections_max} connections are as many as it "
                f"may have: {render_peer(peer)} was turned away", peer=group_of_peer(peer),
            )  # fmt: skip
            return TurnedAway()
        self.connection_count += 1
        session = ShellSession()
        session.peer = render_peer(peer)
        return session

    def build_refusal(self, why: str) -> Protocol:
        """Return a protocol that refuses the connection."""
        refusal = TurnedAway()
        refusal.why = why
        return refusal

    @property
    def connections_per_address_max(self) -> int:
        """The limit of connections per address: a share, so that others find room."""
        own = self._per_address_max
        return max(self.connections_max // _SHARE, 1) if own is None else own

    @connections_per_address_max.setter
    def connections_per_address_max(self, most: int) -> None:
        self._per_address_max = most

    def start(self) -> None:
        """Give each session its own standard output."""
        streams.install()

    def namespace_of(self, account: Account) -> Namespace:
        """Return the namespace that `account` works in; `application` is bound in it.

        As in Twisted and in `tapctl shell`; a person may rebind the name.
        """
        namespace = self._private_namespace(account) if self.private else self.namespace
        if "application" not in namespace.names:
            namespace.names["application"] = self.application
            namespace.touch()
        return namespace

    def _private_namespace(self, account: Account) -> Namespace:
        namespace = account.settings.get(_NAMESPACE_KEY)
        if not isinstance(namespace, Namespace):
            namespace = account.settings[_NAMESPACE_KEY] = _new_namespace()
        return namespace

    def history_of(self, account: Account) -> TrackedDeque[str]:
        """Return the lines that `account` typed, oldest first."""
        history = account.settings.get(_HISTORY_KEY)
        if not isinstance(history, TrackedDeque) or history.maxlen != self.history_lines_max:
            history = TrackedDeque(history or (), self.history_lines_max)
            account.settings[_HISTORY_KEY] = history
        return history


def _new_namespace() -> Namespace:
    """Return a namespace that typed code sees as `__main__`, as at Python's own prompt."""
    namespace = Namespace()
    namespace.names["__name__"] = "__main__"
    return namespace
