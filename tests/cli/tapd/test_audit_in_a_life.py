"""An audit that takes for ever is in nobody's way: saves, a stop, a kill, a reload, another."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_hand import Server, free_port, wait_for

from tapd.model.application import Application
from tapd.services.telnet import ShellFactory
from tapd.store.generations import Store

TAPCTL = (sys.executable, "-c", "from tapd.cli.tapctl.command import main; main()")
NEVER = """\
import os, time
import tapd

class Slow:
    \"\"\"Its restoring takes an hour in an audit, which has nothing but /dev/null open.\"\"\"

    def __init__(self):
        self.value = 1

    def __setstate__(self, state):
        self.__dict__.update(state)
        if os.path.realpath("/proc/self/fd/2") == "/dev/null":
            time.sleep(3600)
"""


class Life:
    """A server, and tapctl."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        (directory / "lib").mkdir()
        (directory / "lib" / "slow_module.py").write_text(NEVER)
        application = Application("telnet")
        application.listen(f"127.0.0.1:{free_port()}", ShellFactory())
        self.server = Server(directory, application, *arguments, python_path=str(directory / "lib"))
        self.server.start()
        wait_for(self.server.can_be_asked, "control socket")

    def tapctl(self, *arguments: str, stdin: str = "", status: int = 0) -> str:
        done = subprocess.run(
            [*TAPCTL, *arguments],
            env=self.server.environ, input=stdin, capture_output=True, text=True, check=False,
            cwd=self.server.tap.parent, timeout=120,
        )  # fmt: skip
        assert done.returncode == status, (done, self.server.log())
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.tapctl(*arguments, "--json"))

    def children(self) -> int:
        """Return how many children the server has beside its guardian: those that audit."""
        pid = self.server.child()
        return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) - 1

    def begin_slow_audit(self) -> None:
        """Have an audit run that does not end by itself."""
        self.tapctl(
            "shell", "telnet", stdin="import slow_module\napplication.slow = slow_module.Slow()\n"
        )
        self.tapctl("checkpoint", "telnet")  # from here on it is in the generation to restore
        self.tapctl("checkpoint", "telnet")
        wait_for(lambda: self.children() == 1, "audit")


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """A running server."""
    life = Life(tmp_path)
    yield life
    life.server.end()


def test_saves_go_on_while_an_audit_runs(life: Life) -> None:
    life.begin_slow_audit()
    generations = [life.json("checkpoint", "telnet")["generation"] for _ in range(3)]
    assert generations == sorted(set(generations))
    assert life.json("status", "telnet")["generation"] == generations[-1]
    assert life.children() == 1, "one audit at a time"


def test_a_stop_does_not_wait_for_it(life: Life) -> None:
    life.begin_slow_audit()
    life.tapctl("shell", "telnet", stdin="application.mark = 7\n")
    started_s = time.monotonic()
    assert life.server.stop() == 0
    assert time.monotonic() - started_s < 60
    assert Store(life.server.tap, life.server.key).load().application.mark == 7
    assert "was killed by" not in life.server.log(), "it was given up, by intent"
    life.server.start()
    assert life.json("status", "telnet")["state"] == "running"


def test_a_kill_takes_it_along(life: Life) -> None:
    life.begin_slow_audit()
    life.tapctl("shell", "telnet", stdin="application.mark = 8\n")
    life.server.kill_and_go_on()
    life.tapctl("shell", "telnet", stdin="assert application.mark == 8\n")
    assert life.children() == 0


def test_a_reload_goes_on_with_new_code(life: Life) -> None:
    life.begin_slow_audit()
    before = life.server.child()
    module = Path(life.server.tap.parent / "lib" / "slow_module.py")
    module.write_text(NEVER + "\nNEW = 1\n")
    told = life.tapctl("reload", "telnet")
    assert "new code of slow_module" in told
    assert life.server.child() != before


def test_one_that_is_asked_for_takes_its_place(life: Life) -> None:
    life.begin_slow_audit()
    life.tapctl("shell", "telnet", stdin="del application.slow\n")
    life.tapctl("checkpoint", "telnet")  # while the slow one runs: nothing to restore is slow now
    assert life.json("audit", "telnet")["differences"] == []
    assert life.children() == 0


def test_whoever_does_not_want_it_has_none(tmp_path: Path) -> None:
    life = Life(tmp_path, "--audit", "off", "--sync", "always")
    try:
        life.tapctl("checkpoint", "telnet")
        life.tapctl("shell", "telnet", stdin="application.mark = []\n")
        life.tapctl("checkpoint", "telnet")
        assert life.children() == 0
        assert life.json("status", "telnet")["audited"] is None
        assert "audited" not in life.tapctl("status", "telnet")
        assert life.json("audit", "telnet")["differences"] == [], "it was asked for"
    finally:
        life.server.end()


@pytest.mark.parametrize("wrong", ["of", "12", "-5M", "1T", "nanM", "infG", ""])
def test_what_is_no_amount_of_memory_is_refused(tmp_path: Path, wrong: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tapd", str(tmp_path / "a.tap"), f"--audit={wrong}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 64
    assert "--audit" in done.stderr
