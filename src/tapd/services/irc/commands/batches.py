"""BATCH: messages of several lines from clients (draft/multiline, client-batch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.commands.messages import Said, say_to
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.state.multiline import ClientBatch
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.wire.message import Message

REFERENCE_BYTES_MAX = 64
_KIND = "draft/multiline"
_NEEDED = cap.MULTILINE | cap.BATCH


@command("BATCH", params=1)
def batch(session: Session, message: Message) -> None:
    """Begin or end a message of several lines (draft/multiline)."""
    if session.caps & _NEEDED != _NEEDED:
        session.reply(n.ERR_UNKNOWNCOMMAND, "BATCH")
        return
    sign, reference = message.params[0][:1], message.params[0][1:]
    if sign == "+":
        _begin(session, message, reference)
    elif sign == "-" and session.batch is not None and session.batch.reference == reference:
        _end(session, session.batch)
    else:
        session.fail("BATCH", "MULTILINE_INVALID", text="There is no such batch")


def _begin(session: Session, message: Message, reference: str) -> None:
    kind, target = [*message.params[1:3], "", ""][:2]
    if session.batch is not None and not session.batch.is_failed:
        session.batch.fail(session, "MULTILINE_INVALID", text="Another batch came before its end")
    is_reference = 0 < len(reference.encode()) <= REFERENCE_BYTES_MAX
    if kind != _KIND or not is_reference or not target or "," in target:
        session.fail("BATCH", "MULTILINE_INVALID", text=f"Write BATCH +REFERENCE {_KIND} TARGET")
        return
    label = session.postpone_label()
    now_s = session.network.now_s()
    session.batch = ClientBatch(reference, target, message.tags, label, now_s)


def _end(session: Session, whole: ClientBatch) -> None:
    if not whole.is_failed and not any(text for text, _ in whole.lines):
        whole.fail(session, "MULTILINE_INVALID", text="It has no line, or blank ones only")
    session.batch = None
    if whole.is_failed:
        return
    has_label = bool(whole.label) and session.label is None
    if has_label:
        session.begin_label(whole.label)
    lines = tuple(whole.lines) if len(whole.lines) > 1 else ()
    said = Said(whole.command, whole.text, dict(whole.client_tags), lines)
    try:
        say_to(session, said, whole.target)
    finally:
        if has_label:
            session.flush_label()
