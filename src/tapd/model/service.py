"""Services: what an application offers, and the factories of its protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tapd.model.address import Address
from tapd.model.callbacks import check_overrides
from tapd.model.datagram import DatagramProtocol
from tapd.model.persistent import Persistent
from tapd.model.protocol import Protocol
from tapd.model.setting import Setting

if TYPE_CHECKING:
    from tapd.model.application import Application


class Service(Persistent):
    """One service of an application; it builds a protocol for each connection.

    Subclasses set `protocol` or override `build_protocol`; those that answer at
    datagram ports ``udp:…``, `datagram_protocol` or `build_datagram_protocol`.

    Attributes:
        settable: what `tapctl set` can change, by option.
        requires: names of the services that start before this one and stop after it.
            Beside that, services start in the order of adding.
        name: unique within the application; set when it is added.
        application: the application that it belongs to; set when it is added.
    """

    protocol: ClassVar[type[Protocol]] = Protocol
    datagram_protocol: ClassVar[type[DatagramProtocol] | None] = None
    settable: ClassVar[Mapping[str, Setting]] = {}
    requires: Sequence[str] = ()
    name: str = ""
    application: Application

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check that a subclass's methods that a turn calls are plain ones.

        Raises:
            AuthorError: one is ``async def`` or a generator.
        """
        super().__init_subclass__(**kwargs)
        check_overrides(cls)

    def build_protocol(self, peer: Any) -> Protocol:
        """Return a new protocol for a connection from `peer` (a socket address).

        Its `service` is set afterwards. Raise `PeerError` to refuse the connection.
        """
        return self.protocol()

    @property
    def takes_datagrams(self) -> bool:
        """Whether it has a protocol for datagram ports."""
        own = type(self).build_datagram_protocol is not Service.build_datagram_protocol
        return own or self.datagram_protocol is not None

    def build_datagram_protocol(self, address: Address) -> DatagramProtocol:
        """Return the protocol of the datagram port `address`; called once in its life.

        Its `service` is set afterwards.
        """
        return (self.datagram_protocol or DatagramProtocol)()

    def start(self) -> None:
        """The application starts, fresh or resumed; runs in a turn before READY.

        What is raised here fails the start: the services that were started are
        stopped, last first, nothing is saved, and connections are kept for the next try.
        """

    def stop(self) -> None:
        """The application stops; what is changed here is saved. Write no output."""

    @property
    def connections(self) -> list[Protocol]:
        """The protocols of this service's open connections, oldest first."""
        connections = self.application.connections
        return [protocol for protocol in connections.values() if protocol.service is self]

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} {self.name or '(unnamed)'}>"
