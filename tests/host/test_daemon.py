"""A daemon's life under the embedded manager: stop, start, kill, poison input, file errors."""

from __future__ import annotations

import functools
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from by_hand import SUPPORT, Server, free_port, wait_for
from storm_service import make_application

from tapd.host import daemon
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory


class Person:
    """Somebody at a telnet client that negotiates nothing, as nc."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.seen = ""

    def read_until(self, text: str) -> str:
        """Return what is seen up to and with `text`."""
        while text not in self.seen:
            data = self.sock.recv(4096)
            assert data, f"closed after {self.seen!r}"
            self.seen += re.sub(rb"\xff[\xfb-\xfe].|\xff\xfa.*?\xff\xf0", b"", data).decode()
        end = self.seen.index(text) + len(text)
        before, self.seen = self.seen[:end], self.seen[end:]
        return before

    def type(self, line: str, until: str = ">>> ") -> str:
        """Type a line; return what is seen up to the next prompt."""
        self.sock.sendall(line.encode() + b"\r\n")
        return self.read_until(until)

    def login(self) -> None:
        """Log in as admin."""
        self.read_until("username: ")
        self.type("admin", "password: ")
        self.type("woohoo")


Visit = Callable[[int], Person]


@pytest.fixture
def visit() -> Iterator[Visit]:
    """Return a function that connects a person to a port."""
    people: list[Person] = []

    def connect(port: int) -> Person:
        people.append(Person(port))
        return people[-1]

    yield connect
    for person in people:
        person.sock.close()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[tuple[Server, int]]:
    """Return a telnet server, running, and its port."""
    port = free_port()
    application = Application("telnet")
    application.authorizer.add_account("admin", "woohoo")
    application.listen(f"127.0.0.1:{port}", ShellFactory())
    server = Server(tmp_path, application)
    server.start()
    yield server, port
    server.end()


def test_the_story(shell: tuple[Server, int], visit: Visit) -> None:
    """Log in, define, restart with the connection kept, stop, start: still there."""
    server, port = shell
    person = visit(port)
    person.login()
    person.type("x = {'answer': 42}")
    person.type("def double(n):\n    return n * 2\n")
    before = server.child()
    server.restart()
    wait_for(lambda: server.child() not in (None, before), "restarted server")
    assert "84" in person.type("double(x['answer'])")
    assert server.stop() == 0
    assert person.sock.recv(100) == b"", "a plain stop closes connections"
    shutdown_tap = server.tap.with_name("telnet-shutdown.tap")
    assert shutdown_tap.exists()
    server.start()
    again = visit(port)
    again.login()
    assert "84" in again.type("double(x['answer'])")
    assert "<telnet app>" in again.type("import __main__; __main__.application")
    shown = again.type("dir(__main__.application)")
    for name in (
        "authorizer", "connectors", "delayeds", "name", "ports", "services", "uid", "gid",
        "running", "persistence_version",
    ):  # fmt: skip
        assert f"'{name}'" in shown
    assert re.search(r"resumed 'telnet' from \S+ \(generation \d+, saved \d{4}-", server.log())


def test_what_kills_the_server_is_skipped_and_all_are_told(
    shell: tuple[Server, int], visit: Visit
) -> None:
    server, port = shell
    killer, idle, busy = (visit(port) for _ in range(3))
    for person in (killer, idle, busy):
        person.login()
    idle.sock.sendall(b"kept = 'half a li")
    busy.type("count = 0")
    killer.sock.sendall(b"import os; os._exit(1)\r\n")
    for number in range(1, 6):
        assert str(number) in busy.type("count += 1; count")
    seen = killer.read_until(">>> ")
    assert "killed while running this; it was not applied" in seen
    assert "os._exit(1)" in seen
    assert "'half a line'" in idle.type("ne'; kept")
    assert "killed the server each time" in server.log()
    assert "5" in killer.type("count")


@pytest.mark.parametrize("key", [b"\x03", b"\xff\xf4\xff\xf2"])
def test_ctrl_c_interrupts_what_does_not_come_back(
    shell: tuple[Server, int], visit: Visit, key: bytes
) -> None:
    """Nobody reads the connection then; the key is seen where it waits."""
    server, port = shell
    typing, other = visit(port), visit(port)
    for person in (typing, other):
        person.login()
    child = server.child()
    typing.sock.sendall(b"n = 1\r\nwhile True: n += 1\r\n\r\n")
    wait_for(lambda: "a turn has taken more than" in server.log(), "slow turn")
    typing.sock.sendall(key)
    shown = typing.read_until("KeyboardInterrupt\r\n")
    assert "Traceback (most recent call last)" in shown
    assert "interrupts.py" not in shown
    typing.read_until("KeyboardInterrupt\r\n>>> ")  # the key itself, read now
    assert "True" in typing.type("n > 1")
    assert "42" in other.type("6 * 7")
    assert server.child() == child


def said_times(server: Server, times: int) -> bool:
    return server.log().count("serving goes on") >= times


def test_a_task_of_typed_code_ends_no_server(shell: tuple[Server, int], visit: Visit) -> None:
    """Asyncio lets these two out of the loop, past all handlers."""
    server, port = shell
    typing, idle = visit(port), visit(port)
    for person in (typing, idle):
        person.login()
    child = server.child()
    typing.type("import asyncio")
    lines = (
        "_ = asyncio.get_running_loop().call_soon(exit)",
        "_ = asyncio.get_running_loop().call_soon((_ for _ in ()).throw, KeyboardInterrupt)",
        "_ = asyncio.create_task(asyncio.to_thread(exit))",
    )
    for times, line in enumerate(lines, 1):
        typing.type(line)
        wait_for(functools.partial(said_times, server, times), "word of it")
        assert "2" in idle.type("1 + 1")
    assert server.child() == child
    assert server.stop() == 0


def test_secrets_reach_neither_log_nor_disk(shell: tuple[Server, int], visit: Visit) -> None:
    server, port = shell
    person = visit(port)
    person.read_until("username: ")
    person.type("admin", "password: ")
    for byte in b"woo":
        person.sock.sendall(bytes([byte]))
    server.kill()
    person.sock.sendall(b"hoo\r\n")
    person.read_until(">>> ")
    wrong = visit(port)
    wrong.read_until("username: ")
    wrong.type("admin", "password: ")
    wrong.sock.sendall(b"s3cret-wrong\r\n")
    wait_for(lambda: "127.0.0.1" in server.log().split("login of")[-1], "failure in the log")
    assert server.stop() == 0
    everything = server.log().encode() + b"".join(
        path.read_bytes() for path in server.tap.parent.rglob("*") if path.is_file()
    )
    assert b"woohoo" not in everything
    assert b"s3cret" not in everything


def test_a_damaged_generation_loses_nothing(shell: tuple[Server, int], visit: Visit) -> None:
    """The newest TAP is damaged: the one before and its journals give the same state."""
    server, port = shell
    person = visit(port)
    person.login()
    person.type("x = 'from the journal'")
    assert server.stop() == 0
    newest = max((server.tap.parent / "telnet.d").glob("generation-*"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 3] ^= 1
    newest.write_bytes(data)
    server.start()
    again = visit(port)
    again.login()
    assert "'from the journal'" in again.type("x")
    assert "changed since it was written" in server.log()


def test_two_daemons_on_one_tap(shell: tuple[Server, int], visit: Visit, tmp_path: Path) -> None:
    server, port = shell
    ended = subprocess.run(
        server.command, env=server.environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 69
    assert f"can't listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr
    notify = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notify))
        environ = {**server.environ, "NOTIFY_SOCKET": str(notify)}
        ended = subprocess.run(
            server.command, env=environ, capture_output=True, text=True, check=False
        )
    assert ended.returncode == 75
    assert re.search(r"process \d+", ended.stderr), ended.stderr
    person = visit(port)
    person.login()


def test_a_full_disk_stalls_and_loses_nothing(tmp_path: Path) -> None:
    """The journal can't be written: clients wait; with room again they are answered."""
    pytest.importorskip("resource")
    port = free_port()
    server = Server(tmp_path, make_application("full", f"127.0.0.1:{port}"))
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
            reader = sock.makefile("rb")
            assert reader.readline() == b"hello\n"
            child = server.child()
            limits = ["prlimit", "--pid", str(child)]
            size = max(path.stat().st_size for path in (tmp_path / "full.d").glob("journal-*"))
            subprocess.run([*limits, f"--fsize={size}:unlimited"], check=True)
            sock.sendall(b"0 a\n")
            wait_for(lambda: "can't write the journal" in server.log(), "error in the log")
            sock.sendall(b"1 b\n")
            subprocess.run([*limits, "--fsize=unlimited"], check=True)
            assert reader.readline() == b"0 1 a\n"
            assert reader.readline() == b"1 2 b\n"
            reader.close()
        assert server.child() == child, "it stalled, it did not die"
        assert server.stop() == 0
    finally:
        server.end()


def test_a_full_disk_at_the_start_keeps_connections(tmp_path: Path) -> None:
    """Killed while the disk is full: it is tried again until there is room."""
    port = free_port()
    server = Server(tmp_path, make_application("full", f"127.0.0.1:{port}"))
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
            assert sock.recv(100) == b"hello\n"
            assert server.process is not None
            limits = ["prlimit", "--pid", str(server.process.pid)]
            subprocess.run([*limits, "--fsize=16:unlimited"], check=True)  # the log's, too
            server.kill()
            sock.sendall(b"0 a\n")
            processes: set[int | None] = set()

            def tried_again() -> bool:
                processes.add(server.child())
                return len(processes - {None}) > 3

            wait_for(tried_again, "new tries")
            subprocess.run([*limits, "--fsize=unlimited"], check=True)
            assert sock.recv(100) == b"0 1 a\n"
        assert server.stop() == 0
    finally:
        server.end()


def test_too_few_files_cost_no_connection(tmp_path: Path) -> None:
    """The start fails, again and again and with a message, until the limit is raised."""
    port = free_port()
    program = [str(SUPPORT / "few_files.py")]
    server = Server(tmp_path, make_application("few", f"127.0.0.1:{port}"), program=program)
    limit = tmp_path / "limit"
    server.environ["FEW_FILES"] = str(limit)
    server.start()
    try:
        socks = [socket.create_connection(("127.0.0.1", port), timeout=120) for _ in range(60)]
        for sock in socks:
            sock.sendall(b"0 a\n")
            assert sock.recv(100).startswith(b"hello\n")
        limit.write_text("40")
        server.kill()
        wait_for(lambda: server.log().count("ended with status 74") > 1, "two failed starts")
        assert "Raise LimitNOFILE=" in server.log()
        limit.unlink()
        for sock in socks:
            sock.sendall(b"1 b\n")
        counts = {int(sock.makefile().readlines(1)[-1].split()[1]) for sock in socks}
        assert counts <= set(range(1, 121))
        wait_for(lambda: "connections that go on: 60" in server.log(), "story of the start")
        for sock in socks:
            sock.close()
        assert server.stop() == 0
    finally:
        server.end()


def test_a_pause_is_from_try_to_try() -> None:
    """What a service manager waited is a part of it, and so is a pause that was broken off."""
    assert daemon._pause_s(daemon.CRASHES_WITHOUT_PAUSE, 0.0) is None
    assert [daemon._pause_s(deaths, 0.0) for deaths in (7, 8, 9, 20)] == [0.2, 0.4, 0.8, 10.0]
    assert daemon._pause_s(9, 0.3) == pytest.approx(0.5)
    assert daemon._pause_s(9, 5.0) == 0.0
    assert daemon._pause_s(9, -3600.0) == 0.8, "the clock was set back"
