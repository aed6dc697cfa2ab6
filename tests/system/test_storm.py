"""The storm on real systemd: kills, restarts and reloads under clients, all of them exact."""

from __future__ import annotations

import pytest
from booted import Booted
from storm_server import start_storm_server


def run_inside(
    capsys: pytest.CaptureFixture[str], debian: Booted, name: str, module: str, *words: str
) -> None:
    """Run one of the storm's programs inside against tapd@NAME; print what it says."""
    ran = debian.run("python3", "-m", module, name, *words, check=False, timeout_s=200)
    with capsys.disabled():  # the figures belong into CI's output
        print(f"\n{debian.suite}: {ran.stdout.strip()}")
    log = debian.journal(f"tapd@{name}")
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}\n{log[-6000:]}"
    assert "Traceback" not in log, log[-6000:]
    debian.run("systemctl", "stop", f"tapd@{name}")


def test_storm(debian: Booted, capsys: pytest.CaptureFixture[str]) -> None:
    """Each client's transcript is exact, and the shared counter has no gap and no repeat."""
    start_storm_server(debian, "storm", "127.0.0.1:4160")
    run_inside(capsys, debian, "storm", "storm_on_systemd", "4160", "30", "60")


def test_a_thousand_connections(debian: Booted, capsys: pytest.CaptureFixture[str]) -> None:
    """More than one segment of the vault, across a restart and two kills."""
    start_storm_server(debian, "crowd", "0.0.0.0:4161")
    run_inside(capsys, debian, "crowd", "many_on_systemd", "4161", "1000")
