"""MODE, of channels and of users (modern, "MODE message")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.commands.channels import known_channel
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.delivery import event_of
from tapd.services.irc.wire.isupport import LIST_ENTRIES_MAX, MODE_CHANGES_MAX
from tapd.services.irc.wire.masks import is_mask, normalize_mask
from tapd.services.irc.wire.mode_changes import Change, fill_messages, parse_changes, render_changes
from tapd.services.irc.wire.modes import CHANNEL_MODES, USER_MODES, ChannelMode, Kind
from tapd.services.irc.wire.names import is_channel_like

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.wire.message import Message

MASK_BYTES_MAX = 200


@command("MODE", params=1)
def mode(session: Session, message: Message) -> None:
    """Show or change the modes of a channel or of oneself."""
    target = message.params[0]
    if not is_channel_like(target):
        _user_mode(session, target, message.params[1:])
        return
    channel = known_channel(session, target)
    if channel is None:
        return
    if len(message.params) == 1:
        with_key = session.user in channel.members
        session.reply(n.RPL_CHANNELMODEIS, channel.name, *channel.mode_text(with_key=with_key))
        session.reply(n.RPL_CREATIONTIME, channel.name, str(int(channel.created_s)))
        return
    change_modes(session, channel, parse_changes(message.params[1], message.params[2:]))


def change_modes(
    session: Session, channel: Channel, changes: list[Change], *, is_forced: bool = False
) -> None:
    """Make those of `changes` that are allowed (all, where `is_forced`), and tell the members."""
    attempt = _Attempt(session, channel, is_forced=is_forced)
    done = [made for change in changes if (made := attempt.make(change)) is not None]
    network, source = session.network, session.user.mask
    for params in fill_messages(done, source, channel.name):
        event = event_of(session.user, network, "MODE", channel.name, *params)
        network.record(channel, event)
        outgoing = event.outgoing()
        channel.broadcast(outgoing, skip=session)
        session.send(outgoing)


class _Attempt:
    """One MODE command on one channel; lives as long as the command runs."""

    def __init__(self, session: Session, channel: Channel, *, is_forced: bool = False) -> None:
        self.session = session
        self.channel = channel
        self.is_forced = is_forced
        self.params_used = 0
        self.was_refused = False
        self.shown: set[str] = set()
        self.unknown: set[str] = set()

    def make(self, change: Change) -> Change | None:
        """Make one change; return what was done, None for nothing."""
        mode = CHANNEL_MODES.get(change.letter)
        if mode is None:
            if change.letter not in self.unknown:
                self.unknown.add(change.letter)
                self.session.reply(n.ERR_UNKNOWNMODE, change.letter)
            return None
        if mode.kind is Kind.LIST and change.param is None:
            self._show_list(mode)
            return None
        if not self._may_make(mode, change) or self._is_locked(change):
            return None
        match mode.kind:
            case Kind.LIST:
                return self._change_list(mode, change)
            case Kind.PREFIX:
                return self._change_rank(change)
            case _:
                return self._change_setting(mode, change)

    def _may_make(self, mode: ChannelMode, change: Change) -> bool:
        may_make = (
            self.is_forced
            or self.channel.has_rank(self.session.user, mode.needs)
            or self._gives_up(change)
        )
        if not may_make:
            if not self.was_refused:
                self.session.reply(n.ERR_CHANOPRIVSNEEDED, self.channel.name)
            self.was_refused = True
            return False
        if change.param is not None:
            self.params_used += 1
        return self.params_used <= MODE_CHANGES_MAX

    def _is_locked(self, change: Change) -> bool:
        """Whether the channel's mode lock is against a change; the client is told then."""
        registration = self.channel.registration
        if self.is_forced or registration is None or not registration.forbids(change):
            return False
        lock = registration.mode_lock_text().split(" ")[0]
        self.session.reply(n.ERR_MLOCKRESTRICTED, self.channel.name, change.letter, lock)
        return True

    def _gives_up(self, change: Change) -> bool:
        """Whether somebody takes a rank of their own away, which they always may."""
        user = self.session.user
        is_own = self.session.network.find_user(change.param or "") is user
        return not change.on and is_own and change.letter in self.channel.members.get(user, "")

    def _show_list(self, mode: ChannelMode) -> None:
        assert mode.listing is not None  # every list has it; a test looks
        channel, user = self.channel, self.session.user
        entry, end = mode.listing
        if mode.letter in self.shown:
            return
        self.shown.add(mode.letter)
        if not channel.is_visible_to(user):
            self.session.reply(n.ERR_NOTONCHANNEL, channel.name)
            return
        for mask, (by, when_s) in channel.lists.get(mode.letter, {}).items():
            self.session.reply(entry, channel.name, mask, by, str(int(when_s)))
        self.session.reply(end, channel.name)

    def _change_list(self, mode: ChannelMode, change: Change) -> Change | None:
        channel = self.channel
        text = change.param or ""
        if not is_mask(text) or len(text.encode()) > MASK_BYTES_MAX or text[0] == ":":
            self._refuse_param(change, "that is no mask")
            return None
        mask = normalize_mask(text)
        present = channel.find_entry(mode.letter, mask)
        if change.on == (present is not None):
            return None
        if present is not None:
            channel.remove_entry(mode.letter, present)
            return change._replace(param=present)
        if len(channel.lists.get(mode.letter, ())) >= LIST_ENTRIES_MAX:
            self.session.reply(n.ERR_BANLISTFULL, channel.name, mode.letter)
            return None
        session = self.session
        channel.add_entry(mode.letter, mask, session.user.mask, session.network.now_s())
        return change._replace(param=mask)

    def _change_rank(self, change: Change) -> Change | None:
        if change.param is None:
            return None
        channel, session = self.channel, self.session
        user = session.network.find_user(change.param)
        if user is None:
            session.reply(n.ERR_NOSUCHNICK, change.param)
        elif user not in channel.members:
            session.reply(n.ERR_USERNOTINCHANNEL, user.nick, channel.name)
        elif channel.set_rank(user, change.letter, on=change.on):
            return change._replace(param=user.nick)
        return None

    def _change_setting(self, mode: ChannelMode, change: Change) -> Change | None:
        modes = self.channel.modes
        letter = mode.letter
        if not change.on:
            if modes.pop(letter, None) is None:
                return None
            return Change(on=False, letter=letter, param="*" if mode.kind is Kind.ALWAYS else None)
        value = ""
        if mode.kind is not Kind.FLAG:
            if change.param is None:
                self._refuse_param(change, "it needs a parameter")
                return None
            try:
                value = mode.check(change.param) if mode.check is not None else change.param
            except ValueError as error:
                self._refuse_param(change, str(error))
                return None
        if modes.get(letter) == value:
            return None
        modes[letter] = value
        return Change(on=True, letter=letter, param=value or None)

    def _refuse_param(self, change: Change, why: str) -> None:
        shown = "*" if change.letter == "k" else change.param or "*"  # a key is a secret
        self.session.reply(
            n.ERR_INVALIDMODEPARAM, self.channel.name, change.letter, shown, text=why
        )


def _user_mode(session: Session, nick: str, params: tuple[str, ...]) -> None:
    network, user = session.network, session.user
    target = network.find_user(nick)
    if target is None:
        session.reply(n.ERR_NOSUCHNICK, nick)
        return
    if target is not user:
        session.reply(n.ERR_USERSDONTMATCH)
        return
    if not params:
        session.reply(n.RPL_UMODEIS, f"+{user.modes}")
        return
    done = []
    on = True
    unknown = False
    for letter in params[0]:
        if letter in "+-":
            on = letter == "+"
            continue
        mode = USER_MODES.get(letter)
        if mode is None:
            unknown = True
        elif not (mode.settable if on else mode.removable) or (
            on and mode.for_opers and not user.is_oper
        ):
            continue
        elif network.set_user_mode(user, letter, on=on):
            done.append(Change(on, letter))
            if letter == "o":
                user.oper = ""
                done += [
                    Change(on=False, letter=each.letter)
                    for each in USER_MODES.values()
                    if each.for_opers and network.set_user_mode(user, each.letter, on=False)
                ]
    if unknown:
        session.reply(n.ERR_UMODEUNKNOWNFLAG)
    if done:
        outgoing = event_of(user, network, "MODE", user.nick, *render_changes(done)).outgoing()
        user.send(outgoing, skip=session)
        session.send(outgoing)
