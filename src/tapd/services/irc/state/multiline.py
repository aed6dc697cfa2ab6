"""Assembly of a multiline message that a client sends (draft/multiline, client-batch).

It is durable, so a kill in the middle changes nothing. An error is reported once (FAIL
BATCH), and the rest of the message is dropped. For the outgoing form see
`delivery.LongOutgoing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedList
from tapd.services.irc.wire.capabilities import MULTILINE_BYTES_MAX, MULTILINE_LINES_MAX
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.wire.delivery import Line
    from tapd.services.irc.wire.message import Message
    from tapd.services.irc.wire.roles import LabeledAnswer

OPEN_S_MAX = 60.0
"""How long one may stay open (client-batch, TIMEOUT)."""

_ALLOWED_MEANWHILE = frozenset({"BATCH", "PING", "PONG", "QUIT"})


class ClientBatch(Persistent):
    """One incomplete multiline message.

    Attributes:
        reference: the client's name for it.
        target: of the message.
        client_tags: those of the opening BATCH for other clients, as pairs.
        label: of the opening BATCH, which the response gets; "" for none.
        made_s: when it was opened.
        command: of its lines: PRIVMSG or NOTICE; "" before the first.
        lines: those received so far.
        size_bytes: of their texts, with one for each end of a line between them.
        is_failed: it was refused, and the rest is dropped.
    """

    command = ""
    size_bytes = 0
    is_failed = False

    def __init__(
        self, reference: str, target: str, tags: Mapping[str, str], label: str, made_s: float
    ) -> None:
        self.reference = reference
        self.target = target
        self.client_tags = tuple((key, value) for key, value in tags.items() if key[0] == "+")
        self.label = label
        self.made_s = made_s
        self.lines: list[Line] = TrackedList()

    def takes(self, reply: LabeledAnswer, message: Message) -> bool:
        """Handle `message` if it is part of this batch; return whether it was."""
        if message.tags.get("batch") == self.reference:
            if not self.is_failed:
                self._collect(reply, message)
            return True
        if not self.is_failed and message.command not in _ALLOWED_MEANWHILE:
            self.fail(reply, "MULTILINE_INVALID", text="Something else came before its end")
        return False

    def _collect(self, reply: LabeledAnswer, message: Message) -> None:
        if message.command not in ("PRIVMSG", "NOTICE") or len(message.params) < 2:
            self.fail(reply, "MULTILINE_INVALID", text="Only PRIVMSG or NOTICE can be in it")
            return
        target, text = message.params[:2]
        if fold(target) != fold(self.target):
            self.fail(
                reply, "MULTILINE_INVALID_TARGET", self.target, target,
                text="All lines must have the batch's target",
            )  # fmt: skip
            return
        if message.command != (self.command or message.command):
            self.fail(reply, "MULTILINE_INVALID", text="PRIVMSG and NOTICE can't be mixed")
            return
        has_tag = "draft/multiline-concat" in message.tags
        if has_tag and not text:
            self.fail(reply, "MULTILINE_INVALID", text="A blank line can't be a continuation")
            return
        if text[:1] == "\x01" and self.lines:
            # Clients without multiline would get a CTCP that no mode had checked.
            self.fail(reply, "MULTILINE_INVALID", text="A CTCP can only be its first line")
            return
        self.command = message.command
        is_concat = has_tag and bool(self.lines)
        self._add(reply, text, is_concat=is_concat)

    def _add(self, reply: LabeledAnswer, text: str, *, is_concat: bool) -> None:
        size_bytes = self.size_bytes + len(text.encode()) + bool(self.lines and not is_concat)
        if size_bytes > MULTILINE_BYTES_MAX:
            limit = str(MULTILINE_BYTES_MAX)
            self.fail(reply, "MULTILINE_MAX_BYTES", limit, text="It has too many bytes")
        elif len(self.lines) >= MULTILINE_LINES_MAX:
            limit = str(MULTILINE_LINES_MAX)
            self.fail(reply, "MULTILINE_MAX_LINES", limit, text="It has too many lines")
        else:
            self.size_bytes = size_bytes
            self.lines.append((text, is_concat))

    @property
    def text(self) -> str:
        """The whole message (multiline, "Batch types")."""
        parts: list[str] = []
        for text, is_concat in self.lines:
            if parts and not is_concat:
                parts.append("\n")
            parts.append(text)
        return "".join(parts)

    def fail(self, reply: LabeledAnswer, code: str, *context: str, text: str) -> None:
        """Refuse it: tell the client once, and drop its lines."""
        self.is_failed = True
        self.lines.clear()
        answer = reply if reply.label or not self.label else reply.session.answering(self.label)
        answer.fail("BATCH", code, *context, text=text)
        if answer is not reply:
            answer.finish()

    def check_age(self, reply: LabeledAnswer, now_s: float) -> None:
        """Refuse it if it has been open for too long (client-batch, TIMEOUT)."""
        if not self.is_failed and now_s - self.made_s > OPEN_S_MAX:
            self.fail(reply, "TIMEOUT", self.reference, text="It was open for too long")
