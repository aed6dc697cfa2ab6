"""The login: what it shows, what it costs, and what it never keeps or logs."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest


def test_a_wrong_password_costs_time_then_the_connection(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = server.connect(("192.0.2.7", 4321))
    client.read()
    for delay_s in (1.0, 2.0, 4.0):
        client.send(b"admin\nwrong\n")
        assert client.read() == b"password: "
        assert client.transport.paused
        server.advance(delay_s - 0.01)
        assert client.read() == b""
        server.advance(0.01)
        assert client.read().startswith(b"Login incorrect.\r\n")
    assert client.transport.closed
    assert len(caplog.records) == 3
    record = caplog.records[0]
    assert record.getMessage() == "login failed from 192.0.2.7:4321 as 'admin': wrong password"
    assert record.TAPD_PEER == "192.0.2.7:4321"  # type: ignore[attr-defined]
    assert record.TAPD_USER == "admin"  # type: ignore[attr-defined]


def test_a_name_without_account_is_not_logged(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A person may type the password at the wrong prompt."""
    client = server.connect()
    client.send(b"woohoo\nadmin\n")
    server.advance(1)
    assert client.read().endswith(b"Login incorrect.\r\nusername: ")
    assert "woohoo" not in caplog.text
    assert "no such account" in caplog.text
    client.log_in()


def test_control_characters_in_names_are_escaped_in_the_log(
    make_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(users=("a\u2028b",))
    client = server.connect()
    with caplog.at_level(logging.INFO):
        client.log_in("a\u2028b".encode())
    assert caplog.records[0].TAPD_USER == "a\\u2028b"  # type: ignore[attr-defined]
    assert "\u2028" not in caplog.text


def test_input_after_a_failure_waits_for_the_delay(server: Any) -> None:
    client = server.connect()
    client.send(b"admin\nwrong\nadmin\nwoohoo\n1+1\n")
    client.read()
    server.advance(1)
    client.deliver()
    output = client.read()
    assert output == b"Login incorrect.\r\nusername: password: >>> 2\r\n>>> "


@pytest.mark.parametrize("rest", [b"", b"\nadmin\nwoohoo\n"])
def test_the_state_never_holds_a_password_in_the_clear(server: Any, rest: bytes) -> None:
    client = server.connect()
    for data in (b"woo", b"hoo\n", b"woohoo", rest or b"\n"):
        client.session.data_received(data)
        assert b"woo" not in pickle.dumps(server.application)
        server.kill()
        assert b"woo" not in pickle.dumps(server.application)


def test_a_check_that_was_going_on_is_started_again(server: Any) -> None:
    client = server.connect()
    client.session.data_received(b"admin\nwoohoo\n")
    assert len(server.runtime.jobs) == 1
    server.kill()
    assert len(server.runtime.jobs) == 1
    server.settle()
    assert client.read().endswith(b"password: >>> ")
    assert not client.transport.paused


def test_the_delay_goes_on_after_a_kill(server: Any) -> None:
    client = server.connect()
    client.send(b"admin\nwrong\n")
    server.kill()
    server.advance(1)
    assert client.read().endswith(b"password: Login incorrect.\r\nusername: ")


def test_a_login_that_takes_too_long_ends(server: Any) -> None:
    client = server.connect()
    server.advance(119)
    assert not client.transport.closed
    server.kill()
    server.advance(1)
    assert client.read().endswith(b"username: \r\nLogin timed out.\r\n")
    assert client.transport.closed


def test_a_login_in_time_stays(server: Any) -> None:
    client = server.connect().log_in()
    assert not server.application.delayeds
    server.advance(1000)
    assert not client.transport.closed


def test_input_that_is_too_long_ends_the_login(server: Any) -> None:
    client = server.connect()
    client.send(b"x" * 600)
    assert client.read().endswith(b"That is too long.\r\n")
    assert client.transport.closed


def test_a_password_is_masked_and_can_be_edited(server: Any) -> None:
    client = server.connect().accept_character_mode()
    client.read()
    client.send(b"adm\xc3\xa4\x7fin\r\0")
    assert client.read() == b"adm\xc3\xa4\b \bin\r\npassword: "
    client.send(b"\xc3\xa4\x7fwx\x08oohoo")
    assert client.read() == b"*\b \b**\b \b*****"
    client.send(b"\x1b[A\x15")
    assert client.read() == b"\b \b" * 6
    client.send(b"woohoo\r\0")
    assert client.read() == b"******\r\n>>> "


@pytest.mark.parametrize("key", [b"\x03", b"\x04", b"\xff\xf4"])
def test_interrupting_the_login_leaves(server: Any, key: bytes) -> None:
    client = server.connect()
    client.send(b"adm" + key)
    assert client.transport.closed


def test_a_lost_connection_leaves_nothing_behind(server: Any) -> None:
    client = server.connect()
    client.session.data_received(b"admin\nwrong\n")
    session = client.session
    session.connection_lost(None)
    session.transport = None
    server.settle()
    server.advance(1000)
    assert not server.application.delayeds
    assert server.service.connection_count == 0


def test_a_client_that_keeps_its_line_mode_is_asked_for_secrecy_only(server: Any) -> None:
    client = server.connect()
    client.read()
    client.send(b"\xff\xfd\x01\xff\xfe\x03")  # DO ECHO, DONT SGA
    client.send(b"\xff\xfe\x01")  # and now DONT ECHO, as for its own editing
    client.read()
    client.send(b"admin\r\n")
    assert client.read() == b"\xff\xfb\x01password: "
    client.send(b"\xff\xfd\x01woohoo\r\n")
    assert client.read() == b"******\r\n\xff\xfc\x01>>> "
    client.send(b"\xff\xfe\x011+1\r\n")
    assert client.read() == b"2\r\n>>> "
