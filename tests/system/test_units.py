"""What tapd-mktap makes of units, on real systemd: changed, opened, odd names, removed."""

from __future__ import annotations

import re
import shlex

import pytest
from booted import Booted
from shell_on_systemd import PASSWORD, logged_in, main_pid, start_server

EXPECTED = (
    # 252 knows no notify-reload, and says that it skips the line.
    "Failed to parse service type, ignoring: notify-reload",
    # The unit's tapd-%i with an odd name, which the drop-in then puts right.
    "does not match strict user/group name rules",
)


def mktap(debian: Booted, name: str, *options: str) -> str:
    return debian.output("tapd-mktap", "telnet", "--name", name, *options)


def complaints(debian: Booted, unit: str) -> list[str]:
    """Return what systemd-analyze(1) has to say of a unit with its drop-ins."""
    checked = debian.run("systemd-analyze", "verify", unit, check=False)
    return [
        line
        for line in (checked.stdout + checked.stderr).splitlines()
        if "tapd" in line and not any(words in line for words in EXPECTED)
    ]


def exposure(debian: Booted, unit: str) -> float:
    """Return what systemd-analyze(1) rates it."""
    report = debian.output("systemd-analyze", "security", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)
    assert found is not None, report
    return float(found[1])


def test_people_win_over_tapd_mktap(debian: Booted) -> None:
    """A drop-in of `systemctl edit` is read after that of tapd-mktap."""
    start_server(debian, "wins", 4616)
    mktap(debian, "wins", "--memory-max", "256M", "--idle-exit", "900")
    directory = "/etc/systemd/system/tapd@wins.service.d"
    debian.write(
        f"{directory}/override.conf",
        "[Service]\nMemoryMax=300M\nEnvironment=TAPD_OPTIONS=--idle-exit=0\n",
    )
    debian.run("systemctl", "daemon-reload")
    debian.run("systemctl", "restart", "tapd@wins")
    assert debian.show("tapd@wins.service", "MemoryMax") == str(300 << 20)
    arguments = debian.read(f"/proc/{main_pid(debian, 'wins')}/cmdline").split("\0")
    assert [word for word in arguments if "idle" in word] == ["--idle-exit=900", "--idle-exit=0"]


def test_a_port_changes_while_somebody_is_connected(debian: Booted) -> None:
    start_server(debian, "moves", 4600)
    with logged_in(debian, 4600) as terminal:
        terminal.ask("x = 6")
        refused = debian.run(
            "tapd-mktap", "telnet", "--name", "moves", "--port", "4601", check=False
        )
        assert refused.returncode == 75
        assert "--now" in refused.stderr
        assert "2" in terminal.ask("1 + 1")
        said = mktap(debian, "moves", "--port", "4601", "--now")
        assert "answers on 127.0.0.1:4601, [::1]:4601" in said
        assert "42" in terminal.ask("x * 7"), "who is connected stays connected"
        assert complaints(debian, "tapd@moves.socket") == []
    with logged_in(debian, 4601) as terminal:
        assert "42" in terminal.ask("x * 7")
    assert debian.run("nc", "-zN", "127.0.0.1", "4600", check=False).returncode
    assert debian.show("tapd-refused@moves.target", "ActiveState") == "inactive"


def test_a_port_changes_while_the_server_sleeps(debian: Booted) -> None:
    start_server(debian, "dreams", 4602)
    debian.run("systemctl", "stop", "tapd@dreams.service")
    mktap(debian, "dreams", "--port", "4603")
    assert debian.show("tapd@dreams.service", "ActiveState") == "inactive"
    with logged_in(debian, 4603) as terminal:
        assert "2" in terminal.ask("1 + 1")


def test_idle_exit_is_an_option_of_tapd_mktap(debian: Booted) -> None:
    start_server(debian, "lazy", 4604)
    said = mktap(debian, "lazy", "--idle-exit", "0.5")
    assert "systemctl restart tapd@lazy" in said
    mktap(debian, "lazy", "--idle-exit", "0.4", "--now")
    debian.wait_until("sh", "-c", '[ "$(systemctl is-active tapd@lazy.service)" = inactive ]')
    with logged_in(debian, 4604) as terminal:
        arguments = debian.read(f"/proc/{main_pid(debian, 'lazy')}/cmdline").split("\0")
        assert "--idle-exit=0.4" in arguments
        assert "2" in terminal.ask("1 + 1")
    assert complaints(debian, "tapd@lazy.service") == []


OPEN = 'import socket; s = socket.create_connection(("127.0.0.1", 4606)); s.close(); "opened"'


def test_what_is_closed_can_be_opened(debian: Booted) -> None:
    """Each option gives one thing, no more; and it is taken back."""
    start_server(debian, "openable", 4605)
    start_server(debian, "target", 4606)
    debian.run("mkdir", "-p", "/home/me/files", "/home/you", "/srv/shared")
    debian.run("chmod", "777", "/srv/shared")
    debian.write("/home/me/files/note", "written outside\n")
    read = 'open("/home/me/files/note").read()'
    write = 'open("/srv/shared/x", "w").write("y")'
    with logged_in(debian, 4605) as terminal:
        assert "'opened'" not in terminal.ask(OPEN)
        assert "Error" in terminal.ask(read)
        assert "Error" in terminal.ask(write)
        before = main_pid(debian, "openable")
        mktap(
            debian, "openable", "--allow-network", "--allow-read", "/home/me/files",
            "--allow-write", "/srv/shared", "--memory-max", "512M", "--now",
        )  # fmt: skip
        assert main_pid(debian, "openable") != before
        assert "'opened'" in terminal.ask(OPEN)
        assert "written outside" in terminal.ask(read)
        assert "Error" not in terminal.ask(write)
        assert "Error" in terminal.ask('open("/home/me/files/x", "w")')
        assert "['me']" in terminal.ask('__import__("os").listdir("/home")')
        assert debian.show("tapd@openable.service", "MemoryMax") == str(512 << 20)
        assert complaints(debian, "tapd@openable.service") == []
        assert exposure(debian, "tapd@openable.service") <= 1.2
        mktap(
            debian, "openable", "--no-allow-network", "--allow-read", "none",
            "--allow-write", "none", "--memory-max", "none", "--now",
        )  # fmt: skip
        assert "'opened'" not in terminal.ask(OPEN)
        assert "Error" in terminal.ask(read)
        assert "Error" in terminal.ask(write)
    assert exposure(debian, "tapd@openable.service") <= 0.3


@pytest.mark.parametrize(("name", "port"), [("a.b", 4610), ("a@b", 4611), ("a+b.c", 4612)])
def test_odd_names(debian: Booted, name: str, port: int) -> None:
    made = debian.output(
        "tapd-mktap", "telnet", "--name", name, "--port", str(port), "--password-file", "-",
        stdin=PASSWORD,
    )  # fmt: skip
    *start, unit = shlex.split(made.splitlines()[-1])  # as a shell reads it
    assert start == ["systemctl", "start"]
    debian.run("systemctl", "start", unit)
    with logged_in(debian, port) as terminal:
        terminal.ask("x = 6")
        debian.run("systemctl", "restart", unit)
        assert "42" in terminal.ask("x * 7")
    pid = debian.show(f"{unit}.service", "MainPID")
    assert debian.output("ps", "-o", "user:32=", "-p", pid).startswith("tapd-a_b")
    assert '"state": "running"' in debian.output("tapctl", "status", name, "--json")
    for suffix in ("service", "socket"):
        assert complaints(debian, f"{unit}.{suffix}") == []
    debian.run("tapd-mktap", "--remove", name, "--purge", "--yes")
    assert not debian.exists(f"/var/lib/tapd/{name}")


def test_unix_sockets_with_a_mode_and_a_group(debian: Booted) -> None:
    path = "/run/tapd-moded.sock"
    debian.output(
        "tapd-mktap", "telnet", "--name", "moded", "--port", f"unix:{path}",
        "--port", "unix:@tapd-moded", "--port", "[::1]:4613", "--socket-mode", "0660",
        "--socket-group", "www-data", "--now", "--password-file", "-", stdin=PASSWORD,
    )  # fmt: skip
    assert debian.output("stat", "--format=%a %G", path) == "660 www-data\n"
    for client in (("nc", "-NU", path), ("nc", "-N", "::1", "4613")):
        said = debian.output("timeout", "10", *client)
        assert "username" in said
    abstract = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0tapd-moded'); "
        "s.settimeout(10); print(s.recv(99))"
    )
    assert debian.output("python3", "-c", abstract)
    assert complaints(debian, "tapd@moded.socket") == []
    mktap(debian, "moded", "--socket-mode", "0600", "--now")
    assert debian.output("stat", "--format=%a %G", path) == "600 www-data\n"


def test_remove_stops_and_leaves_the_state(debian: Booted) -> None:
    start_server(debian, "leaves", 4614, "--now")
    debian.run("mkdir", "-p", "/etc/systemd/system/tapd@leaves.service.d")
    debian.write("/etc/systemd/system/tapd@leaves.service.d/override.conf", "[Service]\nNice=5\n")
    with logged_in(debian, 4614) as terminal:
        terminal.ask("x = 6")
        said = debian.output("tapd-mktap", "--remove", "leaves")
        assert "stays in /var/lib/tapd/leaves" in said
        terminal.expect("onnection closed")
    for unit in ("tapd@leaves.service", "tapd@leaves.socket"):
        assert debian.show(unit, "ActiveState") == "inactive"
        assert not debian.glob(f"/etc/systemd/system/*.wants/{unit}")
    assert not debian.exists("/etc/systemd/system/tapd@leaves.socket.d")
    assert debian.exists("/etc/systemd/system/tapd@leaves.service.d/override.conf")
    assert debian.run("nc", "-zN", "127.0.0.1", "4614", check=False).returncode
    mktap(debian, "leaves", "--now")
    with logged_in(debian, 4614) as terminal:
        assert "42" in terminal.ask("x * 7")
    debian.run("tapd-mktap", "--remove", "leaves")
    debian.run("tapd-mktap", "--remove", "leaves", "--purge", "--yes")
    assert not debian.exists("/var/lib/tapd/leaves")
    assert not debian.exists("/var/lib/private/tapd/leaves")


def test_who_is_not_root_gets_a_tap_here(debian: Booted) -> None:
    """Without --user nothing is installed for somebody who may not."""
    said = debian.run(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
        "tapd-mktap", "--user", "telnet", "--port", "4615", check=False,
    )  # fmt: skip
    assert said.returncode == 64
    assert "no service manager of yours" in said.stderr
