"""Typed-ahead lines that kill the server: exactly the one that kills is skipped.

Lines are kept while a password is checked or a coroutine is awaited. They run when that is
over, under the marks of `net.turn.careful`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest
from harness import Harness, Peer, harnesses

from tapd.host.prompt import streams
from tapd.model.access.accounts import Account
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory
from tapd.services.telnet.shell import Shell
from tapd.store.journal.file import JournalWriter

_HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("woohoo")
_SKIPPED = b"\r\nThe server was killed while running this; it was not applied:\r\ndie\r\n>>> "


class Killed(KeyboardInterrupt):
    """The process dies here; asyncio lets this one through."""


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    for serve in harnesses(tmp_path):
        application = Application("telnet", uid=0, gid=0)
        application.add_service(ShellFactory())
        application.authorizer.accounts["admin"] = Account("admin", _HASH)
        yield serve(application)
    streams.uninstall()


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The process dies before the journal has another record once ``die`` was run; each death."""
    dying: list[bool] = []
    append, push = JournalWriter.append, Shell.push

    def deadly_push(self: Shell, line: str) -> list[str]:
        if line == "die":
            dying.append(True)
        return push(self, line)

    def die_first(self: JournalWriter, payload: bytes) -> None:
        if dying and dying[-1]:
            dying[-1] = False
            raise Killed
        append(self, payload)

    monkeypatch.setattr(Shell, "push", deadly_push)
    monkeypatch.setattr(JournalWriter, "append", die_first)
    return dying


def live_on(harness: Harness, seconds: float = 0.0) -> None:
    """Let time pass; whenever the process dies, start the next one."""
    for _ in range(10):
        try:
            if harness.process is None:
                harness.start()
            harness.clock.advance(seconds)
        except Killed:
            harness.give_up()
        else:
            return
    raise AssertionError("it dies for ever")


def read(harness: Harness, peer: Peer, end: bytes) -> bytes:
    """Return what arrives up to `end`."""
    output = b""
    for _ in range(100):
        output += peer.read()
        if output.endswith(end):
            break
        live_on(harness, 0.1)
    return output


def test_behind_a_password(harness: Harness, deaths: list[bool]) -> None:
    bad, good = harness.connect(), harness.connect()
    bad.sock.sendall(b"admin\nwoohoo\n1+1\ndie\n2+2\n")
    good.sock.sendall(b"admin\nwoohoo\n3+3\n")
    live_on(harness)
    told = read(harness, bad, b"4\r\n>>> ")
    assert told.endswith(b"password: >>> 2\r\n>>> " + _SKIPPED + b"4\r\n>>> ")
    assert read(harness, good, b"6\r\n>>> ").endswith(b"password: >>> 6\r\n>>> ")
    assert len(deaths) <= 5
    assert not any(deaths)


@pytest.mark.parametrize("ends", [False, True])
def test_behind_what_is_awaited(harness: Harness, deaths: list[bool], *, ends: bool) -> None:
    bad = harness.connect()
    bad.sock.sendall(b"admin\nwoohoo\n")
    read(harness, bad, b"password: >>> ")
    bad.sock.sendall(b"import asyncio\nawait asyncio.sleep(1, 5)\n")
    live_on(harness)
    bad.sock.sendall(b"1+1\ndie\n2+2\n")
    if ends:
        bad.sock.shutdown(1)
    live_on(harness)
    told = read(harness, bad, b"4\r\n>>> ")
    assert told.endswith(b">>> 5\r\n>>> 2\r\n>>> " + _SKIPPED + b"4\r\n>>> ")
    assert len(deaths) <= 5
    if ends:
        assert bad.sock.recv(1) == b""


def test_c_c_drops_what_was_typed_ahead(harness: Harness, deaths: list[bool]) -> None:
    bad = harness.connect()
    bad.sock.sendall(b"admin\nwoohoo\n")
    read(harness, bad, b"password: >>> ")
    bad.sock.sendall(b"import asyncio\nawait asyncio.sleep(1, 5)\n")
    live_on(harness)
    bad.sock.sendall(b"die\n\x032+2\n")
    live_on(harness)
    assert b"4\r\n>>> " in read(harness, bad, b"4\r\n>>> ")
    assert not deaths
