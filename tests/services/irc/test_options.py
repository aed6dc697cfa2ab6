"""`tapd-mktap irc`'s options, parsed by click as the command does, and `tapctl set`'s."""

from __future__ import annotations

import pathlib

import pytest
from made_servers import make_server

from tapd.errors import UsageError
from tapd.model.access.accounts import verify_password
from tapd.model.application import Application
from tapd.model.setting import Assignment, describe_settings, prepare_settings
from tapd.services.irc import IrcNetwork
from tapd.services.irc.options import default_server_name, irc_type


def make(*arguments: str) -> tuple[Application, IrcNetwork, str]:
    made = make_server(irc_type, *arguments, port="127.0.0.1:6667")
    return made.application, made.service, made.welcome


def test_what_is_made_by_default() -> None:
    _application, network, welcome = make()
    assert network.network_name == "Example"
    assert network.server_name == "irc.example.internal"
    assert "irssi -c 127.0.0.1 -p 6667" in welcome
    assert irc_type.aliases == ("words",)
    assert irc_type.default_port == "6667"


def test_an_operators_password_is_shown_once() -> None:
    application, network, welcome = make("--oper", "boss")
    password = welcome.split("/OPER boss ")[1].split()[0]
    assert verify_password(network.opers["boss"].password_hash, password)
    assert password not in repr(application.__getstate__())


def test_all_options(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "motd"
    path.write_text("Hello\nthere\n")
    _application, network, _welcome = make(
        "--network-name", "Net", "--server-name", "a.b", "--motd", str(path), "--admin", "x; y;z",
        "--ping", "30", "--ping-timeout", "10", "--registration-time", "20",
        "--channels-per-user", "7",
    )  # fmt: skip
    assert (network.network_name, network.server_name) == ("Net", "a.b")
    assert network.motd == ("Hello", "there")
    assert network.admin == ("x", "y", "z")
    assert (network.ping_s, network.ping_timeout_s, network.registration_s) == (30, 10, 20)
    assert network.channels_per_user_max == 7


@pytest.mark.parametrize(
    "arguments",
    [
        ("--network-name", "two words"),
        ("--network-name", ""),
        ("--server-name", "nodots"),
        ("--server-name", "a b.c"),
        ("--motd", "/nonexistent/motd"),
        ("--admin", "a;b;c;d"),
        ("--oper", "two words"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        make(*arguments)


def test_names_of_servers() -> None:
    assert default_server_name("My-Net.3") == "irc.mynet3.internal"
    assert default_server_name("---") == "irc.network.internal"


def set_option(application: Application, option: str, value: str, secret: str = "") -> None:
    for change in prepare_settings(application, [Assignment(option, value, secret)]):
        change()


def test_settings_can_be_changed_and_read(tmp_path: pathlib.Path) -> None:
    application, network, _welcome = make()
    set_option(application, "network-name", "Other")
    set_option(application, "ping", "33.5")
    set_option(application, "admin", "here;there")
    set_option(application, "oper", "boss", "secret")
    set_option(application, "server-password", "on", "letmein")
    shown = {each["option"]: each["value"] for each in describe_settings(application)}
    assert shown["network-name"] == "Other"
    assert shown["ping"] == "33.5"
    assert shown["admin"] == "here;there"
    assert shown["oper"] == "boss"
    assert shown["server-password"] == "on"
    assert verify_password(network.password_hash, "letmein")
    set_option(application, "server-password", "off", "unused")
    set_option(application, "remove-oper", "boss")
    assert not network.password_hash
    assert not network.opers
    path = tmp_path / "motd"
    path.write_text("x" * 500)
    for option, value in (
        ("motd", str(path)),
        ("remove-oper", "nobody"),
        ("server-name", "x"),
        ("server-password", "maybe"),
        ("ping", "0"),
    ):
        with pytest.raises(UsageError):
            set_option(application, option, value, "secret")


def set_of(application: Application, **assignments: str) -> None:
    options = [Assignment(name.replace("_", "-"), value) for name, value in assignments.items()]
    for change in prepare_settings(application, options):
        change()


def test_options_of_people() -> None:
    """Reserved nicks, always-on, history and channels: at the making, and later."""
    application, network, _welcome = make(
        "--nick-protection", "grace", "--nick-grace", "20", "--always-on", "opt-out",
        "--always-on-days", "7", "--history-on-join", "10", "--channels-per-account", "3",
        "--account-registration", "off",
    )  # fmt: skip
    assert (network.nick_protection, network.nick_grace_s) == ("grace", 20)
    assert (network.always_on, network.always_on_s_max) == ("opt-out", 7 * 86400)
    assert (network.history_on_join, network.channels_per_account_max) == (10, 3)
    assert not network.accounts.may_register
    set_of(application, nick_protection="off", always_on="off", account_registration="on")
    assert (network.nick_protection, network.always_on) == ("off", "off")
    assert network.accounts.may_register
    shown = {each["option"]: each["value"] for each in describe_settings(application)}
    assert shown["always-on-days"] == "7"
    assert shown["account-registration"] == "on"


@pytest.mark.parametrize(
    ("option", "value"),
    [("always-on", "maybe"), ("nick-protection", "x"), ("account-registration", "1")],
)
def test_wrong_values_of_people(option: str, value: str) -> None:
    application, _network, _welcome = make()
    with pytest.raises(UsageError, match=option):
        prepare_settings(application, [Assignment(option, value)])


def test_guards_have_options() -> None:
    _application, network, _welcome = make(
        "--flood-rate", "0", "--cloaks", "off", "--trusted-proxies", "127.0.0.1,localhost",
        "--proxy-port", "6668", "--sts", "6697", "--connections-per-address", "3",
    )  # fmt: skip
    assert network.limits.lines_per_s == 0
    assert not network.cloaks
    assert network.fronts.proxies == ("127.0.0.1", "localhost")
    assert (network.fronts.proxy_port, network.fronts.sts_port) == (6668, 6697)
    assert network.limits.connections_per_address == 3
    with pytest.raises(UsageError, match="--network-bits: "):
        make("--network-bits", "99/1")
