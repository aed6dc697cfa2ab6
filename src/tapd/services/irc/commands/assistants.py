"""NICKSERV and CHANSERV (NS, CS): the assistants, as commands of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.assistants import load_assistants
from tapd.services.irc.assistants.table import CHANSERV, NICKSERV
from tapd.services.irc.conduct.command_table import command

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.wire.message import Message

load_assistants()


@command("NICKSERV")
def nickserv(session: Session, message: Message) -> None:
    """Ask NickServ, who knows accounts; ``NICKSERV HELP`` tells more."""
    NICKSERV.run(session, " ".join(message.params))


@command("NS")
def ns(session: Session, message: Message) -> None:
    """Ask NickServ, in short."""
    nickserv(session, message)


@command("CHANSERV")
def chanserv(session: Session, message: Message) -> None:
    """Ask ChanServ, who knows channels; ``CHANSERV HELP`` tells more."""
    CHANSERV.run(session, " ".join(message.params))


@command("CS")
def cs(session: Session, message: Message) -> None:
    """Ask ChanServ, in short."""
    chanserv(session, message)
