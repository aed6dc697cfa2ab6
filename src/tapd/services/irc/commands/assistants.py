"""NICKSERV and CHANSERV (NS, CS): commands that pass their parameters to the assistants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.assistants import load_assistants
from tapd.services.irc.assistants.table import CHANSERV, NICKSERV
from tapd.services.irc.conduct.command_table import command

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message

load_assistants()


@command("NICKSERV")
def nickserv(reply: Reply, message: Message) -> None:
    """Ask NickServ, who knows accounts; ``NICKSERV HELP`` tells more."""
    NICKSERV.run(reply, " ".join(message.params))


@command("NS")
def ns(reply: Reply, message: Message) -> None:
    """Ask NickServ, in short."""
    nickserv(reply, message)


@command("CHANSERV")
def chanserv(reply: Reply, message: Message) -> None:
    """Ask ChanServ, who knows channels; ``CHANSERV HELP`` tells more."""
    CHANSERV.run(reply, " ".join(message.params))


@command("CS")
def cs(reply: Reply, message: Message) -> None:
    """Ask ChanServ, in short."""
    chanserv(reply, message)
