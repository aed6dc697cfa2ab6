"""tapctl checkpoint."""

from __future__ import annotations

from pathlib import Path

from by_hand import Server
from tap_commands import saved, tapctl, tapctl_json


def test_checkpoint_waits_for_its_own_generation(server: Server) -> None:
    tapctl(server, "shell", "telnet", stdin="application.mark = 7\n")
    report = tapctl_json(server, "checkpoint", "telnet")
    assert saved(server).mark == 7
    assert Path(report["path"]).is_file()
    status = tapctl_json(server, "status", "telnet")
    assert (status["generation"], status["records_since"]) == (report["generation"], 0)
    assert "saved generation" in tapctl(server, "checkpoint", "telnet").stdout


def test_a_checkpoint_that_fails_says_so(server: Server) -> None:
    script = (
        "from tapd.store.generations import Store\n"
        "from tapd.errors import StateUnwritable\n"
        "def save(*_arguments, **_options): raise StateUnwritable('no room at all')\n"
        "Store.save = save\n"
    )
    tapctl(server, "shell", "telnet", stdin=script)
    assert "no room at all" in tapctl(server, "checkpoint", "telnet", status=74).stderr
    assert tapctl_json(server, "status", "telnet")["generation"] == 1
