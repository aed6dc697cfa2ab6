"""Services: what an application offers. They are factories of protocols."""

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

    Subclasses set `protocol` or override `build_protocol`. Services of datagram ports
    (``udp:…``) set `datagram_protocol` or override `build_datagram_protocol`.

    Attributes:
        settable: the settings that `tapctl set` can change, by option.
        requires: names of the services that start before this one and stop after it.
            Otherwise services start in the order of adding.
        connections_per_address_max: open connections allowed from one address (IPv6: from
            one /64); more are refused; 0 for no limit. See `build_refusal`.
        name: unique within the application; set when the service is added.
        application: the application that it belongs to; set when the service is added.
    """

    protocol: ClassVar[type[Protocol]] = Protocol
    datagram_protocol: ClassVar[type[DatagramProtocol] | None] = None
    settable: ClassVar[Mapping[str, Setting]] = {}
    requires: Sequence[str] = ()
    connections_per_address_max: int = 0
    name: str = ""
    application: Application

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check a subclass's protocols, and that the methods called in turns are plain methods.

        Raises:
            AuthorError: `protocol` or `datagram_protocol` is neither a class of such protocols
                nor a factory of them; or a method is ``async def`` or a generator.
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
        """Return the protocol for a connection beyond a limit, which says `why` and closes.

        None: close it without a word.
        """
        return None

    @property
    def takes_connections(self) -> bool:
        """Whether the service has a protocol for connections."""
        own = type(self).build_protocol is not Service.build_protocol
        return own or (self.protocol or Protocol) is not Protocol

    @property
    def takes_datagrams(self) -> bool:
        """Whether the service has a protocol for datagram ports."""
        own = type(self).build_datagram_protocol is not Service.build_datagram_protocol
        return own or self.datagram_protocol is not None

    def check_takes(self, address: Address) -> None:
        """Check that the service has a protocol for the kind of `address`.

        Raises:
            UsageError: it has none for connections, or none for datagrams.
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
        """Return the protocol of the datagram port `address`; called once per port.

        Its `service` is set afterwards.
        """
        return (self.datagram_protocol or DatagramProtocol)()

    def start(self) -> None:
        """Handle the application's start, fresh or resumed; runs in a turn before READY.

        An exception here fails the start: the services already started are stopped, last
        first, nothing is saved, and connections are kept for the next try.
        """

    def stop(self) -> None:
        """Handle the application's stop; changes made here are saved. Write no output."""

    @property
    def connections(self) -> list[Protocol]:
        """The protocols of this service's open connections, oldest first."""
        connections = self.application.connections
        return [protocol for protocol in connections.values() if protocol.service is self]

    @property
    def sealer(self) -> Sealer:
        """The sealer of secrets in the state, such as a half-typed password, while it runs."""
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
