"""The tutorial's commands for systemd, on booted Debians, as they stand in docs/tutorial.md."""

from __future__ import annotations

from pathlib import Path

from booted import Booted
from doc_pages import parse_page
from shell_on_systemd import main_pid, wait_for_another_process
from telnet_terminal import TelnetTerminal

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


def commands(debian: Booted, text: str) -> None:
    """Run each line behind "$" as root, in the directory of chat.py."""
    for line in text.splitlines():
        assert line.startswith("$ ")
        debian.run("sh", "-c", "cd /root && " + line[2:].removeprefix("sudo "))


def test_the_chat_goes_on_under_systemd(debian: Booted) -> None:
    blocks = parse_page(PAGE)
    code = [block.text for block in blocks if block.argument == "chat.py"][-1]
    install, upset = [block.text for block in blocks if "tapd@chat" in block.text]
    debian.write("/root/chat.py", code)
    commands(debian, install)
    with debian.terminal("/usr/bin/inetutils-telnet", "127.0.0.1", "9000") as fd:
        terminal = TelnetTerminal(fd)
        terminal.expect("What is your name?")
        terminal.enter("ann")
        terminal.expect("* ann is here")
        for number, line in enumerate(upset.splitlines()):
            before = main_pid(debian, "chat")
            # Newer than the process, so that a reload has something to do.
            debian.write("/srv/chat/chat.py", f"{code}# {number}\n")
            commands(debian, line)
            wait_for_another_process(debian, "chat", before)
            terminal.enter(f"still here {number}")
            terminal.expect(f"<ann> still here {number}")
        terminal.enter("/who")
        terminal.expect("Here are ann")
    debian.run("systemctl", "stop", "tapd@chat.socket", "tapd@chat.service")
