"""Message history: CHATHISTORY, MARKREAD and REDACT.

ircv3.net/specs/extensions/chathistory, /read-marker and /message-redaction. A channel's
history is for its members; a conversation's for the two users.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tapd.services.irc.conduct.announce import announce
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.playback import play, send_marker, visible_to
from tapd.services.irc.conduct.refusal import Fail
from tapd.services.irc.state.history import Log, Reference
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire.delivery import Event, event_of, render_time
from tapd.services.irc.wire.isupport import PLAYBACK_MAX
from tapd.services.irc.wire.modes import is_at_least
from tapd.services.irc.wire.names import fold, is_channel_like, is_channel_name, is_nick

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.state.user import User
    from tapd.services.irc.wire.message import Message

REDACTION_WINDOW_S = 86400
"""How long users may redact their own messages; a channel's operators always may."""


# --- CHATHISTORY -----------------------------------------------------------------------


@command("CHATHISTORY")
def chathistory(reply: Reply, message: Message) -> None:
    """Ask for what was said before (draft/chathistory)."""
    params = message.params
    verb = params[0].upper() if params else "*"
    _find_verb(verb, params).function(reply, verb, params[1:])


def _find_verb(verb: str, params: tuple[str, ...]) -> _Verb:
    found = _VERBS.get(verb)
    if found is None:
        raise Fail("INVALID_PARAMS", verb, text="Unknown subcommand")
    if len(params) < found.params:
        raise Fail("INVALID_PARAMS", verb, text="Insufficient parameters")
    return found


def _find_log(reply: Reply, verb: str, target: str) -> Log | None:
    """Return the log of `target`; None if there is none yet."""
    network, user = reply.network, reply.user
    if is_channel_like(target):
        channel = network.find_channel(target)
        if channel is not None and user in channel.members:
            return channel.log
    else:
        partner = _partner(reply, target)
        if partner is not None:
            return network.history.conversation(user.identity, partner)
    raise Fail("INVALID_TARGET", verb, target, text="Messages could not be retrieved")


def _partner(reply: Reply, nick: str) -> str | None:
    """Return the identity of `nick`: its present user's, else of a conversation partner."""
    user = reply.network.find_user(nick)
    if user is not None:
        return user.identity
    return reply.network.history.partner_of(reply.user.identity, nick)


def _parse_reference(verb: str, target: str, text: str) -> Reference:
    kind, _, value = text.partition("=")
    if kind == "msgid" and value:
        return Reference(value)
    if kind == "timestamp":
        return Reference("", _parse_time(verb, value))
    raise Fail("INVALID_MSGREFTYPE", verb, target, text, text="Write msgid=ID or timestamp=TIME")


def _parse_time(verb: str, text: str) -> int:
    """Return a time as server-time has it, in milliseconds since the epoch."""
    try:
        moment = dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        raise Fail("INVALID_PARAMS", verb, text, text="Invalid timestamp") from None
    return round(moment.timestamp() * 1000)


def _parse_limit(verb: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Fail("INVALID_PARAMS", verb, text, text="Invalid limit")
    return min(int(text), PLAYBACK_MAX) or PLAYBACK_MAX  # 0: as many as the server gives


def _bounds(verb: str, target: str, log: Log, text: str) -> tuple[int, int]:
    try:
        return log.bounds(_parse_reference(verb, target, text))
    except LookupError:
        raise Fail(
            "MESSAGE_ERROR", verb, target, text="That message is not kept here (any more)"
        ) from None


def _latest(reply: Reply, verb: str, params: tuple[str, ...]) -> None:
    target, selector, limit = params[0], params[1], _parse_limit(verb, params[2])
    log = _find_log(reply, verb, target)
    events: list[Event] = []
    if log is not None:
        start = 0 if selector == "*" else _bounds(verb, target, log, selector)[1]
        events = log.newest(start, len(log.kept), limit, visible_to(reply))
    play(reply, target, events)


def _before(reply: Reply, verb: str, params: tuple[str, ...]) -> None:
    target, limit = params[0], _parse_limit(verb, params[2])
    log = _find_log(reply, verb, target)
    events: list[Event] = []
    if log is not None:
        end, _ = _bounds(verb, target, log, params[1])
        events = log.newest(0, end, limit, visible_to(reply))
    play(reply, target, events)


def _after(reply: Reply, verb: str, params: tuple[str, ...]) -> None:
    target, limit = params[0], _parse_limit(verb, params[2])
    log = _find_log(reply, verb, target)
    events: list[Event] = []
    if log is not None:
        _, start = _bounds(verb, target, log, params[1])
        events = log.oldest(start, len(log.kept), limit, visible_to(reply))
    play(reply, target, events)


def _around(reply: Reply, verb: str, params: tuple[str, ...]) -> None:
    target, limit = params[0], _parse_limit(verb, params[2])
    log = _find_log(reply, verb, target)
    events: list[Event] = []
    if log is not None:
        start, _ = _bounds(verb, target, log, params[1])
        is_visible = visible_to(reply)
        events = log.newest(0, start, limit // 2, is_visible)
        events += log.oldest(start, len(log.kept), limit - len(events), is_visible)
    play(reply, target, events)


def _between(reply: Reply, verb: str, params: tuple[str, ...]) -> None:
    target, limit = params[0], _parse_limit(verb, params[3])
    log = _find_log(reply, verb, target)
    events: list[Event] = []
    if log is not None:
        one = _bounds(verb, target, log, params[1])
        other = _bounds(verb, target, log, params[2])
        is_visible = visible_to(reply)
        if one <= other:
            events = log.oldest(one[1], other[0], limit, is_visible)
        else:  # backwards: the limit counts from the later end
            events = log.newest(other[1], one[0], limit, is_visible)
    play(reply, target, events)


def _targets(reply: Reply, verb: str, params: tuple[str, ...]) -> None:
    times = []
    for text in params[:2]:
        reference = _parse_reference(verb, "*", text)
        if reference.msgid:
            raise Fail("INVALID_MSGREFTYPE", verb, "*", text, text="Write timestamp=TIME")
        times.append(reference.time_ms)
    limit = _parse_limit(verb, params[2])
    start, end = sorted(times)
    network, user = reply.network, reply.user
    logs = [(each.name, each.log) for each in user.channels if each.log is not None]
    logs += network.history.conversations_of(user.identity)
    found = sorted((log.last_ms, name) for name, log in logs if start < log.last_ms < end)
    if times[0] > times[1]:
        found = found[-limit:]
    reply.send_batch(
        "draft/chathistory-targets",
        (),
        [
            network.server_event("CHATHISTORY", "TARGETS", name, render_time(last_ms))
            for last_ms, name in found[:limit]
        ],
    )


class _Verb(NamedTuple):
    function: Callable[[Reply, str, tuple[str, ...]], None]
    params: int


_VERBS = {
    "LATEST": _Verb(_latest, 4),
    "BEFORE": _Verb(_before, 4),
    "AFTER": _Verb(_after, 4),
    "AROUND": _Verb(_around, 4),
    "BETWEEN": _Verb(_between, 5),
    "TARGETS": _Verb(_targets, 4),
}


# --- MARKREAD --------------------------------------------------------------------------


@command("MARKREAD")
def markread(reply: Reply, message: Message) -> None:
    """Say, or ask, up to when you have read a channel or conversation (draft/read-marker)."""
    params = message.params
    if not params or not params[0]:
        raise Fail("NEED_MORE_PARAMS", text="Missing parameters")
    target = params[0]
    if not (is_channel_name(target) or is_nick(target)):
        raise Fail("INVALID_PARAMS", target, text="Name a channel or a nick")
    if len(params) == 1:
        send_marker(reply, target)
        return
    try:
        reference = _parse_reference("*", target, params[1])
    except Fail:
        reference = Reference("")
    if not reference.time_ms or reference.msgid:
        raise Fail("INVALID_PARAMS", target, text="Write timestamp=TIME")
    user = reply.user
    if reply.network.history.mark_read(user.identity, target, reference.time_ms):
        for each in user.sessions:
            if each is not reply.session and each.caps & cap.READ_MARKER:
                send_marker(each, target)
    send_marker(reply, target)


# --- REDACT ----------------------------------------------------------------------------


@command("REDACT")
def redact(reply: Reply, message: Message) -> None:
    """Take back a message, or remove one as a channel's operator (draft/message-redaction)."""
    params = message.params
    if len(params) < 2 or not params[0] or not params[1]:
        raise Fail("NEED_MORE_PARAMS", text="Missing parameters")
    target, msgid = params[:2]
    reason = params[2] if len(params) > 2 else None
    network, user = reply.network, reply.user
    channel = network.find_channel(target) if is_channel_like(target) else None
    log: Log | None = None
    other: User | None = None
    if channel is not None and user in channel.members:
        log = channel.log
    elif not is_channel_like(target):
        partner = _partner(reply, target)
        other = network.find_user(target)
        if partner is not None:
            log = network.history.conversation(user.identity, partner)
    event = log.find(msgid) if log is not None else None
    if log is None and channel is None and other is None:
        raise Fail("INVALID_TARGET", target, text="You can't redact messages there")
    if channel is not None and user not in channel.members:
        raise Fail("INVALID_TARGET", target, text="You're not on that channel")
    if log is None or event is None or event.command not in ("PRIVMSG", "NOTICE", "TAGMSG"):
        raise Fail("UNKNOWN_MSGID", target, msgid, text="That message is not kept here")
    is_operator = channel is not None and is_at_least(channel.members[user], "h")
    if not is_operator:
        _check_own(reply, event, target)
    log.replace(msgid, None)
    _tell_redacted(reply, channel, other, target, msgid, reason)


def _check_own(reply: Reply, event: Event, target: str) -> None:
    user = reply.user
    if event.account or user.account:
        is_own = bool(event.account) and fold(event.account) == fold(user.account)
    else:  # a guest's nick may have been another's before
        is_own = event.source == user.mask and event.time_ms >= int(user.signon_s * 1000)
    if not is_own:
        raise Fail(
            "REDACT_FORBIDDEN", target, event.msgid, text="It is not yours to delete"
        )  # fmt: skip
    if reply.network.now_ms() - event.time_ms > REDACTION_WINDOW_S * 1000:
        raise Fail(
            "REDACT_WINDOW_EXPIRED",
            target,
            event.msgid,
            str(REDACTION_WINDOW_S),
            text="It is too old to be deleted",
        )


def _tell_redacted(
    reply: Reply,
    channel: Channel | None,
    other: User | None,
    target: str,
    msgid: str,
    reason: str | None,
) -> None:
    event = event_of(reply.user, reply.network, "REDACT", target, msgid, trailing=reason)
    network, user, needed = reply.network, reply.user, cap.MESSAGE_REDACTION
    if channel is not None:
        announce(network, channel, event, reply, having=needed, echo=needed)
        return
    outgoing = event.outgoing()
    if other is not None and other is not user:
        other.send(outgoing, having=needed)
    user.send(outgoing, reply, having=needed)
