"""Protocols of users, channels, clients and the network, as the wire and the state see them.

For type checking only. The classes that implement them (`state.user.User`,
`state.channel.Channel`, `conduct.session.Session`, `state.network.Network`) are on later
floors; code that needs more of them belongs on a later floor, too.
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
    """A user: their public identity."""

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
        """The owner of their conversations: an account, or a guest."""

    def matches(self, mask: str) -> bool:
        """Whether a normalized mask matches them."""

    def shares_channel(self, other: Any) -> bool:
        """Whether both are on some channel."""


class Place(Protocol):
    """A channel, as modes see it."""

    modes: dict[str, str]

    @property
    def members(self) -> Mapping[Any, str]:
        """The ranks of each member."""

    def in_list(self, letter: str, user: Any) -> bool:
        """Whether an entry of the list `letter` matches `user`."""


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
    """The network, as ISUPPORT describes it."""

    network_name: str
    channels_per_user_max: int


class Offering(Protocol):
    """The network, as its capabilities see it."""

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
        """The client's user."""

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
    """A member's last message on a channel, to recognize more of the same."""

    def goes_on(self, session: Any, line: bytes) -> bool:
        """Say the text in `line`, if it continues the message; return whether it did."""


class Counted(Protocol):
    """A client counted by its address."""

    ip: str
    _v_counted: tuple[str, ...]


class Waiting(Protocol):
    """A client in the waiting room."""

    @property
    def network(self) -> Timed:
        """The network, whose timer wakes it."""

    @property
    def check(self) -> object:
        """The check that it waits for, too; None for none."""

    @property
    def is_connected(self) -> bool:
        """Whether its connection is still there."""

    @property
    def transport(self) -> Transport:
        """Its connection."""
