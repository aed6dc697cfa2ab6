"""MODE, of channels and of users (modern, "MODE message")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.commands.channels import known_channel, known_user
from tapd.services.irc.conduct.announce import announce_modes, announce_user_modes, set_mode
from tapd.services.irc.conduct.command_table import command
from tapd.services.irc.conduct.refusal import Refused
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.isupport import LIST_ENTRIES_MAX, MODE_CHANGES_MAX
from tapd.services.irc.wire.masks import is_mask, normalize_mask
from tapd.services.irc.wire.mode_changes import Change, parse_changes
from tapd.services.irc.wire.modes import CHANNEL_MODES, USER_MODES, ChannelMode, Kind
from tapd.services.irc.wire.names import is_channel_like

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message

MASK_BYTES_MAX = 200


@command("MODE", params=1)
def mode(reply: Reply, message: Message) -> None:
    """Show or change the modes of a channel or of oneself."""
    target = message.params[0]
    if not is_channel_like(target):
        _user_mode(reply, target, message.params[1:])
        return
    channel = known_channel(reply, target)
    if len(message.params) == 1:
        with_key = reply.user in channel.members
        reply.numeric(n.RPL_CHANNELMODEIS, channel.name, *channel.mode_text(with_key=with_key))
        reply.numeric(n.RPL_CREATIONTIME, channel.name, str(int(channel.created_s)))
        return
    change_modes(reply, channel, parse_changes(message.params[1], message.params[2:]))


def change_modes(
    reply: Reply, channel: Channel, changes: list[Change], *, is_forced: bool = False
) -> None:
    """Make the allowed `changes` (all, if `is_forced`), and tell the members."""
    attempt = _Attempt(reply, channel, is_forced=is_forced)
    done = [made for change in changes if (made := attempt.make(change)) is not None]
    announce_modes(reply.network, channel, done, user=reply.user, reply=reply)


class _Attempt:
    """One MODE command on one channel; lives as long as the command runs."""

    def __init__(self, reply: Reply, channel: Channel, *, is_forced: bool = False) -> None:
        self.reply = reply
        self.channel = channel
        self.is_forced = is_forced
        self.params_used = 0
        self.was_refused = False
        self.shown: set[str] = set()
        self.unknown: set[str] = set()

    def make(self, change: Change) -> Change | None:
        """Make one change; return the effective change, None for none."""
        mode = CHANNEL_MODES.get(change.letter)
        if mode is None:
            if change.letter not in self.unknown:
                self.unknown.add(change.letter)
                self.reply.numeric(n.ERR_UNKNOWNMODE, change.letter)
            return None
        if mode.kind is Kind.LIST and change.param is None:
            self._show_list(mode)
            return None
        if not self._may_make(mode, change) or self._is_locked(change):
            return None
        try:
            checked = self._check(mode, change)
        except Refused as refusal:
            refusal.tell(self.reply, "MODE")
            return None
        if checked is None:
            return None
        reply = self.reply
        return set_mode(reply.network, self.channel, checked, reply.user.mask)

    def _may_make(self, mode: ChannelMode, change: Change) -> bool:
        may_make = (
            self.is_forced
            or self.channel.has_rank(self.reply.user, mode.needs)
            or self._gives_up(change)
        )
        if not may_make:
            if not self.was_refused:
                self.reply.numeric(n.ERR_CHANOPRIVSNEEDED, self.channel.name)
            self.was_refused = True
            return False
        if change.param is not None:
            self.params_used += 1
        return self.params_used <= MODE_CHANGES_MAX

    def _is_locked(self, change: Change) -> bool:
        """Whether the channel's mode lock forbids a change; the client is told if so."""
        registration = self.channel.registration
        if self.is_forced or registration is None or not registration.forbids(change):
            return False
        lock = registration.mode_lock_text().split(" ")[0]
        self.reply.numeric(n.ERR_MLOCKRESTRICTED, self.channel.name, change.letter, lock)
        return True

    def _gives_up(self, change: Change) -> bool:
        """Whether a member gives up a rank of their own, which is always allowed."""
        user = self.reply.user
        is_own = self.reply.network.find_user(change.param or "") is user
        return not change.on and is_own and change.letter in self.channel.members.get(user, "")

    def _show_list(self, mode: ChannelMode) -> None:
        assert mode.listing is not None  # every list has it; a test looks
        channel, user = self.channel, self.reply.user
        entry, end = mode.listing
        if mode.letter in self.shown:
            return
        self.shown.add(mode.letter)
        if not channel.is_visible_to(user):
            self.reply.numeric(n.ERR_NOTONCHANNEL, channel.name)
            return
        for mask, (by, when_s) in channel.lists.get(mode.letter, {}).items():
            self.reply.numeric(entry, channel.name, mask, by, str(int(when_s)))
        self.reply.numeric(end, channel.name)

    def _check(self, mode: ChannelMode, change: Change) -> Change | None:
        """Return a change with its parameter normalized; None for one without effect.

        Raises:
            Refused: the parameter is invalid.
        """
        match mode.kind:
            case Kind.LIST:
                return self._check_mask(mode, change)
            case Kind.PREFIX:
                return self._check_member(change)
            case _:
                return self._check_setting(mode, change)

    def _check_mask(self, mode: ChannelMode, change: Change) -> Change:
        channel, text = self.channel, change.param or ""
        if not is_mask(text) or len(text.encode()) > MASK_BYTES_MAX or text[0] == ":":
            raise self._wrong(change, "that is no mask")
        mask = normalize_mask(text)
        is_full = len(channel.lists.get(mode.letter, ())) >= LIST_ENTRIES_MAX
        if change.on and is_full and channel.find_entry(mode.letter, mask) is None:
            raise Refused(n.ERR_BANLISTFULL, channel.name, mode.letter)
        return change._replace(param=mask)

    def _check_member(self, change: Change) -> Change | None:
        if change.param is None:
            return None
        user = known_user(self.reply, change.param)
        if user not in self.channel.members:
            raise Refused(n.ERR_USERNOTINCHANNEL, user.nick, self.channel.name)
        return change

    def _check_setting(self, mode: ChannelMode, change: Change) -> Change:
        if not change.on or mode.kind is Kind.FLAG:
            return change._replace(param=None)
        if change.param is None:
            raise self._wrong(change, "it needs a parameter")
        try:
            value = mode.check(change.param) if mode.check is not None else change.param
        except ValueError as error:
            raise self._wrong(change, str(error)) from error
        return change._replace(param=value)

    def _wrong(self, change: Change, why: str) -> Refused:
        shown = "*" if change.letter == "k" else change.param or "*"  # a key is a secret
        name = self.channel.name
        return Refused(n.ERR_INVALIDMODEPARAM, name, change.letter, shown, text=why)


def _user_mode(reply: Reply, nick: str, params: tuple[str, ...]) -> None:
    network, user = reply.network, reply.user
    if known_user(reply, nick) is not user:
        raise Refused(n.ERR_USERSDONTMATCH)
    if not params:
        reply.numeric(n.RPL_UMODEIS, f"+{user.modes}")
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
        reply.numeric(n.ERR_UMODEUNKNOWNFLAG)
    if done:
        announce_user_modes(network, user, done, reply)
