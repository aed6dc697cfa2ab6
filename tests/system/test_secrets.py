"""Nothing secret in a unit, a process list, an environment or a log, nor in the clear on disk."""

from __future__ import annotations

import itertools
import re
import subprocess

from booted import Booted
from shell_on_systemd import logged_in, main_pid, start_server
from telnet_terminal import TelnetTerminal

# Shows a secret in both places, until it was seen in both.
SHOW = """
import os, time
while not all(os.path.exists(f"/run/tapd-test-canary-{name}") for name in ("cmdline", "environ")):
    time.sleep(0.01)
"""

PASSWORD = "xyzzy-plugh-4650"
CANARY = "canary-4650"

# A process that ends looks at every command line and environment that it can see, as
# fast as it can, until the file is there; root sees all.
WATCH = r"""
import os, pathlib, sys
secrets = [text.encode() for text in sys.stdin.read().split("\n") if text]
own, seen, looks = str(os.getpid()), set(), 0
print("watching", flush=True)
while not os.path.exists("/run/tapd-test-watched"):
    looks += 1
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or pid == own:
            continue
        for name in ("cmdline", "environ"):
            try:
                data = pathlib.Path("/proc", pid, name).read_bytes()
            except OSError:
                continue
            for secret in secrets:
                if secret in data:
                    seen.add(f"{name}: {data[:200]!r}")
                    if secret == secrets[-1]:
                        pathlib.Path(f"/run/tapd-test-canary-{name}").touch()
print(looks, *sorted(seen), sep="\n")
"""


def key_of(debian: Booted) -> str:
    """Return the secret part of the host's key."""
    words = debian.read("/etc/tapd/key").split()
    return max(words, key=len)


def test_a_life_that_shows_no_secret(debian: Booted) -> None:
    """Make (with the prompt of -w -), run, log in, restart, kill, set, reset a password."""
    key = key_of(debian)
    assert len(key) >= 32
    debian.run("sh", "-c", "rm -f /run/tapd-test-*")
    with subprocess.Popen(
        debian.command("python3", "-c", WATCH),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as watch:  # fmt: skip
        assert watch.stdin is not None
        assert watch.stdout is not None
        watch.stdin.write(f"{PASSWORD}\n{key}\n{CANARY}\n")
        watch.stdin.close()
        assert watch.stdout.readline() == "watching\n"
        try:
            words = ("telnet", "--name", "secret", "--port", "4650", "-w", "-", "--now")
            with debian.terminal("tapd-mktap", *words) as fd:
                terminal = TelnetTerminal(fd)
                for _ in range(2):
                    terminal.expect(": ")
                    terminal.enter(PASSWORD)
                terminal.expect("It runs")
                assert PASSWORD not in terminal.transcript
            lead_a_life(debian)
            debian.run("env", f"X={CANARY}", "python3", "-c", SHOW, CANARY)
        finally:
            debian.run("touch", "/run/tapd-test-watched")
        looks, *seen = watch.stdout.read().splitlines()
    assert int(looks) > 10
    assert [line for line in seen if CANARY not in line] == []
    debian.run("journalctl", "--sync")
    journal = debian.output("journalctl", "--no-pager", "--output=export", "--all")
    units = debian.output(
        "sh", "-c", "systemctl cat 'tapd@secret.*'; systemctl show 'tapd@secret.*'; "
        "grep -rs . /etc/systemd/system /run/systemd/system /run/systemd/transient || true",
    )  # fmt: skip
    for secret in (PASSWORD, key):
        assert secret not in journal
        assert secret not in units
        found = debian.run(
            "grep", "-rls", "--", secret, "/var/lib/tapd", "/var/lib/private/tapd", "/run/tapd",
            "/var/log", "/tmp", check=False,
        )  # fmt: skip
        assert found.stdout == ""


def lead_a_life(debian: Booted) -> None:
    with debian.terminal("/usr/bin/inetutils-telnet", "127.0.0.1", "4650") as fd:
        terminal = TelnetTerminal(fd)
        terminal.expect("username: ")
        terminal.enter("admin")
        terminal.expect("password: ")
        terminal.type(PASSWORD[:5])  # half of it is in the journal now, sealed
        debian.run("systemctl", "restart", "tapd@secret")
        debian.run("kill", "-KILL", main_pid(debian, "secret"))
        terminal.enter(PASSWORD[5:])
        terminal.expect(">>> ")
        assert "''" in terminal.ask("__import__('os').environ.get('TAPD_PASSWORD', '')")
    debian.run("tapctl", "set", "secret", "password=admin", "--password-file", "-", stdin=PASSWORD)
    debian.run("tapd-mktap", "telnet", "--name", "secret", "--password-file", "-", stdin=PASSWORD)


def test_a_password_on_the_command_line_is_warned_of(debian: Booted) -> None:
    """`-w woohoo` is how the original did it, so it works; but it says what it costs."""
    made = debian.run(
        "tapd-mktap", "telnet", "--name", "warned", "--port", "4651", "-w", "seen-by-all", "--now"
    )
    assert "can be seen in the process list" in made.stderr
    assert "seen-by-all" not in made.stdout + made.stderr
    with debian.terminal("/usr/bin/inetutils-telnet", "127.0.0.1", "4651") as fd:
        terminal = TelnetTerminal(fd)
        terminal.expect("username: ")
        terminal.enter("admin")
        terminal.expect("password: ")
        terminal.enter("seen-by-all")
        terminal.expect(">>> ")


def test_the_key_is_the_servers_alone_and_not_its_shells(debian: Booted) -> None:
    """A credential: in memory, readable by this server's user, and not in its environment."""
    debian.run("tapd-mktap", "telnet", "--name", "keyed", "--port", "4652", "--now", "-w", "woohoo")
    assert debian.output("stat", "-c%a %U", "/etc/tapd/key") == "600 root\n"
    environment = debian.read(f"/proc/{main_pid(debian, 'keyed')}/environ")
    assert key_of(debian) not in environment
    directory = re.search(r"CREDENTIALS_DIRECTORY=([^\0]+)", environment)
    assert directory is not None
    assert debian.output("stat", "-fc%T", directory[1]).strip() in ("ramfs", "tmpfs")
    with logged_in(debian, 4652) as terminal:
        said = terminal.ask("open('/etc/tapd/key')")
        assert "PermissionError" in said


def test_a_key_that_is_gone_is_said_and_waited_for(debian: Booted) -> None:
    """Connections are kept meanwhile, and systemd is not kept busy."""
    start_server(debian, "keyless", 4655)
    service = "tapd@keyless.service"
    with logged_in(debian, 4655) as terminal:
        terminal.ask("x = 6")
        debian.run("mv", "/etc/tapd/key", "/root/key-4655")
        try:
            debian.run("systemctl", "restart", "--no-block", service)
            debian.wait_until("sh", "-c", f"[ $(systemctl show -P NRestarts {service}) -ge 2 ]")
            told = debian.journal(service, "--priority=err", "--output=cat").splitlines()
        finally:
            debian.run("mv", "/root/key-4655", "/etc/tapd/key")
        said = [line for line in told if "put it back from a backup" in line]
        assert len(said) in (2, 3), "one for each start"
        assert "42" in terminal.ask("x * 7")
    started = 'journalctl -u "$1" -o short-unix | grep "status=243" | cut -d. -f1'
    times_s = [int(text) for text in debian.output("sh", "-c", started, "sh", service).split()]
    assert all(later - earlier >= 2 for earlier, later in itertools.pairwise(times_s))
