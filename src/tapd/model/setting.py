"""Settings: what `tapctl set` can change in a service, while it runs or sleeps.

A service lists them in its class attribute `settable`, so a server type brings its own
and no other module needs to know them. Each is checked first and changed in a turn
afterwards. So several change together or not at all, and slow checks (the hash of a
password) block nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from typing import Protocol as TypingProtocol

from tapd.errors import UsageError
from tapd.model.access.accounts import Authorizer, check_credential, hash_password
from tapd.values import Value

Change = Callable[[], object]


class Setting(Value):
    """One setting.

    Attributes:
        summary: one line about it, for people.
        prepare: given the service, the value as typed and the secret ("" for
            none): checks them and returns a function that makes the change. It changes
            nothing itself, may take long, and may run in a thread. Raises
            `UsageError`.
        read: returns the present value, as it would be typed.
        asks_for: a secret to prompt for besides the value ("Password"), never shown and
            never on a command line; "" for none.
        choices: all possible values, if they are few; otherwise empty.
        form: the placeholder for the value in help.
    """

    summary: str
    prepare: Callable[[Any, str, str], Change]
    read: Callable[[Any], str]
    asks_for: str = ""
    choices: tuple[str, ...] = ()
    form: str = "VALUE"


class HasAccounts(TypingProtocol):
    """What an account's setting needs of an application."""

    @property
    def authorizer(self) -> Authorizer:
        """Its accounts."""


class OfApplication(TypingProtocol):
    """What an account's setting needs of a service (`model.service.Service`)."""

    @property
    def application(self) -> HasAccounts:
        """The application that the service belongs to."""


class HasSettings(TypingProtocol):
    """What finding settings needs of a service (`model.service.Service`)."""

    name: str

    @property
    def settable(self) -> Mapping[str, Setting]:
        """Its settings, by option."""


class HasServices(HasAccounts, TypingProtocol):
    """What finding settings needs of an application (`model.application.Application`)."""

    @property
    def services(self) -> Mapping[str, HasSettings]:
        """Its services, by name."""


class Assignment(Value):
    """A request to set something: ``OPTION=VALUE``, and a secret if the setting has one."""

    option: str
    value: str
    secret: str = ""

    def __repr__(self) -> str:
        return f"Assignment(option={self.option!r}, value={self.value!r})"


def number_setting(
    attribute: str, summary: str, *, least: float = 1, factor: int = 1, whole: bool = True
) -> Setting:
    """Return the setting of a number that a service keeps in `attribute`.

    Args:
        attribute: of the service.
        summary: one line about it.
        least: the smallest allowed value, as typed.
        factor: the kept value is this many times the typed one (1024 for KiB).
        whole: only whole numbers.
    """

    def prepare(service: Any, value: str, _secret: str) -> Change:
        try:
            number = int(value) if whole else float(value)
        except ValueError:
            number = float("nan")
        if not least <= number <= 1e15:
            kind = "a whole number" if whole else "a number"
            raise UsageError(f"{value!r}: write {kind} from {least:g} up")
        return lambda: setattr(service, attribute, number * factor)

    def read(service: Any) -> str:
        number = getattr(service, attribute)
        return str(number // factor) if whole else f"{number / factor:g}"

    return Setting(summary, prepare, read, form="NUMBER")


def choice_setting(attribute: str, summary: str, choices: Mapping[str, Any]) -> Setting:
    """Return the setting of one of `choices` (as typed: as kept) in `attribute`."""

    def prepare(service: Any, value: str, _secret: str) -> Change:
        if value not in choices:
            raise UsageError(f"{value!r}: write one of {', '.join(choices)}")
        return lambda: setattr(service, attribute, choices[value])

    def read(service: Any) -> str:
        kept = getattr(service, attribute)
        return next((text for text, choice in choices.items() if choice == kept), str(kept))

    return Setting(summary, prepare, read, choices=tuple(choices))


# --- accounts: for every type with log-ins ------------------------------------------


def _names(service: OfApplication) -> str:
    return ", ".join(service.application.authorizer.accounts)


def _unread(_service: OfApplication) -> str:
    return ""


def _known(authorizer: Authorizer, name: str) -> None:
    if name not in authorizer.accounts:
        raise UsageError(f"there is no user {name!r}; there are: {', '.join(authorizer.accounts)}")


def _change_password(service: OfApplication, name: str, password: str) -> Change:
    _known(service.application.authorizer, name)
    return _keep(service, name, password)


def _add_user(service: OfApplication, name: str, password: str) -> Change:
    if name in service.application.authorizer.accounts:
        raise UsageError(f"there is a user {name!r} already; password={name} sets the password")
    return _keep(service, name, password)


def _keep(service: OfApplication, name: str, password: str) -> Change:
    check_credential("user name", name)
    check_credential("password", password)
    password_hash = hash_password(password)
    return lambda: service.application.authorizer.keep_account(name, password_hash)


def _remove_user(service: OfApplication, name: str, _secret: str) -> Change:
    accounts = service.application.authorizer.accounts
    _known(service.application.authorizer, name)
    return lambda: accounts.pop(name, None)


ACCOUNT_SETTINGS: Mapping[str, Setting] = {
    "password": Setting(
        "the password of the user VALUE", _change_password, _unread, asks_for="Password"
    ),
    "add-user": Setting("let the user VALUE log in", _add_user, _names, asks_for="Password"),
    "remove-user": Setting("let the user VALUE log in no more", _remove_user, _unread),
}
"""The settings of accounts, for the `settable` of a service with log-ins."""


# --- all of an application's -----------------------------------------------------------


def find_setting(application: HasServices, option: str) -> tuple[HasSettings, Setting]:
    """Return the setting that ``OPTION`` or ``SERVICE.OPTION`` names.

    Raises:
        UsageError: it names none, or settings of several services.
    """
    service_name, dot, plain = option.rpartition(".")
    if dot and service_name not in application.services:
        there = ", ".join(application.services)
        raise UsageError(f"{option}: there is no service {service_name!r}; there are: {there}")
    found = [
        (service, service.settable[plain])
        for name, service in application.services.items()
        if plain in service.settable and (not dot or name == service_name)
    ]
    if not found:
        known = sorted({name for each in application.services.values() for name in each.settable})
        raise UsageError(f"there is no option {option!r}; there are: {', '.join(known) or 'none'}")
    if any(setting is not found[0][1] for _service, setting in found):
        names = " or ".join(f"{service.name}.{plain}" for service, _setting in found)
        raise UsageError(f"{option}: several services have it; write {names}")
    return found[0]


def prepare_settings(application: HasServices, assignments: list[Assignment]) -> list[Change]:
    """Check all of `assignments`; return a function that makes the changes.

    Raises:
        UsageError: one of them is wrong.
    """
    changes = []
    users = set(application.authorizer.accounts)
    for each in assignments:
        service, setting = find_setting(application, each.option)
        if setting.asks_for and not each.secret:
            raise UsageError(f"{each.option}={each.value}: no {setting.asks_for.lower()} was given")
        try:
            changes.append(setting.prepare(service, each.value, each.secret))
            if setting is ACCOUNT_SETTINGS["add-user"]:
                users.add(each.value)
            elif setting is ACCOUNT_SETTINGS["remove-user"]:
                _check_not_last(users, each.value)
        except UsageError as error:
            raise UsageError(f"{each.option}: {error}") from error
    return changes


def _check_not_last(users: set[str], name: str) -> None:
    """Remove `name` from `users`: those that remain after the changes so far."""
    users.discard(name)
    if not users:
        raise UsageError(
            f"{name!r} is the last user: nobody could log in any more; add another before "
            "(add-user=NAME)"
        )


def describe_settings(application: HasServices) -> list[dict[str, str]]:
    """Return the listing of all settings for `tapctl set`."""
    several = len(application.services) > 1
    told: list[dict[str, str]] = []
    seen: set[int] = set()
    for service_name, service in application.services.items():
        for name, setting in service.settable.items():
            shared = name in ACCOUNT_SETTINGS and setting is ACCOUNT_SETTINGS[name]
            if shared and id(setting) in seen:
                continue
            seen.add(id(setting))
            told.append(
                {
                    "option": name if shared or not several else f"{service_name}.{name}",
                    "value": setting.read(service),
                    "summary": setting.summary,
                    "asks_for": setting.asks_for,
                }
            )
    return told
