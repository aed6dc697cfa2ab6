"""tapctl set, on a running server and on a stopped one."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from by_hand import Server, wait_for
from tap_commands import make_server, saved, tapctl, tapctl_json, terminal

from tapd.model.access.accounts import verify_password


def test_set_on_a_running_server_is_durable_and_audited(server: Server) -> None:
    tapctl(server, "set", "telnet", "tries=9", "namespace=private")
    options = ("password=admin", "add-user=eve", "--password-file", "-")
    tapctl(server, "set", "telnet", *options, stdin="new secret\neve's\n")
    server.kill_and_go_on()
    rows = {row["option"]: row["value"] for row in tapctl_json(server, "set", "telnet")}
    assert (rows["tries"], rows["namespace"], rows["add-user"]) == ("9", "private", "admin, eve")
    tapctl(server, "set", "telnet", "remove-user=eve")
    server.stop()
    accounts = saved(server).authorizer.accounts
    assert list(accounts) == ["admin"]
    assert verify_password(accounts["admin"].password_hash, "new secret")
    log = server.log()
    assert f"tries=9 was set by uid {os.getuid()}, process " in log
    assert "password=admin was set" in log
    assert "new secret" not in log
    assert "eve's" not in log


def test_set_changes_all_or_nothing(server: Server) -> None:
    for options in (
        ("tries=9", "history=-1"),
        ("tries=9", "nothing=1"),
        ("tries=9", "namespace=x"),
    ):
        assert "tapctl: " in tapctl(server, "set", "telnet", *options, status=64).stderr
    assert "write OPTION=VALUE" in tapctl(server, "set", "telnet", "tries", status=64).stderr
    no_terminal = tapctl(server, "set", "telnet", "password=admin", status=64).stderr
    assert "--password-file" in no_terminal
    rows = {row["option"]: row["value"] for row in tapctl_json(server, "set", "telnet")}
    assert rows["tries"] == "3"


def test_a_password_is_asked_for_twice_and_not_shown(server: Server) -> None:
    with terminal(server, "set", "telnet", "password=admin") as person:
        person.expect("Password of admin: ")
        person.enter("typed secret")
        person.expect("Repeat for confirmation: ")
        person.enter("typed secret")
        person.expect("set password")
        assert "typed secret" not in person.transcript
    server.stop()
    password_hash = saved(server).authorizer.accounts["admin"].password_hash
    assert verify_password(password_hash, "typed secret")


def test_set_on_a_sleeping_tap(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    assert "it does not run" in tapctl(server, "set", "telnet", "tries=4").stdout
    server.start()
    try:
        rows = {row["option"]: row["value"] for row in tapctl_json(server, "set", "telnet")}
        assert rows["tries"] == "4"
    finally:
        server.end()
    tapctl(server, "set", "telnet", "password=admin", "--password-file", "-", stdin="asleep\n")
    assert verify_password(saved(server).authorizer.accounts["admin"].password_hash, "asleep")


def test_set_while_a_killed_server_is_down_loses_nothing(server: Server) -> None:
    """Neither what its journal holds nor the connections that wait for the next process."""
    port = int(server.log().split(" answers on ")[1].split()[0].rpartition(":")[2])
    client = socket.create_connection(("127.0.0.1", port), timeout=120)
    read_until(client, b"username: ")
    client.sendall(b"adm")
    wait_for(lambda: tapctl_json(server, "status", "telnet")["connections"] == 1, "client")
    tapctl(server, "shell", "telnet", stdin="application.mark = 'journaled'\n")
    assert server.process is not None
    child = server.child()
    os.kill(server.process.pid, signal.SIGSTOP)  # so that nobody starts it again
    assert child is not None
    os.kill(child, signal.SIGKILL)
    try:
        wait_for(lambda: "stopped" in tapctl(server, "list").stdout, "freed lock")
        tapctl(server, "set", "telnet", "tries=5")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    wait_for(lambda: server.log().count(" answers on ") > 1, "answering server")
    wait_for(server.can_be_asked, "control socket")
    rows = {row["option"]: row["value"] for row in tapctl_json(server, "set", "telnet")}
    assert rows["tries"] == "5"
    assert tapctl(server, "shell", "telnet", stdin="application.mark").stdout == "'journaled'\n"
    with client:
        client.sendall(b"in\r\n")
        read_until(client, b"password: ")
        client.sendall(b"woohoo\r\n")
        read_until(client, b">>> ")


def read_until(client: socket.socket, words: bytes) -> None:
    """Read what the server sends, up to `words`."""
    seen = b""
    while words not in seen:
        data = client.recv(4096)
        assert data, f"closed after {seen!r}"
        seen += data
