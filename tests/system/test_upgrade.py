"""Upgrades, downgrades and failed upgrades of the package, with people at its servers.

The version before is built from the same tree under a lower number: what is tried
is the way of dpkg and the maintainer scripts. That TAPs of earlier code load is
tried by golden TAPs, in tests/store. With `TAPD_PACKAGE_BEFORE=tapd_0.0.9-1_all.deb`,
built by ``tools/build-deb DIRECTORY 0.0.9-1`` from an earlier commit, both are tried.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from booted import Booted
from packaged import build_package, put
from shell_on_systemd import logged_in, main_pid, make_server
from telnet_terminal import TelnetTerminal

pytestmark = pytest.mark.timeout(600)  # a busy machine installs packages slowly

PEOPLE = 3
BEFORE = "0.0.9-1"


@pytest.fixture(scope="session")
def package_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the same tree under a lower version, or that of `TAPD_PACKAGE_BEFORE`."""
    given = os.environ.get("TAPD_PACKAGE_BEFORE")
    if given:
        return Path(given)
    return build_package(tmp_path_factory.mktemp("before"), BEFORE)


class Upgrade(NamedTuple):
    """A Debian with the version before installed, and where in it both packages lie."""

    system: Booted
    before: str
    after: str


@pytest.fixture
def upgrade(bare_debian: Booted, package_before: Path, package: Path) -> Upgrade:
    before, after = put(bare_debian, package_before), put(bare_debian, package)
    bare_debian.run("apt-get", "install", "--yes", before)
    return Upgrade(bare_debian, before, after)


def installed_version(system: Booted) -> str:
    return system.output("dpkg-query", "--show", "--showformat=${Version}", "tapd")


@contextlib.contextmanager
def somebody_at_busy(system: Booted) -> Iterator[tuple[TelnetTerminal, str]]:
    """Start the server `busy`, and log in; at the end that person still has what was typed.

    Yields:
        The person's terminal, and the server's process id.
    """
    make_server(system, "busy", "4310", options=("--now",))
    with logged_in(system, 4310) as person:
        person.ask("x = 6")
        yield person, main_pid(system, "busy")
        assert "42" in person.ask("x * 7")


class Typist(threading.Thread):
    """Somebody at a prompt who types on and on, and checks each answer."""

    def __init__(self, system: Booted, port: int, name: str) -> None:
        super().__init__(name=name)
        self.answers = 0
        self.transcript = ""
        self.error: BaseException | None = None
        self._system, self._port = system, port
        self._enough = threading.Event()

    def run(self) -> None:
        try:
            with logged_in(self._system, self._port) as person:
                person.ask(f"{self.name} = 0")
                while not self._enough.is_set():
                    said = person.ask(f"{self.name} += 1; '{self.name}', {self.name}")
                    self.answers += 1
                    assert f"('{self.name}', {self.answers})" in said, said
                self.transcript = person.transcript
        except BaseException as error:  # told by `stop`, in the test's own thread
            self.error = error

    def stop(self) -> None:
        self._enough.set()
        self.join(timeout=60)
        if self.error is not None:
            raise self.error

    def wait_for(self, answers: int) -> None:
        while self.answers < answers and self.is_alive():
            self._enough.wait(0.01)


def test_an_upgrade_with_three_sessions_open(upgrade: Upgrade) -> None:
    """Three people type through an upgrade, a downgrade and another upgrade.

    A sleeping server sleeps on, a stopped one stays stopped, a disabled one too,
    and the ports are the same sockets throughout.
    """
    system, before, after = upgrade
    for number, name in enumerate(("busy", "asleep", "stopped")):
        make_server(system, name, str(4310 + number))
    system.run("systemctl", "start", "tapd@busy", "tapd@asleep.socket")
    sockets = system.output("ss", "--no-header", "-lnte", "( sport = :4310 or sport = :4311 )")
    assert sockets

    people = [Typist(system, 4310, name) for name in ("ann", "bob", "cat")[:PEOPLE]]
    for person in people:
        person.start()
    with contextlib.ExitStack() as cleanup:
        for person in people:
            cleanup.callback(person.stop)
        # Somebody is in the middle of a line, too.
        idle = cleanup.enter_context(logged_in(system, 4310))
        idle.ask("x = 'before'")
        idle.type("x + ")
        watcher = cleanup.enter_context(logged_in(system, 4310))
        for path in (after, before, after):
            for person in people:
                person.wait_for(person.answers + 20)
            pid = main_pid(system, "busy")
            system.run("dpkg", "--install", path, timeout_s=120)
            assert main_pid(system, "busy") not in ("0", pid)
            runs = watcher.ask("__import__('tapd').__version__")
            assert f"'{installed_version(system).partition('-')[0]}'" in runs
            for person in people:
                person.wait_for(person.answers + 20)
        idle.enter("' and after'")
        assert "'before and after'" in idle.expect(">>> ")
    for person in people:
        assert person.answers >= 120
        assert "onnection closed" not in person.transcript
        print(f"{person.name} got {person.answers} answers; the last of them:")
        print(person.transcript[-200:])

    assert installed_version(system) in Path(after).name
    assert main_pid(system, "asleep") == "0"
    assert system.show("tapd@asleep.socket", "ActiveState") == "active"
    assert system.show("tapd@stopped.socket", "ActiveState") == "inactive"
    assert sockets == system.output(
        "ss", "--no-header", "-lnte", "( sport = :4310 or sport = :4311 )"
    )
    with logged_in(system, 4311) as first:
        assert "2" in first.ask("1 + 1")
    story = system.journal("tapd@busy", "--output=cat")
    assert "Traceback" not in story


def test_an_upgrade_that_fails_leaves_people_where_they_were(upgrade: Upgrade) -> None:
    """The new package's preinst refuses: dpkg unwinds, and nobody at a prompt sees it."""
    system, before, after = upgrade
    broken = (
        "cd /root && dpkg-deb --raw-extract $1 broken && "
        "printf '#!/bin/sh\\nexit 1\\n' >broken/DEBIAN/preinst && "
        "dpkg-deb --build broken broken.deb"
    )
    system.run("sh", "-c", broken, "sh", after)
    with somebody_at_busy(system) as (person, pid):
        failed = system.run("dpkg", "--install", "/root/broken.deb", check=False)
        assert failed.returncode
        assert installed_version(system) in Path(before).name
        assert main_pid(system, "busy") == pid
        assert "42" in person.ask("x * 7")
        # Unpacked and not configured, as after a power cut between the two; then mended.
        system.run("dpkg", "--unpack", after)
        assert "42" in person.ask("x * 7")
        system.run("dpkg", "--configure", "tapd")
        assert main_pid(system, "busy") not in ("0", pid)


def test_new_code_that_refuses_the_state_leaves_people_connected(upgrade: Upgrade) -> None:
    """The upgrade is done, and says whose server did not follow it, and why."""
    system, _before, after = upgrade
    refusing = (
        "cd /root && dpkg-deb --raw-extract $1 refusing && "
        "cd refusing/usr/lib/python3/dist-packages/tapd && "
        "echo 'Application.persistence_version = 2' >>model/application.py && "
        "cd /root && dpkg-deb --build refusing refusing.deb"
    )
    system.run("sh", "-c", refusing, "sh", after)
    with somebody_at_busy(system) as (person, pid):
        done = system.run("dpkg", "--install", "/root/refusing.deb", timeout_s=120)
        told = done.stdout + done.stderr
        assert "tapd@busy: tapctl: new code of " in told
        assert "it has no upgrade_to_version_2" in told
        assert "tapd@busy: nobody was disconnected; once that is mended: tapctl reload" in told
        assert main_pid(system, "busy") == pid
        assert "42" in person.ask("x * 7")
        refused = system.journal("tapd@busy", "--output=cat", "--priority=err")
        assert "is not taken: upgrading tapd.model.application.Application" in refused
        # Mended: it is taken, as by the next upgrade.
        system.run("dpkg", "--install", after, timeout_s=120)
        assert main_pid(system, "busy") not in ("0", pid)


def test_a_server_that_can_not_be_asked_is_restarted(upgrade: Upgrade) -> None:
    """Its control socket is gone, say: people stay connected all the same."""
    system, _before, after = upgrade
    with somebody_at_busy(system) as (_person, pid):
        system.run("rm", "/run/tapd/busy/control")
        system.run("dpkg", "--install", after, timeout_s=120)
        assert main_pid(system, "busy") not in ("0", pid)


def test_a_server_that_is_killed_between_unpack_and_configure(upgrade: Upgrade) -> None:
    """Whatever starts in mid-upgrade runs: the new files are whole, though not compiled."""
    system, _before, after = upgrade
    make_server(system, "busy", "4310")
    make_server(system, "asleep", "4311")
    system.run("systemctl", "start", "tapd@busy", "tapd@asleep.socket")
    with logged_in(system, 4310) as person:
        person.ask("x = 6")
        system.run("dpkg", "--unpack", after)
        system.run("kill", "-KILL", main_pid(system, "busy"))
        assert "42" in person.ask("x * 7")
        with logged_in(system, 4311) as other:  # wakes it
            assert "2" in other.ask("1 + 1")
            system.run("dpkg", "--configure", "tapd")
            assert "3" in other.ask("1 + 2")
        assert "42" in person.ask("x * 7")


def test_a_new_python_is_run_at_once(bare_debian: Booted, package: Path) -> None:
    """When Python is upgraded (of Debian 12 to that of 13), servers go over to it."""
    system = bare_debian
    system.run("apt-get", "install", "--yes", put(system, package))
    make_server(system, "busy", "4310")
    make_server(system, "asleep", "4311")
    system.run("systemctl", "start", "tapd@busy", "tapd@asleep.socket")
    with logged_in(system, 4310) as person:
        person.ask("x = 6")
        pid = main_pid(system, "busy")
        # As when dpkg unpacks the package that the path belongs to, and Python's own.
        system.run("sh", "-c", "p=$(realpath /usr/bin/python3) && cp -a $p $p.new && mv $p.new $p")
        system.run("dpkg-trigger", "--by-package=python3-minimal", "/usr/bin/python3")
        system.run("dpkg", "--triggers-only", "tapd")
        assert main_pid(system, "busy") not in ("0", pid)
        assert main_pid(system, "asleep") == "0"
        assert "42" in person.ask("x * 7")
