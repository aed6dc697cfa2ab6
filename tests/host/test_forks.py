"""Authors' code forks, in every way and place, in a real server with three clients; then a kill.

What the child does with the copy that it has reaches nobody: the counter and what the
others are told are exact, the child ends by itself, and a kill loses nothing.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import pytest
from by_hand import free_port, serving, wait_for
from fork_ways import WAYS
from three_clients import Three

from tapd.model.application import Application
from tapd.services.telnet import ShellFactory

_FORK = """\
import os; pid = os.fork()
if pid: out = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
_FORK_BY_C = "import ctypes; ctypes.CDLL(None).fork(); out = 0"
PLACES = ("handler", "timer", "task", "callback", "thread", "own_thread")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """One server for all: what it was asked before is in its log if it did harm."""
    life = Three(tmp_path_factory.mktemp("forks"))
    yield life
    life.close()


def children_of(pid: int) -> list[str]:
    """Return the numbers of the living processes of the server's group, but for its own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid and fields[0] != "Z" and int(path.parent.name) != pid:
            found.append(path.parent.name)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_fork_that_is_not_ours_reaches_nobody(three: Three, way: str) -> None:
    server = three.server
    pid = server.child()
    assert pid is not None
    outs = {}
    for place in PLACES:
        three.talk()
        outs[place] = three.clients[0].ask(place, WAYS[way])
    assert outs == dict.fromkeys(PLACES, "0")
    three.talk()
    wait_for(lambda: not children_of(pid), "end of the children", 20)
    assert server.child() == pid
    three.check()


_LIST = """\
import os; reading, writing = os.pipe(); pid = os.fork()
def link(name):
    try: return os.readlink('/proc/self/fd/' + name)
    except OSError: return ''
if not pid:
    names = {link(name) for name in os.listdir('/proc/self/fd') if int(name) > 2}
    os.write(writing, ' '.join(sorted(names)).encode()); os._exit(0)
os.close(writing); os.waitpid(pid, 0); out = os.read(reading, 65536).decode(); os.close(reading)
"""


@pytest.mark.parametrize("place", PLACES)
def test_a_child_has_no_descriptor_of_the_server(three: Three, place: str) -> None:
    found = three.clients[0].ask(place, _LIST).split()
    allowed = ("/dev/null", "pipe:", "/proc/")  # the last by which it looks
    assert [name for name in found if not name.startswith(allowed)] == []


@pytest.mark.parametrize("place", ["made", "lost", "save"])
@pytest.mark.parametrize("code", [_FORK, _FORK_BY_C], ids=["fork", "C"])
def test_a_fork_in_any_callback_or_at_the_commit(three: Three, place: str, code: str) -> None:
    three.clients[0].ask(place, code)
    with socket.create_connection(("127.0.0.1", three.port), timeout=20):
        three.talk()
    three.talk()
    three.check()


@pytest.mark.parametrize("fork", [_FORK, _FORK_BY_C], ids=["fork", "C"])
def test_a_fork_in_the_child_that_saves(three: Three, fork: str) -> None:
    """Who saves is a copy as well, and what it forks must not save once more."""
    server = three.server
    # The journal's commit is in the server itself, and forks nothing here.
    code = f"import os\nif os.getpid() != {server.child()}:\n" + indent(fork, "  ")
    three.clients[0].ask("save", code)
    program = "from tapd.cli.tapctl.command import main; main()"
    saved = subprocess.run(
        [sys.executable, "-c", program, "checkpoint", str(server.tap)],
        env=server.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "generation" in saved.stdout, saved.stderr
    three.check()


def test_a_fork_at_the_start_is_no_second_server(tmp_path: Path) -> None:
    three = Three(tmp_path, _FORK)
    try:
        three.check()
    finally:
        three.close()


@pytest.mark.parametrize("place", PLACES)
def test_a_fork_by_c_code_commits_nothing(three: Three, place: str) -> None:
    """It ends before it commits, or stands still at a lock that another thread had."""
    pid = three.server.child()
    assert pid is not None
    assert three.clients[0].ask(place, _FORK_BY_C) == "0"
    three.talk()
    three.check()
    assert children_of(pid) == []


def test_what_a_child_of_c_code_holds_ends_with_the_server(three: Three) -> None:
    """It has the lock and every connection, and no hook has taken them from it."""
    code = "import ctypes, time\nif not ctypes.CDLL(None).fork(): time.sleep(600)"
    three.clients[0].ask("handler", code)
    pid = three.server.child()
    assert pid is not None
    # What earlier tests left in the state may fork as well, at its first commit, and ends.
    wait_for(lambda: len(children_of(pid)) == 1, "end of the other children", 20)
    three.check()
    assert children_of(pid) == []


def test_a_child_that_goes_on_keeps_nothing_open(three: Three) -> None:
    """A connection that the server closes ends for its client, whoever was forked meanwhile."""
    late = socket.create_connection(("127.0.0.1", three.port), timeout=20)
    code = "import os, time\nif not os.fork(): time.sleep(600)"
    three.clients[0].ask("handler", code)
    late.shutdown(socket.SHUT_WR)
    assert late.recv(100) == b""
    late.close()
    three.check()


class Person:
    """At a telnet prompt."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.came = b""
        self.expect(b"sername")
        self.sock.sendall(b"admin\r\n")
        self.expect(b"assword")
        self.sock.sendall(b"woohoo\r\n")
        self.expect(b">>> ")

    def expect(self, words: bytes) -> bytes:
        """Wait until `words` come; return all up to their end."""
        while words not in self.came:
            data = self.sock.recv(65536)
            assert data, self.came
            self.came += data
        before, _words, self.came = self.came.partition(words)
        return before + words

    def ask(self, line: str) -> bytes:
        """Type a line; return what comes up to the next prompt."""
        self.sock.sendall(line.encode() + b"\r\n")
        return self.expect(b">>> ")


def test_one_of_three_types_a_fork_bomb(tmp_path: Path) -> None:
    port = free_port()
    application = Application("bomb")
    application.authorizer.add_account("admin", "woohoo")
    application.listen(f"127.0.0.1:{port}", ShellFactory())
    with serving(tmp_path, application) as server:
        ann, bob, cid = people = [Person(port) for _ in range(3)]
        ann.ask("total = 0")
        pid = server.child()
        assert pid is not None
        ann.sock.sendall(b"import os; numbers = [os.fork() for _ in range(6)]\r\n")
        for number in range(20):
            for person in (bob, cid):
                answer = person.ask(f"total += 1; {number} + 1")
                assert answer.startswith(b"%d\r\n" % (number + 1))
        ann.expect(b">>> ")
        ended = ann.ask("[os.waitpid(number, 0)[1] for number in numbers]")
        assert ended.startswith(b"[0, 0, 0, 0, 0, 0]")
        assert server.child() == pid
        server.kill_and_go_on()
        assert children_of(pid) == []
        assert ann.ask("total").startswith(b"40\r\n")
        for person in people:
            person.sock.close()
