"""TAPs of every release and Python version load, for ever; and those of each Python in others."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import golden_taps
import pytest
from other_pythons import ENVIRONMENT, other_pythons

from tapd.store.snapshot import take_snapshot

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
TAPS = sorted(GOLDEN.glob("*.tap"))
KEY = golden_taps.read_key(GOLDEN)


def test_there_is_one_of_each_python() -> None:
    for minor in (11, 12, 13):
        assert any(path.name.endswith(f"python-3.{minor}.tap") for path in TAPS)


@pytest.mark.parametrize("path", TAPS, ids=lambda path: path.stem)
def test_a_golden_tap_lives(path: pathlib.Path) -> None:
    golden_taps.check(golden_taps.load(path, KEY))


@pytest.mark.parametrize("path", TAPS, ids=lambda path: path.stem)
def test_a_golden_tap_is_saved_again(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """What an old release wrote goes through the newest one unchanged."""
    snapshot = take_snapshot(golden_taps.load(path, KEY), 2, KEY)
    assert not snapshot.losses
    again = tmp_path / "again.tap"
    again.write_bytes(b"".join(snapshot.chunks))
    golden_taps.check(golden_taps.load(again, KEY))


def test_each_python_here_reads_what_each_writes(tmp_path: pathlib.Path) -> None:
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other Python of 3.11 to 3.13 here: set TAPD_TEST_PYTHONS, or install one")
    shutil.copy(GOLDEN / golden_taps.KEY_NAME, tmp_path)
    everyone = {"own": sys.executable, **pythons}
    for command in ("make", "check"):
        for name, python in everyone.items():
            done = subprocess.run(
                [python, golden_taps.__file__, command, str(tmp_path)],
                env=ENVIRONMENT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (command, name, done.stderr)
    assert len(list(tmp_path.glob("*.tap"))) == len(everyone)
