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
    from tapd.services.irc.telling.reply import Reply
    from tapd.services.irc.wire.message import Message

log = logging.getLogger(__name__)


@command("WEBIRC", params=4, only_before_registration=True)
def webirc(reply: Reply, message: Message) -> None:
    """Say, as a gateway that is trusted, which address the client has."""
    fronts = reply.network.fronts
    password, _gateway, _host, address = message.params[:4]
    address = shown_address(address.removeprefix("0::ffff:"))
    options = message.params[4].split(" ") if len(message.params) > 4 else []
    is_first = not reply.user.nick and not reply.user.username
    if not (fronts.webirc_hash and is_first and fronts.is_gateway(reply.session.ip)):
        _refuse(reply, "not a gateway, or not the first command")
    elif parse_address(address) is None:
        _refuse(reply, "no address")
    else:
        args = (address, "secure" in options)
        start_check(reply, password, password_matches, (fronts.webirc_hash,), _checked, args)


def _checked(reply: Reply, ok: bool | None, address: str, is_secure: bool) -> None:
    if not ok:
        _refuse(reply, "wrong password")
        return
    reply.session.is_secure = is_secure
    take_address(reply, address)


def _refuse(reply: Reply, why: str) -> None:
    note_refused_login(
        reply.session, log, f"WEBIRC from {reply.session.ip} refused: {why}",
        events.LOGIN_REFUSED(TAPD_PEER=reply.session.ip),
    )  # fmt: skip
    reply.close("WEBIRC is not for you")
