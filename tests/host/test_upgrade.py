"""Classes that change between two starts of a server: upgraded, journal and all, or refused."""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import Server, free_port, wait_for

from tapd.model.application import Application

MODULE = "hall_of_upgrades"

VERSION_1 = '''
from tapd.model.durable.persistent import Persistent
from tapd.model.protocol import Protocol
from tapd.model.service import Service


class Room(Persistent):
    def __init__(self, title):
        self.title = title

    def tell(self):
        return f"1 {self.title}"


class Asking(Protocol):
    """Each line names a room, which is made or, with "=", renamed; the answer tells of it."""

    buffer = b""

    def data_received(self, data):
        *lines, self.buffer = (self.buffer + data).split(b"\\n")
        for line in lines:
            name, _, title = line.decode().partition("=")
            rooms = self.service.rooms
            if name not in rooms:
                rooms[name] = Room("new")
            if title:
                rooms[name].title = title
            self.transport.write(f"{rooms[name].tell()}\\n".encode())


class Hall(Service):
    protocol = Asking

    def __init__(self):
        self.rooms = {"old": Room("made by mktap"), "renamed": Room("before")}
'''

VERSION_2 = VERSION_1.replace(
    """        self.title = title

    def tell(self):
        return f"1 {self.title}"
""",
    """        self.words = title.split()

    persistence_version = 2

    def upgrade_to_version_2(self):
        self.words = self.__dict__.pop("title").split()

    def tell(self):
        return f"2 {self.words}"
""",
).replace("rooms[name].title = title", "rooms[name].words = title.split()")

REFUSING = VERSION_2.replace('self.__dict__.pop("title")', "self.description")


def is_free(port: int) -> bool:
    """Whether a server may listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Hall:
    """The server, whose code may be replaced while it is down."""

    def __init__(self, directory: Path) -> None:
        self.code = directory / "code"
        self.code.mkdir()
        self.install(VERSION_1)
        self.port = free_port()
        application = Application("hall")
        sys.path.insert(0, str(self.code))
        try:
            service = importlib.import_module(MODULE).Hall()
            application.listen(f"127.0.0.1:{self.port}", service)
            self.server = Server(directory, application, python_path=str(self.code))
        finally:
            sys.path.remove(str(self.code))
            sys.modules.pop(MODULE, None)

    def install(self, text: str) -> None:
        (self.code / f"{MODULE}.py").write_text(text)

    def ask(self, line: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as client:
            client.sendall(f"{line}\n".encode())
            return client.makefile().readline().strip()

    def crash(self) -> None:
        """End both processes as a power cut would: nothing is saved."""
        process, child = self.server.process, self.server.child()
        assert process is not None
        assert child is not None
        process.send_signal(signal.SIGSTOP)
        pidfd = os.pidfd_open(child)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            assert select.select([pidfd], [], [], 60)[0], "it does not die"
        finally:
            os.close(pidfd)
        process.kill()
        process.wait()
        # The guardian ends a moment after the server, and has its files until then.
        wait_for(lambda: is_free(self.port), "port that nobody listens on")

    def files(self) -> dict[str, bytes]:
        """Return all that the application is made of."""
        directory = self.server.tap.parent
        return {
            str(path.relative_to(directory)): path.read_bytes()
            for path in (*directory.glob("hall*.tap"), *(directory / "hall.d").iterdir())
            if path.is_file() and path.name != "lock"  # it names the last who tried
        }

    def fail_to_start(self) -> str:
        """Return the one line that says why the server does not start."""
        done = subprocess.run(
            self.server.command, env=self.server.environ, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 65
        # The embedded manager has its own lines, before and after, which no error is in.
        [line] = [
            line for line in done.stderr.splitlines()
            if "listening on" not in line and "ended with status 65" not in line
        ]  # fmt: skip
        return line


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    hall = Hall(tmp_path)
    yield hall
    hall.server.end()


def lived_in(hall: Hall) -> None:
    """Leave a TAP of version 1, and journal records of version 1 on top of it."""
    hall.server.start()
    assert hall.ask("old") == "1 made by mktap"
    assert hall.ask("new=in the journal") == "1 in the journal"
    assert hall.ask("renamed=after all") == "1 after all"
    hall.crash()


def test_an_upgrade_reaches_what_only_the_journal_holds(hall: Hall) -> None:
    lived_in(hall)
    hall.install(VERSION_2)
    hall.server.start()
    assert "objects brought to the versions of the installed code: 3" in hall.server.log()
    told = {name: hall.ask(name) for name in ("old", "new", "renamed")}
    assert told == {
        "old": "2 ['made', 'by', 'mktap']",
        "new": "2 ['in', 'the', 'journal']",
        "renamed": "2 ['after', 'all']",
    }
    assert hall.ask("renamed=once more") == "2 ['once', 'more']"
    wait_for(lambda: "saved generation-" in hall.server.log(), "generation of the new version")
    hall.crash()
    hall.server.start()
    assert hall.ask("renamed") == "2 ['once', 'more']"
    assert hall.server.log().count("objects brought to the versions") == 1
    assert hall.server.stop() == 0


def test_a_crash_just_after_an_upgrade(hall: Hall) -> None:
    """The upgraded TAP is gone again, its journal is there: old TAP, records of both versions."""
    lived_in(hall)
    hall.install(VERSION_2)
    hall.server.start()
    assert hall.ask("renamed=once more") == "2 ['once', 'more']"
    wait_for(lambda: "saved generation-" in hall.server.log(), "generation of the new version")
    hall.crash()
    newest = max((hall.server.tap.parent / "hall.d").glob("generation-*"))
    newest.unlink()
    hall.server.start()
    assert hall.ask("renamed") == "2 ['once', 'more']"
    assert hall.ask("old") == "2 ['made', 'by', 'mktap']"


@pytest.mark.parametrize("clean", [False, True])
def test_a_refused_upgrade_leaves_everything_as_it_was(hall: Hall, clean: bool) -> None:
    lived_in(hall)
    if clean:
        hall.server.start()
        assert hall.server.stop() == 0
    before = hall.files()
    hall.install(REFUSING)
    for _ in range(2):
        told = hall.fail_to_start()
        assert f"upgrading {MODULE}.Room from version 1 to 2" in told
        assert "AttributeError" in told
        assert "everything is as it was" in told
        assert hall.files() == before
    hall.install(VERSION_1)
    hall.server.start()
    assert hall.ask("renamed") == "1 after all"
    assert hall.ask("new") == "1 in the journal"


def test_a_downgrade_is_refused_and_taken_back(hall: Hall) -> None:
    lived_in(hall)
    hall.install(VERSION_2)
    hall.server.start()
    assert hall.server.stop() == 0
    hall.install(VERSION_1)
    before = hall.files()
    assert "its saved state has version 2, the installed code has 1" in hall.fail_to_start()
    assert hall.files() == before
    hall.install(VERSION_2)
    hall.server.start()
    assert hall.ask("new") == "2 ['in', 'the', 'journal']"
