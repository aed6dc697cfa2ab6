"""tapctl status of a running, a stopped and a sleeping server."""

from __future__ import annotations

import math
import re
import socket
import time

from by_hand import Server
from tap_commands import saved, tapctl, tapctl_json

from tapd.cli.output import render_time
from tapd.host.sleep.file import save_sleep


def test_status_of_a_running_and_a_stopped_server(server: Server) -> None:
    status = tapctl_json(server, "status", "telnet")
    assert (status["state"], status["pid"]) == ("running", server.child())
    assert (status["generation"], status["connections"], status["deaths"]) == (1, 0, 0)
    text = tapctl(server, "status", "telnet.tap").stdout
    assert text.startswith("telnet: running for ")
    assert f"(process {server.child()})" in text
    assert "\x1b" not in text
    assert "running" in tapctl(server, "list").stdout
    server.stop()
    assert not (server.tap.parent / "telnet.d" / "control").exists()
    assert tapctl_json(server, "status", "telnet")["state"] == "stopped"
    assert "telnet: stopped\n" in tapctl(server, "status", "telnet").stdout
    assert "stopped" in tapctl(server, "list").stdout
    for command in ("shell", "checkpoint"):
        assert "not running" in tapctl(server, command, "telnet", status=69).stderr


def test_who_sleeps_is_shown_with_what_wakes_it(server: Server) -> None:
    server.stop()
    directory = server.tap.parent / "telnet.d"
    assert "wakes" not in tapctl(server, "status", "telnet").stdout, "it was stopped"
    save_sleep(directory, math.inf)
    assert tapctl_json(server, "status", "telnet")["state"] == "stopped", "nobody would hear"
    assert "sleeping" not in tapctl(server, "list").stdout
    port = saved(server).ports[0].address.port
    ports = socket.create_server(("127.0.0.1", port))
    assert tapctl_json(server, "status", "telnet")["state"] == "sleeping"
    assert "sleeping" in tapctl(server, "list").stdout
    shown = tapctl(server, "status", "telnet").stdout
    assert re.search(r"telnet: sleeping for \d+ s with nothing to do\n", shown)
    assert re.search(r"wakes  for a client\n", shown)
    due_s = math.ceil(time.time()) + 3600
    save_sleep(directory, due_s)
    assert tapctl_json(server, "status", "telnet")["wakes_at_s"] == due_s
    at = render_time(due_s)
    assert (
        f"wakes  {at}, for a timer; or for a client\n" in tapctl(server, "status", "telnet").stdout
    )
    assert f"sleeping until {at}" in tapctl(server, "list").stdout
    ports.close()
    server.start()
    assert "wakes" not in tapctl(server, "status", "telnet").stdout
