"""tapctl reload, and verify --upgrade: what they say of new code that works, and that does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from reloaded_server import MODULE, VERSION_1, VERSION_2, Client, Reloaded, tapctl

from tapd.store.layout import Layout

BROKEN = [
    ("import nothing_of_that_name\n", f"{MODULE}.py:1 in <module>)); the old"),
    (VERSION_2.replace("+= 100", "+= self.nothing"), " in upgrade_to_version_2); everything is"),
    (VERSION_1 + "    requires = ('store',)\n", "requires 'store', which was not added"),
]


@pytest.fixture
def reloaded(tmp_path: Path) -> Iterator[Reloaded]:
    reloaded = Reloaded(tmp_path)
    reloaded.server.start()
    yield reloaded
    reloaded.server.end()


@pytest.fixture
def client(reloaded: Reloaded) -> Iterator[Client]:
    client = Client(reloaded.port)
    yield client
    client.close()


def generation(reloaded: Reloaded) -> int:
    return Layout(reloaded.server.tap, reloaded.server.key).generations()[0].generation


def test_it_returns_when_the_new_code_serves(reloaded: Reloaded, client: Client) -> None:
    assert client.ask(b"a\nhal") == "one 1 a"
    first = reloaded.server.child()
    assert "no code has changed" in tapctl(reloaded, "reload", "counting").stdout
    assert (reloaded.server.child(), generation(reloaded)) == (first, 2)
    reloaded.install(VERSION_2)
    told = tapctl(reloaded, "reload", "counting").stdout
    second = reloaded.server.child()
    assert "saved generation 3: " in told
    assert f"process {second} goes on with new code of {MODULE}\n" in told
    assert second != first
    assert "the server ended for its new code; starting it again" in reloaded.server.log()
    assert "ended with status" not in reloaded.server.log()
    assert client.ask(b"f\n") == "two 102 half"
    # As a program reads it.
    reloaded.install(VERSION_2.replace("two {self", "three {self"))
    report = json.loads(tapctl(reloaded, "reload", "counting", "--json").stdout)
    assert report["changed"] == [MODULE]
    assert report["pid"] == reloaded.server.child()
    assert client.ask(b"b\n") == "three 103 b"


@pytest.mark.parametrize(("code", "said"), BROKEN)
def test_code_that_does_not_work_is_refused_by_both_in_the_same_words(
    reloaded: Reloaded, client: Client, code: str, said: str
) -> None:
    assert client.ask(b"a\n") == "one 1 a"
    first = reloaded.server.child()
    reloaded.install(code)
    refused = tapctl(reloaded, "reload", "counting", status=65).stderr
    assert refused.startswith(f"tapctl: new code of {MODULE} is not taken: ")
    assert refused.endswith("; the old code serves on\n")
    assert said in refused
    assert reloaded.server.child() == first
    assert client.ask(b"b\n") == "one 2 b"
    before = {path: path.read_bytes() for path in reloaded.server.tap.parent.rglob("*.tap")}
    verified = tapctl(
        reloaded, "verify", "counting", "--upgrade", status=70 if "requires" in said else 65
    )
    reason = verified.stderr.splitlines()[-1].removeprefix("tapctl: ")
    assert reason in refused
    assert before == {path: path.read_bytes() for path in reloaded.server.tap.parent.rglob("*.tap")}


def test_who_sleeps_has_nothing_to_reload(reloaded: Reloaded) -> None:
    assert reloaded.server.stop() == 0
    assert "is not running" in tapctl(reloaded, "reload", "counting", status=69).stderr


def test_a_server_that_does_not_come_back_is_told(reloaded: Reloaded, tmp_path: Path) -> None:
    """The rehearsal went well, and yet: the module went away between the two."""
    reloaded.install(
        VERSION_2
        + f"""
import os, sys
from pathlib import Path
if "tapd.host.upgrade" not in sys.orig_argv:
    for path in Path({str(tmp_path)!r}, "counting.d").iterdir():
        path.unlink()
    Path({str(reloaded.server.tap)!r}).unlink(missing_ok=True)
    Path({str(tmp_path)!r}, "counting-shutdown.tap").unlink(missing_ok=True)
    os._exit(65)
"""
    )
    error = tapctl(reloaded, "reload", "counting", status=69).stderr
    assert "ended and has not come back; see its log" in error
