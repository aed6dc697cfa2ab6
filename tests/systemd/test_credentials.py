"""Credentials: read where they were handed over (systemd.exec(5))."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapd.errors import KeyUnusable
from tapd.systemd.credentials import read_credential


def test_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\x00secret\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_credential("key", environ) == b"\x00secret\n"
    assert read_credential("other", environ) is None
    assert read_credential("key", {}) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b"])
def test_names_that_leave_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="can't be the name"):
        read_credential(name, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_unreadable_and_too_long(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    (tmp_path / "directory").mkdir()
    with pytest.raises(KeyUnusable, match="can't read the credential directory"):
        read_credential("directory", environ)
    with (tmp_path / "long").open("wb") as file:
        file.truncate(2 * 1024 * 1024)
    with pytest.raises(KeyUnusable, match="longer"):
        read_credential("long", environ)
