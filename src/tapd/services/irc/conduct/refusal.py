"""Refusals of a command, raised as exceptions; the caller of the command tells the client.

A numeric is `Refused`, a FAIL (standard-replies) is `Fail`. Changes made before the
exception stay. A command that goes on with its next target calls `Refusal.tell` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.numerics import Numeric


class Refusal(Exception):
    """A command is refused."""

    def tell(self, reply: Reply, command: str) -> None:
        """Tell the client.

        Args:
            reply: where the command answers.
            command: its name.
        """
        raise NotImplementedError


class Refused(Refusal):
    """A command is refused by a numeric."""

    def __init__(self, numeric: Numeric, *params: str, text: str | None = None) -> None:
        """Refuse; the arguments are those of `Reply.numeric`."""
        super().__init__(numeric.code, *params)
        self.numeric = numeric
        self.params = params
        self.text = text

    def tell(self, reply: Reply, command: str) -> None:
        """Send the numeric."""
        reply.numeric(self.numeric, *self.params, text=self.text)


class Fail(Refusal):
    """A command is refused by a FAIL."""

    def __init__(self, code: str, *context: str, text: str, is_own: bool = False) -> None:
        """Refuse; the arguments are those of `Reply.fail`, without the command."""
        super().__init__(code, *context)
        self.code = code
        self.context = context
        self.text = text
        self.is_own = is_own

    def tell(self, reply: Reply, command: str) -> None:
        """Send the FAIL."""
        reply.fail(command, self.code, *self.context, text=self.text, is_own=self.is_own)
