"""Outgoing messages, rendered once for each set of capabilities.

A message to 500 clients is rendered once per distinct set of capabilities, and their
streams get the same `bytes` object. That also makes it cheap in the journal.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire.message import BODY_BYTES_MAX, escape_value, render_body, render_tags

if TYPE_CHECKING:
    from tapd.services.irc.wire.roles import Person, Stamper

Tag = tuple[int, bytes]
"""A capability's bit and the tag that its holders see, rendered."""


class Outgoing:
    """One message, rendered for each receiver.

    Attributes:
        body: the message without its tags.
        batch: the reference of its batch; "" for none.
    """

    __slots__ = ("_event", "_mask", "_rendered", "_tags", "batch", "body")

    def __init__(
        self,
        body: bytes,
        tags: tuple[Tag, ...] = (),
        batch: str = "",
        event: Event | None = None,
    ) -> None:
        """Make a message.

        Args:
            body: see there.
            tags: its possible tags; each client sees those of its capabilities.
            batch: see there.
            event: the source of the tags, instead of `tags`; they are made on demand.
        """
        self.body = body
        self.batch = batch
        self._tags = tags
        self._event = event
        self._rendered: dict[int, bytes] | None = None
        self._mask = _EVENT_CAPS if event is not None else _mask_of(tags)

    @property
    def tags(self) -> tuple[Tag, ...]:
        """Its possible tags."""
        if self._event is not None:
            self._tags, self._event = self._event.tags(), None
            self._mask = _mask_of(self._tags)
        return self._tags

    def render(self, caps: int) -> bytes:
        """Return the bytes for clients with the capabilities `caps`; always the same object."""
        if not caps & self._mask and self.body:
            return self.body
        if self._event is not None:
            _ = self.tags  # from now on the relevant capabilities are known
        rendered = self._rendered
        if rendered is None:
            rendered = self._rendered = {}
        key = caps & self._mask
        data = rendered.get(key)
        if data is None:
            data = rendered[key] = self.render_with(caps, b"")
        return data

    def render_with(self, caps: int, tag: bytes) -> bytes:
        """Return the bytes for one client, with one more tag (b"" for none) in front."""
        tags = [data for bit, data in self.tags if caps & bit]
        if tag:
            tags.insert(0, tag)
        if not tags:
            return self.body
        return b"@" + b";".join(tags) + b" " + self.body

    def in_batch(self, reference: str) -> Outgoing:
        """Return this message as part of a batch."""
        tag = (cap.BATCH, f"batch={reference}".encode())
        return Outgoing(self.body, (tag, *self.tags), reference)


_EVENT_CAPS = cap.SERVER_TIME | cap.ACCOUNT_TAG | cap.MESSAGE_TAGS


def _mask_of(tags: tuple[Tag, ...]) -> int:
    mask = 0
    for bit, _ in tags:
        mask |= bit
    return mask


@functools.lru_cache(maxsize=64)
def _second_text(second: int) -> str:
    moment = dt.datetime.fromtimestamp(second, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def render_time(time_ms: int) -> str:
    """Return `time_ms` (since the epoch) as server-time has it: ISO 8601, UTC, with ms."""
    second, millisecond = divmod(time_ms, 1000)
    return f"{_second_text(second)}.{millisecond:03d}Z"


@functools.lru_cache(maxsize=64)
def time_tag(time_ms: int) -> Tag:
    """Return the tag of server-time."""
    return cap.SERVER_TIME, f"time={render_time(time_ms)}".encode()


Line = tuple[str, bool]
"""A line of a message of several: its text, and whether it goes on from the one before."""

_MULTILINE = cap.MULTILINE | cap.BATCH


class LongOutgoing(Outgoing):
    """A multiline message (draft/multiline), in the form that its receiver knows.

    That is a batch of its own, or else line by line without the blank ones. All code that
    sends an `Outgoing` can send this.

    Attributes:
        event: the message's event.
        later_tags: tags of the lines after the first, outside of a batch.
    """

    __slots__ = ("event", "later_tags")

    def __init__(
        self, event: Event, tags: tuple[Tag, ...], later_tags: tuple[Tag, ...], batch: str = ""
    ) -> None:
        super().__init__(b"", tags, batch)
        self.event = event
        self.later_tags = later_tags
        self._mask |= _MULTILINE

    def render_with(self, caps: int, tag: bytes) -> bytes:
        """Return the bytes for one client, with one more tag (b"" for none) in front."""
        if caps & _MULTILINE == _MULTILINE:
            return self._render_batch(caps, tag)
        messages: list[bytes] = []
        for line, _is_concat in self._fitting_lines():
            # A part of a cut line must not begin a CTCP: no mode was checked for it.
            text = line.lstrip("\x01") if messages else line
            if text:
                tags = self.later_tags if messages else self.tags
                messages.append(Outgoing(self._render_line(text), tags).render_with(caps, tag))
                tag = b""
        return b"".join(messages)

    def _render_batch(self, caps: int, tag: bytes) -> bytes:
        event = self.event
        reference = event.msgid  # unique, as a batch reference must be
        params = (f"+{reference}", "draft/multiline", event.params[0])
        opening = render_body(event.source, "BATCH", params, None)
        messages = [Outgoing(opening, self.tags).render_with(caps, tag)]
        for text, is_concat in self._fitting_lines():
            tags = f"@batch={reference}" + (";draft/multiline-concat " if is_concat else " ")
            messages.append(tags.encode() + self._render_line(text))
        outer = tuple(each for each in self.tags if each[0] == cap.BATCH)
        closing = render_body("", "BATCH", (f"-{reference}",), None)
        messages.append(Outgoing(closing, outer).render_with(caps, b""))
        return b"".join(messages)

    def _render_line(self, text: str) -> bytes:
        return render_body(self.event.source, self.event.command, self.event.params, text)

    def _fitting_lines(self) -> Iterator[Line]:
        """Yield the lines; one that is too long after the sender's name continues in another."""
        room = BODY_BYTES_MAX - len(self._render_line(""))
        for text, is_concat in self.event.lines:
            goes_on, data = is_concat, text.encode()
            while len(data) > room:
                part = data[:room].decode("utf-8", "ignore")
                yield part, goes_on
                goes_on, data = True, data[len(part.encode()) :]
            yield data.decode(), goes_on

    def in_batch(self, reference: str) -> LongOutgoing:
        """Return this message as part of a batch."""
        tag = (cap.BATCH, f"batch={reference}".encode())
        return LongOutgoing(self.event, (tag, *self.tags), (tag, *self.later_tags), reference)


class EitherOutgoing(Outgoing):
    """A message with two forms, of which a client gets the one that it knows."""

    __slots__ = ("_bit", "_plain", "_rich")

    def __init__(self, plain: Outgoing, rich: Outgoing, bit: int) -> None:
        """Make a message.

        Args:
            plain: the form for most clients.
            rich: the form for clients with the capability `bit`.
            bit: see there.
        """
        super().__init__(plain.body, plain.tags, plain.batch)
        self._plain, self._rich, self._bit = plain, rich, bit
        self._mask |= bit

    def render_with(self, caps: int, tag: bytes) -> bytes:
        """Return the bytes for one client, with one more tag (b"" for none) in front."""
        return (self._rich if caps & self._bit else self._plain).render_with(caps, tag)

    def in_batch(self, reference: str) -> EitherOutgoing:
        """Return this message as part of a batch."""
        plain, rich = self._plain.in_batch(reference), self._rich.in_batch(reference)
        return EitherOutgoing(plain, rich, self._bit)


class Event(NamedTuple):
    """A user's action, with everything that its receivers may see.

    A tuple of plain values: it can be stored, and rendered again later.

    Attributes:
        time_ms: since the epoch.
        msgid: its id.
        source: ``nick!user@host`` of the user.
        account: theirs; "" for none.
        is_bot: whether they are a bot.
        command, params, trailing: the message; a trailing of None is none.
        client_tags: the client's rendered tags, only those for other clients.
        lines: of a multiline message, whose `trailing` is None.
    """

    time_ms: int
    msgid: str
    source: str
    account: str
    is_bot: bool
    command: str
    params: tuple[str, ...]
    trailing: str | None = None
    client_tags: str = ""
    lines: tuple[Line, ...] = ()

    def joining(self, user: Person) -> Outgoing:
        """Return a JOIN; with account and real name for clients with IRCv3 extended-join."""
        params = (*self.params, user.account or "*")
        extended = self._replace(params=params, trailing=user.realname)
        return EitherOutgoing(self.outgoing(), extended.outgoing(), cap.EXTENDED_JOIN)

    def outgoing(self) -> Outgoing:
        """Return the message, to be rendered for its receivers."""
        if self.lines:
            return LongOutgoing(self, self.tags(), self.later_tags())
        body = render_body(self.source, self.command, self.params, self.trailing)
        return Outgoing(body, event=self)

    def later_tags(self) -> tuple[Tag, ...]:
        """Return the tags of its lines after the first."""
        time = time_tag(self.time_ms)
        if not self.account:
            return (time,)
        return time, (cap.ACCOUNT_TAG, f"account={escape_value(self.account)}".encode())

    def tags(self) -> tuple[Tag, ...]:
        """Return its possible tags."""
        tags = [*self.later_tags()]
        tags.append((cap.MESSAGE_TAGS, f"msgid={self.msgid}".encode()))
        if self.is_bot:
            tags.append((cap.MESSAGE_TAGS, b"bot"))
        if self.client_tags:
            tags.append((cap.MESSAGE_TAGS, self.client_tags.encode()))
        return tuple(tags)


def event_of(
    sender: Person,
    network: Stamper,
    command: str,
    *params: str,
    trailing: str | None = None,
    client_tags: Mapping[str, str] | None = None,
    lines: tuple[Line, ...] = (),
) -> Event:
    """Return the event of an action of `sender`, now."""
    tags = ""
    if client_tags:
        tags = render_tags((key, value) for key, value in client_tags.items() if key[0] == "+")
    return _new_event(
        Event,
        (
            network.now_ms(), network.next_reference(), sender.mask, sender.account,
            "B" in sender.modes, command, params, trailing, tags, lines,
        ),
    )  # fmt: skip


_new_event = tuple.__new__  # the same as `Event(...)`, but faster: each message passes here


def event_by(
    network: Stamper, source: str, command: str, *params: str, trailing: str | None = None
) -> Event:
    """Return the event of an action of the server or ChanServ, now."""
    reference = network.next_reference()
    return Event(network.now_ms(), reference, source, "", False, command, params, trailing)
