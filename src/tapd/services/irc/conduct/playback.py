"""Playback of history to a client: which events it may see, and in which form.

Batches follow ircv3.net/specs/extensions/chathistory. Clients without these capabilities
get plain messages, with the time in the text if they can't show one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from tapd.services.irc.state.history import Reference
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire.delivery import Event, render_time
from tapd.services.irc.wire.isupport import PLAYBACK_MAX

if TYPE_CHECKING:
    from tapd.services.irc.state.history import Log
    from tapd.services.irc.state.reply import Reply

_SAID = frozenset({"PRIVMSG", "NOTICE"})


def visible_to(reply: Reply) -> Callable[[Event], bool]:
    """Return a predicate: whether a past event is shown to a client.

    Messages are; joins, topics and so on only to clients with draft/event-playback, and
    tags without a text only to those that know tags as well.
    """
    caps = reply.caps
    has_events = bool(caps & cap.EVENT_PLAYBACK)
    has_tags = has_events and bool(caps & cap.MESSAGE_TAGS)

    def is_visible(event: Event) -> bool:
        if event.command in _SAID:
            return True
        return has_tags if event.command == "TAGMSG" else has_events

    return is_visible


def play(reply: Reply, target: str, events: Iterable[Event]) -> None:
    """Send `events` of `target` as a batch, even if empty."""
    reply.send_batch("chathistory", (target,), [event.outgoing() for event in events])


def play_newest(reply: Reply, target: str, log: Log | None, count: int) -> None:
    """Send the newest `count` messages of `target`, unasked."""
    if log is None or reply.caps & cap.CHATHISTORY or not count:
        return
    events = log.newest(0, len(log.kept), min(count, PLAYBACK_MAX), visible_to(reply))
    _send_unasked(reply, target, events)


def play_missed(reply: Reply, target: str, log: Log | None, since_ms: int) -> None:
    """Send the messages of `target` since `since_ms`, unasked.

    At most the newest `PLAYBACK_MAX`. Clients with draft/chathistory ask themselves.
    """
    if log is None or reply.caps & cap.CHATHISTORY or log.last_ms < since_ms:
        return
    start, _after = log.bounds(Reference("", since_ms))
    events = log.newest(start, len(log.kept), PLAYBACK_MAX, visible_to(reply))
    _send_unasked(reply, target, events)


def _send_unasked(reply: Reply, target: str, events: Sequence[Event]) -> None:
    if reply.caps & cap.SERVER_TIME:
        if events:
            play(reply, target, events)
        return
    for event in events:
        reply.send(_with_time(event).outgoing())


def _with_time(event: Event) -> Event:
    """Return a message with its time in the text, for clients that can't show it."""
    time = f"[{render_time(event.time_ms)[:16].replace('T', ' ')}]"
    if event.lines:
        (first, is_concat), *others = event.lines
        return event._replace(lines=((f"{time} {first}", is_concat), *others))
    text = event.trailing or ""
    if text.startswith("\x01ACTION "):
        return event._replace(trailing=f"\x01ACTION {time} {text[8:]}")
    return event._replace(trailing=f"{time} {text}")


def send_marker(reply: Reply, target: str) -> None:
    """Send a client its user's read marker of `target`; ``*`` if unknown."""
    time_ms = reply.network.history.marker(reply.user.identity, target)
    text = "*" if time_ms is None else f"timestamp={render_time(time_ms)}"
    reply.send_from_server("MARKREAD", target, text)
