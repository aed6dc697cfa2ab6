"""Read markers: up to when somebody has read what is at a channel or conversation.

Imports `delivery`. See ircv3.net/specs/extensions/read-marker; they are kept in
`history.Archive`, by whose they are, so all clients of an account share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.wire.delivery import render_time

if TYPE_CHECKING:
    from tapd.services.irc.telling.reply import Reply


def send_marker(reply: Reply, target: str) -> None:
    """Tell a client up to when its user has read `target`; ``*`` where that is unknown."""
    time_ms = reply.network.history.marker(reply.user.identity, target)
    text = "*" if time_ms is None else f"timestamp={render_time(time_ms)}"
    reply.send_from_server("MARKREAD", target, text)
