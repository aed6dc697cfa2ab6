"""Whether the unit can read an author's code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapd.cli.mktap.visibility import check_visible, find_closed, find_hindrance
from tapd.errors import UsageError


@pytest.mark.parametrize(
    ("path", "setting"),
    [
        ("/root", "ProtectHome="),
        ("/home/ann/code", "ProtectHome="),
        ("/run/user/0/x", "ProtectHome="),
        ("/tmp/x", "PrivateTmp="),
        ("/var/tmp/x", "PrivateTmp="),
    ],
)
def test_what_the_sandbox_hides(path: str, setting: str) -> None:
    assert setting in find_hindrance(Path(path))
    with pytest.raises(UsageError, match="such as /srv/NAME"):
        check_visible([path])


def test_what_all_can_read() -> None:
    assert find_hindrance(Path("/usr/lib")) == ""
    check_visible(["/usr/lib", "/"])


@pytest.mark.parametrize(
    ("top_mode", "mode", "closed"),
    [
        (0o755, 0o755, ""),
        (0o711, 0o755, ""),
        (0o755, 0o711, "code"),
        (0o755, 0o700, "code"),
        (0o700, 0o755, "top"),
        (0o750, 0o750, "code"),
    ],
)
def test_what_only_its_owner_can_read(
    tmp_path: Path, top_mode: int, mode: int, closed: str
) -> None:
    top = tmp_path / "top"
    code = top / "code"
    code.mkdir(parents=True)
    code.chmod(mode)
    top.chmod(top_mode)
    said = find_closed(code, [top])
    assert said == "" if not closed else f"/{closed} is not for all to read" in said


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in find_closed(tmp_path / "nowhere", [])
