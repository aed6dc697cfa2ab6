"""A person without root: their own service manager, their own units, TAP and key."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from booted import Booted
from shell_on_systemd import PASSWORD, logged_in

PERSON = "pat"
PORT = 4630


class Person:
    """Somebody with an account on the machine."""

    def __init__(self, debian: Booted, name: str) -> None:
        self.debian = debian
        self.name = name
        self.uid = debian.output("id", "-u", name).strip()
        self.home = f"/home/{name}"

    def command(self, *words: str) -> list[str]:
        """Return the command by which root has this person run `words`."""
        return [
            "setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups", "env",
            f"HOME={self.home}", f"XDG_RUNTIME_DIR=/run/user/{self.uid}", f"USER={self.name}",
            f"--chdir={self.home}", *words,
        ]  # fmt: skip

    def output(self, *words: str, stdin: str = "") -> str:
        """Run a command; return what it said."""
        return self.debian.output(*self.command(*words), stdin=stdin)

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit of this person's."""
        return self.output("systemctl", "--user", "show", "--value", f"-p{name}", unit).strip()


@pytest.fixture
def person(debian: Booted) -> Iterator[Person]:
    """Somebody whose service manager runs though they are not logged in."""
    if debian.run("id", PERSON, check=False).returncode:
        debian.run("useradd", "--create-home", "--shell", "/bin/bash", PERSON)
    someone = Person(debian, PERSON)
    # What lingering is, without asking logind, which not every container has.
    debian.run("mkdir", "-p", "/var/lib/systemd/linger")
    debian.run("touch", f"/var/lib/systemd/linger/{PERSON}")
    debian.run("systemctl", "start", f"user@{someone.uid}.service")
    debian.wait_until(*someone.command("systemctl", "--user", "is-system-running", "--wait"))
    yield someone
    debian.run("rm", f"/var/lib/systemd/linger/{PERSON}")
    debian.run("systemctl", "stop", f"user@{someone.uid}.service")


def test_the_story_of_a_person(debian: Booted, person: Person) -> None:
    """Made, started, restarted and killed under a connection, asleep, woken, removed."""
    made = person.output(
        "tapd-mktap", "--user", "telnet", "--name", "mine", "--port", str(PORT),
        "--password-file", "-", stdin=PASSWORD,
    )  # fmt: skip
    assert made.splitlines()[-1] == "systemctl --user start tapd@mine"
    assert debian.exists(f"{person.home}/.local/state/tapd/mine/mine.tap")
    assert debian.output("stat", "-c%a %U", f"{person.home}/.config/tapd/key") == "600 pat\n"
    person.output("systemctl", "--user", "start", "tapd@mine")
    with logged_in(debian, PORT) as terminal:
        terminal.ask("x = 6")
        before = person.show("tapd@mine.service", "MainPID")
        assert debian.output("ps", "-o", "user=", "-p", before).strip() == PERSON
        person.output("systemctl", "--user", "restart", "tapd@mine")
        assert "42" in terminal.ask("x * 7")
        killed = person.show("tapd@mine.service", "MainPID")
        assert killed not in ("0", before)
        terminal.type("x *")
        debian.run("kill", "-KILL", killed)
        terminal.enter(" 8")
        assert "48" in terminal.expect(">>> ")
        assert '"state": "running"' in person.output("tapctl", "status", "mine", "--json")
        said = person.output(
            "tapd-mktap", "--user", "telnet", "--name", "mine", "--port", str(PORT + 1),
            "--idle-exit", "0.5", "--now",
        )  # fmt: skip
        assert f"answers on 127.0.0.1:{PORT + 1}" in said
        assert "54" in terminal.ask("x * 9")
        terminal.ask("import __main__")
        terminal.ask("t = __main__.application.call_later(6, print)")
        terminal.enter("quit()")
        terminal.expect("onnection closed")
    sleeps = 'test "$(systemctl --user is-active tapd@mine.service)" = inactive'
    debian.wait_until(*person.command("sh", "-c", sleeps))
    assert person.show("tapd@mine.timer", "ActiveState") == "active"
    woken = f"journalctl _UID={person.uid} -o cat | grep -q 'woken by a timer'"
    debian.wait_until("sh", "-c", woken)
    debian.wait_until(*person.command("sh", "-c", sleeps))
    with logged_in(debian, PORT + 1) as terminal:
        assert "60" in terminal.ask("x * 10")
    person.output("tapd-mktap", "--remove", "mine", "--user", "--purge", "--yes")
    assert not debian.exists(f"{person.home}/.local/state/tapd/mine")
    assert not debian.glob(f"{person.home}/.config/systemd/user/tapd@mine*")
    assert person.show("tapd@mine.socket", "ActiveState") == "inactive"


def test_the_units_of_a_person_are_clean_and_confined(debian: Booted, person: Person) -> None:
    """What seccomp and no_new_privs can do, is done; the rest is the system unit's."""
    drop_in = f"{person.home}/.config/systemd/user/tapd@verify.socket.d"
    person.output("mkdir", "-p", drop_in)
    person.output("sh", "-c", f"printf '[Socket]\\nListenStream=127.0.0.1:9\\n' >{drop_in}/p.conf")
    for unit in ("tapd@verify.service", "tapd@verify.socket", "tapd-refused@verify.target"):
        checked = debian.run(
            *person.command("systemd-analyze", "--user", "verify", f"/usr/lib/systemd/user/{unit}"),
            check=False,
        )
        complaints = [
            line
            for line in (checked.stdout + checked.stderr).splitlines()
            if "tapd" in line and "ignoring: notify-reload" not in line
        ]
        assert complaints == []
    report = person.output("systemd-analyze", "--user", "security", "--no-pager", "tapd@x.service")
    exposure = re.search(r"Overall exposure level for tapd@x.service: ([0-9.]+)", report)
    assert exposure is not None, report
    # It is rated as if it were root's, whose capabilities a person has not got at all.
    assert float(exposure[1]) <= 6.3, report
