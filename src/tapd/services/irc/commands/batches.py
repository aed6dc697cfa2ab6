"""BATCH: messages of several lines from clients (draft/multiline, client-batch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.commands.messages import Said, say_to, tell_refused
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.refusal import Fail, Refused
from tapd.services.irc.state.multiline import ClientBatch
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message

REFERENCE_BYTES_MAX = 64
_KIND = "draft/multiline"
_NEEDED = cap.MULTILINE | cap.BATCH


@command("BATCH", params=1)
def batch(reply: Reply, message: Message) -> None:
    """Begin or end a message of several lines (draft/multiline)."""
    session = reply.session
    if session.caps & _NEEDED != _NEEDED:
        raise Refused(n.ERR_UNKNOWNCOMMAND, "BATCH")
    sign, reference = message.params[0][:1], message.params[0][1:]
    if sign == "+":
        _begin(reply, message, reference)
    elif sign == "-" and session.batch is not None and session.batch.reference == reference:
        _end(reply, session.batch)
    else:
        raise Fail("MULTILINE_INVALID", text="There is no such batch")


def _begin(reply: Reply, message: Message, reference: str) -> None:
    session = reply.session
    kind, target = [*message.params[1:3], "", ""][:2]
    if session.batch is not None and not session.batch.is_failed:
        session.batch.fail(reply, "MULTILINE_INVALID", text="Another batch came before its end")
    is_reference = 0 < len(reference.encode()) <= REFERENCE_BYTES_MAX
    if kind != _KIND or not is_reference or not target or "," in target:
        raise Fail("MULTILINE_INVALID", text=f"Write BATCH +REFERENCE {_KIND} TARGET")
    now_s = reply.network.now_s()
    session.batch = ClientBatch(reference, target, message.tags, reply.postpone(), now_s)


def _end(reply: Reply, whole: ClientBatch) -> None:
    if not whole.is_failed and not any(text for text, _ in whole.lines):
        whole.fail(reply, "MULTILINE_INVALID", text="It has no line, or blank ones only")
    reply.session.batch = None
    if whole.is_failed:
        return
    lines = tuple(whole.lines) if len(whole.lines) > 1 else ()
    said = Said(whole.command, whole.text, dict(whole.client_tags), lines)
    answer = reply if reply.label else reply.session.answering(whole.label)
    try:
        say_to(answer, said, whole.target)
    except Refused as refusal:
        tell_refused(answer, said.command, refusal)
    finally:
        if answer is not reply:
            answer.finish()
