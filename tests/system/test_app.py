"""A server of one's own on real systemd: its module, its reload with new code, its refusals."""

from __future__ import annotations

import pytest
from booted import Booted
from shell_on_systemd import main_pid, wait_for_another_process
from telnet_terminal import TelnetTerminal

CODE = """
from tapd import LineProtocol, Service


class Bird(LineProtocol):
    def line_received(self, line):
        self.service.said += 1
        self.send_line(f"one {self.service.said} {line}.")


class Cage(Service):
    protocol = Bird

    def __init__(self, said: int = 0):
        self.said = said
"""
NEXT_CODE = CODE.replace("one {", "two {").replace(
    "    def __init__",
    """    persistence_version = 2

    def upgrade_to_version_2(self):
        self.said += 100

    def __init__""",
)


def install(debian: Booted, code: str) -> None:
    debian.run("mkdir", "-p", "/srv/birds")
    debian.write("/srv/birds/birds.py", code)


def test_reload_goes_on_with_new_code_and_refuses_what_does_not_work(debian: Booted) -> None:
    install(debian, CODE)
    made = debian.output(
        "tapd-mktap", "app", "birds:Cage", "--path", "/srv/birds", "-o", "said=7",
        "--port", "127.0.0.1:4870", "--now",
    )  # fmt: skip
    assert "It runs" in made
    with debian.terminal("/usr/bin/inetutils-telnet", "127.0.0.1", "4870") as fd:
        terminal = TelnetTerminal(fd)
        terminal.expect("Escape character is")
        terminal.enter("a")
        terminal.expect("one 8 a.")
        # Nothing new: the same process goes on.
        first = main_pid(debian, "birds")
        debian.run("systemctl", "reload", "tapd@birds")
        # With systemd 252 that does not wait for the outcome.
        debian.wait_until(
            "sh", "-c", "journalctl -u tapd@birds.service -o cat | grep -q 'generation 2'"
        )
        assert main_pid(debian, "birds") == first
        # What does not work. Of another length: Python takes a module of the same length
        # and second for the one that it has compiled.
        install(debian, CODE.replace("class Bird(", "class Blackbird("))
        debian.run("systemctl", "reload", "tapd@birds")
        debian.wait_until(
            "sh", "-c", "journalctl -u tapd@birds.service -o cat | grep -q 'birds is not taken'"
        )
        assert main_pid(debian, "birds") == first
        terminal.enter("b")
        terminal.expect("one 9 b.")
        # What does.
        install(debian, NEXT_CODE)
        debian.run("systemctl", "reload", "tapd@birds")
        wait_for_another_process(debian, "birds", first)
        terminal.enter("c")
        terminal.expect("two 110 c.")
        story = debian.journal("tapd@birds.service", "--output=cat")
        assert "new code of birds: tried, and it loads this state" in story
        assert "killed" not in story
        # A restart takes the same way, without a rehearsal.
        second = main_pid(debian, "birds")
        install(debian, NEXT_CODE.replace("two {", "three {"))
        debian.run("systemctl", "restart", "tapd@birds")
        assert main_pid(debian, "birds") != second
        terminal.enter("d")
        terminal.expect("three 111 d.")
    debian.run("systemctl", "stop", "tapd@birds.socket", "tapd@birds.service")


@pytest.mark.parametrize("place", ["/root/birds", "/home/birds", "/var/tmp/birds"])
def test_code_that_the_unit_could_not_see_is_refused(debian: Booted, place: str) -> None:
    debian.run("mkdir", "-p", place)
    debian.write(f"{place}/hidden_birds.py", CODE)
    told = debian.run(
        "tapd-mktap", "app", "hidden_birds:Cage", "--path", place, "--port", "4871", check=False
    )
    assert told.returncode == 64
    assert "the unit can't see" in told.stderr
    assert "/srv/NAME" in told.stderr
    assert debian.run("test", "-e", "/var/lib/tapd/hidden_birds", check=False).returncode == 1
