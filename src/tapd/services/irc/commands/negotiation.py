"""Capability negotiation: CAP LS, LIST, REQ and END (IRCv3 capability negotiation)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.refusal import Refused
from tapd.services.irc.conduct.registration import try_complete
from tapd.services.irc.wire import capabilities as cap
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.message import fill_lines

if TYPE_CHECKING:
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message

LINE_BYTES_MAX = 440


@command("CAP", params=1, before_registration=True)
def negotiate(reply: Reply, message: Message) -> None:
    """List, request or end the negotiation of capabilities."""
    verb = message.params[0].upper()
    run = _VERBS.get(verb)
    if run is None:
        raise Refused(n.ERR_INVALIDCAPCMD, message.params[0])
    run(reply, message.params[1:])


def _begin(reply: Reply) -> None:
    if not reply.is_registered:
        reply.session.negotiating = True


def _list_all(reply: Reply, params: tuple[str, ...]) -> None:
    _begin(reply)
    version = params[0] if params else ""
    if version.isascii() and version.isdigit() and len(version) <= 9:
        reply.session.cap_version = max(reply.session.cap_version, min(int(version), 302))
        if reply.session.cap_version >= 302:  # which cap-notify comes with
            reply.session.set_caps(reply.caps | cap.CAP_NOTIFY)
    _send_list(reply, "LS", describe(reply.network, reply.session.cap_version))


def _list_own(reply: Reply, _params: tuple[str, ...]) -> None:
    _send_list(reply, "LIST", cap.names_of(reply.caps))


def _request(reply: Reply, params: tuple[str, ...]) -> None:
    _begin(reply)
    asked = params[0] if params else ""
    offered = cap.offered(reply.network)
    caps = reply.caps
    for word in asked.split():
        name = word.removeprefix("-")
        each = offered.get(name)
        is_kept = word[0] == "-" and name == "cap-notify" and reply.session.cap_version >= 302
        if each is None or is_kept or each.is_told_only:
            _answer(reply, "NAK", asked)
            return
        caps = caps & ~each.bit if word[0] == "-" else caps | each.bit
    reply.session.set_caps(caps)
    _answer(reply, "ACK", asked)


def _end(reply: Reply, _params: tuple[str, ...]) -> None:
    if reply.session.negotiating:
        reply.session.negotiating = False
        try_complete(reply)


_VERBS: dict[str, Callable[[Reply, tuple[str, ...]], None]] = {
    "LS": _list_all,
    "LIST": _list_own,
    "REQ": _request,
    "END": _end,
}


def describe(network: Network, version: int) -> list[str]:
    """Return the capabilities as in CAP LS: with values from version 302 on."""
    words = []
    for name, each in cap.offered(network).items():
        if each.is_told_only and version < 302:
            continue
        value = each.value(network) if each.value is not None and version >= 302 else ""
        words.append(f"{name}={value}" if value else name)
    return words


def announce(network: Network, verb: str, words: Sequence[str]) -> None:
    """Tell clients with cap-notify of added (NEW) or removed (DEL) capabilities.

    Args:
        network: whose clients.
        verb: NEW or DEL; removed ones are taken from all sessions as well.
        words: the capabilities, for NEW with their values.
    """
    names = [word.partition("=")[0] for word in words]
    sessions = [*network.half_registered, *network.registered_sessions()]
    for session in sessions:
        if session.caps & cap.CAP_NOTIFY:
            shown = words if session.cap_version >= 302 else names
            session.send_from_server("CAP", session.nick, verb, trailing=" ".join(shown))
        if verb == "DEL":
            gone = sum(cap.CAPABILITIES[name].bit for name in names)
            session.set_caps(session.caps & ~gone)


def _send_list(reply: Reply, verb: str, words: Iterable[str]) -> None:
    lines = list(fill_lines(words, LINE_BYTES_MAX)) or [""]
    if reply.session.cap_version < 302:  # such a client knows no second line
        _answer(reply, verb, lines[0])
        return
    for line in lines[:-1]:
        reply.send_from_server("CAP", reply.nick, verb, "*", trailing=line)
    _answer(reply, verb, lines[-1])


def _answer(reply: Reply, verb: str, text: str) -> None:
    reply.send_from_server("CAP", reply.nick, verb, trailing=text)
