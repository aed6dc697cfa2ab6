"""The IRC network: the root of all durable state, and its indexes.

Users by nick, channels by name, monitors and WHOWAS change only here, so that the indexes
stay consistent. What runs by itself (start, time-outs) is in `service.IrcNetwork`, the
class of the network in a TAP.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, cast

from tapd.model.durable.tracked import TrackedDict
from tapd.model.service import Service
from tapd.model.timer import Timer
from tapd.services.irc.state.accounts import Accounts
from tapd.services.irc.state.bans import Bans
from tapd.services.irc.state.channel import Channel
from tapd.services.irc.state.fronts import Fronts
from tapd.services.irc.state.history import Archive
from tapd.services.irc.state.limits import Crowd, Limits, Pace, WaitingRoom
from tapd.services.irc.state.monitor import Monitors
from tapd.services.irc.state.opers import ALL_PRIVILEGES, Oper
from tapd.services.irc.state.sasl import MECHANISMS
from tapd.services.irc.state.user import User
from tapd.services.irc.state.whowas import Whowas
from tapd.services.irc.wire.cloak import cloak_account, cloak_address
from tapd.services.irc.wire.delivery import Event, Outgoing, event_of, time_tag
from tapd.services.irc.wire.message import render_body
from tapd.services.irc.wire.modes import USER_MODES
from tapd.services.irc.wire.names import QUIT_BYTES_MAX, clip, fold

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Client, Reply

SWEEP_S = 15.0
"""The interval of the sweep for time-outs; one timer for all clients."""


class Network(Service):
    """An IRC network of one server, without what runs by itself.

    Attributes:
        network_name: for users and ISUPPORT NETWORK.
        server_name: the source of the server's messages; has a dot in it, so that
            clients can tell it from a nick.
        motd: the lines of the message of the day.
        motd_file: the file of the message of the day, read again on REHASH; "" for none.
        admin: the lines that ADMIN shows: two about the place, one about the contact.
        password_hash: argon2, of the password that PASS needs; "" for none.
        ping_s: how long a client may be silent before it is sent a PING.
        ping_timeout_s: how long it then has to answer.
        registration_s: how long a registration may take.
        channels_per_user_max: channels that one user can be on.
        created_s: when the network was made.
        users: registered users, by folded nick.
        channels: by folded name.
        half_registered: sessions whose registration is not complete (values are None).
        opers: operator entries, by name.
        whowas, monitors: see their modules.
        accounts: who has registered.
        history: the conversations, and how much of everything is kept.
        most_users: the most users there ever were at once.
        nick_protection, nick_grace_s: see `conduct.reservation`.
        always_on: who stays without a client: nobody (``off``), users who ask for it
            (``opt-in``), all except users who decline (``opt-out``).
        always_on_s_max: how long.
        history_on_join: messages that a user who joins a channel gets unasked.
        channels_per_account_max: channels that one account can register.
        bans, limits, fronts, waiting_room: see their modules.
        lockdown: who may connect, one of `conduct.admission.LOCKDOWNS`.
        cloaks: others see cloaks in place of addresses.
        cloak_key: of the cloaks' digests; never shown.
    """

    name = "irc"
    version: ClassVar[str] = "tapd-irc-1"

    _v_clock: Callable[[], float] | None = None
    _v_references: Iterator[str] | None = None
    _v_counts: dict[str, int] | None = None
    _v_crowd: Crowd | None = None
    _v_connection_pace: Pace | None = None
    _v_account_pace: Pace | None = None

    def __init__(self, network_name: str, server_name: str, created_s: float) -> None:
        self.network_name: str = network_name
        self.server_name = server_name
        self.motd: tuple[str, ...] = ()
        self.motd_file = ""
        self.admin: tuple[str, str, str] = ("", "", "")
        self.password_hash = ""
        self.ping_s = 120.0
        self.ping_timeout_s = 60.0
        self.registration_s = 60.0
        self.channels_per_user_max: int = 100
        self.created_s = created_s
        self.users: dict[str, User] = TrackedDict()
        self.channels: dict[str, Channel] = TrackedDict()
        self.half_registered: dict[Client, None] = TrackedDict()
        self.opers: dict[str, Oper] = TrackedDict()
        self.whowas = Whowas()
        self.monitors = Monitors()
        self.accounts: Accounts = Accounts()
        self.history = Archive()
        self.most_users = 0
        self.bans = Bans()
        self.limits = Limits()
        self.fronts: Fronts = Fronts()
        self.waiting_room = WaitingRoom()
        self.lockdown = "off"
        self.cloaks = True
        self.cloak_key = secrets.token_bytes(32)
        self.nick_protection = "strict"
        self.nick_grace_s = 30.0
        self.always_on = "opt-in"
        self.always_on_s_max = 90 * 86400.0
        self.history_on_join = 0
        self.channels_per_account_max = 20
        self.sweeper: Timer | None = None

    # --- time and ids ----------------------------------------------------------------

    def now_s(self) -> float:
        """Return the wall clock, in seconds since the epoch."""
        clock = self._v_clock
        return self.application.runtime.now_s() if clock is None else clock()

    def now_ms(self) -> int:
        """Return the wall clock, in whole milliseconds since the epoch."""
        clock = self._v_clock  # inlined `now_s`: each message needs its time
        return int((self.application.runtime.now_s() if clock is None else clock()) * 1000)

    def next_reference(self) -> str:
        """Return an id that no other batch or message of this network has.

        It consists of a random number of this process and a counter, so nothing is stored:
        nobody has seen ids that were not committed.
        """
        references = self._v_references
        if references is None:
            render = f"{secrets.token_hex(6)}%x".__mod__
            references = self._v_references = map(render, itertools.count(1))
        return next(references)

    # --- look-ups ----------------------------------------------------------------------

    def find_user(self, nick: str) -> User | None:
        """Return the registered user of that nick."""
        return self.users.get(fold(nick))

    def find_channel(self, name: str) -> Channel | None:
        """Return the channel of that name."""
        return self.channels.get(fold(name))

    def registered_sessions(self) -> Iterator[Client]:
        """Yield the sessions of all registered users."""
        for user in self.users.values():
            yield from user.sessions

    def host_for(self, ip: str) -> str:
        """Return the shown host of a client at `ip` that is not logged in."""
        return cloak_address(self.cloak_key, ip) if self.cloaks else ip

    def host_of(self, user: User) -> str:
        """Return the shown host of `user` now."""
        if user.vhost:
            return user.vhost
        if user.account and self.cloaks:
            return cloak_account(user.account, self.network_name)
        return user.cloak

    @property
    def crowd(self) -> Crowd:
        """The number of connections by address; volatile."""
        crowd = self._v_crowd
        if crowd is None or not crowd.is_made_for(self.limits):
            sessions = [each for each in self.connections if isinstance(each, self.protocol)]
            crowd = self._v_crowd = Crowd(cast(list["Client"], sessions), self.limits)
        return crowd

    @property
    def connection_pace(self) -> Pace:
        """The rate of connections; volatile."""
        if self._v_connection_pace is None:
            self._v_connection_pace = Pace()
        return self._v_connection_pace

    @property
    def account_pace(self) -> Pace:
        """The rate of account registrations; volatile."""
        if self._v_account_pace is None:
            self._v_account_pace = Pace()
        return self._v_account_pace

    @property
    def may_register(self) -> bool:
        """Whether users may register accounts themselves."""
        return self.accounts.may_register

    @property
    def sasl_mechanisms(self) -> str:
        """The names of the mechanisms of SASL, with commas."""
        return ",".join(MECHANISMS)

    @property
    def sts(self) -> str:
        """The value of the capability sts; "" if TLS is not offered."""
        return self.fronts.sts if self.fronts.sts_port else ""

    def may(self, user: User, privilege: str) -> bool:
        """Whether an operator's entry includes `privilege`."""
        oper = self.opers.get(user.oper) if user.is_oper else None
        return oper is not None and (
            ALL_PRIVILEGES in oper.privileges or privilege in oper.privileges
        )

    # --- sessions ------------------------------------------------------------------------

    def session_opened(self, session: Client) -> None:
        """Note a new connection."""
        self.half_registered[session] = None

    def attach_session(self, session: Client, user: User) -> None:
        """Attach `session` to a registered user."""
        self.half_registered.pop(session, None)
        session.user = user
        session.is_registered = True
        session.transport.set_read_limit(None)
        user.sessions = (*user.sessions, session)
        for channel in user.channels:
            channel.add_session(session)

    def detach_session(self, session: Client) -> None:
        """Remove a session; its user stays. Idempotent."""
        self.half_registered.pop(session, None)
        self.crowd.remove(session)
        if not session.is_registered:
            return
        session.is_registered = False
        self.monitors.clear(session)
        user = session.user
        for channel in user.channels:
            channel.remove_session(session)
        user.sessions = tuple(each for each in user.sessions if each is not session)

    # --- users -----------------------------------------------------------------------------

    def add_user(self, user: User) -> None:
        """Index a user whose registration is complete."""
        self.users[user.folded] = user
        self._count(user, +1)
        user.signon_s = user.active_s = self.now_s()
        user.guest_id = self.next_reference()
        if self.most_users < len(self.users):
            self.most_users += 1  # not at every registration: it costs a record of its own
        self.monitors.tell_online(user)

    def remove_user(self, user: User, reason: str) -> None:
        """Remove a user from the network (QUIT)."""
        reason = clip(reason, QUIT_BYTES_MAX)
        event = event_of(user, self, "QUIT", trailing=reason)
        self.tell_others(user, event.outgoing())
        for channel in list(user.channels):
            self.record(channel, event)
            channel.remove(user)
            self.drop_if_empty(channel)
        self._count(user, -1)
        user.invites = None
        if self.users.get(user.folded) is user:
            del self.users[user.folded]
        if not user.account:
            self.history.forget(user.identity)
        self.whowas.add(user, self.now_s())
        self.monitors.tell_offline(user.nick)

    def change_nick(self, user: User, nick: str, reply: Reply | None = None) -> None:
        """Change a registered user's nick to a free one.

        Args:
            user: the user.
            nick: the new one.
            reply: of the command that asked, which is told last; None for none.
        """
        event = event_of(user, self, "NICK", trailing=nick)
        outgoing = event.outgoing()
        for channel in user.channels:
            self.record(channel, event)
        self.whowas.add(user, self.now_s())
        before, folded = user.nick, fold(nick)
        if folded != user.folded:
            del self.users[user.folded]
            self.users[folded] = user
        user.nick = nick
        self.tell_others(user, outgoing)
        user.send(outgoing, reply)
        if folded != fold(before):
            self.monitors.tell_offline(before, reply)
            self.monitors.tell_online(user, reply)

    @property
    def counts(self) -> dict[str, int]:
        """The number of users with each user mode; volatile, counted once and then updated."""
        if self._v_counts is None:
            self._v_counts = dict.fromkeys(USER_MODES, 0)
            for user in self.users.values():
                self._count(user, +1)
        return self._v_counts

    def _count(self, user: User, change: int) -> None:
        if self._v_counts is not None:
            for letter in user.modes:
                self._v_counts[letter] += change

    def set_user_mode(self, user: User, letter: str, *, on: bool) -> bool:
        """Set or clear a mode of a registered user; return whether that changed anything."""
        self._count(user, -1)
        changed = user.set_mode(letter, on=on)
        self._count(user, +1)
        return changed

    def record(self, channel: Channel, event: Event) -> None:
        """Record an event of a channel: anything that its members are told."""
        log = self.history.record(channel.log, event)
        if log is not channel.log:
            channel.log = log

    @property
    def history_events_max(self) -> int:
        """Limit of events of a channel or conversation."""
        return self.history.events_max

    @history_events_max.setter
    def history_events_max(self, value: int) -> None:
        self.history.events_max = value

    @property
    def history_age_s_max(self) -> float:
        """How long they are kept."""
        return self.history.age_s_max

    @history_age_s_max.setter
    def history_age_s_max(self, value: float) -> None:
        self.history.age_s_max = value

    def server_event(self, command: str, *params: str, trailing: str | None = None) -> Outgoing:
        """Return a message from the server, with the time for clients that want it."""
        body = render_body(self.server_name, command, params, trailing)
        return Outgoing(body, (time_tag(self.now_ms()),))

    def tell_others(
        self, user: User, outgoing: Outgoing, *, having: int = 0, lacking: int = 0
    ) -> None:
        """Send once to every other user who shares a channel with `user`.

        Args:
            user: the acting user; their own sessions get nothing.
            outgoing: the message.
            having: only to sessions with all of these capabilities.
            lacking: only to sessions with none of these.
        """
        told = set(user.sessions)
        for channel in user.channels:
            for caps, sessions in channel.audience.items():
                if caps & having != having or caps & lacking:
                    continue
                data = outgoing.render(caps)
                for session, transport in sessions.items():
                    if session not in told:
                        told.add(session)
                        transport.write(data)

    # --- channels ----------------------------------------------------------------------------

    def make_channel(self, name: str) -> Channel:
        """Create the channel `name`."""
        channel = Channel(name, self.now_s())
        self.channels[channel.folded] = channel
        return channel

    def drop_if_empty(self, channel: Channel) -> None:
        """Remove a channel without members, unless it is registered."""
        if channel.members:
            return
        if channel.registration is None:
            self.channels.pop(channel.folded, None)
        elif not channel.registration.keeps_topic:
            channel.topic = channel.topic_by = ""
