"""`tapd` by hand: what it says to somebody who got its name wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_tap_that_is_named_without_its_ending(tmp_path: Path) -> None:
    (tmp_path / "chat.tap").touch()
    command = [sys.executable, "-m", "tapd", "chat"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 66
    assert "did you mean chat.tap?" in ended.stderr
