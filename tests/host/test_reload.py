"""Reload: new code is tried, then serves the old connections; else the old code serves on."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import wait_for
from reloaded_server import MODULE, VERSION_1, VERSION_2, Client, Reloaded

from tapd.errors import UpgradeRefused
from tapd.host.upgrade import LoadedCode, load_with_present_code, name_modules, rehearse
from tapd.store.generations import Store
from tapd.store.layout import Layout


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
    assert "objects brought to the versions of the installed code: 1" in log
    # And from there, the same code again: only a checkpoint.
    second = reloaded.server.child()
    reloaded.reload("saved generation-")
    assert client.ask(b"b\n") == "two 103 b"
    assert reloaded.server.child() == second


def test_the_manager_passes_a_hangup_on(reloaded: Reloaded, client: Client) -> None:
    assert client.ask(b"a\nhal") == "one 1 a"
    manager = reloaded.server.process
    assert manager is not None
    reloaded.install("class Desk(:\n")
    manager.send_signal(signal.SIGHUP)
    wait_for(lambda: "is not taken: " in reloaded.server.log(), "refusal")
    assert client.ask(b"f\n") == "one 2 half"
    reloaded.install(VERSION_2)
    manager.send_signal(signal.SIGHUP)
    wait_for(lambda: "ended for its new code" in reloaded.server.log(), "new process")
    assert client.ask(b"b\n") == "two 103 b"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("class Desk(:\n", "SyntaxError"),
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name'"),
        ("1 / 0\n", f"needs {MODULE}:Counting, {MODULE}:Desk (ZeroDivisionError: division"),
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


def test_what_was_missing_before_is_no_reason_to_refuse_new_code(
    reloaded: Reloaded, client: Client
) -> None:
    """The old code keeps such objects as they are; so does the new one."""
    lost = reloaded.code / "lost_module.py"
    lost.write_text("class Lost:\n    pass\n")
    reloaded.install(VERSION_1.replace("def line_received(self, line):", KEEPING))
    reloaded.reload("resumed 'counting'")
    assert client.ask(b"a\n") == "one 1 a"
    lost.unlink()
    reloaded.server.kill()
    wait_for(lambda: "lost_module:Lost can't be found" in reloaded.server.log(), "stand-in")
    assert client.ask(b"b\n") == "one 2 b"
    reloaded.install(VERSION_2)
    second = reloaded.server.child()
    reloaded.reload("going on with it")
    wait_for(lambda: reloaded.server.child() not in (None, second), "next process")
    assert client.ask(b"c\n") == "two 103 c"


KEEPING = """def line_received(self, line):
        if self.service.count == 0:
            self.service.kept = __import__("lost_module").Lost()"""


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
        layout = Layout(server.tap, server.key)
        load_with_present_code(layout, layout.generations()[0])
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


def test_another_python_counts_as_new_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python3"
    versions = [tmp_path / "python3.11", tmp_path / "python3.13"]
    for version in versions:
        version.touch()
    python.symlink_to(versions[0])
    monkeypatch.setattr(sys, "executable", str(python))
    code = LoadedCode(began_ns=time.time_ns())
    assert "Python itself" not in code.find_changed()
    python.unlink()
    python.symlink_to(versions[1])
    assert "Python itself" in code.find_changed()


def test_modules_are_named_for_people() -> None:
    names = [f"m{number}" for number in range(7)]
    assert name_modules(names[:2]) == "m0, m1"
    assert name_modules(names[:5]) == "m0, m1, m2, m3, m4"
    assert name_modules(names) == "m0, m1, m2, m3, m4 and 2 more"
