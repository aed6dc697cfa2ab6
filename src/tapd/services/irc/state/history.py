"""Message history: the log of a channel, and of a conversation between two users.

A log is bounded by number of events and by age. An event is stored as a plain tuple (the
fields of `delivery.Event`): a message costs one delta in the journal and no class look-up.

A conversation belongs to two *identities*: accounts, or guests. A guest is identified by
a number while connected. A guest's messages are forgotten when they leave, so that the
next user of the nick can't read them.
"""

from __future__ import annotations

import bisect
import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDeque, TrackedDict
from tapd.services.irc.wire.delivery import Event
from tapd.services.irc.wire.message import parse_tags
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.wire.roles import Person

EVENTS_MAX = 10_000
AGE_S_MAX = 7 * 86400.0
MARKERS_MAX = 1000
_PRUNE_SHARE = 8  # prune once one in so many is outdated: pruning writes the whole log anew

Kept = tuple[object, ...]
"""An event's fields, as they are stored."""

_TIME = Event._fields.index("time_ms")
_MSGID = Event._fields.index("msgid")


class Reference(NamedTuple):
    """A position in a log: at a message (`msgid`), or at a time if that is ""."""

    msgid: str
    time_ms: int = 0


class Log(Persistent):
    """The history of one target, oldest first.

    Attributes:
        kept: the events; bounded, so that the oldest is dropped for a new one.
    """

    def __init__(self, events_max: int) -> None:
        self.kept: collections.deque[Kept] = TrackedDeque(maxlen=events_max)

    def append(self, event: Event) -> None:
        """Add `event`."""
        self.kept.append(tuple(event))

    def events(self, kept: Iterable[Kept]) -> list[Event]:
        """Return stored events as `Event` objects."""
        return [Event(*each) for each in kept]  # type: ignore[arg-type]  # plain fields

    @property
    def last_ms(self) -> int:
        """The time of the newest event; 0 if there is none."""
        return _time_of(self.kept[-1]) if self.kept else 0

    def find(self, msgid: str) -> Event | None:
        """Return the event of that id; None if it is not stored (any more)."""
        index = self._index_of(msgid)
        return None if index is None else self.events([self.kept[index]])[0]

    def replace(self, msgid: str, event: Event | None) -> bool:
        """Replace an event with `event`, or remove it; return whether it was there."""
        index = self._index_of(msgid)
        if index is None:
            return False
        if event is None:
            del self.kept[index]
        else:
            self.kept[index] = tuple(event)
        return True

    def _index_of(self, msgid: str) -> int | None:
        # References are mostly to new messages.
        for back, each in enumerate(reversed(self.kept), 1):
            if each[_MSGID] == msgid:
                return len(self.kept) - back
        return None

    def bounds(self, reference: Reference) -> tuple[int, int]:
        """Return how many events are before `reference`, and up to and including it.

        Raises:
            LookupError: there is no message of that id.
        """
        if reference.msgid:
            index = self._index_of(reference.msgid)
            if index is None:
                raise LookupError(reference.msgid)
            return index, index + 1
        return (
            bisect.bisect_left(self.kept, reference.time_ms, key=_time_of),
            bisect.bisect_right(self.kept, reference.time_ms, key=_time_of),
        )

    def newest(
        self, start: int, end: int, limit: int, is_wanted: Callable[[Event], bool]
    ) -> list[Event]:
        """Return the newest `limit` wanted events of ``kept[start:end]``, oldest first."""
        found = list(itertools.islice(filter(is_wanted, self._backwards(start, end)), limit))
        found.reverse()
        return found

    def oldest(
        self, start: int, end: int, limit: int, is_wanted: Callable[[Event], bool]
    ) -> list[Event]:
        """Return the oldest `limit` wanted events of ``kept[start:end]``, oldest first."""
        events = (Event(*each) for each in itertools.islice(self.kept, start, end))  # type: ignore[arg-type]
        return list(itertools.islice(filter(is_wanted, events), limit))

    def _backwards(self, start: int, end: int) -> Iterator[Event]:
        skipped = len(self.kept) - end
        for each in itertools.islice(reversed(self.kept), skipped, len(self.kept) - start):
            yield Event(*each)  # type: ignore[arg-type]

    def prune(self, before_ms: int) -> None:
        """Drop events older than `before_ms`, once they are a good part of the log."""
        outdated = bisect.bisect_left(self.kept, before_ms, key=_time_of)
        if not outdated or outdated * _PRUNE_SHARE < len(self.kept):
            return
        for _ in range(outdated):
            self.kept.popleft()

    def resize(self, events_max: int) -> None:
        """Limit the log to `events_max` events from now on."""
        if self.kept.maxlen != events_max:
            self.kept = TrackedDeque(self.kept, events_max)


def _time_of(kept: Kept) -> int:
    time_ms = kept[_TIME]
    assert isinstance(time_ms, int)
    return time_ms


def is_passing(event: Event) -> bool:
    """Whether `event` has no lasting meaning: a typing notification (IRCv3 +typing)."""
    if event.command != "TAGMSG":
        return False
    return all(key in ("+typing", "+draft/typing") for key in parse_tags(event.client_tags))


class Archive(Persistent):
    """The conversations of a network, and the limits of history.

    Attributes:
        events_max: of each log; 0 keeps none.
        age_s_max: how long an event is kept.
        conversations: by the two identities, sorted.
        partners: an identity's conversation partners: their nick, by identity.
        markers: an identity's read markers, by folded target (ms since the epoch).
    """

    def __init__(self) -> None:
        self.events_max = EVENTS_MAX
        self.age_s_max = AGE_S_MAX
        self.conversations: dict[tuple[str, str], Log] = TrackedDict()
        self.partners: dict[str, dict[str, str]] = TrackedDict()
        self.markers: dict[str, dict[str, int]] = TrackedDict()

    def record(self, log: Log | None, event: Event) -> Log | None:
        """Add `event` to `log`; return the log, created if there was none."""
        if not self.events_max or (event.command == "TAGMSG" and is_passing(event)):
            return log
        if log is None:
            log = Log(self.events_max)
        log.append(event)
        return log

    def record_conversation(self, one: Person, other: Person, event: Event) -> None:
        """Add a message of `one` to `other`."""
        pair = _pair(one.identity, other.identity)
        before = self.conversations.get(pair)
        log = self.record(before, event)
        if log is not None and log is not before:
            self.conversations[pair] = log
        if log is not None:
            self._note_partner(one.identity, other)
            self._note_partner(other.identity, one)

    def _note_partner(self, identity: str, partner: Person) -> None:
        partners = self.partners.get(identity)
        if partners is None:
            partners = self.partners[identity] = TrackedDict()
        if partners.get(partner.identity) != partner.nick:
            partners[partner.identity] = partner.nick

    def conversation(self, identity: str, partner: str) -> Log | None:
        """Return the conversation of two identities."""
        return self.conversations.get(_pair(identity, partner))

    def conversations_of(self, identity: str) -> Iterator[tuple[str, Log]]:
        """Yield nick and log of each conversation of an identity."""
        for partner, nick in self.partners.get(identity, {}).items():
            log = self.conversation(identity, partner)
            if log is not None:
                yield nick, log

    def partner_of(self, identity: str, nick: str) -> str | None:
        """Return the identity of a conversation partner who had that nick."""
        folded = fold(nick)
        for partner, known in self.partners.get(identity, {}).items():
            if fold(known) == folded:
                return partner
        return None

    def marker(self, identity: str, target: str) -> int | None:
        """Return the read marker of an identity at `target`; None if unknown."""
        return self.markers.get(identity, {}).get(fold(target))

    def mark_read(self, identity: str, target: str, time_ms: int) -> bool:
        """Advance a read marker; return whether it moved: it never moves back."""
        markers = self.markers.get(identity)
        if markers is None:
            markers = self.markers[identity] = TrackedDict()
        folded = fold(target)
        if time_ms <= markers.get(folded, -1):
            return False
        while len(markers) >= MARKERS_MAX and folded not in markers:
            del markers[min(markers, key=markers.__getitem__)]
        markers[folded] = time_ms
        return True

    def move(self, identity: str, account: str) -> None:
        """Move a guest's history to the account that they log in to, unless it has its own."""
        for partner, nick in list(self.partners.get(identity, {}).items()):
            log = self.conversation(identity, partner)
            if log is None or self.conversation(account, partner) is not None:
                continue
            self.conversations[_pair(account, partner)] = log
            self.partners.setdefault(account, TrackedDict())[partner] = nick
            theirs = self.partners.setdefault(partner, TrackedDict())
            theirs[account] = theirs.get(identity, nick)
        for target, time_ms in self.markers.get(identity, {}).items():
            self.mark_read(account, target, time_ms)
        self.forget(identity)

    def forget(self, identity: str) -> None:
        """Forget the history of a guest who leaves, or of a removed account."""
        self.markers.pop(identity, None)
        for partner in self.partners.pop(identity, {}):
            self.conversations.pop(_pair(identity, partner), None)
            others = self.partners.get(partner)
            if others is not None:
                others.pop(identity, None)
                if not others:
                    del self.partners[partner]

    def prune(self, now_s: float, logs: Iterable[Log]) -> None:
        """Drop outdated events of `logs` and of the conversations."""
        before_ms = int((now_s - self.age_s_max) * 1000)
        for log in (*logs, *self.conversations.values()):
            log.prune(before_ms)
            log.resize(self.events_max)


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)
