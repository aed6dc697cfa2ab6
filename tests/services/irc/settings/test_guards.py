"""Operators' commands, what is told of them, the lockdown, and the settings of all guards."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from irc_kit import Client, Irc, codes

from tapd import events
from tapd.errors import UsageError
from tapd.model.setting import Assignment, describe_settings, prepare_settings
from tapd.services.irc import events as irc_events
from tapd.services.irc.conduct.admission import LOCKDOWNS
from tapd.services.irc.conduct.command_table import COMMANDS
from tapd.services.irc.settings.guards import GUARD_SETTINGS
from tapd.services.irc.state.accounts import make_proof
from tapd.services.irc.state.opers import PRIVILEGES, Oper


def make_oper(irc: Irc, nick: str, *privileges: str) -> Client:
    client = irc.client(nick)
    user = irc.network.find_user(nick)
    assert user is not None
    irc.network.opers[nick] = Oper(nick, "", privileges)
    user.oper = nick
    irc.network.set_user_mode(user, "o", on=True)
    return client


def test_every_privilege_is_used_and_known() -> None:
    used = {each.privilege for each in COMMANDS.values() if each.privilege}
    assert used <= PRIVILEGES.keys()


def test_acting_for_others(irc: Irc) -> None:
    boss, ann = make_oper(irc, "Boss", "force"), irc.client("Ann", join="#c")
    bob = irc.client("Bob", join="#c")
    ann.ask("MODE #c +b bob!*@*")
    assert codes(boss.ask("SAMODE #c +m-o Ann", "SAPART Bob #c :go")) == ["MODE"]
    assert [line.partition(" ")[2] for line in bob.read()][-1] == "PART #c :go"
    assert "o" not in irc.network.channels["#c"].members[irc.network.users["ann"]]
    boss.ask("SAJOIN Bob #c", "SAJOIN Ann #new", "SANICK Bob Rob")
    assert irc.network.users["rob"] in irc.network.channels["#c"].members
    assert "#new" in irc.network.channels
    lines = ["SAJOIN Nobody #c", "SAJOIN Ann c", "SAJOIN Ann #c", "SAPART Rob #no",
             "SAPART Boss #c", "SANICK Ann 1x", "SANICK Ann Rob", "SAMODE #no +m",
             "CHGHOST Ann x"]  # fmt: skip
    expected = ["401", "403", "443", "403", "441", "432", "433", "403", "481"]
    assert codes(boss.ask(*lines)) == expected
    assert codes(ann.ask("SAJOIN Boss #c", "LOCKDOWN all")) == ["481", "481"]


def test_what_operators_do_is_logged_and_told(irc: Irc, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each use of a privilege, with fields; none for who may not."""
    boss, mate = make_oper(irc, "Boss", "ban", "see"), make_oper(irc, "Mate")
    irc.client("Ann")
    mate.ask("MODE Mate +s")
    with caplog.at_level(logging.INFO, logger="tapd.services.irc.conduct.audit"):
        boss.ask("KLINE 1h bad!*@* :no | why")
        told = mate.read()
        mate.ask("KLINE x!*@*")
    logged: list[Any] = [each for each in caplog.records if hasattr(each, "TAPD_ACTION")]
    assert [(each.TAPD_ACTION, each.TAPD_OPER) for each in logged] == [("KLINE", "Boss")]
    assert irc_events.OPERATOR_ACTED.message_id == logged[0].MESSAGE_ID
    assert logged[0].TAPD_DETAIL == "1h bad!*@* no | why"
    assert logged[0].TAPD_USER == "Boss!~boss@127.0.0.1"
    assert any("*** Boss (Boss) used KLINE 1h bad" in line for line in told)


def test_a_wrong_operator_password_is_told(irc: Irc, caplog: pytest.LogCaptureFixture) -> None:
    mate, ann = make_oper(irc, "Mate"), irc.client("Ann")
    mate.ask("MODE Mate +s")
    ann.send("OPER boss wrong")
    told: list[str] = []

    def is_told() -> bool:
        told.extend(mate.read())
        return any("OPER boss failed: Ann!~ann@127.0.0.1" in line for line in told)

    irc.harness.wait_for(is_told)
    assert "464" in codes(ann.read())
    refused: list[Any] = [each for each in caplog.records if hasattr(each, "MESSAGE_ID")]
    assert events.LOGIN_REFUSED.message_id == refused[-1].MESSAGE_ID
    assert not any("wrong" in each.getMessage() for each in caplog.records)


def test_notices_are_for_operators(irc: Irc) -> None:
    boss, ann = make_oper(irc, "Boss"), irc.client("Ann")
    assert codes(ann.ask("MODE Ann +sc")) == []
    assert boss.ask("MODE Boss +sc")[0].endswith(" MODE Boss +sc")
    irc.client("Bob")
    assert any("*** Client connecting: Bob!~bob@127.0.0.1" in line for line in boss.read())
    assert boss.ask("MODE Boss -o")[0].endswith(" MODE Boss -ocs")
    irc.client("Eve")
    assert boss.read() == []


def test_lockdown(irc: Irc) -> None:
    irc.network.limits.exempt = ()
    boss = make_oper(irc, "Boss", "lockdown", "ban")
    assert "LOCKDOWN is off" in boss.ask("LOCKDOWN")[0]
    assert "FAIL LOCKDOWN INVALID_LEVEL" in boss.ask("LOCKDOWN maybe")[0]
    boss.ask("LOCKDOWN accounts")
    ann = irc.client("Ann", "draft/account-registration standard-replies")
    assert "TEMPORARILY_UNAVAILABLE" in ann.ask("REGISTER * * correct-horse")[0]
    for level, text in (("sasl", "Log in by SASL to come in now"), ("all", "Nobody can come in")):
        boss.ask(f"LOCKDOWN {level}")
        client = irc.connect()
        client.send("NICK Bob", "USER x 0 * :x")
        end = client.read_end()
        assert " 465 Bob :" in end[0]
        assert text in end[0]
    irc.harness.crash()
    assert irc.network.lockdown == "all"
    boss.ask("ELINE 127.0.0.1")
    irc.client("Bob")


def test_lockdown_lets_in_who_logs_in(irc: Irc) -> None:
    irc.network.limits.exempt = ()
    irc.network.lockdown = "sasl"
    irc.network.accounts.add("Zoe", make_proof("correct horse"), 0.0)
    client = irc.connect()
    client.send("CAP REQ sasl", "NICK Zoe", "USER zoe 0 * :Zoe", "AUTHENTICATE PLAIN")
    client.send("AUTHENTICATE AHpvZQBjb3JyZWN0IGhvcnNl")
    irc.harness.wait_for(lambda: "903" in codes(client.read()))
    assert codes(client.ask("CAP END"))[0] == "001"


# --- settings -------------------------------------------------------------------------

GOOD = {
    "flood-rate": "0.5", "flood-burst": "40", "flood-bytes": "0", "connections": "1000",
    "connections-per-address": "5", "connections-per-network": "50", "network-bits": "20/48",
    "connections-per-minute": "10", "half-registered": "7", "accounts-per-hour": "2",
    "nick-changes": "0", "new-targets": "9", "limits-exempt": "127.0.0.1,2001:db8::/32,localhost",
    "lockdown": "sasl", "cloaks": "off", "trusted-proxies": "localhost,192.0.2.0/24",
    "proxy-port": "6668", "proxy-tls": "off", "webirc": "192.0.2.7", "sts": "6697:86400",
    "oper-privileges": "boss:kill,ban",
}  # fmt: skip
BAD = {
    "flood-rate": "fast", "flood-burst": "-1", "flood-bytes": "x", "connections": "1e3",
    "connections-per-address": "", "connections-per-network": "5.5", "network-bits": "24",
    "connections-per-minute": "-5", "half-registered": "many", "accounts-per-hour": "٣",
    "nick-changes": "99999999999999", "new-targets": "x", "limits-exempt": "nowhere",
    "lockdown": "maybe", "cloaks": "yes", "trusted-proxies": "1.2.3", "proxy-port": "70000",
    "proxy-tls": "1", "webirc": "x", "sts": "tls", "oper-privileges": "boss:fly",
}  # fmt: skip


def test_every_setting_is_read_as_it_was_set(irc: Irc) -> None:
    assert GUARD_SETTINGS.keys() == GOOD.keys() == BAD.keys()
    irc.network.opers["boss"] = Oper("boss", "")
    application = irc.harness.application
    for option, value in GOOD.items():
        for change in prepare_settings(application, [Assignment(option, value, "secret")]):
            change()
    shown = {each["option"]: each["value"] for each in describe_settings(application)}
    assert {option: shown[option] for option in GOOD} == GOOD
    for option, value in BAD.items():
        with pytest.raises(UsageError):
            prepare_settings(application, [Assignment(option, value, "secret")])
    assert {option: shown[option] for option in GOOD} == GOOD


def test_levels_are_described() -> None:
    assert list(LOCKDOWNS) == ["off", "accounts", "sasl", "all"]
