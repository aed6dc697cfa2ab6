"""Services: what an application offers, and the factories of its protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tapd.errors import AuthorError, UsageError
from tapd.model.address import Address
from tapd.model.callbacks import check_overrides
from tapd.model.datagram import DatagramProtocol
from tapd.model.durable.persistent import Persistent
from tapd.model.protocol import Protocol
from tapd.model.setting import Setting

if TYPE_CHECKING:
    from tapd.model.access.seal import Sealer
    from tapd.model.application import Application


class Service(Persistent):
    """One service of an application; it builds a protocol for each connection.

    Subclasses set `protocol` or override `build_protocol`; those that answer at
    datagram ports ``udp:…``, `datagram_protocol` or `build_datagram_protocol`.

    Attributes:
        settable: what `tapctl set` can change, by option.
        requires: names of the services that start before this one and stop after it.
            Beside that, services start in the order of adding.
        connections_per_address_max: open connections from one address (IPv6: from one
            /64) beyond which more are refused; 0 for no limit. See `build_refusal`.
        name: unique within the application; set when it is added.
        application: the application that it belongs to; set when it is added.
    """

    protocol: ClassVar[type[Protocol]] = Protocol
    datagram_protocol: ClassVar[type[DatagramProtocol] | None] = None
    settable: ClassVar[Mapping[str, Setting]] = {}
    requires: Sequence[str] = ()
    connections_per_address_max: int = 0
    name: str = ""
    application: Application

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check a subclass's protocols, and that its methods that a turn calls are plain ones.

        Raises:
            AuthorError: `protocol` or `datagram_protocol` is no class of such protocols, and
                nothing that can be called for one; or a method is ``async def`` or a generator.
        """
        super().__init_subclass__(**kwargs)
        check_overrides(cls)
        _check_protocol(cls, "protocol", Protocol)
        _check_protocol(cls, "datagram_protocol", DatagramProtocol)

    def build_protocol(self, peer: Any) -> Protocol:
        """Return a new protocol for a connection from `peer` (a socket address).

        Its `service` is set afterwards. Raise `PeerError` to refuse the connection.
        """
        return (self.protocol or Protocol)()

    def build_refusal(self, why: str) -> Protocol | None:
        """Return the protocol of a connection beyond a limit, which says `why` and closes.

        None: it is closed without a word.
        """
        return None

    @property
    def takes_connections(self) -> bool:
        """Whether it has a protocol for connections."""
        own = type(self).build_protocol is not Service.build_protocol
        return own or (self.protocol or Protocol) is not Protocol

    @property
    def takes_datagrams(self) -> bool:
        """Whether it has a protocol for datagram ports."""
        own = type(self).build_datagram_protocol is not Service.build_datagram_protocol
        return own or self.datagram_protocol is not None

    def check_takes(self, address: Address) -> None:
        """Check that it has a protocol for what comes to `address`.

        Raises:
            UsageError: it is for connections, or datagrams, and this service is not.
        """
        if address.is_datagram and not self.takes_datagrams:
            raise UsageError(
                f"{self!r} takes no datagrams, so it can't answer at {address}: leave out udp:, "
                "or give it a datagram_protocol, a class derived from DatagramProtocol"
            )
        if self.takes_datagrams and not (address.is_datagram or self.takes_connections):
            raise UsageError(
                f"{self!r} takes datagrams and no connections, so it can't answer at {address}: "
                "put udp: before it, or give it a protocol, a class derived from Protocol"
            )

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

    @property
    def sealer(self) -> Sealer:
        """What seals secrets for the state, such as a half-typed password, while it runs."""
        return self.application.runtime.sealer

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} {self.name or '(unnamed)'}>"


def _check_protocol(cls: type[Service], name: str, base: type) -> None:
    given = vars(cls).get(name, base)
    if isinstance(given, type):
        is_fit = issubclass(given, base)
    else:  # a factory; or a property or a dataclass's field, whose value is seen later
        is_fit = given is None or (
            not isinstance(given, base)
            and (callable(given) or hasattr(given, "__get__") or hasattr(given, "__set_name__"))
        )
    if is_fit:
        return
    kind = f"the class {given.__qualname__}" if isinstance(given, type) else f"{given!r}"
    advice = f"write the class itself, one derived from tapd.{base.__name__}"
    if isinstance(given, type) and any(
        each.__module__ == "asyncio.protocols" for each in given.__mro__
    ):
        advice = f"a protocol of asyncio's is hosted by an AsyncioService({given.__qualname__})"
    raise AuthorError(f"{cls.__module__}.{cls.__qualname__}.{name} is {kind}: {advice}")
