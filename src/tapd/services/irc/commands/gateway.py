"""WEBIRC: a gateway says for whom it speaks (ircv3.net/specs/extensions/webirc)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tapd import events
from tapd.services.irc.conduct.admission import take_address
from tapd.services.irc.conduct.checking import password_matches, start_check
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.login import note_refused_login
from tapd.wire.addresses import parse_address, shown_address

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.wire.message import Message

log = logging.getLogger(__name__)


@command("WEBIRC", params=4, only_before_registration=True)
def webirc(session: Session, message: Message) -> None:
    """Say, as a gateway that is trusted, which address the client has."""
    fronts = session.network.fronts
    password, _gateway, _host, address = message.params[:4]
    address = shown_address(address.removeprefix("0::ffff:"))
    options = message.params[4].split(" ") if len(message.params) > 4 else []
    is_first = not session.user.nick and not session.user.username
    if not (fronts.webirc_hash and is_first and fronts.is_gateway(session.ip)):
        _refuse(session, "not a gateway, or not the first command")
    elif parse_address(address) is None:
        _refuse(session, "no address")
    else:
        args = (address, "secure" in options)
        start_check(session, password, password_matches, (fronts.webirc_hash,), _checked, args)


def _checked(session: Session, ok: bool | None, address: str, is_secure: bool) -> None:
    if not ok:
        _refuse(session, "wrong password")
        return
    session.is_secure = is_secure
    take_address(session, address)


def _refuse(session: Session, why: str) -> None:
    note_refused_login(
        session, log, f"WEBIRC from {session.ip} refused: {why}",
        events.LOGIN_REFUSED(TAPD_PEER=session.ip),
    )  # fmt: skip
    session.close("WEBIRC is not for you")
