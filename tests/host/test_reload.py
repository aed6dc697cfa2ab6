"""Reload: new code is tried, then goes on with the old connections; or the old serves on."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import Server, free_port, wait_for

from tapd.errors import UpgradeRefused
from tapd.host.upgrade import LoadedCode, load_with_present_code, rehearse
from tapd.image.store import Store
from tapd.model.application import Application
from tapd.services.app.factory import make_from, parse_target

MODULE = "reloaded_module"

VERSION_1 = """
from tapd import LineProtocol, Service


class Desk(LineProtocol):
    def connection_made(self, transport):
        self.service.seen += 1

    def line_received(self, line):
        self.service.count += 1
        self.send_line(f"one {self.service.count} {line}")


class Counting(Service):
    protocol = Desk

    def __init__(self):
        self.count = 0
        self.seen = 0
"""

VERSION_2 = VERSION_1.replace("one {self", "two {self").replace(
    "    def __init__(self):\n        self.count = 0",
    """    persistence_version = 2

    def upgrade_to_version_2(self):
        self.count += 100

    def __init__(self):
        self.count = 0""",
)


class Reloaded:
    """The server, and the module that it was made from."""

    def __init__(self, directory: Path) -> None:
        self.code = directory / "code"
        self.code.mkdir()
        self.install(VERSION_1)
        self.port = free_port()
        sys.path.insert(0, str(self.code))
        try:
            application = Application("counting")
            service = make_from(parse_target(f"{MODULE}:Counting"), application, {})
            assert not isinstance(service, Application)
            application.listen(f"127.0.0.1:{self.port}", service)
            # No PYTHONPATH tells the server where the module is: the TAP does.
            application.python_path = (str(self.code),)
            self.server = Server(directory, application)
        finally:
            sys.path.remove(str(self.code))
            sys.modules.pop(MODULE, None)

    def install(self, text: str) -> None:
        path = self.code / f"{MODULE}.py"
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)

    def reload(self, said: str) -> None:
        """Send SIGHUP and wait until the log says `said` once more."""
        before = self.server.log().count(said)
        assert self.server.kill(signal.SIGHUP)
        wait_for(lambda: self.server.log().count(said) > before, f"{said!r} in the log")


@pytest.fixture
def reloaded(tmp_path: Path) -> Iterator[Reloaded]:
    reloaded = Reloaded(tmp_path)
    reloaded.server.start()
    yield reloaded
    reloaded.server.end()


class Client:
    """One connection, which must live through all of it."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.lines = self.sock.makefile("r", newline="\r\n")

    def ask(self, text: bytes) -> str:
        self.sock.sendall(text)
        return self.lines.readline().rstrip("\r\n")

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


@pytest.fixture
def client(reloaded: Reloaded) -> Iterator[Client]:
    client = Client(reloaded.port)
    yield client
    client.close()


def test_new_code_goes_on_in_the_middle_of_a_line(reloaded: Reloaded, client: Client) -> None:
    assert client.ask(b"a\nhal") == "one 1 a"
    first = reloaded.server.child()
    reloaded.install(VERSION_2)
    reloaded.reload("resumed 'counting'")
    assert reloaded.server.child() != first
    assert client.ask(b"f\n") == "two 102 half"
    log = reloaded.server.log()
    assert f"new code of {MODULE}: tried, and it loads this state" in log
    assert "the process before was killed" not in log
    assert "one object was brought" in log or "1 objects were brought" in log
    # And from there, the same code again: only a checkpoint.
    second = reloaded.server.child()
    reloaded.reload("saved generation-")
    assert client.ask(b"b\n") == "two 103 b"
    assert reloaded.server.child() == second


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("class Desk(:\n", "SyntaxError"),
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name'"),
        (VERSION_1.replace("class Desk", "class Table"), f"{MODULE}:Desk"),
        (VERSION_2.replace("+= 100", "+= self.nothing"), "upgrade_to_version_2 failed: Attribut"),
        (VERSION_1.replace("def line_received", "async def line_received"), "can't be durable"),
        (VERSION_1 + "    requires = ('store',)\n", "requires 'store', which was not added"),
    ],
)
def test_new_code_that_does_not_work_is_refused(
    reloaded: Reloaded, client: Client, code: str, said: str
) -> None:
    assert client.ask(b"a\n") == "one 1 a"
    first = reloaded.server.child()
    reloaded.install(code)
    reloaded.reload("is not taken: ")
    assert said in reloaded.server.log()
    assert reloaded.server.child() == first
    assert client.ask(b"b\n") == "one 2 b"
    reloaded.install(VERSION_2)
    reloaded.reload("resumed 'counting'")
    assert client.ask(b"c\n") == "two 103 c"


def test_a_module_that_is_gone_fails_a_restart_and_keeps_connections(
    reloaded: Reloaded, client: Client
) -> None:
    """A restart has no rehearsal; it says what is missing until that is put back."""
    assert client.ask(b"a\nhal") == "one 1 a"
    (reloaded.code / f"{MODULE}.py").unlink()
    reloaded.server.kill()
    wait_for(lambda: "no such class: " in reloaded.server.log(), "refusal")
    assert f"{MODULE}:Counting, {MODULE}:Desk" in reloaded.server.log()
    assert f"put it back into {reloaded.code}" in reloaded.server.log()
    reloaded.install(VERSION_1)
    assert client.ask(b"f\n") == "one 2 half"


def test_what_counts_as_changed_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "code_that_changes.py"
    path.write_text("x = 1\n")
    os.utime(path, (1e9, 1e9))
    __import__("code_that_changes")
    code = LoadedCode(began_ns=2 * 10**18)
    assert code.find_changed() == []
    path.write_text("x = 2\n")
    os.utime(path, (1e9 + 1, 1e9 + 1))
    assert code.find_changed() == ["code_that_changes"]
    path.unlink()
    assert code.find_changed() == ["code_that_changes"]
    # One that is imported later counts once it is written after the process began.
    later = tmp_path / "code_that_comes_later.py"
    later.write_text("y = 1\n")
    os.utime(later, (1e9, 1e9))
    __import__("code_that_comes_later")
    assert code.find_changed() == ["code_that_changes"]
    os.utime(later, (3e9, 3e9))
    assert code.find_changed() == ["code_that_changes", "code_that_comes_later"]
    monkeypatch.delitem(sys.modules, "code_that_changes")
    monkeypatch.delitem(sys.modules, "code_that_comes_later")


def test_a_rehearsal_changes_nothing(reloaded: Reloaded, monkeypatch: pytest.MonkeyPatch) -> None:
    server = reloaded.server
    assert server.stop() == 0
    monkeypatch.setenv("TAPD_KEY_FILE", server.environ["TAPD_KEY_FILE"])
    before = {path: path.read_bytes() for path in server.tap.parent.rglob("*.tap")}
    with monkeypatch.context() as patched:
        patched.setattr(sys, "path", [*sys.path])
        load_with_present_code(server.tap)
    sys.modules.pop(MODULE)
    assert before == {path: path.read_bytes() for path in server.tap.parent.rglob("*.tap")}
    assert Store(server.tap, server.key).load().application.name == "counting"
    sys.modules.pop(MODULE)
    sys.path.remove(str(reloaded.code))


def test_a_rehearsal_that_can_not_begin_is_refused(tmp_path: Path) -> None:
    """For want of files, say: it is no reason for the server to end."""

    async def try_it() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        next_fd = os.dup(0)
        os.close(next_fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_fd, hard))
        try:
            await rehearse(tmp_path / "none.tap", os.environ)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    with pytest.raises(UpgradeRefused, match="no process could be made"):
        asyncio.run(try_it())
