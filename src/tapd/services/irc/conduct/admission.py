"""Admission control: at the connection, at the end of registration, at login, at a new ban.

A client passes these checks in order: the rate limit of connections from its address
(refused without a word, which costs least); the PROXY header if one is due; bans by
address and limits of connections (ERROR); and at the end of registration all bans and the
lockdown (465, ERROR).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tapd.errors import PeerError
from tapd.services.irc import events
from tapd.services.irc.conduct import audit
from tapd.services.irc.state.bans import Ban, Kind, Subject
from tapd.services.irc.wire import numerics as n
from tapd.wire.addresses import network_key, peer_address
from tapd.wire.proxy import parse_header

if TYPE_CHECKING:
    from tapd.model.protocol import Transport
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Client, Reply
    from tapd.services.irc.state.user import User

_log = logging.getLogger(__name__)

BYTES_MAX = 4096
"""Limit of all input before registration; CAP, SASL, NICK and USER take some hundreds."""
LINE_BYTES_MAX = 1024
"""Limit of the kept part of one line: longer than any line may be (RFC 2812 section 2.3: 512).

Each piece of input journals it anew, so this also bounds the journal bytes per input byte.
"""

LOCKDOWNS = {
    "off": "everybody may come",
    "accounts": "nobody can register an account",
    "sasl": "and only who logs in by SASL may come in",
    "all": "nobody may come in but from exempt addresses",
}
"""Levels of `Network.lockdown`, each with the restrictions of the one before."""


def check_pace(network: Network, peer: Any) -> None:
    """Check the rate of connections from an address.

    Raises:
        PeerError: it exceeds the limit.
    """
    if network.fronts.is_proxy(peer):
        return  # checked once the client's own address is known
    if not _is_in_pace(network, peer_address(peer)):
        raise PeerError(f"{peer_address(peer)} connects too often")


def _is_in_pace(network: Network, ip: str) -> bool:
    limits = network.limits
    return limits.is_exempt(ip) or network.connection_pace.take(
        _pace_key(ip), network.now_s(), limits.connections_per_minute, 60.0
    )


def arrive(session: Client, transport: Transport) -> None:
    """Admit a new connection, or wait for its PROXY header."""
    peername = transport.get_extra_info("peername")
    sockname = transport.get_extra_info("sockname")
    if session.network.fronts.begins_with_header(peername, sockname):
        session.awaits_header = True
    else:
        take_address(session, peer_address(peername))


def take_header(session: Client, data: bytes) -> bytes:
    """Take the PROXY header at the beginning of a connection; return what follows it.

    Raises:
        PeerError: there is none.
    """
    data = session.pending + data
    header = parse_header(data)
    if header is None:
        session.pending = data
        return b""
    session.pending = b""
    session.awaits_header = False
    own = peer_address(session.transport.get_extra_info("peername"))
    session.is_secure = header.is_secure or session.network.fronts.are_tls
    if header.address and not _is_in_pace(session.network, header.address):
        raise PeerError(f"{header.address} connects too often")
    take_address(session, header.address or own)
    return b"" if session.transport.is_closing() else data[header.size :]


def _is_exempt(network: Network, ip: str) -> bool:
    return network.limits.is_exempt(ip) or network.bans.is_exempt_address(ip, network.now_s())


def take_address(reply: Reply, ip: str) -> None:
    """Set the address of a client to `ip`; close the connection if that is not allowed."""
    session, network, user = reply.session, reply.network, reply.user
    network.crowd.remove(session)
    session.ip = user.ip = ip
    user.cloak = user.host = network.host_for(ip)
    ban = network.bans.find_address(ip, network.now_s())
    if ban is not None and not ban.is_soft:
        turn_away(reply, ban)
        return
    is_exempt = _is_exempt(network, ip)
    reason = "" if is_exempt else network.crowd.why_full(ip, network.limits)
    if reason:
        reply.close(reason)
        return
    network.crowd.add(session)
    most = network.limits.half_registered
    if most and len(network.half_registered) > most:
        oldest = next(iter(network.half_registered))
        if oldest is not session:
            oldest.close("Too many registrations at once")


def limit_input(session: Client) -> None:
    """Limit input before registration; close the connection if it sent more.

    The rest stays in the kernel and is read once the client is registered, so a client that
    sends everything in one piece loses nothing. If registration never completes, more input
    closes the connection.
    """
    transport = session.live_transport
    if session.is_registered or transport is None or transport.is_closing():
        return
    left = BYTES_MAX - session.input_bytes
    if left < 0 and session.check is None:
        session.close(f"More than {BYTES_MAX // 1024} KiB of input before registration")
    else:  # one byte over the limit shows that it was exceeded
        transport.set_read_limit(max(left, 0) + 1)


def subject_of(session: Client, user: User | None = None) -> Subject:
    """Return a client as the subject of bans; with `user`, as another user's."""
    user = session.user if user is None else user
    hosts = tuple(dict.fromkeys((user.host, user.cloak, user.ip, session.ip)))
    return Subject(user.nick, user.username, user.realname, hosts, session.ip, user.account)


def may_enter(reply: Reply) -> bool:
    """Whether a client with complete registration is admitted; if not, it is told."""
    session, network = reply.session, reply.network
    ban = network.bans.find(subject_of(session), network.now_s())
    if ban is not None:
        turn_away(reply, ban)
        return False
    level = network.lockdown
    if level in ("off", "accounts") or (level == "sasl" and session.user.account):
        return True
    if _is_exempt(network, session.ip):
        return True
    text = "Log in by SASL to come in now" if level == "sasl" else "Nobody can come in now"
    reply.numeric(n.ERR_YOUREBANNEDCREEP, text=text)
    reply.close(text)
    return False


def recheck_soon(session: Client) -> None:
    """Check the bans again soon, after a client's account, nick or real name changed.

    In a turn of its own, so that the command that changed it is answered first.
    """
    network = session.network
    if network.bans.find(subject_of(session), network.now_s()) is not None:
        network.application.call_later(0, recheck, session)


def recheck(session: Client) -> None:
    """Disconnect a registered client if a ban matches it by now."""
    network = session.network
    ban = network.bans.find(subject_of(session), network.now_s())
    if ban is not None and session.is_registered and session.is_connected:
        turn_away(session, ban)


def may_register(session: Client) -> bool:
    """Whether `session` may register an account from its address now."""
    network = session.network
    count = network.limits.accounts_per_hour
    return _is_exempt(network, session.ip) or (
        network.lockdown == "off"
        and network.account_pace.is_free(_pace_key(session.ip), network.now_s(), count, 3600.0)
    )


def note_registration(session: Client) -> None:
    """Count an account registration for the rate limit."""
    network = session.network
    if not _is_exempt(network, session.ip):
        network.account_pace.take(
            _pace_key(session.ip), network.now_s(), network.limits.accounts_per_hour, 3600.0
        )


def _pace_key(ip: str) -> str:
    """Return the rate-limit key of an address: for IPv6 a customer's network."""
    return network_key(ip, 32, 64)


def turn_away(reply: Reply, ban: Ban, asking: Reply | None = None) -> None:
    """Disconnect a banned client (RFC 2812, 465; ERROR).

    Args:
        reply: where that client is told.
        ban: the ban.
        asking: of the command that caused it, if it is another client's.
    """
    session, network = reply.session, reply.network
    need = "You must log in by SASL" if ban.is_soft else "You are banned"
    text = f"{need}: {ban.reason}" if ban.reason else need
    network.application.runtime.tell(
        _log, "banned", f"{audit.describe(session)} is banned ({ban.kind.name.lower()} {ban.mask})",
        peer=session.ip,
        extra=events.BAN_APPLIED(
            TAPD_PEER=session.ip, TAPD_USER=session.user.nick, TAPD_MASK=ban.mask
        ),
    )  # fmt: skip
    notice = f"Ban {ban.mask} keeps {audit.describe(session)} away"
    audit.tell_opers(network, "s", notice, reply if asking is None else asking)
    reply.numeric(n.ERR_YOUREBANNEDCREEP, text=text)
    reply.close(text, quit_reason="Banned")


def apply_ban(network: Network, ban: Ban, reply: Reply) -> int:
    """Disconnect all clients that a new ban matches; return how many connections.

    Args:
        network: theirs.
        ban: the ban.
        reply: of the operator's command.
    """
    count = 0
    now_s = network.now_s()
    for session in [*network.half_registered, *network.registered_sessions()]:
        if not session.is_connected or not session.ip:
            continue
        is_here = session.is_registered or ban.kind is Kind.ADDRESS
        if is_here and ban.is_about(subject := subject_of(session)):
            if ban.is_soft and not session.is_registered:
                continue
            if network.bans.find(subject, now_s) is not None:  # no exempt applies
                turn_away(reply.to(session), ban, reply)
                count += 1
    for user in list(network.users.values()):  # always-on users without a client
        absent = Subject(
            user.nick, user.username, user.realname, (user.host, user.cloak), user.ip, user.account
        )
        if not user.sessions and ban.is_about(absent):
            network.remove_user(user, "Banned")
    return count
