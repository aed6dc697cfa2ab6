"""Services: what an application offers, and the factories of its protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tapd.model.callbacks import check_overrides
from tapd.model.persistent import Persistent
from tapd.model.protocol import Protocol
from tapd.model.setting import Setting

if TYPE_CHECKING:
    from tapd.model.application import Application


class Service(Persistent):
    """One service of an application; it builds a protocol for each connection.

    Subclasses set `protocol` or override `build_protocol`.

    Attributes:
        settable: what `tapctl set` can change, by option.
        name: unique within the application; set when it is added.
        application: the application that it belongs to; set when it is added.
    """

    protocol: ClassVar[type[Protocol]] = Protocol
    settable: ClassVar[Mapping[str, Setting]] = {}
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

    def start(self) -> None:
        """The application starts, fresh or resumed; runs in a turn before READY."""

    def stop(self) -> None:
        """The application stops; what is changed here is saved. Write no output."""

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} {self.name or '(unnamed)'}>"
