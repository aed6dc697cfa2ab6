"""Settings of accounts, reserved nicks, always-on users and channels, for `tapctl set`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tapd.errors import UsageError
from tapd.model.setting import Change, Setting, choice_setting, number_setting
from tapd.services.irc.commands.negotiation import announce, describe
from tapd.services.irc.conduct import presence

if TYPE_CHECKING:
    from tapd.services.irc.state.network import Network

_REGISTRATION = "draft/account-registration"
_ALWAYS_ON = ("off", "opt-in", "opt-out")
_PROTECTION = ("strict", "grace", "off")


def _set_always_on(network: Network, value: str, _secret: str) -> Change:
    if value not in _ALWAYS_ON:
        raise UsageError(f"{value!r}: write one of {', '.join(_ALWAYS_ON)}")

    def change() -> None:
        network.always_on = value
        presence.refresh_all(network)  # users without a client may leave

    return change


def _set_registration(network: Network, value: str, _secret: str) -> Change:
    if value not in ("on", "off"):
        raise UsageError(f"{value!r}: write on or off")

    def change() -> None:
        if network.accounts.may_register == (value == "on"):
            return
        network.accounts.may_register = value == "on"
        if value == "off":
            announce(network, "DEL", [_REGISTRATION])
        else:
            words = describe(network, 302)
            announce(network, "NEW", [word for word in words if word.startswith(_REGISTRATION)])

    return change


PEOPLE_SETTINGS: Mapping[str, Setting] = {
    "account-registration": Setting(
        "on: people register accounts themselves; off: they don't",
        _set_registration,
        lambda network: "on" if network.accounts.may_register else "off",
        choices=("on", "off"),
    ),
    "nick-protection": choice_setting(
        "nick_protection",
        "who takes a reserved nick is refused (strict), renamed after a while (grace) or let be "
        "(off)",
        {each: each for each in _PROTECTION},
    ),
    "nick-grace": number_setting(
        "nick_grace_s", "seconds to log in to the account of a reserved nick", whole=False
    ),
    "always-on": Setting(
        "users who stay without a client: off (none), opt-in (who asks NickServ for it) or "
        "opt-out (all with an account, but who asks not to)",
        _set_always_on,
        lambda network: str(network.always_on),
        choices=_ALWAYS_ON,
    ),
    "always-on-days": number_setting(
        "always_on_s_max", "days after which they go, if no client comes", least=0.01,
        factor=86400, whole=False,
    ),
    "history-on-join": number_setting(
        "history_on_join",
        "messages that one who joins a channel is told, by clients without draft/chathistory",
        least=0,
    ),
    "channels-per-account": number_setting(
        "channels_per_account_max", "channels that one account can register", least=0
    ),
}  # fmt: skip
