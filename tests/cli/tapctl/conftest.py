"""A stopped server with some generations, and a running one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import Server, wait_for
from tap_commands import make_server

from tapd.model.application import Application
from tapd.model.service import Service
from tapd.store.generations import Store
from tapd.store.key import load_key


@pytest.fixture
def tap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stopped server with three generations, in the current directory."""
    monkeypatch.setenv("TAPD_KEY_FILE", str(tmp_path / "key"))
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    store = Store(place / "telnet.tap", load_key())
    application = Application("telnet")
    application.listen("127.0.0.1:4040", Service())
    application.mark = "one"
    store.create(application)
    with store.lock():
        for mark in ("two", "three"):
            application.mark = mark
            store.save(application, store.next_generation(), clean=mark == "three")
    return place / "telnet.tap"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A telnet server, running."""
    server = make_server(tmp_path)
    server.start()
    wait_for(server.can_be_asked, "control socket")
    yield server
    server.end()
