"""A client, as the network, users and channels know it: a typing protocol.

`conduct.session.Session` is what they hold. Imported for type checking only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from tapd.services.irc.wire.roles import Counted, Listener, Waiting

if TYPE_CHECKING:
    from tapd.services.irc.state.limits import ClientPace
    from tapd.services.irc.state.multiline import ClientBatch
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.user import User
    from tapd.services.irc.wire.delivery import Outgoing


class Client(Counted, Listener, Waiting, Protocol):
    """One client's connection.

    Attributes:
        user: who it is; half-registered until `is_registered`.
        is_registered: registration is complete.
        caps: bits of `capabilities` that were negotiated.
        cap_version: of CAP LS: 0 (none), 301 or 302.
        ip: the address; "" before it is known.
        made_s: when the connection was made.
        device: which of its user's clients it is, by its own word; "" for one like others.
        away: why this client is away; "" where it is not.
        failures: failed logins in a row.
        batch: the message of several lines that is being sent; None for none.
        input_bytes: what came before registration was complete.
        is_secure: the client came by TLS, which ended in front of the server.
        awaits_header: a PROXY header has yet to come.
    """

    user: User
    is_registered: bool
    cap_version: int
    made_s: float
    device: str
    away: str
    failures: int
    batch: ClientBatch | None
    input_bytes: int
    is_secure: bool
    awaits_header: bool

    @property
    def live_transport(self) -> Any:
        """The transport while there is one; None where the connection has ended."""

    @property
    def heard_s(self) -> float:
        """When something came from the client last."""

    @property
    def is_pinged(self) -> bool:
        """Whether it was sent a PING, and nothing came since."""

    def note_ping(self) -> None:
        """Take note of a PING that is sent."""

    @property
    def pace(self) -> ClientPace:
        """How far the client is ahead of its limits."""

    @property
    def network(self) -> Network:
        """The network that it is a client of."""

    @property
    def pending(self) -> bytes:
        """Input that is incomplete, or waits."""

    @pending.setter
    def pending(self, data: bytes) -> None: ...

    @property
    def nick(self) -> str:
        """What numerics address this client by: "*" before it has a nick."""

    def set_caps(self, caps: int) -> None:
        """Change the capabilities."""

    def send_body(self, body: bytes) -> None:
        """Send a rendered message, with the time for who wants it."""

    def send_from_server(
        self, command: str, *params: str, trailing: str | None = None, source: str | None = None
    ) -> None:
        """Send a message of the server's."""

    def send_batch(self, kind: str, params: Iterable[str], content: Iterable[Outgoing]) -> None:
        """Send `content` as one batch, or as it is to who doesn't know batches."""

    def notice(self, text: str) -> None:
        """Send a NOTICE of the server's."""

    def close(self, reason: str, *, quit_reason: str | None = None) -> None:
        """End the connection: ERROR to the client, QUIT to the others."""
