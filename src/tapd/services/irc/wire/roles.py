"""What the wire formats and the state ask of users, channels, clients and the network.

Typing protocols, imported for type checking only. The classes that have these roles
(`state.user.User`, `state.channel.Channel`, `conduct.session.Session`,
`state.network.Network`) are on later floors; who needs more of them than stands here
belongs on a later floor, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tapd.model.application import Application
    from tapd.model.protocol import Transport
    from tapd.services.irc.wire.delivery import Outgoing
    from tapd.services.irc.wire.numerics import Numeric


class Person(Protocol):
    """A user: who they are to others."""

    nick: str
    username: str
    realname: str
    host: str
    account: str
    modes: str

    @property
    def mask(self) -> str:
        """``nick!user@host``."""

    @property
    def identity(self) -> str:
        """Whose conversations theirs are: an account's, or a guest's."""

    def matches(self, mask: str) -> bool:
        """Whether a normalized mask is about them."""

    def shares_channel(self, other: Any) -> bool:
        """Whether both are on some channel."""


class Place(Protocol):
    """A channel: what its modes are asked about."""

    modes: dict[str, str]

    @property
    def members(self) -> Mapping[Any, str]:
        """The ranks of each member."""

    def in_list(self, letter: str, user: Any) -> bool:
        """Whether an entry of the list `letter` is about `user`."""


class Stamper(Protocol):
    """The network: gives each event its time and its id."""

    def now_ms(self) -> int:
        """Return the wall clock, in whole milliseconds since the epoch."""

    def next_reference(self) -> str:
        """Return an id that no other batch or message has."""


class Timed(Protocol):
    """The network: a part of an application, which has timers."""

    @property
    def application(self) -> Application:
        """The application."""


class Described(Protocol):
    """The network: what ISUPPORT tells of it."""

    network_name: str
    channels_per_user_max: int


class Offering(Protocol):
    """The network: what the capabilities that it offers depend on."""

    @property
    def may_register(self) -> bool:
        """Whether people register accounts themselves."""

    @property
    def sasl_mechanisms(self) -> str:
        """The names of the mechanisms, with commas."""

    @property
    def sts(self) -> str:
        """Where TLS is offered (IRCv3 sts); "" for nowhere."""


class Answer(Protocol):
    """A client, or where its command answers (`state.reply.Reply`)."""

    @property
    def caps(self) -> int:
        """The capabilities that were negotiated."""

    @property
    def user(self) -> Person:
        """Whose client it is."""

    def to(self, session: Any) -> Answer:
        """Return where a message for `session` is sent to."""

    def send(self, outgoing: Outgoing) -> None:
        """Send one message."""

    def numeric(self, numeric: Numeric, *params: str, text: str | None = None) -> None:
        """Send a numeric."""


class LabeledAnswer(Answer, Protocol):
    """Where a command answers, perhaps with a label."""

    label: str

    @property
    def session(self) -> Any:
        """The client."""

    def fail(self, command: str, code: str, *context: str, text: str) -> None:
        """Send a FAIL (standard-replies)."""

    def finish(self) -> None:
        """Send what was collected."""


class Floor(Protocol):
    """What a member has just said on a channel, by which more of the same is known."""

    def goes_on(self, session: Any, line: bytes) -> bool:
        """Say what is in `line`, if it is one more; return whether it was."""


class Counted(Protocol):
    """A client: one that is counted by its address."""

    ip: str
    _v_counted: tuple[str, ...]


class Waiting(Protocol):
    """A client: one that was too fast."""

    @property
    def network(self) -> Timed:
        """The network, whose timer wakes it."""

    @property
    def check(self) -> object:
        """What it waits for beside that; None for nothing."""

    @property
    def is_connected(self) -> bool:
        """Whether its connection is still there."""

    @property
    def transport(self) -> Transport:
        """Its connection."""
