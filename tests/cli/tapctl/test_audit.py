"""tapctl audit and a running server: what is changed past tapd is found, named, and not lost."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_hand import Server, free_port, wait_for

from tapd.cli.tapctl.checkpoint import describe_audit
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory
from tapd.store.generations import Store

TAPCTL = (sys.executable, "-c", "from tapd.cli.tapctl.command import main; main()")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A telnet server, running."""
    application = Application("telnet")
    application.listen(f"127.0.0.1:{free_port()}", ShellFactory())
    server = Server(tmp_path, application)
    server.may_differ = True
    server.start()
    wait_for(server.can_be_asked, "control socket")
    yield server
    server.end()


def tapctl(server: Server, *arguments: str, stdin: str = "", status: int = 0) -> str:
    done = subprocess.run(
        [*TAPCTL, *arguments],
        env=server.environ, input=stdin, capture_output=True, text=True, check=False,
        cwd=server.tap.parent,
    )  # fmt: skip
    assert done.returncode == status, done
    return done.stdout


def tapctl_json(server: Server, *arguments: str) -> Any:
    return json.loads(tapctl(server, *arguments, "--json"))


def saved(server: Server) -> Application:
    return Store(server.tap, server.key).load().application


def type_in(server: Server, text: str) -> None:
    tapctl(server, "shell", "telnet", stdin=text)


PLANT = """\
application.rooms = {"lobby": [1, 2]}
"""
HOLE = """\
list.append(application.rooms["lobby"], 3)
"""


def test_a_change_by_c_that_nothing_reported(server: Server) -> None:
    type_in(server, PLANT)
    sound = tapctl(server, "audit", "telnet")
    assert re.match(r"audited: generation \d+, [\d,]+ objects, no difference, in \d", sound)
    type_in(server, HOLE)
    found = tapctl(server, "audit", "telnet", status=1)
    generation = re.match(r"audited: generation (\d+), [\d,]+ objects, 1 difference, in", found)
    assert generation is not None, found
    assert found.splitlines()[1:] == [
        "rooms['lobby'][2] (in a Application):",
        "  in memory     3",
        "  after a kill  missing",
    ]
    status = tapctl(server, "status", "telnet")
    assert f"audited  generation {generation[1]}, " in status
    assert "1 difference\n" in status
    assert (
        f"audit of generation {generation[1]}: rooms['lobby'][2] (in a Application) a kill would "
        "have restored missing, memory holds 3; the new generation has what memory holds"
    ) in server.log()
    assert saved(server).rooms == {"lobby": [1, 2, 3]}
    again = tapctl_json(server, "audit", "telnet")
    assert (again["differences"], again["reason"]) == ([], "")
    assert again["base"] == int(generation[1])
    status = tapctl(server, "status", "telnet")
    assert f"audited  generation {again['generation']}, " in status
    assert f"generation {generation[1]}, " in status, "what was found once stays to be seen"


def test_each_checkpoint_is_audited_by_itself(server: Server) -> None:
    type_in(server, PLANT)
    type_in(server, HOLE)
    report = tapctl_json(server, "checkpoint", "telnet")

    def audited() -> object:
        found = tapctl_json(server, "status", "telnet")["audited"]
        return found and found["generation"] == report["generation"] and found

    wait_for(audited, "audit of the checkpoint")
    found = tapctl_json(server, "status", "telnet")["audited"]
    assert [each["path"] for each in found["differences"]] == ["rooms['lobby'][2]"]
    server.kill_and_go_on()
    type_in(server, "assert application.rooms == {'lobby': [1, 2, 3]}\napplication.survived = 1\n")
    assert tapctl_json(server, "audit", "telnet")["differences"] == []
    assert saved(server).survived == 1


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"objects": 1204}, "generation 12, 1,204 objects, no difference"),
        ({"objects": 1, "differences": [{}]}, "generation 12, 1 object, 1 difference"),
        (
            {"objects": 7, "parts": 3},
            "generation 12, 7 objects (one of 3 parts, another one each time), no difference",
        ),
        (
            {"objects": 7, "reason": "its time was over"},
            "generation 12, 7 objects, no difference; not all of it: its time was over",
        ),
        (
            {"objects": 0, "reason": "there was not enough memory"},
            "generation 12, nothing compared: there was not enough memory",
        ),
    ],
)
def test_an_audit_in_a_few_words(found: dict[str, Any], told: str) -> None:
    whole = {"generation": 12, "differences": [], "parts": 1, "reason": ""} | found
    assert describe_audit(whole) == told
