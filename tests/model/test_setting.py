"""Settings: found by name, checked before anything changes."""

from __future__ import annotations

import pytest

from tapd.errors import UsageError
from tapd.model.access.accounts import verify_password
from tapd.model.application import Application
from tapd.model.service import Service
from tapd.model.setting import (
    ACCOUNT_SETTINGS,
    Assignment,
    choice_setting,
    describe_settings,
    number_setting,
    prepare_settings,
)


class Web(Service):
    """Something with options, one of them of a name that another has too."""

    settable = {
        **ACCOUNT_SETTINGS,
        "limit": number_setting("limit_bytes", "longest body, in KiB", factor=1024),
        "wait": number_setting("wait_s", "seconds", whole=False, least=0.5),
        "mode": choice_setting("is_open", "who may", {"open": True, "closed": False}),
    }

    def __init__(self) -> None:
        self.limit_bytes = 2048
        self.wait_s = 2.0
        self.is_open = False


class Chat(Service):
    settable = {**ACCOUNT_SETTINGS, "limit": number_setting("limit", "people")}

    def __init__(self) -> None:
        self.limit = 10


@pytest.fixture
def application() -> Application:
    application = Application("both")
    application.authorizer.add_account("admin", "woohoo")
    application.add_service(Web())
    application.add_service(Chat())
    return application


def assign(application: Application, *texts: str, secret: str = "") -> None:
    pairs = [text.split("=", 1) for text in texts]
    rows = [Assignment(option, value, secret) for option, value in pairs]
    for change in prepare_settings(application, rows):
        change()


def values(application: Application) -> dict[str, str]:
    return {row["option"]: row["value"] for row in describe_settings(application)}


def test_what_is_shown_can_be_set(application: Application) -> None:
    assign(application, "web.limit=7", "chat.limit=3", "wait=0.5", "mode=open")
    assert values(application) == {
        "password": "", "add-user": "admin", "remove-user": "",
        "web.limit": "7", "web.wait": "0.5", "web.mode": "open", "chat.limit": "3",
    }  # fmt: skip
    assert application.services["web"].limit_bytes == 7 * 1024
    assign(application, *(f"{name}={value}" for name, value in values(application).items()
                          if "." in name))  # fmt: skip
    assert application.services["web"].limit_bytes == 7 * 1024


@pytest.mark.parametrize(
    "text",
    [
        "limit=3",
        "none.limit=3",
        "nothing=3",
        "wait=0.1",
        "wait=nan",
        "wait=inf",
        "wait=x",
        "web.limit=1.5",
        "web.limit=0",
        "mode=ajar",
        "password=nobody",
        "password=admin",
        "add-user=admin",
        "add-user=a\x07b",
        "remove-user=nobody",
        "remove-user=admin",  # the last
    ],
)
def test_what_is_wrong_changes_nothing(application: Application, text: str) -> None:
    before = values(application)
    password_hash = application.authorizer.accounts["admin"].password_hash
    secret = "" if text == "password=admin" else "secret"
    with pytest.raises(UsageError):
        assign(application, "chat.limit=99", text, secret=secret)
    assert values(application) == before
    assert application.authorizer.accounts["admin"].password_hash == password_hash


def test_accounts_belong_to_all_services(application: Application) -> None:
    assign(application, "password=admin", "chat.add-user=eve", secret="new")
    accounts = application.authorizer.accounts
    assert verify_password(accounts["admin"].password_hash, "new")
    assert verify_password(accounts["eve"].password_hash, "new")
    assign(application, "remove-user=eve")
    assert list(accounts) == ["admin"]


def test_somebody_can_log_in_after_all_changes(application: Application) -> None:
    """One who comes in the same command counts; the last two don't go in one either."""
    accounts = application.authorizer.accounts
    assign(application, "add-user=eve", "add-user=bob", "remove-user=admin", secret="new")
    assert list(accounts) == ["eve", "bob"]
    with pytest.raises(UsageError, match=r"remove-user: 'bob' is the last user: .*; add another"):
        assign(application, "remove-user=eve", "remove-user=bob")
    assert list(accounts) == ["eve", "bob"]


def test_a_secret_is_not_in_the_repr() -> None:
    assert "hush" not in repr(Assignment("password", "admin", "hush"))
