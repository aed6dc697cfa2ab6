"""What a server is told at its start of limits that are too low for its connections."""

from __future__ import annotations

import resource

import pytest

from tapd.systemd.limits import check_limits


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    managed = {"NOTIFY_SOCKET": "/run/systemd/notify"}
    assert check_limits(managed, 900) == []
    assert check_limits(managed | {"FDSTORE": "100"}, 900) == []
    (few,) = check_limits(managed | {"FDSTORE": "4"}, 900)
    assert "protects about 400 connections" in few
    assert "FileDescriptorStoreMax=10 or more" in few
    (open_files,) = check_limits(managed, 10_000)
    assert "allows about 960 connections, not the 10000" in open_files
    (alone,) = check_limits({}, 10)
    assert "no service manager" in alone
