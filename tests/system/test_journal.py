"""The journal of a life: a story that `journalctl` tells and `journalctl -x` explains.

The transcript in docs/journal.md is checked against it, line by line.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from booted import Booted
from shell_on_systemd import (
    PASSWORD,
    logged_in,
    main_pid,
    start_server,
    telnet,
    wait_for_another_process,
)

from tapd import events

PAGE = Path(__file__).parents[2] / "docs" / "journal.md"
NAMES = {
    event.message_id: name
    for name, event in vars(events).items()
    if isinstance(event, events.Event)
}


def kind(entry: dict[str, Any]) -> str:
    """Return which event a line tells; "" for none."""
    return NAMES.get(entry.get("MESSAGE_ID", ""), "")


def live(debian: Booted, name: str, port: int) -> None:
    """Lead a life: start, logins, a save, a restart, a kill, sleep, a wake-up, a stop."""
    made = debian.output(
        "tapd-mktap", "telnet", "--name", name, "--port", str(port), "--idle-exit", "1",
        "--password-file", "-", stdin=PASSWORD,
    )  # fmt: skip
    assert name in made
    debian.run("systemctl", "start", f"tapd@{name}")
    with telnet(debian, port) as terminal:
        terminal.expect("username: ")
        terminal.enter("mallory")
        terminal.expect("password: ")
        terminal.enter("guess")
        terminal.expect("username: ")
    with logged_in(debian, port) as terminal:
        terminal.ask("import threading; t = threading.Thread()")
        debian.run("tapctl", "checkpoint", name)
        debian.run("systemctl", "restart", f"tapd@{name}")
        assert "2" in terminal.ask("1 + 1")
        before = main_pid(debian, name)
        debian.run("kill", "-KILL", before)
        wait_for_another_process(debian, name, before)
        terminal.enter("quit()")
        terminal.expect("onnection closed")
    script = 'test "$(systemctl is-active tapd@$1.service)" = inactive'
    debian.wait_until("sh", "-c", script, "sh", name)
    with logged_in(debian, port) as terminal:
        assert "2" in terminal.ask("1 + 1")
        debian.run("systemctl", "stop", f"tapd@{name}.socket")
        terminal.expect("onnection closed")


def entries(debian: Booted, name: str) -> list[dict[str, Any]]:
    """Return what the server itself logged."""
    lines = debian.journal(f"tapd@{name}", "--output=json").splitlines()
    found = [json.loads(line) for line in lines]
    return [entry for entry in found if entry.get("SYSLOG_IDENTIFIER") == name]


STORY = [
    "STARTED", "LOGIN_REFUSED", "LOGIN", "LOSS", "SAVED", "STOPPING", "SAVED", "RESUMED",
    "RESUMED", "KILLED_BEFORE", "STOPPING", "SAVED", "ASLEEP", "RESUMED", "WOKEN", "LOGIN",
    "STOPPING", "SAVED",
]  # fmt: skip


def plain(line: str) -> str:
    """Return `line` without what differs from one life to the next."""
    line = re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+", "TIME", line)
    line = re.sub(r"\d+ bytes in [\d.]+ s", "N bytes in N s", line)
    line = re.sub(r"127\.0\.0\.1:\d{5}", "127.0.0.1:PORT", line)
    line = re.sub(r"(generation[- ])0*\d+", r"\1N", line)
    line = re.sub(r"journal records: \d+", "journal records: N", line)
    line = re.sub(r"Python [\d.]+|tapd [\d.]+|after \d+ \w+ asleep|process \d+", "N", line)
    return re.sub(r"<Thread\(.*?\)>", "<Thread>", line)


def test_the_journal_tells_a_life(debian: Booted) -> None:
    live(debian, "story", 4640)
    told = entries(debian, "story")
    named = [kind(entry) for entry in told if kind(entry)]
    # The loss is told at the commit and again with each save.
    assert [name for name in named if name != "LOSS"] == [n for n in STORY if n != "LOSS"]
    assert "LOSS" in named
    for entry in told:
        assert int(entry["PRIORITY"]) <= 6
        if kind(entry):
            quiet = kind(entry) not in {"LOGIN_REFUSED", "LOSS", "KILLED_BEFORE"}
            assert (int(entry["PRIORITY"]) == 6) is quiet, entry["MESSAGE"]
    start = next(entry for entry in told if kind(entry) == "STARTED")
    assert start["TAPD_GENERATION"] == "1"
    assert start["TAPD_TAP"].endswith("/tapd/story/story.tap")
    refused = next(entry for entry in told if kind(entry) == "LOGIN_REFUSED")
    assert refused["TAPD_PEER"].startswith("127.0.0.1:")

    explained = debian.journal("tapd@story", "--catalog", "--identifier=story", "--output=short")
    for words in (
        "The server story runs for the first time",
        "The previous process did not stop, it was killed",
        "The server story went to sleep",
        "The sleeping server story was woken by a client",
        "A login to story was refused",
    ):
        assert words in explained
    missing = re.findall(r"@TAPD_[A-Z_]+@", explained)
    assert missing == []

    page = re.search(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert page is not None
    shown = [plain(line.partition(": ")[2]) for line in page[1].splitlines()]
    assert shown == [plain(entry["MESSAGE"]) for entry in told if _is_told(entry)]


def _is_told(entry: dict[str, Any]) -> bool:
    """Whether a line is in the page: all that has the same words in every life."""
    return "checkpoint was asked" not in entry["MESSAGE"]


def test_the_catalog_is_installed_whole(debian: Booted) -> None:
    listed = debian.output("journalctl", "--list-catalog", "--no-pager")
    for message_id in NAMES:
        assert message_id in listed


def test_a_server_can_be_found_by_kind_of_event(debian: Booted) -> None:
    start_server(debian, "found", 4641)
    found = debian.output(
        "journalctl", "--no-pager", "-o", "cat", f"MESSAGE_ID={events.STARTED.message_id}"
    )
    assert "started 'found'" in found
