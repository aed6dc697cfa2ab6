"""The whole story on real systemd: mktap, start, log in, restart, kill, stop, start.

A real telnet client on a terminal talks to the packaged daemon; every server
has its own name and port, so that the tests share one booted Debian.
"""

from __future__ import annotations

import re

import pytest
from booted import Booted
from shell_on_systemd import (
    CLIENTS,
    PASSWORD,
    logged_in,
    main_pid,
    start_server,
    telnet,
    wait_for_another_process,
)
from telnet_terminal import TelnetTerminal


@pytest.mark.parametrize("client", CLIENTS)
def test_the_whole_story(debian: Booted, client: str) -> None:
    name, port = f"story-{client[:4]}", 4240 + list(CLIENTS).index(client)
    said = start_server(debian, name, port)
    assert said.splitlines()[-1] == f"systemctl start tapd@{name}"
    with logged_in(debian, port, client) as terminal:
        assert PASSWORD not in terminal.transcript
        terminal.ask("x = 6")
        terminal.ask("def times(n):", "... ")
        terminal.ask("    return n * x", "... ")
        terminal.ask("")
        assert "42" in terminal.ask("times(7)")
        assert f"<{name} app>" in terminal.ask("import __main__; __main__.application")

        before = main_pid(debian, name)
        debian.run("systemctl", "restart", f"tapd@{name}")
        assert main_pid(debian, name) != before
        assert "'kept: 6'" in terminal.ask("f'kept: {x}'")

        debian.run("systemctl", "stop", f"tapd@{name}")
        terminal.expect("onnection closed")
    assert debian.exists(f"/var/lib/tapd/{name}/{name}-shutdown.tap")

    debian.run("systemctl", "start", f"tapd@{name}")
    with logged_in(debian, port, client) as terminal:
        assert "48" in terminal.ask("times(8)")
        terminal.enter("quit()")
        terminal.expect("onnection closed")

    story = debian.journal(f"tapd@{name}", "--output=cat")
    assert PASSWORD not in story
    assert "Traceback" not in story
    assert f"{name}-shutdown.tap" in story
    assert re.search(r"generation \d+", story)


def test_a_kill_in_mid_line_is_not_noticed(debian: Booted) -> None:
    start_server(debian, "killed", 4250)
    with logged_in(debian, 4250) as terminal:
        terminal.ask("count = 0")
        for number in range(1, 6):
            before = main_pid(debian, "killed")
            terminal.type("count +")
            debian.run("kill", "-KILL", before)
            wait_for_another_process(debian, "killed", before)
            terminal.enter("= 1; count")
            assert f"\n{number}\r" in terminal.expect(">>> ")
    assert debian.show("tapd@killed.service", "NRestarts") == "5"


def test_the_ports_stay_open_while_the_service_is_down(debian: Booted) -> None:
    """A client that comes in the pause waits, and is served."""
    start_server(debian, "pause", 4251)
    inode = debian.output("ss", "-lnteH", "sport", "=", ":4251")
    for _ in range(5):
        before = main_pid(debian, "pause")
        debian.run("kill", "-KILL", before)
        with logged_in(debian, 4251) as terminal:
            assert "2" in terminal.ask("1 + 1")
        wait_for_another_process(debian, "pause", before)
    assert debian.show("tapd-refused@pause.target", "ActiveState") == "inactive"
    assert debian.output("ss", "-lnteH", "sport", "=", ":4251").split() == inode.split()


def test_a_wrong_password_costs_the_connection(debian: Booted) -> None:
    start_server(debian, "wrong", 4252)
    with telnet(debian, 4252) as terminal:
        for _ in range(3):
            terminal.expect("username: ")
            terminal.enter("admin")
            terminal.expect("password: ")
            terminal.enter("guess-me")
        terminal.expect("onnection closed")
        assert ">>> " not in terminal.transcript
    story = debian.journal("tapd@wrong", "--output=cat")
    assert "127.0.0.1" in story
    assert "guess-me" not in story


def test_a_port_in_use_is_said_in_one_line(debian: Booted) -> None:
    start_server(debian, "first", 4253)
    debian.run("tapd-mktap", "telnet", "--name", "second", "--port", "4253")
    failed = debian.run("systemctl", "start", "tapd@second", check=False)
    assert failed.returncode != 0
    story = debian.journal("tapd@second.socket", "--output=cat")
    assert "Address already in use" in story
    with logged_in(debian, 4253) as terminal:
        assert "2" in terminal.ask("1 + 1")


def test_a_damaged_tap_closes_the_ports_and_says_why(debian: Booted) -> None:
    """No restart mends it, so there is one try, one line, and clients are refused."""
    debian.run("tapd-mktap", "telnet", "--name", "damaged", "--port", "4254")
    debian.run("truncate", "--size=-9", "/var/lib/tapd/damaged/damaged.tap")
    failed = debian.run("systemctl", "start", "tapd@damaged", check=False)
    assert failed.returncode != 0
    assert debian.show("tapd@damaged.service", "ExecMainStatus") == "65"
    assert debian.show("tapd@damaged.service", "NRestarts") == "0"
    debian.wait_until("systemctl", "is-active", "tapd-refused@damaged.target")
    assert debian.show("tapd@damaged.socket", "ActiveState") == "inactive"
    story = debian.journal("tapd@damaged", "--output=cat")
    assert "Traceback" not in story
    assert "damaged.tap" in story

    # Mended, a start opens the ports again.
    debian.run("tapd-mktap", "telnet", "--name", "damaged", "--port", "4254", "--force",
               "--password-file", "-", stdin=PASSWORD)  # fmt: skip
    debian.run("systemctl", "start", "tapd@damaged")
    assert debian.show("tapd-refused@damaged.target", "ActiveState") == "inactive"
    with logged_in(debian, 4254) as terminal:
        assert "2" in terminal.ask("1 + 1")


def test_a_server_that_cannot_run_does_not_spin(debian: Booted) -> None:
    """A client wakes it, it fails, and that is all: no loop of starts."""
    debian.run("tapd-mktap", "telnet", "--name", "spin", "--port", "4255")
    debian.run("truncate", "--size=-9", "/var/lib/tapd/spin/spin.tap")
    debian.run("systemctl", "start", "tapd@spin.socket")
    debian.run("nc", "-N", "127.0.0.1", "4255", check=False)
    debian.wait_until("systemctl", "is-active", "tapd-refused@spin.target")
    refused = debian.run("nc", "-N", "127.0.0.1", "4255", check=False)
    assert refused.returncode != 0
    starts = debian.journal("tapd@spin.service", "--output=cat").count("Starting ")
    assert starts <= 2


def test_typed_code_can_do_little(debian: Booted) -> None:
    start_server(debian, "confined", 4256)
    with logged_in(debian, 4256) as terminal:
        terminal.ask("import socket, os")
        assert "Error" in terminal.ask("socket.socket(socket.AF_INET)")
        assert "Error" in terminal.ask("open('/etc/tapd/key')")
        assert "Error" in terminal.ask("open('/usr/x', 'w')")
        assert "Error" in terminal.ask("os.setuid(0)")
        assert "'tapd-confined'" in terminal.ask("import pwd; pwd.getpwuid(os.getuid()).pw_name")
        assert "\n1\r" in terminal.ask("1")


def test_an_upgrade_keeps_connections(debian: Booted) -> None:
    """Dpkg installs the package anew while somebody is logged in, in mid-line."""
    start_server(debian, "upgraded", 4257)
    with logged_in(debian, 4257) as terminal:
        terminal.ask("x = 'before'")
        before = main_pid(debian, "upgraded")
        terminal.type("x + ")
        package = debian.glob("/root/tapd_*.deb")[0]
        debian.run("dpkg", "--install", package)
        assert main_pid(debian, "upgraded") not in ("0", before)
        terminal.enter("' and after'")
        assert "'before and after'" in terminal.expect(">>> ")


def test_a_service_is_added_to_a_stopped_server(debian: Booted) -> None:
    start_server(debian, "two", 4258)
    debian.run("systemctl", "stop", "tapd@two.socket")
    tap = "/var/lib/tapd/two/two.tap"
    debian.run("tapd-mktap", "telnet", "--append", tap, "--name", "other", "--port", "4259")
    debian.run("systemctl", "start", "tapd@two")
    for port in (4258, 4259):
        with logged_in(debian, port) as terminal:
            assert "2" in terminal.ask("1 + 1")
    debian.run("systemctl", "stop", "tapd@two.socket")
    assert debian.show("tapd@two.service", "ActiveState") == "inactive"


def test_now_survives_a_boot(debian: Booted) -> None:
    debian.run("tapd-mktap", "telnet", "--name", "now", "--port", "4270", "--now")
    for unit in ("tapd@now.service", "tapd@now.socket"):
        assert debian.output("systemctl", "is-enabled", unit).strip() == "enabled"
        assert debian.output("systemctl", "is-active", unit).strip() == "active"


def generation(debian: Booted, name: str) -> int:
    """Return the newest generation on disk."""
    paths = debian.glob(f"/var/lib/tapd/{name}/{name}.d/generation-*.tap")
    return max((int(path[-12:-4]) for path in paths), default=0)


def test_a_reload_saves(debian: Booted) -> None:
    start_server(debian, "reload", 4261)
    with logged_in(debian, 4261) as terminal:
        terminal.ask("x = 'worth saving'")
        before, pid = generation(debian, "reload"), main_pid(debian, "reload")
        debian.run("systemctl", "reload", "tapd@reload")
        script = 'ls "$1"/generation-*.tap | grep -qv "generation-$2.tap"'
        directory = "/var/lib/tapd/reload/reload.d"
        debian.wait_until("sh", "-c", script, "sh", directory, f"{before:08}")
        assert generation(debian, "reload") > before
        assert main_pid(debian, "reload") == pid
        assert "'worth saving'" in terminal.ask("x")
    # 257 asks twice (notify-reload, and ExecReload= for 252): the second save may be under way.
    active = '[ "$(systemctl show -P ActiveState tapd@reload.service)" = active ]'
    debian.wait_until("sh", "-c", active)


def test_a_hung_process_is_replaced(debian: Booted) -> None:
    """The watchdog aborts what no longer answers; the person at the prompt goes on."""
    drop_in = "/etc/systemd/system/tapd@hung.service.d"
    debian.run("mkdir", "-p", drop_in)
    debian.write(f"{drop_in}/watchdog.conf", "[Service]\nWatchdogSec=2\n")
    start_server(debian, "hung", 4262)
    with logged_in(debian, 4262) as terminal:
        terminal.ask("x = 6")
        before = main_pid(debian, "hung")
        debian.run("kill", "-STOP", before)
        terminal.type("x * 7")
        wait_for_another_process(debian, "hung", before)
        terminal.enter("")
        assert "42" in terminal.expect(">>> ")
    assert "Watchdog timeout" in debian.journal("tapd@hung", "--output=cat")


def test_systemd_itself_may_start_anew(debian: Booted) -> None:
    start_server(debian, "reexec", 4263)
    with logged_in(debian, 4263) as terminal:
        terminal.ask("x = 6")
        debian.run("systemctl", "daemon-reexec")
        debian.wait_until("systemctl", "is-active", "tapd@reexec.service")
        before = main_pid(debian, "reexec")
        debian.run("systemctl", "restart", "tapd@reexec")
        assert main_pid(debian, "reexec") not in ("0", before)
        assert "42" in terminal.ask("x * 7")


def test_options_of_the_daemon_come_from_a_drop_in(debian: Booted) -> None:
    drop_in = "/etc/systemd/system/tapd@options.service.d"
    debian.run("mkdir", "-p", drop_in)
    debian.write(f"{drop_in}/options.conf", "[Service]\nEnvironment='TAPD_OPTIONS=--sync always'\n")
    start_server(debian, "options", 4264)
    arguments = debian.read(f"/proc/{main_pid(debian, 'options')}/cmdline").split("\0")
    assert arguments[-4:-1] == ["--sync", "always", "/var/lib/tapd/options/options.tap"]
    with logged_in(debian, 4264) as terminal:
        assert "2" in terminal.ask("1 + 1")


def test_ipv6_and_unix_sockets(debian: Booted) -> None:
    start_server(debian, "families", 4265, "--port", "unix:/run/tapd-families.sock")
    with debian.terminal(CLIENTS["inetutils"], "::1", "4265") as fd:
        TelnetTerminal(fd).expect("username: ")
    with debian.terminal("nc", "-U", "/run/tapd-families.sock") as fd:
        TelnetTerminal(fd).expect("username: ")
    debian.run("systemctl", "stop", "tapd@families.socket")
    assert not debian.exists("/run/tapd-families.sock")


def test_a_client_wakes_a_stopped_server(debian: Booted) -> None:
    start_server(debian, "asleep", 4266)
    with logged_in(debian, 4266) as terminal:
        terminal.ask("x = 6")
    debian.run("systemctl", "stop", "tapd@asleep.service")
    assert debian.show("tapd@asleep.service", "ActiveState") == "inactive"
    with logged_in(debian, 4266) as terminal:
        assert "42" in terminal.ask("x * 7")


def test_the_log_can_be_searched(debian: Booted) -> None:
    """journalctl(1): the priorities are right, and what was logged has fields."""
    start_server(debian, "searched", 4267)
    with telnet(debian, 4267) as terminal:
        terminal.expect("username: ")
        terminal.enter("mallory")
        terminal.expect("password: ")
        terminal.enter("x")
        terminal.expect("username: ")
    warnings = debian.journal("tapd@searched", "--priority=warning", "--output=cat")
    assert "login failed from 127.0.0.1" in warnings
    assert "answers on" not in warnings
    fields = debian.journal("tapd@searched", "--output=json", "--priority=warning")
    assert '"TAPD_' in fields


def test_a_stop_leaves_no_process(debian: Booted) -> None:
    """Neither a stop nor a kill leaves a helper behind (KillMode=mixed)."""
    start_server(debian, "gone", 4269)
    debian.run("kill", "-KILL", main_pid(debian, "gone"))
    with logged_in(debian, 4269) as terminal:
        assert "2" in terminal.ask("1 + 1")
    user = debian.output("ps", "-o", "user:32=", "-p", main_pid(debian, "gone")).strip()
    assert user == "tapd-gone"
    debian.run("systemctl", "stop", "tapd@gone.socket")
    debian.wait_until("sh", "-c", '! ps -U "$1" >/dev/null', "sh", user)


def test_two_daemons_on_one_tap(debian: Booted) -> None:
    start_server(debian, "twice", 4268)
    second = debian.run("tapd", "/var/lib/tapd/twice/twice.tap", check=False)
    assert second.returncode in (69, 75), second.stderr
    assert "Traceback" not in second.stderr
    assert "process" in second.stderr
    with logged_in(debian, 4268) as terminal:
        assert "2" in terminal.ask("1 + 1")
