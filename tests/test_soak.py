"""The soak runs its parts in turn, goes on after a failure, and says what repeats it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from tests import soak

ROOT = Path(__file__).parents[1]


def test_a_failure_is_told_and_does_not_end_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "well.py").write_text("import sys; print(*sys.argv[1:])")
    (tmp_path / "fails.py").write_text("import sys; print('seen:', *sys.argv[1:]); sys.exit(1)")
    well = f"{tmp_path / 'well.py'} {{seed}} {{seconds}}"
    fails = f"{tmp_path / 'fails.py'} {{seed}} {{seconds}}"
    monkeypatch.setattr(soak, "PARTS", {"fails": fails, "well": well})
    rest_s = iter([1000.0] * 4)  # two rounds, and the time is over
    monkeypatch.setattr(soak, "left_s", lambda _end_s: next(rest_s, 0.0))
    failed = soak.soak(["fails", "well"], 3, 0.0, tmp_path)
    assert [command.split()[1:] for command in failed] == [
        [str(tmp_path / "fails.py"), "3000000000", "120"],
        [str(tmp_path / "fails.py"), "3000100000", "120"],
    ]
    assert sorted(path.name for path in tmp_path.glob("000*")) == [
        "0000-fails", "0000-well", "0001-fails", "0001-well",
    ]  # fmt: skip
    assert (tmp_path / "0001-well").read_text() == "3000100001 120\n"
    told = capsys.readouterr().out
    assert "seen: 3000000000 120" in told
    assert f"FAILED: {failed[0]}" in told


def test_what_hangs_is_ended_and_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hangs.py").write_text("import signal; signal.pause()")
    monkeypatch.setattr(soak, "_SLICE_S", 0)
    monkeypatch.setattr(soak, "_OVERTIME_S", 0.1)
    assert not soak.run_part(str(tmp_path / "hangs.py"), tmp_path / "output", tmp_path)
    assert "not done after" in (tmp_path / "output").read_text()


@pytest.mark.parametrize("name", soak.PARTS)
def test_a_part_runs_what_is_there(name: str) -> None:
    words = shlex.split(soak.PARTS[name].format(seed=1, seconds=1))
    paths = [word for word in words if word.startswith("tests/")]
    assert paths
    assert all((ROOT / path).exists() for path in paths)
